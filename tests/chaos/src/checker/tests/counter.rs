//! Days with something wrong at the counter: in who has a seat, in the books, or in what a key does.

#![expect(clippy::ptr_arg, reason = "all have the shape of the table")]

use super::{Altered, ops};
use crate::history::{Answer, Call, Op, Outcome, Record};
use crate::rows::{Booking, Claim, Rows, Transfer};

type Did = Option<()>;

pub const ALTERED: &[Altered] = &[
    ("S1", "a seat is in two sales", seat_sold_twice),
    ("S1", "a seat is sold without a sale", seat_sold_unpaid),
    ("S2", "a sale that was acknowledged is gone", sale_gone),
    ("S2", "a sale that was acknowledged ran out", sale_ran_out),
    ("S3", "a sale that nobody asked for", phantom_sale),
    ("S4", "a hold that was refused is there", refused_hold_is_there),
    ("S4", "a cancellation that was refused took place", refused_cancellation_took_place),
    ("S4", "who was refused to leave has left", refused_leaver_left),
    ("S5", "a seat is held for two people", hold_of_anothers_seat),
    ("S5", "a sold seat is held again", hold_of_sold_seat),
    ("S6", "a booking lacks a seat", booking_lacks_seat),
    ("S6", "a booking has other seats than were asked for", booking_of_other_seats),
    ("S6", "a seat of a sale is free", claim_dropped),
    ("S8", "paid at the instant at which it ran out", paid_too_late),
    ("S8", "a seat of a sale names another booking", claim_of_another),
    ("S9", "more seats than one may have", seats_beyond_limit),
    ("S10", "a hold that nothing ends", claim_for_ever),
    ("M1", "a balance without entries", balance_unexplained),
    ("M2", "an entry that goes the other way", entry_turned_round),
    ("M3", "a payment twice", payment_twice),
    ("M3", "a sale without a payment", payment_gone),
    ("M3", "a sale below its price", payment_too_small),
    ("M4", "a top-up is gone", top_up_gone),
    ("M4", "a top-up twice", top_up_twice),
    ("M4", "a top-up that was refused is there", refused_top_up_is_there),
    ("M5", "less than nothing", balance_below_nought),
    ("M6", "a gap in the versions", version_missing),
    ("M6", "an entry that adds up wrongly", entry_adds_up_wrongly),
    ("M7", "a balance of the past", balance_of_the_past),
    ("M7", "a balance that is not there yet", balance_of_the_future),
    ("M7", "a balance that was never there", balance_of_nowhen),
    ("M8", "a ledger that can be changed", ledger_unguarded),
    ("M9", "money from nowhere", money_from_nowhere),
    ("I1", "another answer for the same key", answer_changed),
    ("I2", "a key is good for two requests", key_of_two_requests),
    ("I2", "a request is refused for its own key", refused_for_its_own_key),
    ("I3", "a key holds twice", key_held_twice),
];

fn of<'a>(rows: &'a mut Rows, status: &str) -> Option<&'a mut Booking> {
    rows.bookings.iter_mut().find(|row| row.is(status))
}

/// A sale that its buyer was told of.
fn sale(history: &mut [Record], rows: &Rows) -> Option<i64> {
    let told = |op: &mut Op| match op.answer() {
        Some(Answer::Paid { booking }) => Some(*booking),
        _ => None,
    };
    ops(history)
        .find_map(told)
        .filter(|id| rows.bookings.iter().any(|row| row.id == *id && row.is("paid")))
}

fn entry<'a>(rows: &'a mut Rows, kind: &str) -> Option<&'a mut Transfer> {
    rows.transfers.iter_mut().find(|row| row.kind == kind)
}

/// Says no, in hindsight, to each request like these.
fn refuse(history: &mut [Record], like: impl Fn(&Op) -> bool) {
    for op in ops(history).filter(|op| like(op)) {
        op.outcome = Outcome::Refused { status: 409, code: "seat_taken".to_owned(), digest: 0 };
    }
}

fn key(op: &Op) -> Option<&String> {
    match &op.call {
        Call::Hold { key, .. } | Call::Pay { key, .. } | Call::TopUp { key, .. } => key.as_ref(),
        _ => None,
    }
}

/// A request with a key that went well, to be sent again.
fn keyed(history: &mut [Record]) -> Option<Op> {
    let went_well = |op: &&mut Op| op.answer().is_some() && key(op).is_some();
    ops(history).find(went_well).map(|op| op.clone())
}

fn seat_sold_twice(_: &mut Vec<Record>, rows: &mut Rows) -> Did {
    let seats = of(rows, "paid")?.seats.clone();
    rows.bookings.iter_mut().rfind(|row| row.is("paid"))?.seats = seats;
    Some(())
}

fn seat_sold_unpaid(_: &mut Vec<Record>, rows: &mut Rows) -> Did {
    let id = rows.claims.iter().find(|claim| claim.until.is_none())?.booking_id;
    let sold = rows.bookings.iter_mut().find(|row| row.id == id)?;
    (sold.status, sold.paid_at) = ("expired".to_owned(), None);
    Some(())
}

fn sale_gone(history: &mut Vec<Record>, rows: &mut Rows) -> Did {
    let id = sale(history, rows)?;
    rows.bookings.retain(|row| row.id != id);
    rows.claims.retain(|claim| claim.booking_id != id);
    Some(())
}

fn sale_ran_out(history: &mut Vec<Record>, rows: &mut Rows) -> Did {
    let id = sale(history, rows)?;
    rows.bookings.iter_mut().find(|row| row.id == id)?.status = "expired".to_owned();
    Some(())
}

fn phantom_sale(history: &mut Vec<Record>, rows: &mut Rows) -> Did {
    let id = sale(history, rows)?;
    refuse(history, |op| matches!(op.call, Call::Pay { booking, .. } if booking == id));
    Some(())
}

fn refused_hold_is_there(history: &mut Vec<Record>, rows: &mut Rows) -> Did {
    let row = rows.bookings.first()?;
    let user = row.user_id;
    refuse(history, |op| op.user == user && matches!(op.call, Call::Hold { .. }));
    Some(())
}

fn refused_cancellation_took_place(history: &mut Vec<Record>, rows: &mut Rows) -> Did {
    let id = of(rows, "cancelled")?.id;
    refuse(history, |op| op.call == Call::Cancel { booking: id });
    Some(())
}

fn refused_leaver_left(history: &mut Vec<Record>, rows: &mut Rows) -> Did {
    let number = rows.turns.iter().find(|turn| turn.ended_for("left"))?.seq;
    refuse(history, |op| op.call == Call::Leave { number });
    Some(())
}

/// Another person is told that he holds what somebody else was told that he holds, so long after that.
fn held_again(history: &mut Vec<Record>, rows: &Rows, status: &str, after_us: i64) -> Did {
    let ids: Vec<i64> =
        rows.bookings.iter().filter(|row| row.is(status)).map(|row| row.id).collect();
    let held = |op: &&mut Op| matches!(op.answer(), Some(Answer::Held { booking, .. }) if ids.contains(booking));
    let mut op = ops(history).find(held)?.clone();
    op.user += 1_000;
    (op.begun_us, op.ended_us) = (op.begun_us + after_us, op.ended_us + after_us);
    if let Outcome::Ok { answer: Answer::Held { booking, expires_at_ms, .. }, .. } = &mut op.outcome
    {
        (*booking, *expires_at_ms) = (*booking + 9_000, *expires_at_ms + after_us / 1_000);
    }
    history.push(Record::Op(op));
    Some(())
}

fn hold_of_anothers_seat(history: &mut Vec<Record>, rows: &mut Rows) -> Did {
    held_again(history, rows, "expired", 3_000_000)
}

fn hold_of_sold_seat(history: &mut Vec<Record>, rows: &mut Rows) -> Did {
    held_again(history, rows, "paid", 30_000_000)
}

fn booking_lacks_seat(_: &mut Vec<Record>, rows: &mut Rows) -> Did {
    let row = rows.bookings.iter_mut().find(|row| row.is("paid") && row.seat_count > 1)?;
    row.seats = row.seats.split(',').next()?.to_owned();
    Some(())
}

fn booking_of_other_seats(history: &mut Vec<Record>, _: &mut Rows) -> Did {
    let held = |op: &&mut Op| matches!(op.answer(), Some(Answer::Held { .. }));
    if let Call::Hold { seats, .. } = &mut ops(history).find(held)?.call {
        seats.push("A40".to_owned());
    }
    Some(())
}

fn claim_dropped(_: &mut Vec<Record>, rows: &mut Rows) -> Did {
    let sold = rows.claims.iter().position(|claim| claim.until.is_none())?;
    rows.claims.remove(sold);
    Some(())
}

fn paid_too_late(_: &mut Vec<Record>, rows: &mut Rows) -> Did {
    let row = of(rows, "paid")?;
    row.paid_at = Some(row.expires_at);
    Some(())
}

fn claim_of_another(_: &mut Vec<Record>, rows: &mut Rows) -> Did {
    let last = rows.claims.iter().rfind(|claim| claim.until.is_none())?.booking_id;
    let first = rows.claims.iter_mut().find(|claim| claim.until.is_none())?;
    (first.booking_id != last).then(|| first.booking_id = last)
}

fn seats_beyond_limit(history: &mut Vec<Record>, rows: &mut Rows) -> Did {
    let Some(Record::Run(run)) = history.first_mut() else { return None };
    let most = rows.bookings.iter().filter(|row| row.is("paid")).map(|row| row.seat_count).max()?;
    run.seats_per_user_max = Some(most - 1);
    Some(())
}

fn claim_for_ever(_: &mut Vec<Record>, rows: &mut Rows) -> Did {
    let row = of(rows, "expired")?;
    let (concert_id, booking_id) = (row.concert_id, row.id);
    let seat_id = row.seat_names().next()?.to_owned();
    let until = Some(row.expires_at + 3_600_000);
    rows.claims.retain(|claim| claim.seat_id != seat_id);
    rows.claims.push(Claim { concert_id, seat_id, booking_id, until });
    Some(())
}

fn balance_unexplained(_: &mut Vec<Record>, rows: &mut Rows) -> Did {
    rows.accounts.first_mut()?.balance += 1;
    Some(())
}

fn entry_turned_round(_: &mut Vec<Record>, rows: &mut Rows) -> Did {
    let entry = entry(rows, "purchase")?;
    (entry.kind, entry.amount) = ("topup".to_owned(), -entry.amount);
    Some(())
}

/// Writes an entry again, as a good one of its person.
fn written_again<'a>(rows: &'a mut Rows, kind: &str) -> Option<&'a mut Transfer> {
    let again = entry(rows, kind)?.clone();
    let account = rows.accounts.iter_mut().find(|account| account.user_id == again.user_id)?;
    account.version += 1;
    account.balance += if kind == "topup" { again.amount } else { -again.amount };
    let (version, balance_after) = (account.version, account.balance);
    rows.transfers.push(Transfer { version, balance_after, ..again });
    rows.transfers.last_mut()
}

fn payment_twice(_: &mut Vec<Record>, rows: &mut Rows) -> Did {
    written_again(rows, "purchase").map(drop)
}

fn payment_gone(_: &mut Vec<Record>, rows: &mut Rows) -> Did {
    let gone = rows.transfers.iter().position(|row| row.kind == "purchase")?;
    rows.transfers.remove(gone);
    Some(())
}

fn payment_too_small(_: &mut Vec<Record>, rows: &mut Rows) -> Did {
    let amount = entry(rows, "purchase")?.amount - 1;
    let reference = entry(rows, "purchase")?.reference.clone();
    entry(rows, "purchase")?.amount = amount;
    rows.bookings.iter_mut().find(|row| row.id.to_string() == reference)?.amount = amount;
    Some(())
}

fn top_up_gone(history: &mut Vec<Record>, rows: &mut Rows) -> Did {
    let told = |op: &&mut Op| matches!(op.call, Call::TopUp { .. }) && op.answer().is_some();
    let op = ops(history).find(told)?;
    let (user, key) = (op.user, key(op).cloned());
    rows.transfers.retain(|row| (row.user_id, &row.idem_key) != (user, &key));
    Some(())
}

fn top_up_twice(_: &mut Vec<Record>, rows: &mut Rows) -> Did {
    written_again(rows, "topup").map(drop)
}

fn refused_top_up_is_there(history: &mut Vec<Record>, rows: &mut Rows) -> Did {
    let (user, named) = (rows.transfers.first()?.user_id, rows.transfers.first()?.idem_key.clone());
    refuse(history, |op| op.user == user && key(op) == named.as_ref());
    Some(())
}

fn balance_below_nought(_: &mut Vec<Record>, rows: &mut Rows) -> Did {
    entry(rows, "purchase")?.balance_after = -1;
    Some(())
}

fn version_missing(_: &mut Vec<Record>, rows: &mut Rows) -> Did {
    rows.transfers.iter_mut().rfind(|row| row.version > 1)?.version += 1;
    Some(())
}

fn entry_adds_up_wrongly(_: &mut Vec<Record>, rows: &mut Rows) -> Did {
    rows.transfers.iter_mut().rfind(|row| row.version > 1)?.balance_after += 1;
    Some(())
}

/// The last look of somebody at a balance that had changed by then, and what it was right after his first entry.
fn look<'a>(history: &'a mut [Record], rows: &Rows) -> Option<(&'a mut Op, i64)> {
    let looks = |op: &Op| op.call == Call::Balance && op.answer().is_some();
    let first = |user: i64| rows.transfers.iter().find(|row| row.user_id == user);
    let is_past = |op: &Op| {
        let later = |row: &&Transfer| row.user_id == op.user && row.version > 1;
        let mut later = rows.transfers.iter().filter(later).peekable();
        let then = first(op.user).map(|row| row.balance_after);
        later.peek().is_some() && later.all(|row| Some(row.balance_after) != then)
    };
    let op = ops(history).filter(|op| looks(op) && is_past(op)).last()?;
    let then = first(op.user)?.balance_after;
    Some((op, then))
}

fn told(balance: i64) -> Outcome {
    Outcome::Ok { answer: Answer::Balance { balance }, digest: 0 }
}

fn balance_of_the_past(history: &mut Vec<Record>, rows: &mut Rows) -> Did {
    let (op, then) = look(history, rows)?;
    op.outcome = told(then);
    Some(())
}

fn balance_of_the_future(history: &mut Vec<Record>, rows: &mut Rows) -> Did {
    let (op, then) = look(history, rows)?;
    let mut early = op.clone();
    (early.begun_us, early.ended_us, early.outcome) = (0, 1_000, told(then));
    history.push(Record::Op(early));
    Some(())
}

fn balance_of_nowhen(history: &mut Vec<Record>, rows: &mut Rows) -> Did {
    let (op, then) = look(history, rows)?;
    op.outcome = told(then + 1);
    Some(())
}

fn ledger_unguarded(_: &mut Vec<Record>, rows: &mut Rows) -> Did {
    rows.triggers.pop().map(drop)
}

fn money_from_nowhere(_: &mut Vec<Record>, rows: &mut Rows) -> Did {
    let gift = written_again(rows, "topup")?;
    (gift.idem_key, gift.reference) = (None, "gift".to_owned());
    Some(())
}

fn answer_changed(history: &mut Vec<Record>, _: &mut Rows) -> Did {
    let mut again = keyed(history)?;
    if let Outcome::Ok { digest, .. } = &mut again.outcome {
        *digest ^= 1;
    }
    history.push(Record::Op(again));
    Some(())
}

fn key_of_two_requests(history: &mut Vec<Record>, _: &mut Rows) -> Did {
    let mut other = keyed(history)?;
    match &mut other.call {
        Call::Hold { seats, .. } => seats.push("A40".to_owned()),
        Call::Pay { booking, .. } => *booking += 1,
        Call::TopUp { amount, .. } => *amount += 1,
        _ => return None,
    }
    history.push(Record::Op(other));
    Some(())
}

fn refused_for_its_own_key(history: &mut Vec<Record>, _: &mut Rows) -> Did {
    let mut again = keyed(history)?;
    let code = "idempotency_key_reuse".to_owned();
    again.outcome = Outcome::Refused { status: 422, code, digest: 0 };
    history.push(Record::Op(again));
    Some(())
}

fn key_held_twice(_: &mut Vec<Record>, rows: &mut Rows) -> Did {
    let again = rows.bookings.iter().find(|row| row.idem_key.is_some())?.clone();
    rows.bookings.push(Booking { id: again.id + 9_000, ..again });
    Some(())
}
