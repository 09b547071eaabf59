//! S1 to S6 and S8 to S10: who has which seat, how he came by it, and for how long. That Redis agrees with the rows (S7)
//! is not judged: the final rows do not show Redis.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Finding;
use super::facts::Facts;
use crate::history::{Answer, Call, Op};
use crate::rows::{Booking, Claim};

/// S1: a seat is sold to one booking, and to one that is paid.
pub fn a_seat_is_sold_once(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    let mut sold = HashMap::new();
    for booking in facts.rows.bookings.iter().filter(|booking| booking.is("paid")) {
        for seat in booking.seat_names() {
            let before = sold.insert((booking.concert_id, seat), booking.id);
            finding.unless(before.is_none_or(|before| before == booking.id), || {
                format!("{seat} is sold to the bookings {before:?} and {}", booking.id)
            });
        }
    }
    let mut taken = HashMap::new();
    for claim in &facts.rows.claims {
        let seat = (claim.concert_id, claim.seat_id.as_str());
        let before = taken.insert(seat, claim.booking_id);
        finding.unless(before.is_none(), || {
            format!("{} is claimed by the bookings {before:?} and {}", seat.1, claim.booking_id)
        });
        let is_paid = sold.get(&seat) == Some(&claim.booking_id);
        finding.unless(claim.until.is_some() || is_paid, || {
            format!("{} is sold to booking {}, which is not paid", seat.1, claim.booking_id)
        });
    }
    finding
}

/// S2: what somebody was told that he has bought is his, with the seats that he was told.
pub fn what_was_sold_stays_sold(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    for (op, answer) in facts.answers() {
        let (booking, seats) = match answer {
            Answer::Paid { booking } => (booking, None),
            Answer::Booking { booking, status, seats } if status == "paid" => {
                (booking, Some(seats))
            }
            _ => continue,
        };
        let stands = facts.bookings.get(booking).is_some_and(|row| {
            let as_told = seats.is_none_or(|seats| same(row.seat_names(), seats));
            row.is("paid") && row.user_id == op.user && as_told && has_its_seats(facts, row)
        });
        finding.unless(stands, || {
            format!("request {}: {} was sold booking {booking}, and has it not", op.id, op.user)
        });
    }
    finding
}

/// S3: nothing is sold that its owner did not ask to pay for.
pub fn sales_were_asked_for(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    for booking in &facts.rows.bookings {
        let Some(paid_at) = booking.paid_at.filter(|_| booking.is("paid")) else { continue };
        let asked = facts.wishes(booking.user_id).any(|op| {
            matches!(op.call, Call::Pay { booking: paid, .. } if paid == booking.id)
                && facts.ms(op.begun_us) <= paid_at + facts.epsilon_ms()
        });
        finding.unless(asked, || {
            format!("booking {} is paid, and {} never asked to pay", booking.id, booking.user_id)
        });
    }
    finding
}

/// S4: what was refused has changed nothing: each hold, each cancellation and each number that was given back has a
/// request of its owner that was not refused. Sales are S3's, top-ups M4's.
pub fn refusals_change_nothing(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    for booking in &facts.rows.bookings {
        let held = facts.wishes(booking.user_id).any(|op| holds(facts, op, booking));
        finding.unless(held, || {
            format!("booking {}: {} asked for no such hold", booking.id, booking.user_id)
        });
        if booking.is("cancelled") {
            let mut wishes = facts.wishes(booking.user_id);
            let let_go = wishes.any(|op| lets_go(op, booking.id, booking.turn_seq));
            finding.unless(let_go, || {
                format!("booking {} is cancelled, and nobody asked for that", booking.id)
            });
        }
    }
    for turn in facts.turns.values().filter(|turn| turn.ended_for("left")) {
        let mut wishes = facts.wishes(turn.user_id);
        finding.unless(wishes.any(|op| op.call == Call::Leave { number: turn.seq }), || {
            format!("{} was given back, and {} did not ask for that", turn.seq, turn.user_id)
        });
    }
    finding
}

/// The time in which somebody could rely on a seat.
struct Window {
    user: i64,
    booking: i64,
    from_ms: i64,
    to_ms: i64,
}

/// S5: while a seat is held for somebody, nobody else is told that he holds it.
pub fn holds_exclude_each_other(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    // By booking: a repeated request is told of the same one.
    let mut first: BTreeMap<i64, &Op> = BTreeMap::new();
    for (op, answer) in facts.answers() {
        if let Answer::Held { booking, .. } = answer {
            let known = first.entry(*booking).or_insert(op);
            if op.ended_us < known.ended_us {
                *known = op;
            }
        }
    }
    let mut windows: BTreeMap<(i64, &str), Vec<Window>> = BTreeMap::new();
    for op in first.into_values() {
        let (Call::Hold { concert, .. }, Some(Answer::Held { seats, .. })) =
            (&op.call, op.answer())
        else {
            continue;
        };
        for seat in seats {
            let window = windows.entry((*concert, seat.as_str())).or_default();
            window.extend(relied_on(facts, op));
        }
    }
    for ((_, seat), mut windows) in windows {
        windows.sort_by_key(|window| window.from_ms);
        let mut windows = windows.into_iter();
        let Some(mut last) = windows.next() else { continue };
        for next in windows {
            let is_free = last.to_ms <= next.from_ms.saturating_add(facts.epsilon_ms());
            finding.unless(is_free || last.user == next.user, || {
                format!("{seat} was held by the bookings {} and {}", last.booking, next.booking)
            });
            if last.to_ms < next.to_ms {
                last = next;
            }
        }
    }
    finding
}

/// S6: a booking has all of its seats or none, each once, each in the catalogue, and those that were asked for.
pub fn bookings_are_whole(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    for row in &facts.rows.bookings {
        let seats: BTreeSet<&str> = row.seat_names().collect();
        let exist = seats.iter().all(|seat| facts.prices.contains_key(&(row.concert_id, *seat)));
        let names = row.seat_names().count();
        let is_whole = exist && seats.len() == names && row.seat_count == names as i64;
        finding.unless(is_whole, || format!("booking {} of `{}` is odd", row.id, row.seats));
        let claims = facts.claims.get(&row.id).map_or(0, Vec::len);
        let has_what_it_should = match row.status.as_str() {
            "paid" => has_its_seats(facts, row),
            "cancelled" => claims == 0,
            // What has lapsed may have been taken over, seat by seat.
            _ => claims <= names,
        };
        finding.unless(has_what_it_should, || {
            format!("booking {}, {}, has {claims} of {names} seats", row.id, row.status)
        });
    }
    for (op, answer) in facts.answers() {
        let (Call::Hold { concert, seats: asked, .. }, Answer::Held { booking, seats, amount, .. }) =
            (&op.call, answer)
        else {
            continue;
        };
        let is_as_told = facts.bookings.get(booking).is_some_and(|row| {
            same(row.seat_names(), asked)
                && same(row.seat_names(), seats)
                && (row.user_id, row.concert_id, row.amount) == (op.user, *concert, *amount)
        });
        finding.unless(is_as_told, || {
            format!("request {}: {asked:?} were asked for, booking {booking} is another", op.id)
        });
    }
    finding
}

/// S8: what was paid was paid while it was held, and every seat of it says so; and who pays too late, and he alone, is
/// told that.
pub fn sales_are_within_holds(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    for booking in facts.rows.bookings.iter().filter(|booking| booking.is("paid")) {
        let in_time = booking.paid_at.is_some_and(|paid_at| paid_at < booking.expires_at);
        finding.unless(in_time, || {
            format!(
                "booking {} ran out at {}, and was paid at {:?}",
                booking.id, booking.expires_at, booking.paid_at
            )
        });
        finding.unless(has_its_seats(facts, booking), || {
            format!("booking {} is paid, and its seats do not say so", booking.id)
        });
    }
    let pays = |op: &&&Op| matches!(op.call, Call::Pay { .. }) && op.on_behalf_of.is_none();
    for op in facts.ops.iter().filter(pays) {
        let Some(booking) = facts.own_booking(op) else { continue };
        finding.unless(is_told_in_time(facts, op, booking), || {
            format!("request {}: {:?} to who pays for {booking:?}", op.id, op.outcome)
        });
    }
    finding
}

/// Whether a payment was answered as the end of its hold wants it.
fn is_told_in_time(facts: &Facts, op: &Op, booking: &Booking) -> bool {
    let slack = facts.epsilon_ms();
    let is_late = |op: &Op| facts.ms(op.begun_us) > booking.expires_at + slack;
    match op.refusal() {
        Some("hold_expired") => {
            // Where clocks differ another instance may still have taken the money.
            let stays = !booking.is("cancelled") && !booking.is("paid") || facts.run.skew_ms > 0;
            booking.expires_at <= facts.ms(op.ended_us) + slack && stays
        }
        Some("booking_not_held") => booking.is("cancelled"),
        Some("idempotency_key_reuse") => true,
        Some(_) => !is_late(op),
        None if op.is_unknown() => true,
        // A receipt may be asked for at any time, if an earlier request has paid.
        None => facts.wishes(booking.user_id).any(|wish| {
            matches!(wish.call, Call::Pay { booking: paid, .. } if paid == booking.id)
                && !is_late(wish)
        }),
    }
}

/// S9: nobody has more seats of a concert than he may, neither in the end nor when one of his bookings was made.
pub fn nobody_has_too_many_seats(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    let Some(seats_max) = facts.run.seats_per_user_max else { return finding };
    let mut people: BTreeMap<(i64, i64), Vec<&Booking>> = BTreeMap::new();
    for booking in facts.rows.bookings.iter().filter(|booking| !booking.is("cancelled")) {
        people.entry((booking.user_id, booking.concert_id)).or_default().push(booking);
    }
    for ((user, concert), bookings) in people {
        for now in &bookings {
            let counts = |other: &&&Booking| {
                let lasts = other.expires_at > now.made_at + facts.epsilon_ms();
                other.id <= now.id && (other.is("paid") || lasts)
            };
            let had: i64 = bookings.iter().filter(counts).map(|other| other.seat_count).sum();
            finding.unless(had <= seats_max, || {
                format!("{user} had {had} seats of concert {concert} with booking {}", now.id)
            });
        }
    }
    finding
}

/// S10: a seat that is not sold is free for anybody in the end, at the latest when its last hold has run out.
pub fn no_seat_is_lost(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    let lapses = |claim: &Claim, booking: &Booking| {
        let Some(until) = claim.until else { return booking.is("paid") };
        let hold_ms = facts.run.hold_ms + facts.epsilon_ms();
        !booking.is("paid") && until == booking.expires_at && until <= booking.made_at + hold_ms
    };
    for claim in &facts.rows.claims {
        let booking = facts.bookings.get(&claim.booking_id);
        finding.unless(booking.is_some_and(|booking| lapses(claim, booking)), || {
            format!("{} is kept by {claim:?}, which nothing ends", claim.seat_id)
        });
    }
    finding
}

fn same<'a>(seats: impl Iterator<Item = &'a str>, others: &[String]) -> bool {
    let (mut seats, mut others): (Vec<&str>, Vec<&str>) =
        (seats.collect(), others.iter().map(String::as_str).collect());
    seats.sort_unstable();
    others.sort_unstable();
    seats == others
}

/// Whether exactly the seats of a booking are sold to it.
fn has_its_seats(facts: &Facts, booking: &Booking) -> bool {
    let Some(claims) = facts.claims.get(&booking.id) else { return false };
    let names: Vec<String> = claims.iter().map(|claim| claim.seat_id.clone()).collect();
    let sold = |claim: &&Claim| claim.until.is_none() && claim.concert_id == booking.concert_id;
    same(booking.seat_names(), &names) && claims.iter().all(sold)
}

/// Whether a request can have made a booking.
fn holds(facts: &Facts, op: &Op, booking: &Booking) -> bool {
    let Call::Hold { number, concert, seats, key } = &op.call else { return false };
    (*number, *concert, key) == (booking.turn_seq, booking.concert_id, &booking.idem_key)
        && same(booking.seat_names(), seats)
        && facts.ms(op.begun_us) <= booking.made_at + facts.epsilon_ms()
}

/// Whether a request can have cancelled a hold: who leaves lets go of what he held in that turn and before.
fn lets_go(op: &Op, booking: i64, turn: i64) -> bool {
    match op.call {
        Call::Cancel { booking: cancelled } => cancelled == booking,
        Call::Leave { number } => turn <= number,
        _ => false,
    }
}

/// From the answer to a hold until it ran out, or may have been let go; for ever when it was paid.
fn relied_on(facts: &Facts, op: &Op) -> Option<Window> {
    let (Call::Hold { number, .. }, Some(Answer::Held { booking, expires_at_ms, .. })) =
        (&op.call, op.answer())
    else {
        return None;
    };
    let wishes = facts.wishes(op.user).filter(|wish| lets_go(wish, *booking, *number));
    let let_go_ms = wishes.map(|wish| facts.ms(wish.begun_us)).min().unwrap_or(i64::MAX);
    let is_paid = facts.bookings.get(booking).is_some_and(|row| row.is("paid"));
    let to_ms = if is_paid { i64::MAX } else { let_go_ms.min(*expires_at_ms) };
    let from_ms = facts.ms(op.ended_us);
    (from_ms < to_ms).then_some(Window { user: op.user, booking: *booking, from_ms, to_ms })
}
