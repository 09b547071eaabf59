//! I1 to I3: a request that is sent again is answered again, and does nothing again. That scripts of Redis can be played
//! twice (I4) is not judged here: a history does not show them.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::Finding;
use super::facts::Facts;
use crate::history::{Call, Op, Outcome};

/// A key of somebody at one endpoint.
type Named<'a> = (i64, &'static str, &'a str);

/// I1: a key has one answer.
pub fn a_key_has_one_answer(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    let mut first: HashMap<Named, (u64, u64)> = HashMap::new();
    for op in &facts.ops {
        let (Some((named, _)), Outcome::Ok { digest, .. }) = (keyed(op), &op.outcome) else {
            continue;
        };
        let (id, told) = first.entry(named).or_insert((op.id, *digest));
        finding.unless(told == digest, || {
            format!("requests {id} and {} had the key {named:?}, and other answers", op.id)
        });
    }
    finding
}

/// I2: a key is good for one request; another one is refused, and no request is refused for a key that is its own. That
/// a refusal has no effect is S4's and M4's.
pub fn a_key_is_for_one_request(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    let mut used: HashMap<Named, BTreeSet<String>> = HashMap::new();
    let mut asked: HashMap<Named, Vec<(&Op, String)>> = HashMap::new();
    for op in facts.ops.iter().filter(|op| op.may_have_happened()) {
        let Some((named, wish)) = keyed(op) else { continue };
        if op.answer().is_some() {
            used.entry(named).or_default().insert(wish.clone());
        }
        asked.entry(named).or_default().push((op, wish));
    }
    for (named, wishes) in used {
        finding.unless(wishes.len() == 1, || format!("{named:?} was good for {wishes:?}"));
    }
    for op in &facts.ops {
        let (Some((named, wish)), Outcome::Refused { code, .. }) = (keyed(op), &op.outcome) else {
            continue;
        };
        if code == "idempotency_key_reuse" {
            let is_another =
                |(other, asked): &(&Op, String)| *asked != wish && other.begun_us < op.ended_us;
            let was_used = asked.get(&named).is_some_and(|asked| asked.iter().any(is_another));
            finding.unless(was_used, || {
                format!("request {}: {named:?} was used for nothing else", op.id)
            });
        }
    }
    finding
}

/// I3: a key has one effect, and a booking one payment.
pub fn a_key_has_one_effect(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    let mut seen = HashSet::new();
    let bookings = facts.rows.bookings.iter();
    let held = bookings.filter_map(|row| Some((row.user_id, "hold", row.idem_key.as_deref()?)));
    let transfers = || facts.rows.transfers.iter();
    let moved = transfers()
        .filter_map(|row| Some((row.user_id, row.kind.as_str(), row.idem_key.as_deref()?)));
    for named in held.chain(moved) {
        finding.unless(seen.insert(named), || format!("{named:?} had two effects"));
    }
    let mut paid = HashSet::new();
    for row in transfers().filter(|row| row.kind == "purchase") {
        finding.unless(paid.insert(&row.reference), || {
            format!("booking {} was paid for twice", row.reference)
        });
    }
    finding
}

/// The key of a request, and what it was asked for with it: the token is not part of that.
fn keyed(op: &Op) -> Option<(Named<'_>, String)> {
    let (endpoint, key, wish) = match &op.call {
        Call::Hold { concert, seats, key, .. } => {
            ("hold", key, format!("{concert} {}", seats.join(",")))
        }
        Call::Pay { booking, key } => ("pay", key, booking.to_string()),
        Call::TopUp { amount, key } => ("top-up", key, amount.to_string()),
        _ => return None,
    };
    Some(((op.user, endpoint, key.as_deref()?), wish))
}
