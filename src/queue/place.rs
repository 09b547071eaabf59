//! Where a number stands, and how its owner is told: position, estimate, when to ask again. It grants nothing but the
//! claim of a turn that SQL has opened.

use std::sync::Arc;

use super::redis::Standing;
use super::{Fate, Line, Queue, Queues, Reason, Turn};
use crate::chance;
use crate::error::Error;
use crate::ids::{Epoch, QueueName, QueueNumber, UserId};

/// Told intervals, their floor and how far a crowd is spread.
const POLL_MS_MIN: f64 = 500.0;
const POLL_JITTER: f64 = 0.2;
/// An estimate is this far off either way when the outflow was measured, and when it is only the set rate.
const ETA_LOW: f64 = 0.8;
const ETA_HIGH: f64 = 1.5;

/// Where a person stands, as he is told it.
#[derive(Clone, Debug)]
pub struct Place {
    pub queue: QueueName,
    pub number: QueueNumber,
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

/// Seconds until the turn: the estimate and its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eta {
    pub seconds: i64,
    pub low: i64,
    pub high: i64,
}

impl Queues {
    /// Where a number stands. From memory when it can; Redis is asked only when the number has come up, SQL only
    /// when Redis knows nothing of it.
    pub async fn poll(
        &self,
        name: &QueueName,
        user: UserId,
        number: QueueNumber,
        confirmed: Epoch,
    ) -> Result<Place, Error> {
        let line = self.line(name).await?;
        line.touch(self.clock.now_ms());
        self.place(&line, user, number, confirmed).await
    }

    pub(super) async fn place(
        &self,
        line: &Arc<Line>,
        user: UserId,
        number: QueueNumber,
        confirmed: Epoch,
    ) -> Result<Place, Error> {
        let epoch = line.queue().epoch;
        let seen = self.renew_snapshot(line).await;
        let certain = seen.is_ok() && !line.is_in_doubt();
        if line.has_left(number) {
            return Err(Error::turn_ended());
        }
        if certain && confirmed == epoch && number > line.snapshot().figures.serving {
            return Ok(self.waiting(line, number, epoch, true));
        }
        // Whoever could not watch the line would wait as long again for nothing.
        let standing = match seen {
            Ok(()) => self.standing(line, user, number).await,
            Err(error) => Err(error),
        };
        match standing {
            Ok(Standing::Waiting | Standing::Pending) => {
                Ok(self.waiting(line, number, epoch, true))
            }
            Ok(Standing::Active | Standing::Absent | Standing::Stale) | Err(_) => {
                match (self.sql.fate(line.queue().id, user, number).await?, standing) {
                    (Fate::Dead, _) => Err(Error::turn_ended()),
                    (Fate::Open(turn), _) => self.active(line, turn).await,
                    // Its turn has not come, and what Redis says of it cannot be trusted: the place is in the token.
                    (Fate::Unknown, Ok(Standing::Absent | Standing::Stale)) => {
                        self.doubt(line);
                        Ok(self.waiting(line, number, confirmed, false))
                    }
                    (Fate::Unknown, _) => Ok(self.waiting(line, number, confirmed, false)),
                }
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
        if turn.ended_at.is_some() || now >= turn.ends_at {
            return Err(Error::turn_ended());
        }
        let poll_after_ms =
            (turn.ends_at - now).clamp(POLL_MS_MIN as i64, self.config.poll_seconds_max * 1_000);
        Ok(Place {
            queue: queue.name.clone(),
            number: turn.number,
            confirmed: queue.epoch,
            status: Status::Active { expires_at: turn.ends_at, poll_after_ms },
            reason: None,
        })
    }

    fn waiting(&self, line: &Line, number: QueueNumber, confirmed: Epoch, certain: bool) -> Place {
        let queue = line.queue();
        let snapshot = line.snapshot();
        let last_seen = snapshot.position(number);
        let position = certain.then_some(last_seen);
        let reason = if certain { line.reason() } else { Some(Reason::Rebuilding) };
        let rate = queue.policy.rate_per_second;
        let flows = if snapshot.outflow > 0.0 { snapshot.outflow } else { rate };
        let eta = position.filter(|_| flows > 0.0 && reason.is_none()).map(|position| {
            let seconds = position as f64 / flows;
            let whole = |share: f64| (seconds * share).ceil() as i64;
            Eta { seconds: whole(1.0), low: whole(ETA_LOW), high: whole(ETA_HIGH) }
        });
        let poll_after_ms = self.poll_after_ms(&queue, last_seen);
        let status = Status::Waiting { position, eta, poll_after_ms };
        Place { queue: queue.name.clone(), number, confirmed, status, reason }
    }

    /// When to ask again: sooner near the front, never so late that a turn could pass unclaimed.
    fn poll_after_ms(&self, queue: &Queue, position: i64) -> i64 {
        let longest = self.config.poll_seconds_max as f64 * 1_000.0;
        let earliest_turn = position as f64 / (2.0 * queue.policy.rate_per_second) * 1_000.0;
        let claim_slack = (queue.policy.claim_seconds as f64 - 5.0).max(1.0) * 1_000.0;
        let told = earliest_turn.min(longest).min(earliest_turn + claim_slack).max(POLL_MS_MIN);
        chance::jitter(told, POLL_JITTER).clamp(POLL_MS_MIN, longest) as i64
    }
}
