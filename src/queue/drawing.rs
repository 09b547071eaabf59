//! A queue that opens with a draw: announcing it, joining it, opening it, and what everybody may know of it. How the
//! order follows from the seed stands in `draw.rs`; the opening itself is a change of policy, in `sql/queues.rs`.

use std::sync::Arc;

use super::draw::{Draw, Order, Seed};
use super::joining::JOINS_MAX;
use super::redis::{Announced, Asked, Drawn, Joined};
use super::{Line, Queues};
use crate::auth::QueueToken;
use crate::chance;
use crate::error::{Code, Error};
use crate::ids::{QueueName, UserId};
use crate::sql::audit::NewAudit;

impl Queues {
    /// Announces a draw. From the answer on nobody gets a place in this queue but by it, on whichever instance.
    pub async fn announce_draw(
        &self,
        name: &QueueName,
        operator: &str,
    ) -> Result<Arc<Line>, Error> {
        let line = self.line(name).await?;
        let audit = NewAudit::of_queue(self.clock.now_ms(), operator, "draw.announce", name);
        let seed = Seed::new(chance::bytes());
        // Asked before anything is written: without Redis nothing is announced.
        self.redis_line(&line).await?;
        self.learn(self.sql.announce_draw(name, &seed, audit).await?);
        if self.begin_draw(&line).await? {
            return Ok(line);
        }
        Err(Error::refused(Code::QueueInUse, "somebody has joined this queue already"))
    }

    /// Tells Redis that a draw is on. `false`: somebody is in the line already, and the draw is taken back.
    async fn begin_draw(&self, line: &Line) -> Result<bool, Error> {
        match self.redis_line(line).await?.draw_announce().await? {
            Announced::Yes => Ok(true),
            Announced::InUse => {
                let name = &line.queue().name;
                let audit = NewAudit::of_queue(self.clock.now_ms(), "usher", "draw.withdraw", name);
                self.learn(self.sql.withdraw_draw(name, audit).await?);
                Ok(false)
            }
            Announced::Stale => Err(self.doubt(line)),
        }
    }

    /// Asks for numbers of the draw that is on. What the next ones are worth is computed here, from how many were given
    /// as far as this instance knows; `attempt` counts how often others were faster.
    pub(super) async fn ask_draw(
        &self,
        (line, draw): (&Line, &Draw),
        people: &[UserId],
        waiting_max: i64,
        attempt: usize,
    ) -> Result<Asked, Error> {
        let redis = self.redis_line(line).await?;
        let known = line.drawn_in(redis.epoch);
        // Room for what others give meanwhile.
        let next = people.len() + attempt * JOINS_MAX;
        let number = |n| draw.coming(redis.epoch, known + n).map(|x| draw.number(x));
        let numbers = (1..=next as i64).map(number).collect::<Option<_>>();
        let numbers = numbers.ok_or_else(Error::queue_rebuilding)?;
        let drawn = Drawn { known, numbers };
        let asked = redis.draw_join(people, &drawn, waiting_max, self.clock.now_ms()).await?;
        match &asked {
            Asked::Behind(drawn) => line.note_drawn(redis.epoch, *drawn),
            Asked::Joined(joined) => {
                let new = joined.iter().filter_map(|joined| match joined {
                    Joined::New(number) => draw.draw_number(*number).map(Draw::nth),
                    _ => None,
                });
                line.note_drawn(redis.epoch, new.max().unwrap_or(known));
            }
            _ => {}
        }
        Ok(asked)
    }

    /// Redis said that the draw is not as our copy of the row has it: reads the row, and brings the one that is late up
    /// to the other.
    pub(super) async fn agree_on_draw(&self, line: &Line) -> Result<(), Error> {
        self.reread(line).await?;
        if line.queue().has_draw_on() {
            self.begin_draw(line).await.map(drop)
        } else {
            self.open_draw(line).await
        }
    }

    /// Ends the draw in Redis once its row says that it is opened, and computes its order: once an instance.
    pub(super) async fn open_draw(&self, line: &Line) -> Result<(), Error> {
        let queue = line.queue();
        let is_due = |draw: &&Draw| draw.opened_at.is_some() && line.lacks_order(&queue);
        let Some(draw) = queue.draw.as_ref().filter(is_due) else { return Ok(()) };
        let _one = line.opening.lock().await;
        if !line.lacks_order(&queue) {
            return Ok(());
        }
        let size = match draw.size {
            Some(size) => size,
            None => self.count_drawn(line).await?,
        };
        let (seed, epoch) = (draw.seed.clone(), draw.epoch);
        let came: Vec<i64> = draw.lost.iter().copied().chain([size]).collect();
        let order = tokio::task::spawn_blocking(move || Order::of(&seed, epoch, &came)).await;
        line.order(order.map_err(|_| Error::bug("the order of a draw could not be computed"))?);
        tracing::info!(queue.name = %queue.name, draw.size = size, "opened the draw");
        Ok(())
    }

    /// Ends the draw in Redis. How many were drawn is noted in SQL, for the day when this Redis is gone.
    async fn count_drawn(&self, line: &Line) -> Result<i64, Error> {
        let drawn = self.redis_line(line).await?.draw_open().await?;
        let size = drawn.ok_or_else(|| self.doubt(line))?;
        if let Err(error) = self.sql.note_draw_size(line.queue().id, size).await {
            tracing::warn!(queue.name = %line.queue().name, %error, "the size of a draw was not noted");
        }
        Ok(size)
    }

    /// The draw of a queue, and its size once nobody can join it any more. Before that its seed is nobody's business.
    pub async fn draw(&self, name: &QueueName) -> Result<(Draw, Option<i64>), Error> {
        let line = self.line(name).await?;
        self.open_draw(&line).await?;
        let missing =
            || Error::refused(Code::DrawNotFound, format!("the queue `{name}` has no draw"));
        let draw = line.queue().draw.clone().ok_or_else(missing)?;
        let size = line.known_order().map(|order| order.size());
        Ok((draw, size))
    }

    /// The place that a token stands for. Of a draw it names the draw number, which says nothing of its owner's luck.
    /// Boxed, so that it is small for everybody else.
    pub async fn unveil(&self, token: QueueToken) -> Result<QueueToken, Error> {
        match token.number.drawn() {
            None => Ok(token),
            Some(n) => Box::pin(self.unveil_drawn(token, n)).await,
        }
    }

    async fn unveil_drawn(&self, token: QueueToken, n: i64) -> Result<QueueToken, Error> {
        let unknown = || Error::refused(Code::TokenInvalid, "its queue has no such draw");
        let line = self.line(&token.queue).await.map_err(|error| match error.code() {
            Code::QueueNotFound => unknown(),
            _ => error,
        })?;
        let epoch = token.number.epoch();
        let number = || {
            let known = line.known_order().filter(|order| order.epoch() == epoch);
            let looked_up = known.and_then(|order| order.number(n));
            let queue = line.queue();
            let draw = queue.draw.as_ref().filter(|draw| draw.epoch == epoch)?;
            Some(looked_up.unwrap_or_else(|| draw.number(n)))
        };
        let number = match number() {
            Some(number) => number,
            None => {
                // It may have been announced a moment ago.
                self.reread(&line).await?;
                number().ok_or_else(unknown)?
            }
        };
        Ok(QueueToken { number, ..token })
    }
}

impl Line {
    /// Whether its draw has no order yet: until then it gives no places.
    pub fn is_undrawn(&self) -> bool {
        self.lacks_order(&self.queue())
    }
}
