//! Holding seats in SQL: a seat is held when, and only when, the primary key of `seat_claim` took its row.

use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseTransaction,
    EntityTrait, QueryFilter, QueryOrder, QuerySelect, Value,
};

use super::{Booking, BookingStatus};
use crate::booking::{Hold, HoldSeats};
use crate::clock::Clock;
use crate::error::{Code, Error};
use crate::ids::{ConcertId, IdempotencyKey, SeatId, UserId};
use crate::sql::entity::{booking, turn};
use crate::sql::{Sql, awaited, commit, from_db, get, placeholders, retried, violated};

/// What SQL made of a hold.
#[derive(Debug)]
pub enum HoldOutcome {
    Held(Booking),
    Taken(Vec<SeatId>),
    NotActive,
}

impl Sql {
    /// What the key of a wish held before, if it has one and held anything.
    pub async fn held_before(
        &self,
        wish: &HoldSeats,
        clock: &Clock,
    ) -> Result<Option<Booking>, Error> {
        let Some(key) = &wish.key else { return Ok(None) };
        let seats = (wish.concert, wish.seats.as_slice());
        by_key(self.reader(), (wish.user, key), seats, clock.now_ms()).await
    }

    /// Holds every seat or none; the same wish of the same person finds the hold it made before.
    pub async fn hold(&self, hold: &Hold, clock: &Clock) -> Result<HoldOutcome, Error> {
        let outcome = retried(|| self.hold_once(hold, clock)).await;
        outcome.map_err(|error| awaited(error, hold.key.as_ref()))
    }

    async fn hold_once(&self, hold: &Hold, clock: &Clock) -> Result<HoldOutcome, Error> {
        let transaction = self.begin().await?;
        let turn = turn::Entity::find_by_id((hold.queue_id, hold.number.0))
            .lock_exclusive()
            .one(&transaction)
            .await
            .map_err(from_db)?;
        let now = clock.now_ms();
        let live = |turn: &turn::Model| {
            turn.user_id == hold.user.0
                && turn.ended_at.is_none()
                && (turn.claimed_at.is_none() || now < turn.ends_at)
        };
        let Some(turn) = turn.filter(live) else { return Ok(HoldOutcome::NotActive) };
        if let Some(earlier) = earlier(&transaction, hold, now).await? {
            return Ok(HoldOutcome::Held(earlier));
        }
        within_limit(&transaction, hold, now).await?;
        let booking = insert(&transaction, hold, now).await?;
        let got =
            self.claim_seats(&transaction, hold, (booking.id, booking.expires_at), now).await?;
        if got.len() < hold.seats.len() {
            // Dropped without a commit: a request that loses leaves nothing behind.
            return Ok(HoldOutcome::Taken(
                hold.seats.iter().filter(|seat| !got.contains(seat)).cloned().collect(),
            ));
        }
        let ends_at = if turn.claimed_at.is_some() { turn.ends_at } else { now + hold.session_ms };
        let claimed = turn::ActiveModel {
            queue_id: Set(turn.queue_id),
            seq: Set(turn.seq),
            claimed_at: Set(turn.claimed_at.or(Some(now))),
            ends_at: Set(ends_at),
            closes_at: Set(turn.closes_at.max(ends_at).max(booking.expires_at)),
            ..Default::default()
        };
        claimed.update(&transaction).await.map_err(from_db)?;
        commit(transaction).await?;
        Booking::try_from(booking).map(HoldOutcome::Held)
    }

    /// Takes the seats that are free or whose hold has lapsed; says which it got.
    async fn claim_seats(
        &self,
        transaction: &DatabaseTransaction,
        hold: &Hold,
        (booking, until): (i64, i64),
        now: i64,
    ) -> Result<Vec<SeatId>, Error> {
        let mut seats = hold.seats.clone();
        seats.sort_unstable();
        let claim = format!(
            "INSERT INTO seat_claim (concert_id, seat_id, booking_id, until) VALUES {}
             ON CONFLICT (concert_id, seat_id) DO UPDATE SET booking_id = excluded.booking_id, until = excluded.until
             WHERE seat_claim.until IS NOT NULL AND seat_claim.until <= $1 RETURNING seat_id",
            placeholders(2, 4, seats.len())
        );
        let rows = seats.iter().flat_map(|seat| {
            let row: [Value; 4] =
                [hold.concert.0.into(), seat.as_str().into(), booking.into(), until.into()];
            row
        });
        let values: Vec<Value> =
            std::iter::once((now - hold.grace_ms).into()).chain(rows).collect();
        let got =
            transaction.query_all_raw(self.statement(&claim, values)).await.map_err(from_db)?;
        got.iter()
            .map(|row| Ok(SeatId::parse(&get::<String>(row, "seat_id")?)))
            .filter_map(Result::transpose)
            .collect()
    }
}

/// The booking that this very wish made before, if there is one.
async fn earlier(
    transaction: &DatabaseTransaction,
    hold: &Hold,
    now: i64,
) -> Result<Option<Booking>, Error> {
    let seats = (hold.concert, hold.seats.as_slice());
    if let Some(key) = &hold.key
        && let Some(booking) = by_key(transaction, (hold.user, key), seats, now).await?
    {
        return Ok(Some(booking));
    }
    let mine = booking::Entity::find()
        .filter(booking::Column::QueueId.eq(hold.queue_id))
        .filter(booking::Column::UserId.eq(hold.user.0))
        .filter(booking::Column::Status.eq(BookingStatus::Held.as_str()))
        .order_by_asc(booking::Column::Id)
        .all(transaction)
        .await
        .map_err(from_db)?;
    let live = mine.into_iter().find(|row| row.expires_at > now && is_of(row, seats));
    live.map(Booking::try_from).transpose()
}

/// The answer that a key had at first, for as long as the hold was not in vain.
async fn by_key(
    connection: &impl ConnectionTrait,
    (user, key): (UserId, &IdempotencyKey),
    seats: (ConcertId, &[SeatId]),
    now: i64,
) -> Result<Option<Booking>, Error> {
    let row = booking::Entity::find()
        .filter(booking::Column::UserId.eq(user.0))
        .filter(booking::Column::IdemKey.eq(key.as_str()))
        .one(connection)
        .await
        .map_err(from_db)?;
    let Some(row) = row else { return Ok(None) };
    if !is_of(&row, seats) {
        return Err(key_reused());
    }
    let booking = Booking::try_from(row)?.at(now);
    match booking.status {
        BookingStatus::Held => Ok(Some(booking)),
        BookingStatus::Paid => {
            Ok(Some(Booking { status: BookingStatus::Held, paid_at: None, ..booking }))
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

/// Refuses more seats than one person may have of a concert.
async fn within_limit(
    transaction: &DatabaseTransaction,
    hold: &Hold,
    now: i64,
) -> Result<(), Error> {
    let Some(seats_max) = hold.seats_per_user_max else { return Ok(()) };
    let mine = booking::Entity::find()
        .filter(booking::Column::UserId.eq(hold.user.0))
        .filter(booking::Column::ConcertId.eq(hold.concert.0))
        .filter(
            booking::Column::Status
                .is_in([BookingStatus::Held.as_str(), BookingStatus::Paid.as_str()]),
        )
        .all(transaction)
        .await
        .map_err(from_db)?;
    let counts = |row: &&booking::Model| {
        row.status == BookingStatus::Paid.as_str() || row.expires_at + hold.grace_ms > now
    };
    let had: i64 = mine.iter().filter(counts).map(|row| row.seat_count).sum();
    if had + hold.seats.len() as i64 > seats_max {
        return Err(Error::refused(
            Code::PurchaseLimit,
            format!("at most {seats_max} seats a person for this concert"),
        ));
    }
    Ok(())
}

async fn insert(
    transaction: &DatabaseTransaction,
    hold: &Hold,
    now: i64,
) -> Result<booking::Model, Error> {
    let row = booking::ActiveModel {
        queue_id: Set(hold.queue_id),
        turn_seq: Set(hold.number.0),
        user_id: Set(hold.user.0),
        concert_id: Set(hold.concert.0),
        seats: Set(SeatId::join(&hold.seats)),
        seat_count: Set(hold.seats.len() as i64),
        amount: Set(hold.amount),
        status: Set(BookingStatus::Held.as_str().to_owned()),
        made_at: Set(now),
        expires_at: Set(now + hold.hold_ms),
        idem_key: Set(hold.key.as_ref().map(|key| key.as_str().to_owned())),
        ..Default::default()
    };
    row.insert(transaction).await.map_err(|error| {
        if violated(&error, "booking_key_is_unique") || violated(&error, "booking.idem_key") {
            key_reused()
        } else {
            from_db(error)
        }
    })
}
