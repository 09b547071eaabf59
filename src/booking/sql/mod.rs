//! Bookings in SQL: reading, cancelling, leaving, expiring. How one begins stands in `hold.rs`, what it sees in `seen.rs`.
//!
//! Locks are taken in one order everywhere: turn, booking, seat claims by seat, concert, account. Instants are judged by a clock
//! read after the locks are held.

mod claims;
mod hold;
mod seen;

use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseTransaction,
    EntityTrait, QueryFilter, QueryOrder, QuerySelect, Value,
};

use super::missing;
use crate::clock::Clock;
use crate::crash_point;
use crate::error::{Code, Error};
use crate::ids::{BookingId, ConcertId, QueueNumber, SeatId, UserId};
use crate::sql::entity::{booking, seat_claim, turn};
use crate::sql::{Sql, commit, from_db, get, placeholders, retried};

pub use hold::HoldOutcome;

/// How many bookings one transaction marks as expired, so that it is a short one.
pub(super) const EXPIRE_MAX: u64 = 500;

/// Where a booking stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum BookingStatus {
    Held,
    Paid,
    Expired,
    Cancelled,
}

impl BookingStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Paid => "paid",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }

    fn stored(text: &str) -> Result<Self, Error> {
        [Self::Held, Self::Paid, Self::Expired, Self::Cancelled]
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| Error::bug("the database holds an unknown status"))
    }
}

/// The durable record of seats held or sold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Booking {
    pub id: BookingId,
    pub queue_id: i64,
    pub number: QueueNumber,
    pub user: UserId,
    pub concert: ConcertId,
    pub seats: Vec<SeatId>,
    /// Minor units.
    pub amount: i64,
    pub status: BookingStatus,
    pub made_at: i64,
    pub expires_at: i64,
    pub paid_at: Option<i64>,
}

impl Booking {
    /// The booking as it stands at an instant: a hold that ran out is expired, whether or not a sweep has said so.
    pub fn at(mut self, now: i64) -> Self {
        if self.status == BookingStatus::Held && self.expires_at <= now {
            self.status = BookingStatus::Expired;
        }
        self
    }
}

impl TryFrom<booking::Model> for Booking {
    type Error = Error;

    fn try_from(row: booking::Model) -> Result<Self, Error> {
        Ok(Self {
            id: BookingId(row.id),
            queue_id: row.queue_id,
            number: QueueNumber(row.turn_seq),
            user: UserId(row.user_id),
            concert: ConcertId(row.concert_id),
            seats: SeatId::split(&row.seats),
            amount: row.amount,
            status: BookingStatus::stored(&row.status)?,
            made_at: row.made_at,
            expires_at: row.expires_at,
            paid_at: row.paid_at,
        })
    }
}

/// Who has a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Sold,
    Held { user: UserId, until: i64 },
}

impl Sql {
    /// A booking of this user.
    pub async fn booking(&self, id: BookingId, user: UserId) -> Result<Option<Booking>, Error> {
        let row = of_user(id, user).one(self.reader()).await.map_err(from_db)?;
        row.map(Booking::try_from).transpose()
    }

    pub async fn bookings_of(
        &self,
        user: UserId,
        limit: u64,
        before: Option<i64>,
    ) -> Result<Vec<Booking>, Error> {
        let mut query = booking::Entity::find().filter(booking::Column::UserId.eq(user.0));
        if let Some(before) = before {
            query = query.filter(booking::Column::Id.lt(before));
        }
        let rows = query
            .order_by_desc(booking::Column::Id)
            .limit(limit)
            .all(self.reader())
            .await
            .map_err(from_db)?;
        rows.into_iter().map(Booking::try_from).collect()
    }

    /// Cancels a hold, unless it is over already; the booking as it was found.
    pub async fn cancel(
        &self,
        id: BookingId,
        user: UserId,
        clock: &Clock,
    ) -> Result<Booking, Error> {
        retried(|| self.cancel_once(id, user, clock)).await
    }

    async fn cancel_once(
        &self,
        id: BookingId,
        user: UserId,
        clock: &Clock,
    ) -> Result<Booking, Error> {
        let transaction = self.begin("booking.cancel").await?;
        let (turn, row) = locked(&transaction, id, user).await?;
        let now = clock.now_ms();
        let booking = Booking::try_from(row)?.at(now);
        match booking.status {
            BookingStatus::Held => {}
            BookingStatus::Paid => {
                return Err(Error::refused(Code::BookingNotHeld, "this booking is paid"));
            }
            BookingStatus::Expired | BookingStatus::Cancelled => return Ok(booking),
        }
        self.set_cancelled(&transaction, &[booking.id.0]).await?;
        if let Some(turn) = turn.filter(|turn| turn.ended_at.is_none()) {
            let others = held_until(&transaction, &booking, now).await?;
            let row = turn::ActiveModel {
                queue_id: Set(turn.queue_id),
                seq: Set(turn.seq),
                closes_at: Set(turn.ends_at.max(others)),
                ..Default::default()
            };
            row.update(&*transaction).await.map_err(from_db)?;
        }
        commit(transaction).await?;
        crash_point!("cancel.after_commit");
        Ok(booking)
    }

    /// Closes a number, wherever it stands, and cancels its owner's unpaid holds in that queue: they are returned.
    pub async fn leave(
        &self,
        queue_id: i64,
        user: UserId,
        number: QueueNumber,
        clock: &Clock,
    ) -> Result<Vec<Booking>, Error> {
        retried(|| self.leave_once(queue_id, user, number, clock)).await
    }

    async fn leave_once(
        &self,
        queue_id: i64,
        user: UserId,
        number: QueueNumber,
        clock: &Clock,
    ) -> Result<Vec<Booking>, Error> {
        let transaction = self.begin("booking.leave").await?;
        let close = "INSERT INTO turn (queue_id, seq, user_id, kind, issued, ends_at, closes_at, ended_at, end_reason)
            VALUES ($1, $2, $3, 'none', $2, $4, $4, $4, 'left')
            ON CONFLICT (queue_id, seq) DO UPDATE SET ended_at = $4, end_reason = 'left' WHERE turn.ended_at IS NULL";
        let values = [queue_id.into(), number.0.into(), user.0.into(), clock.now_ms().into()];
        transaction.execute_raw(self.statement(close, values)).await.map_err(from_db)?;
        let rows = booking::Entity::find()
            .filter(booking::Column::QueueId.eq(queue_id))
            // A late repetition does not reach the holds of a later turn.
            .filter(booking::Column::TurnSeq.lte(number.0))
            .filter(booking::Column::UserId.eq(user.0))
            .filter(booking::Column::Status.eq(BookingStatus::Held.as_str()))
            .order_by_asc(booking::Column::Id)
            .lock_exclusive()
            .all(&*transaction)
            .await
            .map_err(from_db)?;
        let now = clock.now_ms();
        // What lapsed is expired, whether or not a sweep has said so.
        let live = rows.into_iter().filter(|row| row.expires_at > now);
        let bookings: Vec<Booking> = live.map(Booking::try_from).collect::<Result<_, _>>()?;
        let ids: Vec<i64> = bookings.iter().map(|booking| booking.id.0).collect();
        self.set_cancelled(&transaction, &ids).await?;
        commit(transaction).await?;
        crash_point!("leave.after_commit");
        Ok(bookings)
    }

    /// Cancels bookings and lets go of their seats, whose claims are locked in the house's order: seats by their bytes.
    async fn set_cancelled(
        &self,
        transaction: &DatabaseTransaction,
        ids: &[i64],
    ) -> Result<(), Error> {
        if ids.is_empty() {
            return Ok(());
        }
        booking::Entity::update_many()
            .col_expr(booking::Column::Status, Expr::value(BookingStatus::Cancelled.as_str()))
            .filter(booking::Column::Id.is_in(ids.iter().copied()))
            .exec(transaction)
            .await
            .map_err(from_db)?;
        let claims = format!(
            "SELECT seat_id FROM seat_claim WHERE booking_id IN ({}) ORDER BY concert_id, seat_id {}",
            placeholders(1, 1, ids.len()),
            self.lock("COLLATE \"C\" FOR UPDATE")
        );
        let values = ids.iter().map(|id| (*id).into());
        transaction.query_all_raw(self.statement(&claims, values)).await.map_err(from_db)?;
        seat_claim::Entity::delete_many()
            .filter(seat_claim::Column::BookingId.is_in(ids.iter().copied()))
            .exec(transaction)
            .await
            .map(drop)
            .map_err(from_db)
    }

    /// Who has these seats at `now`.
    pub async fn owners(
        &self,
        concert: ConcertId,
        seats: &[SeatId],
        now: i64,
    ) -> Result<Vec<(SeatId, Owner)>, Error> {
        let sql = format!(
            "SELECT c.seat_id, c.until, b.user_id FROM seat_claim c JOIN booking b ON b.id = c.booking_id
             WHERE c.concert_id = $1 AND (c.until IS NULL OR c.until > $2) AND c.seat_id IN {}",
            placeholders(3, seats.len(), 1)
        );
        let names = seats.iter().map(|seat| seat.as_str().into());
        let values: Vec<Value> = [concert.0.into(), now.into()].into_iter().chain(names).collect();
        let rows =
            self.reader().query_all_raw(self.statement(&sql, values)).await.map_err(from_db)?;
        let mut owners = Vec::with_capacity(rows.len());
        for row in rows {
            let (seat, user, until): (String, i64, Option<i64>) =
                (get(&row, "seat_id")?, get(&row, "user_id")?, get(&row, "until")?);
            let owner =
                until.map_or(Owner::Sold, |until| Owner::Held { user: UserId(user), until });
            owners.extend(SeatId::parse(&seat).map(|seat| (seat, owner)));
        }
        Ok(owners)
    }

    /// Marks holds that ran out before an instant as expired, the oldest first and `EXPIRE_MAX` at most; says how many.
    pub async fn expire(&self, ran_out_before: i64) -> Result<u64, Error> {
        let transaction = self.begin("booking.expire").await?;
        let expire = format!(
            "UPDATE booking SET status = 'expired' WHERE id IN (SELECT id FROM booking
             WHERE status = 'held' AND expires_at <= $1 ORDER BY expires_at LIMIT {EXPIRE_MAX} {})",
            self.lock("FOR UPDATE SKIP LOCKED")
        );
        let statement = self.statement(&expire, [ran_out_before.into()]);
        let expired = transaction.execute_raw(statement).await.map_err(from_db)?.rows_affected();
        commit(transaction).await?;
        Ok(expired)
    }
}

/// The turn and the booking, locked in this order; the booking is this user's, or missing.
async fn locked(
    transaction: &DatabaseTransaction,
    id: BookingId,
    user: UserId,
) -> Result<(Option<turn::Model>, booking::Model), Error> {
    let found = of_user(id, user).one(transaction).await.map_err(from_db)?.ok_or_else(missing)?;
    let turn = turn::Entity::find_by_id((found.queue_id, found.turn_seq))
        .lock_exclusive()
        .one(transaction)
        .await;
    let turn = turn.map_err(from_db)?;
    let row = of_user(id, user).lock_exclusive().one(transaction).await.map_err(from_db)?;
    Ok((turn, row.ok_or_else(missing)?))
}

/// Until when other live holds of the same person in the same queue last; 0 when there is none.
async fn held_until(
    transaction: &DatabaseTransaction,
    booking: &Booking,
    now: i64,
) -> Result<i64, Error> {
    let others = booking::Entity::find()
        .filter(booking::Column::QueueId.eq(booking.queue_id))
        .filter(booking::Column::UserId.eq(booking.user.0))
        .filter(booking::Column::Status.eq(BookingStatus::Held.as_str()))
        .filter(booking::Column::Id.ne(booking.id.0))
        .filter(booking::Column::ExpiresAt.gt(now))
        .all(transaction)
        .await
        .map_err(from_db)?;
    Ok(others.iter().map(|other| other.expires_at).max().unwrap_or(0))
}

fn of_user(id: BookingId, user: UserId) -> sea_orm::Select<booking::Entity> {
    booking::Entity::find_by_id(id.0).filter(booking::Column::UserId.eq(user.0))
}
