//! Days on which somebody is refused who should not be, is told another reason than the right one, or gets what he was
//! refused.

#![expect(clippy::ptr_arg, reason = "all have the shape of the table")]

use super::{Altered, ops};
use crate::history::{Answer, Call, Op, Outcome, Record};
use crate::rows::{Booking, Rows, Transfer};

type Did = Option<()>;

/// What was refused was done: the rows say so in more than one way.
pub const WITH_EFFECT: &[Altered] = &[
    ("S4", "a hold whose key was used for another is there", reused_hold_is_there),
    ("S4", "an older token lets go of a newer hold", older_token_lets_go),
    ("S8", "every request to pay came too late", asked_too_late),
    ("M4", "a top-up whose key was used for another is there", reused_top_up_is_there),
];

/// Only what was said is wrong: one invariant alone sees it.
pub const ALTERED: &[Altered] = &[
    ("I2", "a key that was used is refused for another reason", reuse_told_otherwise),
    ("T2", "another's booking is said to be there", others_booking_is_there),
    ("T2", "another's booking looks otherwise than a missing one", others_booking_looks_otherwise),
    ("T2", "a missing booking is said to be over", missing_booking_is_over),
    ("T2", "who acts for another is told of his turn", told_of_anothers_turn),
    ("T2", "somebody acts for another", acted_for_another),
    ("S8", "who pays too late is told that he has too little", late_and_poor),
    ("S8", "a hold is said to be over before its time", over_before_its_time),
    ("S8", "a hold is said to be cancelled, and is not", said_to_be_cancelled),
];

fn refuse(op: &mut Op, status: u16, code: &str) -> Did {
    op.outcome = Outcome::Refused { status, code: code.to_owned(), digest: 0 };
    Some(())
}

fn refused<'a>(history: &'a mut [Record], code: &str) -> impl Iterator<Item = &'a mut Op> {
    ops(history).filter(move |op| op.refusal() == Some(code))
}

/// Somebody was told that there is no such booking, and there is, or there is none.
fn not_found<'a>(history: &'a mut [Record], rows: &Rows, is_there: bool) -> Option<&'a mut Op> {
    let found = |op: &Op| rows.bookings.iter().any(|row| Some(row.id) == op.call.booking());
    refused(history, "booking_not_found").find(|op| found(op) == is_there)
}

fn reuse_told_otherwise(history: &mut Vec<Record>, _: &mut Rows) -> Did {
    let adds = |call: &Call| matches!(call, Call::TopUp { .. });
    refuse(reused(history, adds)?, 422, "invalid_amount")
}

fn others_booking_is_there(history: &mut Vec<Record>, rows: &mut Rows) -> Did {
    refuse(not_found(history, rows, true)?, 409, "booking_not_held")
}

fn others_booking_looks_otherwise(history: &mut Vec<Record>, rows: &mut Rows) -> Did {
    refuse(not_found(history, rows, true)?, 404, "booking_not_found")
}

fn missing_booking_is_over(history: &mut Vec<Record>, rows: &mut Rows) -> Did {
    refuse(not_found(history, rows, false)?, 410, "hold_expired")
}

fn acts_for_another(history: &mut [Record]) -> Option<&mut Op> {
    refused(history, "user_mismatch").find(|op| op.on_behalf_of.is_some())
}

fn told_of_anothers_turn(history: &mut Vec<Record>, _: &mut Rows) -> Did {
    refuse(acts_for_another(history)?, 403, "not_admitted")
}

fn acted_for_another(history: &mut Vec<Record>, _: &mut Rows) -> Did {
    acts_for_another(history)?.outcome = Outcome::Ok { answer: Answer::Gone, digest: 0 };
    Some(())
}

fn late_and_poor(history: &mut Vec<Record>, _: &mut Rows) -> Did {
    refuse(refused(history, "hold_expired").next()?, 402, "insufficient_balance")
}

fn over_before_its_time(history: &mut Vec<Record>, _: &mut Rows) -> Did {
    refuse(refused(history, "insufficient_balance").next()?, 410, "hold_expired")
}

fn said_to_be_cancelled(history: &mut Vec<Record>, _: &mut Rows) -> Did {
    refuse(refused(history, "hold_expired").next()?, 409, "booking_not_held")
}

/// A request that was refused for its key.
fn reused(history: &mut [Record], like: fn(&Call) -> bool) -> Option<&mut Op> {
    refused(history, "idempotency_key_reuse").find(|op| like(&op.call))
}

fn older_token_lets_go(history: &mut Vec<Record>, rows: &mut Rows) -> Did {
    let row = rows.bookings.iter().rfind(|row| row.is("cancelled"))?;
    let (booking, number) = (row.id, row.turn_seq - 1);
    for op in ops(history).filter(|op| op.call == Call::Cancel { booking }) {
        (op.call, op.adversary) = (Call::Leave { number }, true);
    }
    Some(())
}

fn reused_top_up_is_there(history: &mut Vec<Record>, rows: &mut Rows) -> Did {
    let op = reused(history, |call| matches!(call, Call::TopUp { .. }))?;
    let Call::TopUp { amount, key } = &op.call else { return None };
    let its = |row: &&mut Transfer| (row.user_id, &row.idem_key) == (op.user, key);
    rows.transfers.iter_mut().find(its)?.amount = *amount;
    Some(())
}

fn reused_hold_is_there(history: &mut Vec<Record>, rows: &mut Rows) -> Did {
    let op = reused(history, |call| matches!(call, Call::Hold { .. }))?;
    let Call::Hold { seats, key, .. } = &op.call else { return None };
    let its = |row: &&mut Booking| (row.user_id, &row.idem_key) == (op.user, key);
    rows.bookings.iter_mut().find(its)?.seats = seats.join(",");
    Some(())
}

fn asked_too_late(history: &mut Vec<Record>, rows: &mut Rows) -> Did {
    let id = rows.bookings.iter().find(|row| row.is("paid"))?.id;
    let pays = |op: &&mut Op| matches!(op.call, Call::Pay { booking, .. } if booking == id);
    for op in ops(history).filter(pays) {
        (op.begun_us, op.ended_us) = (op.begun_us + 20_000_000, op.ended_us + 20_000_000);
    }
    Some(())
}
