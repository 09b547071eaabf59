//! T1 to T3: what is forged, another's, or over is good for nothing.

use std::collections::{HashMap, HashSet};

use super::Finding;
use super::admission::first_holds;
use super::facts::Facts;
use crate::history::{Answer, Call, Op, Outcome};

/// After this long everybody knows that a turn is over.
const KNOWN_MS: i64 = 1_000;
/// The number that stands for a token that no instance has signed.
const FORGED: i64 = 0;

/// T1: a token that was never given gets nothing.
pub fn forged_tokens_get_nothing(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    for op in facts.ops.iter().filter(|op| op.adversary && sent(op) == Some(FORGED)) {
        finding.unless(op.answer().is_none(), || {
            format!("request {}: a forged token got {:?}", op.id, op.answer())
        });
    }
    finding
}

/// T2: nobody sees or moves a booking that is not his, or acts for another; and what is another's looks like what is not
/// there.
pub fn nobody_gets_what_is_anothers(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    let mut missing: HashMap<&str, u64> = HashMap::new();
    let mut others = Vec::new();
    for op in facts.ops.iter().filter(|op| !op.is_unknown()) {
        if let Some(named) = op.on_behalf_of {
            finding.unless(op.refusal() == Some("user_mismatch"), || {
                format!("request {}: {} acts for {named}: {:?}", op.id, op.user, op.outcome)
            });
            continue;
        }
        let Some(booking) = op.call.booking() else { continue };
        let row = facts.bookings.get(&booking);
        if row.is_some_and(|row| row.user_id == op.user) {
            finding.looked();
            continue;
        }
        let Outcome::Refused { code, digest, .. } = &op.outcome else {
            finding.unless(row.is_none(), || {
                format!("request {}: {} got at booking {booking} of another", op.id, op.user)
            });
            continue;
        };
        finding.unless(code == "booking_not_found", || {
            format!("request {}: booking {booking} is not of {}: {code}", op.id, op.user)
        });
        if row.is_some() {
            others.push((op, *digest));
        } else {
            missing.entry(endpoint(&op.call)).or_insert(*digest);
        }
    }
    for (op, digest) in others {
        let Some(as_missing) = missing.get(endpoint(&op.call)) else { continue };
        finding.unless(digest == *as_missing, || {
            format!("request {}: another's booking does not look like a missing one", op.id)
        });
    }
    finding
}

fn endpoint(call: &Call) -> &'static str {
    match call {
        Call::Pay { .. } => "pay",
        Call::Cancel { .. } => "cancel",
        _ => "show",
    }
}

/// T3: a number that is over gives no place, no session and no hold again.
pub fn what_is_over_stays_over(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    let holds: HashSet<u64> = first_holds(facts).into_iter().map(|op| op.id).collect();
    for op in &facts.ops {
        let shown = op.answer().and_then(Answer::number);
        let Some(turn) = sent(op).or(shown).and_then(|number| facts.turns.get(&number)) else {
            continue;
        };
        let then = facts.ms(op.begun_us) - facts.run.skew_ms;
        if turn.ended_at.is_none_or(|ended| ended + KNOWN_MS >= then) {
            continue;
        }
        let is_good = match op.answer() {
            Some(Answer::Held { .. }) => holds.contains(&op.id),
            Some(Answer::Active { .. }) => true,
            Some(Answer::Waiting { .. }) => turn.admitted_at.is_some(),
            _ => false,
        };
        finding.unless(!is_good, || {
            format!("request {}: {} was over, and got {:?}", op.id, turn.seq, op.answer())
        });
    }
    finding
}

fn sent(op: &Op) -> Option<i64> {
    match &op.call {
        Call::Poll { number } | Call::Leave { number } | Call::Hold { number, .. } => Some(*number),
        _ => None,
    }
}
