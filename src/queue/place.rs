//! Where a number stands, and how its owner is told: position, estimate, when to ask again. It grants nothing but the
//! claim of a turn that SQL has opened.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use super::entering::Returned;
use super::interval::{Interval, POLL_MS_MIN};
use super::pace::Eta;
use super::redis::Standing;
use super::{Fate, Line, Queues, Snapshot, Turn};
use crate::error::{Code, Error};
use crate::ids::{Epoch, QueueName, QueueNumber, UserId};

/// Why people wait although they might expect to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    Paused,
    Closed,
    /// Every seat that is not sold is held.
    Full,
    SoldOut,
    /// Places are drawn when the queue opens.
    Draw,
    /// An operator has lowered the rate a moment ago: estimates have risen.
    RateLowered,
    /// As many people are inside as may be: the line moves as they finish, however high the rate is.
    TurnsTaken,
    /// The state in Redis is in doubt.
    Rebuilding,
}

impl Reason {
    /// Whether nobody is admitted for this reason, so that there is nothing to estimate.
    pub fn stops(self) -> bool {
        !matches!(self, Self::RateLowered | Self::TurnsTaken)
    }
}

/// Where a person stands, as he is told it.
#[derive(Clone, Debug)]
pub struct Place {
    pub queue: QueueName,
    pub number: QueueNumber,
    /// As which its owner came to the draw, if he did.
    pub draw_number: Option<i64>,
    /// The epoch in which Redis last confirmed the place.
    pub confirmed: Epoch,
    pub status: Status,
    pub reason: Option<Reason>,
}

/// Waiting or active, with what goes with it.
#[derive(Clone, Debug)]
pub enum Status {
    Waiting { position: Option<i64>, eta: Option<Eta>, poll_after_ms: i64 },
    Active { expires_at: i64, poll_after_ms: i64 },
}

impl Place {
    /// The number as its token says it: that of a draw would tell before the opening how lucky its owner was.
    pub fn veiled(&self) -> QueueNumber {
        self.draw_number.map_or(self.number, |n| QueueNumber::of_draw(self.number.epoch(), n))
    }

    /// Refuses whoever still waits, until a poll would be due.
    pub fn admitted(&self) -> Result<(), Error> {
        match self.status {
            Status::Active { .. } => Ok(()),
            Status::Waiting { position, poll_after_ms, .. } => Err(Error::NotAdmitted {
                position,
                retry_after: Duration::from_millis(poll_after_ms.max(0).unsigned_abs()),
            }),
        }
    }
}

impl Queues {
    /// Where a number stands; an open turn is claimed.
    pub async fn poll(
        &self,
        name: &QueueName,
        user: UserId,
        number: QueueNumber,
        confirmed: Epoch,
    ) -> Result<Place, Error> {
        let line = self.line(name).await?;
        line.poll(self.clock.now_ms());
        let place = self.place(&line, user, number, confirmed).await;
        // Whoever may have lost his place has to come back before anybody is admitted.
        let is_back = match &place {
            Ok(place) => place.confirmed == line.epoch(),
            Err(error) => error.code() == Code::TurnEnded,
        };
        if confirmed != line.epoch() && !is_back {
            line.turn_away();
        }
        place
    }

    pub(super) async fn place(
        &self,
        line: &Arc<Line>,
        user: UserId,
        number: QueueNumber,
        confirmed: Epoch,
    ) -> Result<Place, Error> {
        match self.find(line, user, number, confirmed).await? {
            Found::Waiting(place) => Ok(place),
            Found::Open(turn) => Box::pin(self.active(line, turn)).await,
        }
    }

    /// Where a number stands, for somebody who only listens: a turn is shown, and its owner has still to claim it.
    pub async fn glance(
        &self,
        line: &Arc<Line>,
        user: UserId,
        number: QueueNumber,
        confirmed: Epoch,
    ) -> Result<Place, Error> {
        match self.find(line, user, number, confirmed).await? {
            Found::Waiting(place) => Ok(place),
            Found::Open(turn) => self.in_turn(line, &turn),
        }
    }

    /// From memory when it can.
    async fn find(
        &self,
        line: &Arc<Line>,
        user: UserId,
        number: QueueNumber,
        confirmed: Epoch,
    ) -> Result<Found, Error> {
        let seen = self.renew_snapshot(line).await;
        if line.has_left(number) {
            return Err(Error::turn_ended());
        }
        let (snapshot, epoch) = (line.snapshot(), line.epoch());
        let certain = seen.is_ok() && !line.is_in_doubt();
        // A line in which nobody waits behind a batch, or that counts fewer, has lost him, or let him in, or has not been
        // looked at since he came.
        let newest = QueueNumber::base(epoch) + snapshot.figures.arrivals;
        let is_given = number.0 <= newest || number <= line.given_in(epoch);
        let figures = snapshot.figures;
        let waits = number > figures.serving && figures.waiting > figures.pending && is_given;
        if certain && confirmed == epoch && waits {
            return Ok(Found::Waiting(self.waiting(line, &snapshot, number, Some(epoch))));
        }
        // Boxed, so that a poll from memory is small.
        Box::pin(self.find_out(line, (user, number, confirmed), seen)).await
    }

    /// Redis is asked when the number has come up, or was confirmed in another epoch; SQL only when Redis knows nothing
    /// of it, or that it has a turn.
    async fn find_out(
        &self,
        line: &Arc<Line>,
        (user, number, confirmed): (UserId, QueueNumber, Epoch),
        seen: Result<(), Error>,
    ) -> Result<Found, Error> {
        let epoch = line.epoch();
        let returned = match seen {
            // Whoever could not watch the line would wait as long again for nothing.
            Err(_) => None,
            Ok(()) if confirmed != epoch => Some(self.enter(line, (user, number)).await?),
            Ok(()) => match self.standing(line, user, number).await {
                Ok(Standing::Waiting | Standing::Pending) => Some(Returned::Waiting(number)),
                Ok(Standing::Absent) => Some(self.enter(line, (user, number)).await?),
                Ok(Standing::Stale) => {
                    self.doubt(line);
                    None
                }
                Ok(Standing::Ungiven) => {
                    if self.redis_line(line).await?.disown(number).await? {
                        self.doubt(line);
                    }
                    None
                }
                Ok(Standing::Active) | Err(_) => None,
            },
        };
        let known = match returned {
            Some(returned) => returned,
            None => self.sql.fate(line.queue().id, user, number).await?.into(),
        };
        match known {
            Returned::Waiting(number) => {
                let place = self.waiting(line, &line.snapshot(), number, Some(epoch));
                Ok(Found::Waiting(place))
            }
            Returned::Open(turn) => Ok(Found::Open(turn)),
            Returned::Dead => Err(Error::turn_ended()),
            // Its turn has not come, and what Redis says of it cannot be trusted: the place is in the token.
            Returned::Unsure => {
                let place = self.waiting(line, &line.snapshot(), number, None);
                Ok(Found::Waiting(Place { confirmed, ..place }))
            }
        }
    }

    /// Claims the open turn of somebody who was heard of without asking for his place.
    pub async fn claim(
        &self,
        line: &Arc<Line>,
        user: UserId,
        number: QueueNumber,
    ) -> Result<(), Error> {
        match self.sql.fate(line.queue().id, user, number).await? {
            Fate::Open(turn) => self.active(line, turn).await.map(drop),
            Fate::Dead | Fate::Unknown => Ok(()),
        }
    }

    /// Claims the turn if nobody has, and says how long it lasts.
    pub(super) async fn active(&self, line: &Arc<Line>, turn: Turn) -> Result<Place, Error> {
        let (queue, now) = (line.queue(), self.clock.now_ms());
        let turn = if turn.claimed_at.is_some() {
            turn
        } else {
            let ends_at = now + queue.policy.session_seconds * 1_000;
            self.sql
                .claim(queue.id, turn.number, now, ends_at)
                .await?
                .ok_or_else(Error::turn_ended)?
        };
        self.in_turn(line, &turn)
    }

    /// A turn that goes on, and how long.
    fn in_turn(&self, line: &Line, turn: &Turn) -> Result<Place, Error> {
        let (queue, now) = (line.queue(), self.clock.now_ms());
        if turn.ended_at.is_some() || now >= turn.ends_at {
            return Err(Error::turn_ended());
        }
        let poll_after_ms =
            (turn.ends_at - now).clamp(POLL_MS_MIN as i64, self.config.poll_seconds_max * 1_000);
        Ok(Place {
            queue: queue.name.clone(),
            number: turn.number,
            draw_number: line.draw_number(turn.number),
            confirmed: queue.epoch,
            status: Status::Active { expires_at: turn.ends_at, poll_after_ms },
            reason: None,
        })
    }

    /// A waiting place by this snapshot. `confirmed` is the epoch in which Redis knows of it: none while that is in doubt.
    pub(super) fn waiting(
        &self,
        line: &Line,
        snapshot: &Snapshot,
        number: QueueNumber,
        confirmed: Option<Epoch>,
    ) -> Place {
        let (queue, now) = (line.queue(), self.clock.now_ms());
        let last_seen = line.position(snapshot, number);
        let position = last_seen.filter(|_| confirmed.is_some());
        let reason = match confirmed {
            Some(_) => line.reason(now),
            None => Some(Reason::Rebuilding),
        };
        let stands = reason.is_some_and(Reason::stops);
        let eta = position.filter(|_| !stands).and_then(|at| snapshot.pace.flow().eta(at));
        let interval = Interval {
            // Before a draw everybody has everybody before him.
            position: last_seen.unwrap_or(snapshot.figures.waiting.max(1)),
            // On a ramp the rate of this moment says nothing about the turn that comes before the next poll.
            rate_per_second: queue.highest_rate(now, now + self.config.poll_seconds_max * 1_000),
            claim_seconds: queue.policy.claim_seconds,
            poll_seconds_max: self.config.poll_seconds_max,
            polls_per_second: snapshot.polls_per_second,
        };
        let status = Status::Waiting { position, eta, poll_after_ms: interval.poll_after_ms() };
        let confirmed = confirmed.unwrap_or(queue.epoch);
        let draw_number = line.draw_number(number);
        Place { queue: queue.name.clone(), number, draw_number, confirmed, status, reason }
    }
}

/// What a number turned out to be.
enum Found {
    Waiting(Place),
    Open(Turn),
}
