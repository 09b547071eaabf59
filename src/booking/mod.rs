//! Seats: hold, look, cancel, and what goes with leaving. A hold is granted by rows in SQL; Redis keeps a copy that
//! says no quickly. Money is not here.

mod copy;
pub mod http;
pub mod redis;
pub mod sql;

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::concert::Concerts;
use crate::crash_point;
use crate::error::{Code, Error};
use crate::ids::{
    BookingId, ConcertId, Epoch, IdempotencyKey, QueueName, QueueNumber, SeatId, UserId,
};
use crate::queue::{Line, Queues};
use crate::redis::Redis;
use crate::sql::Sql;
use crate::sql::writer::Writer;
use redis::{Marked, RedisSeats};
pub use sql::{Booking, BookingStatus, HoldOutcome};

/// More seats than any policy allows, so that a list is bounded before its queue is known.
pub const SEATS_PARSED_MAX: usize = 100;

/// When somebody may try to book again whose turn SQL has opened and Redis will know of at the next tick.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The holds and sales of every concert.
#[derive(Clone)]
pub struct Bookings {
    inner: Arc<Inner>,
}

struct Inner {
    sql: Sql,
    redis: Redis,
    clock: Clock,
    concerts: Concerts,
    queues: Queues,
    holds: Writer<Hold>,
    grace_ms: i64,
}

/// A wish to hold seats, by somebody whose token was checked.
#[derive(Debug)]
pub struct HoldSeats {
    pub queue: QueueName,
    pub user: UserId,
    pub number: QueueNumber,
    /// The epoch in which Redis last confirmed the number.
    pub confirmed: Epoch,
    pub concert: ConcertId,
    pub seats: Vec<SeatId>,
    pub key: Option<IdempotencyKey>,
}

/// A wish that the catalogue can meet: the concert is on sale, the seats exist, the policy allows as many.
#[derive(Debug, PartialEq, Eq)]
pub struct Hold {
    pub queue_id: i64,
    pub number: QueueNumber,
    pub user: UserId,
    pub concert: ConcertId,
    pub seats: Vec<SeatId>,
    pub amount: i64,
    pub key: Option<IdempotencyKey>,
    pub hold_ms: i64,
    pub session_ms: i64,
    pub seats_per_user_max: Option<i64>,
    /// Taking over a lapsed hold waits this much longer than its owner may still pay it.
    pub grace_ms: i64,
}

impl Bookings {
    pub fn new(
        (redis, sql): (Redis, Sql),
        clock: Clock,
        concerts: Concerts,
        queues: Queues,
        grace_ms: i64,
    ) -> Self {
        let holds = Writer::new(sql.clone(), clock.clone());
        Self { inner: Arc::new(Inner { sql, redis, clock, concerts, queues, holds, grace_ms }) }
    }

    /// Holds all of the seats or none.
    pub async fn hold(&self, wish: HoldSeats) -> Result<Booking, Error> {
        if let Some(booking) = self.inner.sql.held_before(&wish, &self.inner.clock).await? {
            return Ok(booking);
        }
        self.inner.concerts.check_sells(wish.concert, &wish.queue).await?;
        let line = self.inner.queues.line(&wish.queue).await?;
        let confirmed = wish.confirmed;
        let hold = Arc::new(self.price(&line, wish).await?);
        let held = self.mark_and_grant(&line, &hold, confirmed).await;
        match &held {
            Ok(booking) => {
                metrics::counter!("usher_holds_total").increment(1);
                tracing::info!(
                    booking.id = booking.id.0,
                    concert.id = hold.concert.0,
                    "seats held"
                );
            }
            Err(Error::SeatsTaken { .. }) => {
                metrics::counter!("usher_hold_conflicts_total").increment(1);
                self.claim(&line, &hold).await;
            }
            Err(error) if error.code() == Code::PurchaseLimit => self.claim(&line, &hold).await,
            Err(_) => {}
        }
        held
    }

    /// Redis may refuse, SQL grants; and where SQL refuses, Redis is told.
    async fn mark_and_grant(
        &self,
        line: &Arc<Line>,
        hold: &Arc<Hold>,
        confirmed: Epoch,
    ) -> Result<Booking, Error> {
        let marks = self.marks(line, hold.concert).await?;
        match self.mark_with_patience(line, &marks, (hold, confirmed)).await? {
            Marked::Held => {}
            Marked::Taken(taken) => {
                let taken = taken.into_iter().map(|(seat, _)| seat).collect();
                return Err(Error::SeatsTaken { taken });
            }
            Marked::NotActive => {
                return Err(Error::NotAdmitted { position: None, retry_after: RETRY_AFTER });
            }
            Marked::Stale => return Err(Error::queue_rebuilding()),
        }
        crash_point!("hold.after_mark");
        let granted = self.inner.holds.grant(hold.clone()).await;
        crash_point!("hold.before_answer");
        match granted {
            Ok(HoldOutcome::Held(booking)) => {
                self.shorten_marks(&marks, &booking).await;
                Ok(booking)
            }
            Ok(HoldOutcome::Taken(taken)) => {
                self.copy_truth(&marks, hold.user, &hold.seats).await;
                Err(Error::SeatsTaken { taken })
            }
            Ok(HoldOutcome::NotActive) => {
                self.copy_truth(&marks, hold.user, &hold.seats).await;
                self.await_turn(line, hold, confirmed).await?;
                Err(Error::turn_ended())
            }
            // What became of it is not known: the marks stay, and lapse by themselves.
            Err(error @ Error::OutcomeUnknown { .. }) => Err(error),
            Err(error) => {
                self.copy_truth(&marks, hold.user, &hold.seats).await;
                Err(error)
            }
        }
    }

    /// Marks the seats; once more when what was in the way has gone.
    async fn mark_with_patience(
        &self,
        line: &Arc<Line>,
        marks: &RedisSeats<'_>,
        (hold, confirmed): (&Hold, Epoch),
    ) -> Result<Marked, Error> {
        match self.mark(marks, hold).await? {
            Marked::NotActive => self.await_turn(line, hold, confirmed).await?,
            Marked::Taken(taken) if self.remove_orphans(marks, hold, &taken).await => {}
            marked => return Ok(marked),
        }
        self.mark(marks, hold).await
    }

    /// Checks a wish against the catalogue and the policy, and prices it.
    async fn price(&self, line: &Line, wish: HoldSeats) -> Result<Hold, Error> {
        let queue = line.queue();
        let seats_max = queue.policy.seats_per_booking_max;
        if wish.seats.len() as i64 > seats_max {
            return Err(Error::field(
                Code::TooManySeats,
                "/seat_no",
                format!("at most {seats_max} seats a booking"),
            ));
        }
        let hall = self.inner.concerts.hall(wish.concert).await?;
        let mut amount = 0;
        for wanted in &wish.seats {
            amount += hall.price(wanted).ok_or_else(|| {
                Error::refused(
                    Code::SeatNotFound,
                    format!("concert {} has no seat {wanted}", wish.concert),
                )
            })?;
        }
        Ok(Hold {
            queue_id: queue.id,
            number: wish.number,
            user: wish.user,
            concert: wish.concert,
            seats: wish.seats,
            amount,
            key: wish.key,
            hold_ms: queue.policy.hold_seconds * 1_000,
            session_ms: queue.policy.session_seconds * 1_000,
            seats_per_user_max: queue.policy.seats_per_user_max,
            grace_ms: self.inner.grace_ms,
        })
    }

    /// Redis knows of no turn. Either there is none, which is the error; or SQL has opened it a moment ago, and one
    /// tick makes Redis agree.
    async fn await_turn(
        &self,
        line: &Arc<Line>,
        hold: &Hold,
        confirmed: Epoch,
    ) -> Result<(), Error> {
        let (queue, queues) = (line.queue(), &self.inner.queues);
        let place = queues.poll(&queue.name, hold.user, hold.number, confirmed).await?;
        place.admitted()?;
        self.inner.queues.tick_soon(line).await;
        Ok(())
    }

    /// Whoever tries to book uses his turn, also when others have the seats: it is claimed, as by a poll.
    async fn claim(&self, line: &Arc<Line>, hold: &Hold) {
        if let Err(error) = self.inner.queues.claim(line, hold.user, hold.number).await {
            tracing::debug!(%error, "a turn was not claimed by a booking that was refused");
        }
    }

    /// A booking of this user; another's looks like a missing one.
    pub async fn booking(&self, id: BookingId, user: UserId) -> Result<Booking, Error> {
        let now = self.inner.clock.now_ms();
        let found = self.inner.sql.booking(id, user).await?.map(|booking| booking.at(now));
        found.ok_or_else(missing)
    }

    /// Lets a hold go. Twice is the same as once.
    pub async fn cancel(&self, id: BookingId, user: UserId) -> Result<(), Error> {
        let booking = self.inner.sql.cancel(id, user, &self.inner.clock).await?;
        if booking.status == BookingStatus::Held {
            tracing::info!(booking.id = booking.id.0, "hold cancelled");
        }
        // Also when it was over: the marks may have outlived an earlier cancellation whose answer was lost.
        self.release(&[booking]).await;
        Ok(())
    }

    /// Gives the place or the turn back, and with it the unpaid holds in that queue.
    pub async fn leave(
        &self,
        queue: &QueueName,
        user: UserId,
        number: QueueNumber,
    ) -> Result<(), Error> {
        let line = self.inner.queues.line(queue).await?;
        let released =
            self.inner.sql.leave(line.queue().id, user, number, &self.inner.clock).await?;
        line.leave(number);
        self.release(&released).await;
        self.turn_ended(&line, user, number).await;
        Ok(())
    }

    /// Tells Redis that SQL has ended a turn, and gives the free turn on. A loss costs a delay: ticks look again.
    pub async fn turn_ended(&self, line: &Arc<Line>, user: UserId, number: QueueNumber) {
        let told = async { self.inner.queues.redis_line(line).await?.leave(user, number).await };
        if let Err(error) = told.await {
            tracing::debug!(%error, "Redis was not told that a turn ended; a tick will look");
            return;
        }
        self.inner.queues.tick_soon(line).await;
    }

    /// The bookings of a user, newest first.
    pub async fn of_user(
        &self,
        user: UserId,
        limit: u64,
        before: Option<i64>,
    ) -> Result<Vec<Booking>, Error> {
        let now = self.inner.clock.now_ms();
        let bookings = self.inner.sql.bookings_of(user, limit, before).await?;
        Ok(bookings.into_iter().map(|booking| booking.at(now)).collect())
    }

    /// Marks holds that ran out as expired. May be late or never run: whoever wants the seat looks at the instant.
    pub async fn expire(&self) -> Result<u64, Error> {
        let now = self.inner.clock.now_ms();
        let mut total = 0;
        loop {
            let expired = self.inner.sql.expire(now - self.inner.grace_ms).await?;
            total += expired;
            if expired < sql::EXPIRE_MAX {
                return Ok(total);
            }
        }
    }

    pub fn queues(&self) -> &Queues {
        &self.inner.queues
    }
}

/// Not there, or not yours: the same answer.
pub fn missing() -> Error {
    Error::refused(Code::BookingNotFound, "there is no such booking")
}
