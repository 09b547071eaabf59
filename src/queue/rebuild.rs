//! A line whose state in Redis is in doubt is made anew, in a new epoch: the turns from SQL, the places from their owners'
//! tokens. There is one way back, from a wipe, a restart, a rollback, another server alike. Who admits meanwhile, and who
//! comes back, stands elsewhere.

use std::sync::atomic::Ordering;

use super::redis::RedisLine;
use super::redis::rebuild::{Published, Resumed};
use super::{Line, Queue, Queues};
use crate::crash_point;
use crate::error::Error;
use crate::ids::{Epoch, QueueNumber};

/// Whoever began an epoch is left alone for this long; then anybody begins another.
const LEASE_MS: i64 = 5_000;
/// The last epoch that is begun: numbers of a later one are near the end of what a queue number can say.
const EPOCH_MAX: Epoch = 8_000;
/// Turns in one call.
const FILL_MAX: u64 = 400;
/// Beyond the longest poll interval: time for the last of those who wait to be heard of.
const RETURN_SLACK_MS: i64 = 2_000;

impl Queues {
    /// Makes the state of a line certain again, if it is this instance's turn to do so: finds that somebody else has, or
    /// begins an epoch. Called again until it succeeds.
    pub(super) async fn rebuild(&self, line: &Line) -> Result<(), Error> {
        self.reread(line).await?;
        if self.is_certain(line).await {
            return Ok(());
        }
        let now = self.clock.now_ms();
        if now - line.queue().epoch_at < LEASE_MS {
            return Err(Error::queue_rebuilding());
        }
        // The connection may lead to a server that is no longer the one.
        let connection = self.redis.reconnect().await?;
        let lineage = connection.lineage.clone();
        if self.is_certain(line).await {
            return Ok(());
        }
        let old = line.queue();
        if old.epoch >= EPOCH_MAX {
            tracing::error!(queue.name = %old.name, "this queue has used up its epochs: sell from another one");
            return Err(Error::queue_rebuilding());
        }
        let (redis, keys, epoch) = (&self.redis, &line.keys, old.epoch);
        // A server that refuses to write would use up one epoch after the other.
        RedisLine { redis, connection, keys, epoch }.rebuild_begin().await?;
        let came = (self.arrived(line, &old).await?, line.drawn_in(old.epoch));
        let begun = self.sql.begin_epoch(&old, &lineage, came, self.clock.now_ms()).await?;
        let Some(queue) = begun else {
            return Err(Error::queue_rebuilding());
        };
        crash_point!("rebuild.after_epoch");
        tracing::warn!(queue.name = %queue.name, queue.epoch = queue.epoch, "rebuilding the line");
        self.learn(queue);
        self.fill(line).await?;
        metrics::counter!("usher_rebuilds_total", "queue" => old.name.to_string()).increment(1);
        line.marks_due.store(true, Ordering::Relaxed);
        let redis = self.redis_line(line).await?;
        self.watch(line, &redis).await
    }

    /// How many had arrived in an epoch, as far as this instance or SQL knows; without those who were drawn.
    async fn arrived(&self, line: &Line, queue: &Queue) -> Result<i64, Error> {
        let given = QueueNumber(line.issued.load(Ordering::Relaxed));
        let issued = self.sql.issued(queue.id).await?.max(given);
        let issued = if issued.epoch() == queue.epoch { issued.arrival() } else { 0 };
        let snapshot = line.snapshot();
        let seen = if snapshot.epoch == queue.epoch { snapshot.figures.arrivals } else { 0 };
        Ok(issued.max(seen))
    }

    /// Whether the row and the server agree; then nothing is in doubt any more.
    async fn is_certain(&self, line: &Line) -> bool {
        let watched = async { self.watch(line, &self.redis_line(line).await?).await };
        watched.await.is_ok()
    }

    /// What is read here was committed before the epoch, or is fenced by it: no turn can be opened behind our back.
    async fn fill(&self, line: &Line) -> Result<(), Error> {
        let queue = line.queue();
        let redis = self.redis_line(line).await?;
        let mut mine = redis.rebuild_begin().await?;
        crash_point!("rebuild.after_begin");
        let mut after = QueueNumber(0);
        while mine {
            let open = self.sql.open_turns(queue.id, after, FILL_MAX).await?;
            let Some((_, last)) = open.last() else { break };
            after = *last;
            mine = redis.rebuild_fill(&open, &[], self.clock.now_ms()).await?;
        }
        if queue.has_draw_on() {
            mine = mine && self.fill_left(&queue, &redis).await?;
        }
        crash_point!("rebuild.before_publish");
        let serving = self.sql.serving(queue.id).await?;
        let now = self.clock.now_ms();
        let published = Published {
            serving,
            manual_total: queue.manual_total,
            pause_until: now + self.return_ms(),
            drawing: queue.draw.as_ref().map(|draw| draw.opened_at.is_none()),
        };
        mine = mine && redis.rebuild_publish(&published, now).await?;
        crash_point!("rebuild.after_publish");
        if mine { Ok(()) } else { Err(Error::queue_rebuilding()) }
    }

    /// Whoever left a draw is not drawn a second time.
    async fn fill_left(&self, queue: &Queue, redis: &RedisLine<'_>) -> Result<bool, Error> {
        let (mut after, mut mine) = (QueueNumber(0), true);
        while mine {
            let left = self.sql.left_draw(queue, after, FILL_MAX).await?;
            let Some((_, last)) = left.last() else { break };
            after = *last;
            mine = redis.rebuild_fill(&[], &left, self.clock.now_ms()).await?;
        }
        Ok(mine)
    }

    /// Lets people be admitted again, once those who wait have had the time to come back. Whether they are.
    pub(super) async fn resume(&self, line: &Line, redis: &RedisLine<'_>) -> Result<bool, Error> {
        let now = self.clock.now_ms();
        let began = line.snapshot().figures.pause_until - self.return_ms();
        let refused_at = Some(self.refused_at.load(Ordering::Relaxed)).filter(|at| *at > began);
        let last_at = line.has_turned_away().then_some(now).max(refused_at);
        let asked_until = last_at.map(|at| at + self.return_ms());
        match redis.rebuild_resume(now, asked_until).await? {
            Resumed::Yes => {
                self.watch(line, redis).await?;
                tracing::info!(queue.name = %line.queue().name, "people are back; admission goes on");
                Ok(true)
            }
            Resumed::NotYet => {
                self.watch(line, redis).await?;
                Ok(false)
            }
            Resumed::Stale => Err(self.doubt(line)),
        }
    }

    /// Somebody was refused unread, and may have come for his place: after a rebuild people get more time to come back.
    pub fn refuse_unread(&self) {
        self.refused_at.store(self.clock.now_ms(), Ordering::Relaxed);
    }

    /// By then everybody has asked for his place once.
    fn return_ms(&self) -> i64 {
        self.config.poll_seconds_max * 1_000 + RETURN_SLACK_MS
    }
}
