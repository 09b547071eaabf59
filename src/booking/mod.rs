//! Seats: hold, look, cancel, and what goes with leaving. A hold is granted by rows in SQL; Redis keeps a copy that
//! says no quickly. Money is not here.

pub mod http;
pub mod redis;
pub mod sql;

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::concert::{Concert, Concerts};
use crate::error::{Code, Error};
use crate::ids::{BookingId, ConcertId, IdempotencyKey, QueueName, QueueNumber, SeatId, UserId};
use crate::queue::{Line, Queues, Status};
use crate::redis::Redis;
use crate::sql::Sql;
use redis::{Marked, RedisSeats};
pub use sql::{Booking, BookingStatus, HoldOutcome};

/// More seats than any policy allows, so that a list is bounded before its queue is known.
pub const SEATS_PARSED_MAX: usize = 100;

/// A hold younger than this was made by the very request that looks at it, or hardly before.
const NEW_MS: i64 = 1_000;
/// When somebody who was not admitted may try to book again.
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
    grace_ms: i64,
}

/// A wish to hold seats, by somebody whose token was checked.
#[derive(Debug)]
pub struct HoldSeats {
    pub queue: QueueName,
    pub user: UserId,
    pub number: QueueNumber,
    pub concert: ConcertId,
    pub seats: Vec<SeatId>,
    pub key: Option<IdempotencyKey>,
}

/// A wish that the catalogue can meet: the concert is on sale, the seats exist, the policy allows as many.
#[derive(Debug)]
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
        Self { inner: Arc::new(Inner { sql, redis, clock, concerts, queues, grace_ms }) }
    }

    /// Holds all of the seats or none.
    pub async fn hold(&self, wish: HoldSeats) -> Result<Booking, Error> {
        let concert = self.inner.concerts.on_sale(wish.concert).await?;
        if concert.queue != wish.queue {
            return Err(Error::WrongQueue { queue: concert.queue });
        }
        let line = self.inner.queues.line(&concert.queue).await?;
        let hold = self.price(&line, &concert, wish).await?;
        let marks = self.marks(&line, concert.id).await?;
        let mut marked = self.mark(&marks, &hold).await?;
        if marked == Marked::NotActive {
            self.await_turn(&line, &hold).await?;
            marked = self.mark(&marks, &hold).await?;
        }
        match marked {
            Marked::Held => {}
            Marked::Taken(taken) => {
                metrics::counter!("usher_hold_conflicts_total").increment(1);
                return Err(Error::SeatsTaken { taken });
            }
            Marked::NotActive => return Err(not_yet(None)),
            Marked::Stale => return Err(Error::queue_rebuilding()),
        }
        match self.inner.sql.hold(&hold, &self.inner.clock).await {
            Ok(HoldOutcome::Held(booking)) => {
                self.shorten_marks(&marks, &booking).await;
                metrics::counter!("usher_holds_total").increment(1);
                tracing::info!(booking.id = booking.id.0, concert.id = concert.id.0, "seats held");
                Ok(booking)
            }
            Ok(HoldOutcome::Taken(taken)) => {
                self.copy_truth(&marks, &hold).await;
                metrics::counter!("usher_hold_conflicts_total").increment(1);
                Err(Error::SeatsTaken { taken })
            }
            Ok(HoldOutcome::NotActive) => {
                self.copy_truth(&marks, &hold).await;
                self.await_turn(&line, &hold).await?;
                Err(Error::turn_ended())
            }
            // What became of it is not known: the marks stay, and lapse by themselves.
            Err(error @ Error::OutcomeUnknown { .. }) => Err(error),
            Err(error) => {
                self.copy_truth(&marks, &hold).await;
                Err(error)
            }
        }
    }

    /// Checks a wish against the catalogue and the policy, and prices it.
    async fn price(&self, line: &Line, concert: &Concert, wish: HoldSeats) -> Result<Hold, Error> {
        let queue = line.queue();
        let seats_max = queue.policy.seats_per_booking_max;
        if wish.seats.len() as i64 > seats_max {
            return Err(Error::field(
                Code::TooManySeats,
                "/seat_no",
                format!("at most {seats_max} seats a booking"),
            ));
        }
        let catalogue = self.inner.concerts.seats(concert.id).await?;
        let mut amount = 0;
        for wanted in &wish.seats {
            let seat = catalogue.iter().find(|seat| seat.id == *wanted);
            amount += seat.map(|seat| seat.price).ok_or_else(|| {
                Error::refused(
                    Code::SeatNotFound,
                    format!("concert {} has no seat {wanted}", concert.id),
                )
            })?;
        }
        Ok(Hold {
            queue_id: queue.id,
            number: wish.number,
            user: wish.user,
            concert: concert.id,
            seats: wish.seats,
            amount,
            key: wish.key,
            hold_ms: queue.policy.hold_seconds * 1_000,
            session_ms: queue.policy.session_seconds * 1_000,
            seats_per_user_max: queue.policy.seats_per_user_max,
            grace_ms: self.inner.grace_ms,
        })
    }

    /// A wish that found its earlier hold has marked the seats anew: they are his no longer than that hold lasts.
    async fn shorten_marks(&self, marks: &RedisSeats<'_>, booking: &Booking) {
        let age_ms = self.inner.clock.now_ms() - booking.made_at;
        if age_ms < NEW_MS || booking.status != BookingStatus::Held {
            return;
        }
        let held = sql::Owner::Held { user: booking.user, until: booking.expires_at };
        let owners: Vec<_> = booking.seats.iter().map(|seat| (seat.clone(), held)).collect();
        if let Err(error) = marks.settle(&owners, self.inner.grace_ms).await {
            tracing::debug!(%error, "the copy of the seats in Redis was not corrected");
        }
    }

    async fn mark(&self, marks: &RedisSeats<'_>, hold: &Hold) -> Result<Marked, Error> {
        let now = self.inner.clock.now_ms();
        let until = now + hold.hold_ms + self.inner.grace_ms;
        marks.hold((hold.user, hold.number), now, until, &hold.seats).await
    }

    /// Redis knows of no turn. Either there is none, which is the error; or SQL has opened it a moment ago, and one
    /// tick makes Redis agree.
    async fn await_turn(&self, line: &Arc<Line>, hold: &Hold) -> Result<(), Error> {
        let queue = line.queue();
        let place =
            self.inner.queues.poll(&queue.name, hold.user, hold.number, queue.epoch).await?;
        match place.status {
            Status::Waiting { position, .. } => Err(not_yet(position)),
            Status::Active { .. } => {
                self.inner.queues.tick_soon(line).await;
                Ok(())
            }
        }
    }

    /// Copies what SQL says of these seats into Redis. A failure costs a later refusal by SQL, nothing more.
    async fn copy_truth(&self, marks: &RedisSeats<'_>, hold: &Hold) {
        let copied = async {
            marks.release(hold.user, &hold.seats).await?;
            let owners =
                self.inner.sql.owners(hold.concert, &hold.seats, self.inner.clock.now_ms()).await?;
            marks.settle(&owners, self.inner.grace_ms).await
        };
        if let Err(error) = copied.await {
            tracing::debug!(%error, "the copy of the seats in Redis was not corrected");
        }
    }

    async fn marks<'a>(
        &'a self,
        line: &'a Line,
        concert: ConcertId,
    ) -> Result<RedisSeats<'a>, Error> {
        let line_in_redis = self.inner.queues.redis_line(line).await?;
        Ok(RedisSeats::new(&self.inner.redis, &line_in_redis, concert))
    }

    /// A booking of this user; another's looks like a missing one.
    pub async fn booking(&self, id: BookingId, user: UserId) -> Result<Booking, Error> {
        let now = self.inner.clock.now_ms();
        let found = self.inner.sql.booking(id, user).await?.map(|booking| booking.at(now));
        found.ok_or_else(missing)
    }

    /// Lets a hold go. Twice is the same as once.
    pub async fn cancel(&self, id: BookingId, user: UserId) -> Result<(), Error> {
        let cancelled = self.inner.sql.cancel(id, user, &self.inner.clock).await?;
        if let Some(booking) = cancelled {
            tracing::info!(booking.id = booking.id.0, "hold cancelled");
            self.release(&[booking]).await;
        }
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

    /// Tells Redis that seats are sold.
    pub async fn sold(&self, booking: &Booking) {
        let Some(line) = self.inner.queues.line_of_id(booking.queue_id) else { return };
        if let Ok(marks) = self.marks(&line, booking.concert).await {
            let sold: Vec<_> =
                booking.seats.iter().map(|seat| (seat.clone(), sql::Owner::Sold)).collect();
            if let Err(error) = marks.settle(&sold, self.inner.grace_ms).await {
                tracing::debug!(%error, "Redis was not told of a sale; SQL refuses the seat all the same");
            }
        }
    }

    async fn release(&self, bookings: &[Booking]) {
        for booking in bookings {
            let Some(line) = self.inner.queues.line_of_id(booking.queue_id) else { continue };
            let Ok(marks) = self.marks(&line, booking.concert).await else { continue };
            if let Err(error) = marks.release(booking.user, &booking.seats).await {
                tracing::debug!(%error, "the copy of the seats in Redis was not corrected");
            }
        }
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
        self.inner.sql.expire(now - self.inner.grace_ms).await
    }

    pub fn queues(&self) -> &Queues {
        &self.inner.queues
    }
}

/// Still waiting: when to ask again is for `GET /queue` to say in detail.
fn not_yet(position: Option<i64>) -> Error {
    Error::NotAdmitted { position, retry_after: RETRY_AFTER }
}

/// Not there, or not yours: the same answer.
pub fn missing() -> Error {
    Error::refused(Code::BookingNotFound, "there is no such booking")
}
