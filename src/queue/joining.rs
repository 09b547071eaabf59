//! Joins share calls: whoever comes while Redis answers those before him is asked for in the next call, with everybody
//! who came meanwhile, in the order of their coming. What a number is worth is not decided here.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock, Weak};

use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::redis::{Asked, Joined};
use super::{Inner, Line, Queues};
use crate::error::Error;
use crate::ids::UserId;

/// People in one call: it stays well under 5 ms.
pub(super) const JOINS_MAX: usize = 200;
/// People who wait for their call; further ones wait for room. As many as requests are served at once.
const COMING_MAX: usize = 8_192;
/// How often numbers are asked for while other instances give theirs, or a draw begins or ends.
const ATTEMPTS_MAX: usize = 8;

/// Somebody who asks for a number.
struct Coming {
    user: UserId,
    tell: oneshot::Sender<Result<Joined, Error>>,
    /// Whoever hangs up is asked for all the same: the process does not stop before that.
    _at_work: TaskTrackerToken,
}

/// The way to the one task that asks Redis for a queue's numbers; it begins with the first person.
#[derive(Default)]
pub struct Joining(OnceLock<mpsc::Sender<Coming>>);

impl Queues {
    /// The number of a person, asked for together with others.
    pub(super) async fn ask_number(&self, line: &Arc<Line>, user: UserId) -> Result<Joined, Error> {
        let (tell, told) = oneshot::channel();
        let coming = line.joining.0.get_or_init(|| {
            let (coming, people) = mpsc::channel(COMING_MAX);
            tokio::spawn(ask(Arc::downgrade(&self.inner), Arc::downgrade(line), people));
            coming
        });
        let gone = || Error::bug("nobody asks for numbers any more");
        coming
            .send(Coming { user, tell, _at_work: self.work.token() })
            .await
            .map_err(|_| gone())?;
        told.await.map_err(|_| gone())?
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
                Asked::Joined(joined) => return Ok(joined),
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

/// Asks for as many as there are, again and again, for as long as there is a queue to join.
async fn ask(queues: Weak<Inner>, line: Weak<Line>, mut people: mpsc::Receiver<Coming>) {
    let mut batch = Vec::with_capacity(JOINS_MAX);
    while people.recv_many(&mut batch, JOINS_MAX).await > 0 {
        let (Some(inner), Some(line)) = (queues.upgrade(), line.upgrade()) else { return };
        let users: Vec<UserId> = batch.iter().map(|coming: &Coming| coming.user).collect();
        let queues = Queues { inner };
        // Whatever happens to these people, the next ones are asked for.
        let asked = AssertUnwindSafe(queues.numbers(&line, &users)).catch_unwind().await;
        let numbers = asked.unwrap_or_else(|_| Err(Error::bug("asking for numbers panicked")));
        // Who hung up does not hear his answer; his place is kept all the same.
        match numbers {
            Ok(numbers) => batch.drain(..).zip(numbers).for_each(|(coming, joined)| {
                let _ = coming.tell.send(Ok(joined));
            }),
            Err(error) => {
                // Whoever came while it failed does not wait for it to fail again.
                while let Ok(coming) = people.try_recv() {
                    batch.push(coming);
                }
                for coming in batch.drain(..) {
                    let _ = coming.tell.send(Err(error.shared()));
                }
            }
        }
    }
}
