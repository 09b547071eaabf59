//! Joins share calls. What a number is worth is not decided here.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::redis::{Asked, Joined};
use super::{Fate, Line, Queues};
use crate::error::Error;
use crate::ids::{QueueNumber, UserId};
use crate::together::Together;

/// People in one call: it stays well under 5 ms.
pub(super) const JOINS_MAX: usize = 200;
/// How often numbers are asked for while other instances give theirs, or a draw begins or ends.
const ATTEMPTS_MAX: usize = 8;

/// The way to the one task that asks Redis for a queue's numbers.
pub type Joining = Together<UserId, Joined>;

impl Queues {
    /// The number of a person, asked for together with others.
    pub(super) async fn ask_number(&self, line: &Arc<Line>, user: UserId) -> Result<Joined, Error> {
        let begin = || {
            self.serving(line, |queues, line, people| async move {
                queues.numbers(&line, &people).await
            })
        };
        line.joining.ask(user, (&self.work, JOINS_MAX), begin).await
    }

    /// Whether a number that Redis has in the line is over, as far as SQL says: its owner left, and Redis did not hear of it.
    pub(super) async fn is_ghost(&self, line: &Line, user: UserId, number: QueueNumber) -> bool {
        let fate = async || self.sql.fate(line.queue().id, user, number).await;
        line.has_left(number) || matches!(fate().await, Ok(Fate::Dead))
    }

    async fn numbers(&self, line: &Line, people: &[UserId]) -> Result<Vec<Joined>, Error> {
        // Nobody new where nobody may join: but a place that is held already is shown.
        let may_join = line.queue().policy.mode.lets_people_join();
        let waiting_max = if may_join { self.config.waiting_max } else { 0 };
        for attempt in 0..ATTEMPTS_MAX {
            let queue = line.queue();
            let asked = match queue.draw.as_ref().filter(|_| queue.has_draw_on()) {
                Some(draw) => self.ask_draw((line, draw), people, waiting_max, attempt).await?,
                None => {
                    let redis = self.redis_line(line).await?;
                    redis.join(people, waiting_max, self.clock.now_ms()).await?
                }
            };
            match asked {
                Asked::Joined(joined) => {
                    let new = joined.iter().filter_map(|joined| match joined {
                        Joined::New(number) if number.drawn().is_none() => Some(number.0),
                        _ => None,
                    });
                    line.issued.fetch_max(new.max().unwrap_or(0), Ordering::Relaxed);
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
}
