//! The copy of SQL's seats in Redis: marking, and mending. A failure costs a refusal that SQL would not have made, or one
//! that SQL makes later; nothing more.

use std::sync::atomic::Ordering;

use super::redis::{Marked, RedisSeats};
use super::sql::Owner;
use super::{Booking, BookingStatus, Bookings, Hold};
use crate::error::Error;
use crate::ids::{ConcertId, SeatId, UserId};
use crate::queue::Line;

/// A hold younger than this was made by the very request that looks at it, or hardly before.
const NEW_MS: i64 = 1_000;
/// Marks in one call.
const MARKS_MAX: u64 = 400;
/// A mark younger than this may belong to a hold that is still on its way into SQL.
const UNDER_WAY_MS: i64 = 5_000;

impl Bookings {
    pub(super) async fn marks<'a>(
        &'a self,
        line: &'a Line,
        concert: ConcertId,
    ) -> Result<RedisSeats<'a>, Error> {
        let line_in_redis = self.inner.queues.redis_line(line).await?;
        Ok(RedisSeats::new(&self.inner.redis, &line_in_redis, concert))
    }

    pub(super) async fn mark(&self, marks: &RedisSeats<'_>, hold: &Hold) -> Result<Marked, Error> {
        let now = self.inner.clock.now_ms();
        let until = now + hold.hold_ms + self.inner.grace_ms;
        marks.hold((hold.user, hold.number), now, until, &hold.seats).await
    }

    /// A wish that found its earlier hold has marked the seats anew: they are his no longer than that hold lasts.
    pub(super) async fn shorten_marks(&self, marks: &RedisSeats<'_>, booking: &Booking) {
        let age_ms = self.inner.clock.now_ms() - booking.made_at;
        if age_ms < NEW_MS || booking.status != BookingStatus::Held {
            return;
        }
        let held = Owner::Held { user: booking.user, until: booking.expires_at };
        let owners: Vec<_> = booking.seats.iter().map(|seat| (seat.clone(), held)).collect();
        told(marks.settle(&owners, self.inner.grace_ms).await);
    }

    /// Takes off marks that stand in the way and that SQL knows nothing of: of a hold that was let go while Redis could
    /// not be told, or that never came to be. Whether there were any.
    pub(super) async fn remove_orphans(
        &self,
        marks: &RedisSeats<'_>,
        hold: &Hold,
        taken: &[(SeatId, Owner)],
    ) -> bool {
        let now = self.inner.clock.now_ms();
        let lasts_ms = hold.hold_ms + self.inner.grace_ms;
        let old = taken.iter().filter_map(|(seat, owner)| match owner {
            Owner::Held { user, until } if until - lasts_ms + UNDER_WAY_MS <= now => {
                Some((seat, *user))
            }
            _ => None,
        });
        let old: Vec<(&SeatId, UserId)> = old.collect();
        if old.is_empty() {
            return false;
        }
        let removed = async {
            let seats: Vec<SeatId> = old.iter().map(|(seat, _)| (*seat).clone()).collect();
            let judged_at = now - self.inner.grace_ms;
            let owners = self.inner.sql.owners(hold.concert, &seats, judged_at).await?;
            let orphans =
                old.into_iter().filter(|(seat, _)| owners.iter().all(|(owned, _)| owned != *seat));
            let mut any = false;
            for (seat, user) in orphans {
                any |= marks.release(user, std::slice::from_ref(seat)).await?;
            }
            Ok(any)
        };
        removed.await.unwrap_or_else(|error: Error| {
            told(Err(error));
            false
        })
    }

    /// Takes a person's marks off seats and writes what SQL says of them.
    pub(super) async fn copy_truth(&self, marks: &RedisSeats<'_>, user: UserId, seats: &[SeatId]) {
        let copied = async {
            marks.release(user, seats).await?;
            let owners = self.owners(marks, seats).await?;
            if owners.is_empty() {
                return Ok(true);
            }
            marks.settle(&owners, self.inner.grace_ms).await?;
            // Read again after writing: whoever let go in between is seen here, whoever lets go later takes his mark
            // off himself.
            let still = self.owners(marks, seats).await?;
            for (seat, owner) in owners.iter().filter(|owned| !still.contains(owned)) {
                if let Owner::Held { user, .. } = owner {
                    marks.release(*user, std::slice::from_ref(seat)).await?;
                }
            }
            Ok(true)
        };
        told(copied.await);
    }

    async fn owners(
        &self,
        marks: &RedisSeats<'_>,
        seats: &[SeatId],
    ) -> Result<Vec<(SeatId, Owner)>, Error> {
        self.inner.sql.owners(marks.concert, seats, self.inner.clock.now_ms()).await
    }

    /// Writes the marks of a line that was rebuilt. Until then SQL refuses what Redis does not know to be taken.
    pub async fn return_marks(&self, line: &Line) {
        if line.marks_due.swap(false, Ordering::Relaxed) {
            told(self.write_marks(line).await.map(|()| true));
        }
    }

    async fn write_marks(&self, line: &Line) -> Result<(), Error> {
        let (queue_id, now) = (line.queue().id, self.inner.clock.now_ms());
        let mut claims = self.inner.sql.claims(queue_id, None, now, MARKS_MAX).await?;
        while let Some(last) = claims.last() {
            for one_concert in claims.chunk_by(|one, next| one.0 == next.0) {
                let marks = self.marks(line, one_concert[0].0).await?;
                let owners: Vec<_> =
                    one_concert.iter().map(|(_, seat, owner)| (seat.clone(), *owner)).collect();
                marks.settle(&owners, self.inner.grace_ms).await?;
            }
            claims = self.inner.sql.claims(queue_id, Some(last), now, MARKS_MAX).await?;
        }
        Ok(())
    }

    /// Tells Redis that seats are sold.
    pub async fn sold(&self, booking: &Booking) {
        let Some(line) = self.inner.queues.line_of_id(booking.queue_id) else { return };
        let Ok(marks) = self.marks(&line, booking.concert).await else { return };
        let sold: Vec<_> = booking.seats.iter().map(|seat| (seat.clone(), Owner::Sold)).collect();
        told(marks.settle(&sold, self.inner.grace_ms).await);
    }

    /// Tells Redis that holds are over.
    pub(super) async fn release(&self, bookings: &[Booking]) {
        for booking in bookings {
            let Some(line) = self.inner.queues.line_of_id(booking.queue_id) else { continue };
            let Ok(marks) = self.marks(&line, booking.concert).await else { continue };
            self.copy_truth(&marks, booking.user, &booking.seats).await;
        }
    }
}

fn told(outcome: Result<bool, Error>) {
    if let Err(error) = outcome {
        tracing::debug!(%error, "the copy of the seats in Redis was not corrected");
    }
}
