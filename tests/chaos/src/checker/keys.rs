//! I1 to I3: a request that is sent again is answered again, and does nothing again. That scripts of Redis can be played
//! twice (I4) is not judged here: a history does not show them.

use std::collections::{HashMap, HashSet};

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

/// I2: a key is good for one request; another one is refused for that reason, and no request is refused for a key that is
/// its own. That a refusal has no effect is S3's, S4's and M4's.
pub fn a_key_is_for_one_request(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    // What each key was good for first, and when that was told.
    let mut used: HashMap<Named, (i64, String)> = HashMap::new();
    let mut asked: HashMap<Named, Vec<(&Op, String)>> = HashMap::new();
    for op in facts.ops.iter().filter(|op| op.may_have_happened()) {
        let Some((named, wish)) = keyed(op) else { continue };
        if op.answer().is_some() {
            let (told_us, first) = used.entry(named).or_insert((op.ended_us, wish.clone()));
            *told_us = op.ended_us.min(*told_us);
            finding.unless(*first == wish, || {
                format!("request {}: {named:?} was good for {first} and {wish}", op.id)
            });
        }
        asked.entry(named).or_default().push((op, wish));
    }
    for op in &facts.ops {
        let (Some((named, wish)), Some(code)) = (keyed(op), op.refusal()) else { continue };
        if code == "idempotency_key_reuse" {
            let is_another =
                |(other, asked): &(&Op, String)| *asked != wish && other.begun_us < op.ended_us;
            let was_used = asked.get(&named).is_some_and(|asked| asked.iter().any(is_another));
            finding.unless(was_used, || {
                format!("request {}: {named:?} was used for nothing else", op.id)
            });
        } else if let Some((told_us, first)) = used.get(&named) {
            let is_another = *told_us < op.begun_us && *first != wish;
            // A booking that is not his is missing, whatever the key.
            let is_his = op.call.booking().is_none() || facts.own_booking(op).is_some();
            finding.unless(!(is_another && is_his), || {
                format!("request {}: {named:?} was used for {first}: {code}", op.id)
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
