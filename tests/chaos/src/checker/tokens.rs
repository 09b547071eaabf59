//! T1 to T3: what is forged, another's, or over is good for nothing.

use super::Finding;
use super::admission::first_holds;
use super::facts::Facts;
use crate::history::{Answer, Call, Op};

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

/// T2: nobody sees or moves a booking that is not his.
pub fn nobody_gets_what_is_anothers(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    for (op, _) in facts.answers() {
        let (Call::Cancel { booking } | Call::Pay { booking, .. } | Call::Booking { booking }) =
            op.call
        else {
            continue;
        };
        let Some(row) = facts.bookings.get(&booking) else { continue };
        finding.unless(row.user_id == op.user, || {
            format!("request {}: {} got at booking {booking} of {}", op.id, op.user, row.user_id)
        });
    }
    finding
}

/// T3: a number that is over gives no place, no session and no hold again.
pub fn what_is_over_stays_over(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    let holds: std::collections::HashSet<u64> =
        first_holds(facts).into_iter().map(|op| op.id).collect();
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
