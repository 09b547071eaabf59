//! The promises, as the checker asks for them.

use stateright::Property;

use super::{Account, Booking, Claim, Entry, Promise, Selling, State, Status};

pub fn all() -> Vec<Property<Selling>> {
    vec![
        Property::always(Promise::SoldOnce.name(), |_, state| sells_once(state)),
        Property::always(Promise::Owned.name(), |_, state| owns_its_seats(state)),
        Property::always(Promise::Definite.name(), |_, state| kept(state, Promise::Definite)),
        Property::always(Promise::Exclusive.name(), is_exclusive),
        Property::always(Promise::InTime.name(), |_, state| kept(state, Promise::InTime)),
        Property::always(Promise::Lasts.name(), |_, state| kept(state, Promise::Lasts)),
        Property::always(Promise::Ledger.name(), is_explained),
        Property::always(Promise::PaidOnce.name(), |_, state| pays_once(state)),
        Property::always(Promise::Solvent.name(), |_, state| is_solvent(state)),
        Property::always(Promise::KeyOnce.name(), |_, state| uses_keys_once(state)),
        Property::sometimes(TAKEN_OVER, |_, state| is_taken_over_and_sold(state)),
    ]
}

/// Shows that the bounds are wide enough for what the promises are about; not where one person is alone.
pub const TAKEN_OVER: &str = "a seat is taken over and sold";

fn kept(state: &State, promise: Promise) -> bool {
    state.broken != Some(promise)
}

/// Whether something is true of no two different bookings.
fn of_no_two(state: &State, what: impl Fn(Booking, Booking) -> bool) -> bool {
    state.booked().all(|(one, row)| {
        state.booked().all(|(other, another)| one >= other || !what(row, another))
    })
}

fn sells_once(state: &State) -> bool {
    of_no_two(state, |one, other| {
        one.status == Status::Paid && other.status == Status::Paid && one.seats & other.seats != 0
    })
}

fn owns_its_seats(state: &State) -> bool {
    state.booked().filter(|(_, row)| row.status == Status::Paid).all(|(booking, row)| {
        let sold = Some(Claim { booking, until: None });
        State::seats(row.seats).all(|seat| state.claims[seat] == sold)
    })
}

/// By the slower clock: as long as any instance lets the owner pay.
fn is_exclusive(model: &Selling, state: &State) -> bool {
    let has = |row: Booking| match row.status {
        Status::Paid => true,
        Status::Held | Status::Expired => row.heard && state.time < row.until,
        Status::Cancelled => false,
    };
    !model.promises(Promise::Exclusive)
        || of_no_two(state, |one, other| {
            one.user != other.user && one.seats & other.seats != 0 && has(one) && has(other)
        })
}

fn is_explained(model: &Selling, state: &State) -> bool {
    (0..).zip(model.bounds.balance).zip(state.accounts).all(|((user, balance), account)| {
        let mut explained = Account { balance, version: 0 };
        let mut entries = state.entries().filter(|entry| entry.user == user);
        entries.all(|entry| {
            explained = explained.plus(entry.amount);
            explained == entry.after
        }) && explained == account
    })
}

fn pays_once(state: &State) -> bool {
    state.booked().all(|(booking, row)| {
        let charged = state.entries().filter(|entry| entry.booking == Some(booking)).count();
        charged == usize::from(row.status == Status::Paid)
    })
}

fn is_solvent(state: &State) -> bool {
    state.accounts.iter().all(|account| account.balance >= 0)
}

fn uses_keys_once(state: &State) -> bool {
    let twice = |one: &Entry, other: &Entry| {
        one.user == other.user && one.booking.is_some() == other.booking.is_some()
    };
    let keyed: Vec<_> = state.entries().filter(|entry| entry.has_key).collect();
    let transfers = keyed
        .iter()
        .enumerate()
        .all(|(index, one)| keyed[index + 1..].iter().all(|other| !twice(one, other)));
    transfers
        && of_no_two(state, |one, other| one.user == other.user && one.has_key && other.has_key)
}

/// Somebody let a hold lapse, and another has bought the seat.
fn is_taken_over_and_sold(state: &State) -> bool {
    !of_no_two(state, |one, other| {
        one.user != other.user
            && one.seats & other.seats != 0
            && matches!(one.status, Status::Held | Status::Expired)
            && other.status == Status::Paid
    })
}
