//! Numbers for those who join: they share calls to Redis, and who has a number already keeps it while SQL has not ended
//! it.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::redis::{Asked, Joined};
use super::sql::Look;
use super::{Fate, Line, Place, Queues, Turn};
use crate::error::{Code, Error};
use crate::ids::{QueueName, QueueNumber, UserId};
use crate::together::Together;

/// People in one call: it stays well under 5 ms.
pub(super) const JOINS_MAX: usize = 200;
/// How often numbers are asked for while other instances give theirs, or a draw begins or ends.
const ATTEMPTS_MAX: usize = 8;
/// How long joins wait to hear whether somebody among them has left: without SQL people line up all the same.
const GHOSTS_WAIT: Duration = Duration::from_millis(250);

/// The way to the one task that asks Redis for a queue's numbers.
pub type Joining = Together<UserId, Joined>;

impl Queues {
    /// Gives a person a number, or the one he has, and says where he stands. Most people join far from the front: what
    /// only the others need is boxed, so that a join is small.
    pub async fn join(&self, name: &QueueName, user: UserId) -> Result<Place, Error> {
        let line = self.line(name).await?;
        line.touch(self.clock.now_ms());
        let epoch = line.epoch();
        let number = match self.ask_number(&line, user).await? {
            Joined::New(number) => number,
            other => match Box::pin(self.number(&line, user, other)).await? {
                Numbered::Active(turn) => return self.active(&line, turn).await,
                Numbered::Waiting(number) => number,
            },
        };
        if self.comes_up_soon(&line, number, 1) {
            // He has his number, whatever became of the tick.
            if let Err(error) = Box::pin(self.wait_for_admission(&line, user, number)).await {
                tracing::debug!(%error, "a join did not wait for its admission");
            }
        }
        self.place(&line, user, number, epoch).await
    }

    /// The number of a person, asked for together with others.
    async fn ask_number(&self, line: &Arc<Line>, user: UserId) -> Result<Joined, Error> {
        let begin = || {
            self.serving(line, |queues, line, people| async move {
                queues.numbers(&line, &people).await
            })
        };
        line.joining.ask(user, (&self.work, JOINS_MAX), begin).await
    }

    /// The number of somebody who is not new, or who finds no room.
    async fn number(
        &self,
        line: &Arc<Line>,
        user: UserId,
        mut joined: Joined,
    ) -> Result<Numbered, Error> {
        let id = line.queue().id;
        // Twice: a number whose turn SQL has ended is taken out, then the person joins anew.
        for _ in 0..2 {
            match joined {
                Joined::Waiting(number) | Joined::Pending(number) if line.has_left(number) => {
                    self.redis_line(line).await?.leave(user, number).await?;
                }
                Joined::New(number) | Joined::Waiting(number) | Joined::Pending(number) => {
                    return Ok(Numbered::Waiting(number));
                }
                Joined::Active(number) => match self.sql.fate(id, user, number).await? {
                    Fate::Open(turn)
                        if turn.claimed_at.is_none() || self.clock.now_ms() < turn.ends_at =>
                    {
                        return Ok(Numbered::Active(turn));
                    }
                    Fate::Open(turn) => self.end_overdue(line, &turn).await?,
                    Fate::Dead | Fate::Unknown => {
                        self.redis_line(line).await?.leave(user, number).await?;
                    }
                },
                Joined::Full => return Err(queue_full()),
                Joined::Closed => return Err(queue_closed()),
                Joined::Unsure => return Err(Error::queue_rebuilding()),
            }
            joined = self.ask_number(line, user).await?;
        }
        match joined {
            Joined::New(number) => Ok(Numbered::Waiting(number)),
            _ => Err(Error::queue_rebuilding()),
        }
    }

    /// Ends a turn whose time is over before the tick has looked at it: its owner wants to line up again.
    async fn end_overdue(&self, line: &Line, turn: &Turn) -> Result<(), Error> {
        self.sql.end_overdue(line.queue().id, turn.number, self.clock.now_ms()).await?;
        self.redis_line(line).await?.leave(turn.user, turn.number).await.map(drop)
    }

    async fn numbers(&self, line: &Line, people: &[UserId]) -> Result<Vec<Joined>, Error> {
        for attempt in 0..ATTEMPTS_MAX {
            let queue = line.queue();
            // Nobody new where nobody may join: but a place that is held already is shown.
            let may_join = queue.policy.mode.lets_people_join();
            let waiting_max = if may_join { self.config.waiting_max } else { 0 };
            let asked = match queue.draw.as_ref().filter(|_| queue.has_draw_on()) {
                Some(draw) => self.ask_draw((line, draw), people, waiting_max, attempt).await?,
                None => {
                    let redis = self.redis_line(line).await?;
                    redis.join(people, waiting_max, self.clock.now_ms()).await?
                }
            };
            match asked {
                Asked::Joined(mut joined) => {
                    self.find_ghosts(line, people, &mut joined).await;
                    let new = joined.iter().filter_map(|joined| match joined {
                        Joined::New(number) if number.drawn().is_none() => Some(number.0),
                        _ => None,
                    });
                    line.issued.fetch_max(new.max().unwrap_or(0), Ordering::Relaxed);
                    if !may_join {
                        let refused = joined.iter_mut().filter(|joined| **joined == Joined::Full);
                        refused.for_each(|joined| *joined = Joined::Closed);
                    }
                    return Ok(joined);
                }
                Asked::Behind(_) => {}
                Asked::Drawing | Asked::Opened | Asked::Unannounced => {
                    self.agree_on_draw(line).await?;
                }
                Asked::Stale => return Err(self.doubt(line)),
            }
        }
        Err(Error::queue_rebuilding())
    }

    /// Who left, and Redis did not hear of it, waits for nothing: his number is SQL's to tell, as that of a turn is. While
    /// SQL is silent numbers are believed, but for those that may have come back with an older state of Redis.
    async fn find_ghosts(&self, line: &Line, people: &[UserId], joined: &mut [Joined]) {
        let waits = |(user, joined): (&UserId, &Joined)| match joined {
            Joined::Waiting(number) => Some((*user, *number)),
            _ => None,
        };
        let waiting: Vec<Look> = people.iter().zip(&*joined).filter_map(waits).collect();
        let fates = self.sql.fates(line.queue().id, &waiting);
        let Ok(Ok(fates)) = tokio::time::timeout(GHOSTS_WAIT, fates).await else {
            let epoch = line.epoch();
            let is_old = |joined: &&mut Joined| matches!(joined, Joined::Waiting(number) if number.epoch() != epoch);
            joined.iter_mut().filter(is_old).for_each(|joined| *joined = Joined::Unsure);
            return;
        };
        let dead: HashSet<Look> = waiting
            .into_iter()
            .zip(fates)
            .filter_map(|(look, fate)| (fate == Fate::Dead).then_some(look))
            .collect();
        for (user, joined) in people.iter().zip(joined) {
            if let Joined::Waiting(number) = *joined
                && dead.contains(&(*user, number))
            {
                *joined = Joined::Active(number);
            }
        }
    }
}

fn queue_closed() -> Error {
    Error::refused(Code::QueueClosed, "nobody can join this queue now")
}

fn queue_full() -> Error {
    Error::Busy {
        code: Code::QueueFull,
        detail: "as many people wait as this queue can hold".to_owned(),
        retry_after: Duration::from_secs(30),
    }
}

/// A person who asked for a number.
enum Numbered {
    Waiting(QueueNumber),
    Active(Turn),
}
