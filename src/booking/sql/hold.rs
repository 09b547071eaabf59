//! Holding seats in SQL, many wishes in one transaction: a seat is held when, and only when, the primary key of
//! `seat_claim` took its row. What the rows say is read in `seen.rs`; here it is decided, and then written.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use sea_orm::{ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter};
use serde_json::json;

use super::seen::{Seen, booking_read, see};
use super::{Booking, BookingStatus};
use crate::booking::{Hold, HoldSeats};
use crate::clock::Clock;
use crate::crash_point;
use crate::error::{Code, Error};
use crate::ids::{ConcertId, IdempotencyKey, SeatId, UserId};
use crate::sql::entity::{booking, seat_claim, turn};
use crate::sql::rows::list;
use crate::sql::writer::{Answers, Wish};
use crate::sql::{Sql, commit, from_db, get};

/// What SQL made of a hold.
#[derive(Clone, Debug)]
pub enum HoldOutcome {
    Held(Booking),
    Taken(Vec<SeatId>),
    NotActive,
}

/// What a hold touches. A turn and a key are a person's.
#[derive(PartialEq, Eq, Hash)]
pub enum Touched {
    Person(UserId),
    Seat(ConcertId, SeatId),
}

impl Wish for Hold {
    type Granted = HoldOutcome;
    type Thing = Touched;

    fn things(&self) -> Vec<Touched> {
        let seats = self.seats.iter().map(|seat| Touched::Seat(self.concert, seat.clone()));
        std::iter::once(Touched::Person(self.user)).chain(seats).collect()
    }

    fn key(&self) -> Option<&IdempotencyKey> {
        self.key.as_ref()
    }

    async fn grant(holds: &[Arc<Self>], sql: &Sql, clock: &Clock) -> Result<Answers<Self>, Error> {
        sql.hold(holds, clock).await
    }

    fn again(granted: &HoldOutcome) -> HoldOutcome {
        granted.clone()
    }
}

impl Sql {
    /// What the key of a wish held before, if it has one and held anything.
    pub async fn held_before(
        &self,
        wish: &HoldSeats,
        clock: &Clock,
    ) -> Result<Option<Booking>, Error> {
        let Some(key) = &wish.key else { return Ok(None) };
        let row = booking::Entity::find()
            .filter(booking::Column::UserId.eq(wish.user.0))
            .filter(booking::Column::IdemKey.eq(key.as_str()))
            .one(self.reader())
            .await
            .map_err(from_db)?;
        row.map(|row| answered(row, (wish.concert, &wish.seats), clock.now_ms())).transpose()
    }

    /// Holds for each wish every seat or none; the same wish of the same person finds the hold it made before.
    async fn hold(&self, holds: &[Arc<Hold>], clock: &Clock) -> Result<Answers<Hold>, Error> {
        let transaction = self.begin("booking.hold").await?;
        let seen = see((self, &transaction), holds, clock).await?;
        let decided: Vec<_> = holds.iter().map(|hold| seen.decide(hold)).collect();
        let granted = |(hold, decided): (&Arc<Hold>, &Result<_, _>)| {
            matches!(decided, Ok(None)).then(|| hold.clone())
        };
        let granted: Vec<Arc<Hold>> = holds.iter().zip(&decided).filter_map(granted).collect();
        let mut made = HashMap::new();
        if !granted.is_empty() {
            made = self.make(&transaction, &granted, &seen).await?;
            crash_point!("hold.before_commit");
            commit(transaction).await?;
            crash_point!("hold.after_commit");
        }
        let answers = holds.iter().zip(decided).map(|(hold, decided)| match decided? {
            Some(outcome) => Ok(outcome),
            // Another request of the same person has used the key for other seats, at the same instant.
            None => made.remove(&hold.user).unwrap_or_else(|| Err(key_reused())),
        });
        Ok(answers.collect())
    }

    /// Writes holds that nothing speaks against; by person.
    async fn make(
        &self,
        transaction: &DatabaseTransaction,
        holds: &[Arc<Hold>],
        seen: &Seen,
    ) -> Result<HashMap<UserId, Result<HoldOutcome, Error>>, Error> {
        let rows = self.book(transaction, holds, seen.now).await?;
        let by_user = holds.iter().map(|hold| (hold.user.0, hold)).collect::<HashMap<_, _>>();
        let made: Vec<(&Arc<Hold>, booking::Model)> = rows
            .into_iter()
            .filter_map(|row| by_user.get(&row.user_id).map(|hold| (*hold, row)))
            .collect();
        let got = self.claim_seats(transaction, &made, seen.now).await?;
        let (mut outcomes, mut kept, mut lost) = (HashMap::new(), Vec::new(), Vec::new());
        for (hold, row) in made {
            let has = |seat: &&SeatId| got.contains(&(row.id, seat.as_str().to_owned()));
            let taken: Vec<SeatId> = hold.seats.iter().filter(|seat| !has(seat)).cloned().collect();
            if taken.is_empty() {
                outcomes.insert(hold.user, Booking::try_from(row.clone()).map(HoldOutcome::Held));
                kept.push((hold, row));
            } else {
                outcomes.insert(hold.user, Ok(HoldOutcome::Taken(taken)));
                lost.push(row.id);
            }
        }
        // Another instance took a seat at the same instant: a request that loses leaves nothing behind.
        unmake(transaction, lost).await?;
        self.claim_turns(transaction, &kept, seen).await?;
        Ok(outcomes)
    }

    async fn book(
        &self,
        transaction: &DatabaseTransaction,
        holds: &[Arc<Hold>],
        now: i64,
    ) -> Result<Vec<booking::Model>, Error> {
        let rows = self.rows(&[
            ("queue_id", "BIGINT"),
            ("turn_seq", "BIGINT"),
            ("user_id", "BIGINT"),
            ("concert_id", "BIGINT"),
            ("seats", "TEXT"),
            ("seat_count", "BIGINT"),
            ("amount", "BIGINT"),
            ("expires_at", "BIGINT"),
            ("idem_key", "TEXT"),
        ]);
        let insert = format!(
            "INSERT INTO booking (queue_id, turn_seq, user_id, concert_id, seats, seat_count, amount, status, made_at,
                expires_at, idem_key)
             SELECT queue_id, turn_seq, user_id, concert_id, seats, seat_count, amount, 'held', $2, expires_at, idem_key
             FROM {rows} WHERE TRUE ORDER BY user_id
             ON CONFLICT (user_id, idem_key) DO NOTHING RETURNING *"
        );
        let rows = list(holds.iter().map(|hold| {
            json!({
                "queue_id": hold.queue_id,
                "turn_seq": hold.number.0,
                "user_id": hold.user.0,
                "concert_id": hold.concert.0,
                "seats": SeatId::join(&hold.seats),
                "seat_count": hold.seats.len(),
                "amount": hold.amount,
                "expires_at": now + hold.hold_ms,
                "idem_key": hold.key.as_ref().map(IdempotencyKey::as_str),
            })
        }));
        let rows = self.insert(transaction, self.statement(&insert, [rows, now.into()])).await?;
        rows.iter().map(booking_read).collect()
    }

    /// Takes the seats that are free or whose hold has lapsed, in the house's order; says which booking got which.
    async fn claim_seats(
        &self,
        transaction: &DatabaseTransaction,
        made: &[(&Arc<Hold>, booking::Model)],
        now: i64,
    ) -> Result<HashSet<(i64, String)>, Error> {
        let rows = self.rows(&[
            ("concert_id", "BIGINT"),
            ("seat_id", "TEXT"),
            ("booking_id", "BIGINT"),
            ("until", "BIGINT"),
        ]);
        let claim = format!(
            "INSERT INTO seat_claim (concert_id, seat_id, booking_id, until)
             SELECT concert_id, seat_id, booking_id, until FROM {rows} WHERE TRUE ORDER BY concert_id, seat_id {}
             ON CONFLICT (concert_id, seat_id) DO UPDATE SET booking_id = excluded.booking_id, until = excluded.until
             WHERE seat_claim.until IS NOT NULL AND seat_claim.until <= $2 RETURNING booking_id, seat_id",
            self.lock("COLLATE \"C\"")
        );
        // Holds of one instance have one grace.
        let grace_ms = made.iter().map(|(hold, _)| hold.grace_ms).max().unwrap_or(0);
        let seats = made.iter().flat_map(|(hold, row)| {
            hold.seats.iter().map(|seat| {
                json!({
                    "concert_id": row.concert_id,
                    "seat_id": seat,
                    "booking_id": row.id,
                    "until": row.expires_at,
                })
            })
        });
        let statement = self.statement(&claim, [list(seats), (now - grace_ms).into()]);
        let got = self.insert(transaction, statement).await?;
        got.iter().map(|row| Ok((get(row, "booking_id")?, get(row, "seat_id")?))).collect()
    }

    /// Claims the turns of these holds, where nobody has; each counts until its hold is over.
    async fn claim_turns(
        &self,
        transaction: &DatabaseTransaction,
        kept: &[(&Arc<Hold>, booking::Model)],
        seen: &Seen,
    ) -> Result<(), Error> {
        let rows = self.rows(&[
            ("queue_id", "BIGINT"),
            ("seq", "BIGINT"),
            ("claimed_at", "BIGINT"),
            ("ends_at", "BIGINT"),
            ("closes_at", "BIGINT"),
        ]);
        let claim = format!(
            "UPDATE turn SET claimed_at = v.claimed_at, ends_at = v.ends_at, closes_at = v.closes_at
             FROM {rows} WHERE turn.queue_id = v.queue_id AND turn.seq = v.seq"
        );
        let turns = kept.iter().filter_map(|(hold, row)| {
            let turn = seen.turn(hold)?;
            let fresh = seen.now + hold.session_ms;
            let ends_at = if turn.claimed_at.is_some() { turn.ends_at } else { fresh };
            Some(json!({
                "queue_id": turn.queue_id,
                "seq": turn.seq,
                "claimed_at": turn.claimed_at.unwrap_or(seen.now),
                "ends_at": ends_at,
                "closes_at": turn.closes_at.max(ends_at).max(row.expires_at),
            }))
        });
        let statement = self.statement(&claim, [list(turns)]);
        transaction.execute_raw(statement).await.map(drop).map_err(from_db)
    }
}

impl Seen {
    /// What becomes of a wish; `None` when nothing speaks against it.
    fn decide(&self, hold: &Hold) -> Result<Option<HoldOutcome>, Error> {
        let seats = (hold.concert, hold.seats.as_slice());
        let live = |turn: &&turn::Model| turn.claimed_at.is_none() || self.now < turn.ends_at;
        if self.turn(hold).filter(live).is_none() {
            return Ok(Some(HoldOutcome::NotActive));
        }
        if let Some(row) = self.by_key.get(&hold.user) {
            let booking = answered(row.clone(), seats, self.now)?;
            return Ok(Some(HoldOutcome::Held(booking)));
        }
        let earlier = self.held.get(&hold.user).and_then(|rows| {
            rows.iter().find(|row| row.expires_at > self.now && is_of(row, seats))
        });
        if let Some(row) = earlier {
            return Booking::try_from(row.clone()).map(|booking| Some(HoldOutcome::Held(booking)));
        }
        self.check_sells(hold)?;
        let had = self.had.get(&hold.user).copied().unwrap_or(0);
        if let Some(seats_max) = hold.seats_per_user_max
            && had + hold.seats.len() as i64 > seats_max
        {
            return Err(Error::refused(
                Code::PurchaseLimit,
                format!("at most {seats_max} seats a person for this concert"),
            ));
        }
        let taken: Vec<SeatId> =
            hold.seats.iter().filter(|seat| self.is_taken(hold, seat)).cloned().collect();
        Ok((!taken.is_empty()).then_some(HoldOutcome::Taken(taken)))
    }
}

/// Takes bookings back that did not get all their seats.
async fn unmake(transaction: &DatabaseTransaction, bookings: Vec<i64>) -> Result<(), Error> {
    if bookings.is_empty() {
        return Ok(());
    }
    seat_claim::Entity::delete_many()
        .filter(seat_claim::Column::BookingId.is_in(bookings.iter().copied()))
        .exec(transaction)
        .await
        .map_err(from_db)?;
    booking::Entity::delete_many()
        .filter(booking::Column::Id.is_in(bookings))
        .exec(transaction)
        .await
        .map(drop)
        .map_err(from_db)
}

/// The answer that a key had at first, for as long as the hold was not in vain.
fn answered(
    row: booking::Model,
    seats: (ConcertId, &[SeatId]),
    now: i64,
) -> Result<Booking, Error> {
    if !is_of(&row, seats) {
        return Err(key_reused());
    }
    let booking = Booking::try_from(row)?.at(now);
    match booking.status {
        BookingStatus::Held => Ok(booking),
        BookingStatus::Paid => {
            Ok(Booking { status: BookingStatus::Held, paid_at: None, ..booking })
        }
        BookingStatus::Expired | BookingStatus::Cancelled => {
            Err(Error::refused(Code::HoldExpired, "the hold of this key is over"))
        }
    }
}

fn is_of(row: &booking::Model, (concert, seats): (ConcertId, &[SeatId])) -> bool {
    row.concert_id == concert.0 && row.seats == SeatId::join(seats)
}

fn key_reused() -> Error {
    Error::refused(Code::IdempotencyKeyReuse, "this key held other seats")
}
