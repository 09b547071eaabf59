//! The line: join, place, claim, and what operators do to it. The rules, in plain Rust: how Redis is asked stands in
//! `redis/`, what SQL grants in `sql/`, how HTTP says it in `http/`; admission has a file of its own.

pub mod admission;
#[cfg(feature = "broken")]
mod broken;
pub mod draw;
mod drawing;
mod entering;
mod events;
pub mod http;
mod interval;
mod joining;
pub mod line;
pub mod operators;
pub mod pace;
pub mod place;
pub mod policy;
pub mod ramp;
mod rebuild;
pub mod redis;
pub mod schedule;
mod seal;
mod snapshot;
pub mod sql;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::concert::Concerts;
use crate::config::QueueConfig;
use crate::error::{Code, Error};
use crate::ids::{QueueName, QueueNumber, UserId};
use crate::recent::Recent;
use crate::redis::Redis;
use crate::sql::Sql;
use crate::sql::audit::NewAudit;
use admission::STOCK_MS;
pub use events::{Announcement, Heard, LOOK_EVERY, SILENCE_MS_MAX};
pub use line::Line;
pub use pace::Eta;
pub use place::{Place, Reason, Status};
use redis::{RedisLine, Standing};
pub use snapshot::{LineState, Snapshot};
pub use sql::{Fate, Queue, Totals, Turn};

/// Rows that changed this long before the last reading are read again: instances' clocks differ a little, and a change
/// is seen when it is committed.
const REREAD_OVERLAP_MS: i64 = 5_000;
/// A turn that closed this long ago and is still open was forgotten: its queue is not ticked.
const FORGOTTEN_MS: i64 = 60_000;

/// Every queue, and the rules of lining up.
#[derive(Clone)]
pub struct Queues {
    inner: Arc<Inner>,
}

impl std::ops::Deref for Queues {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.inner
    }
}

pub struct Inner {
    pub(crate) redis: Redis,
    pub(crate) sql: Sql,
    pub(crate) clock: Clock,
    pub(crate) concerts: Concerts,
    pub(crate) config: QueueConfig,
    /// Work that goes on when whoever wanted it hangs up.
    work: TaskTracker,
    /// How far Redis's clock is ahead of ours.
    skew: Recent<i64>,
    /// Whether the clock was off when it was last compared.
    clock_is_off: AtomicBool,
    /// When somebody who may have come for his place was last refused unread.
    refused_at: AtomicI64,
    lines: ArcSwap<HashMap<QueueName, Arc<Line>>>,
    /// When the rows were last read.
    refreshed_at: AtomicI64,
    /// Tells that a queue is new here, or its row another.
    pub changed: Notify,
}

impl Queues {
    pub async fn open(
        (redis, sql): (Redis, Sql),
        clock: Clock,
        concerts: Concerts,
        (config, work): (QueueConfig, TaskTracker),
    ) -> Result<Self, Error> {
        let inner = Inner {
            redis,
            sql,
            clock,
            concerts,
            config,
            work,
            skew: Recent::default(),
            clock_is_off: AtomicBool::new(false),
            refused_at: AtomicI64::new(0),
            lines: ArcSwap::default(),
            refreshed_at: AtomicI64::new(0),
            changed: Notify::new(),
        };
        let queues = Self { inner: Arc::new(inner) };
        queues.refresh().await?;
        queues.make_main().await?;
        Ok(queues)
    }

    /// What serves requests for a line that came together, for as long as both are there.
    fn serving<Q: Send + 'static, A, F>(
        &self,
        line: &Arc<Line>,
        serve: fn(Self, Arc<Line>, Vec<Q>) -> F,
    ) -> impl Fn(Vec<Q>) -> BoxFuture<'static, Result<Vec<A>, Error>> + use<Q, A, F>
    where
        F: Future<Output = Result<Vec<A>, Error>> + Send + 'static,
    {
        let (queues, line) = (Arc::downgrade(&self.inner), Arc::downgrade(line));
        move |requests| {
            let here = (queues.upgrade(), line.upgrade());
            Box::pin(async move {
                let (Some(inner), Some(line)) = here else {
                    return Err(Error::bug("the queues are gone"));
                };
                serve(Self { inner }, line, requests).await
            })
        }
    }

    /// Reads the queues that changed since the last time.
    pub async fn refresh(&self) -> Result<(), Error> {
        let now = self.clock.now_ms();
        let since = self.refreshed_at.load(Ordering::Relaxed) - REREAD_OVERLAP_MS;
        for queue in self.sql.queues_changed(since).await? {
            self.learn(queue);
        }
        self.refreshed_at.store(now, Ordering::Relaxed);
        Ok(())
    }

    /// Takes a row that was just read; the queue's line in this process.
    fn learn(&self, queue: Queue) -> Arc<Line> {
        if let Some(line) = self.lines.load().get(&queue.name) {
            if line.learn(&queue) {
                self.changed.notify_one();
            }
            return line.clone();
        }
        let name = queue.name.clone();
        let line = Arc::new(Line::new(self.sql.installation(), queue));
        self.lines.rcu(|lines| {
            let mut lines = HashMap::clone(lines);
            lines.entry(name.clone()).or_insert_with(|| line.clone());
            lines
        });
        self.changed.notify_one();
        self.lines.load().get(&name).cloned().unwrap_or(line)
    }

    /// The queue of this name; another instance may have made it a moment ago.
    pub async fn line(&self, name: &QueueName) -> Result<Arc<Line>, Error> {
        if let Some(line) = self.lines.load().get(name) {
            return Ok(line.clone());
        }
        let queue = Box::pin(self.sql.queue_named(name)).await?;
        let missing = || Error::refused(Code::QueueNotFound, format!("there is no queue `{name}`"));
        Ok(self.learn(queue.ok_or_else(missing)?))
    }

    /// The queue that sells a concert.
    pub fn line_of_id(&self, id: i64) -> Option<Arc<Line>> {
        self.lines.load().values().find(|line| line.queue().id == id).cloned()
    }

    pub fn lines(&self) -> Vec<Arc<Line>> {
        let mut lines: Vec<_> = self.lines.load().values().cloned().collect();
        lines.sort_by_key(|line| line.queue().id);
        lines
    }

    /// The queues that somebody asks for.
    pub fn lines_asked_for(&self) -> Vec<Arc<Line>> {
        let now = self.clock.now_ms();
        self.lines.load().values().filter(|line| line.is_asked_for(now)).cloned().collect()
    }

    async fn reread(&self, line: &Line) -> Result<(), Error> {
        if let Some(queue) = self.sql.queue_named(&line.queue().name).await? {
            line.learn(&queue);
        }
        Ok(())
    }

    /// The queue as its row says right now.
    pub async fn reread_line(&self, name: &QueueName) -> Result<Arc<Line>, Error> {
        let line = self.line(name).await?;
        self.reread(&line).await?;
        Ok(line)
    }

    /// The queue with figures that are fresh, or as fresh as Redis lets them be.
    pub async fn look(&self, name: &QueueName) -> Result<Arc<Line>, Error> {
        let line = self.line(name).await?;
        if let Err(error) = self.renew_snapshot(&line).await {
            tracing::debug!(queue.name = %name, %error, "the line was not watched anew");
        }
        Ok(line)
    }

    /// Ends turns whose queue nobody asks for any more; the ticks look after the others.
    pub async fn end_forgotten_turns(&self) -> Result<u64, Error> {
        let now = self.clock.now_ms();
        self.sql.end_forgotten_turns(now - FORGOTTEN_MS, now).await
    }

    async fn standing(
        &self,
        line: &Line,
        user: UserId,
        number: QueueNumber,
    ) -> Result<Standing, Error> {
        self.redis_line(line).await?.place(user, number).await
    }

    /// Watches the line again when the last look is old. Age counts from the coming: so positions never rise, whichever
    /// instance is asked, for anybody who asks no more often than a look lasts.
    async fn renew_snapshot(&self, line: &Line) -> Result<(), Error> {
        let came = self.clock.now_ms();
        match self.fresh_snapshot(line, came) {
            Some(()) => Ok(()),
            None => Box::pin(self.look_again(line, came)).await,
        }
    }

    fn fresh_snapshot(&self, line: &Line, came: i64) -> Option<()> {
        let at = line.snapshot_at();
        // A clock that was put back makes no look young.
        (came - at < snapshot::SNAPSHOT_MS && at <= self.clock.now_ms()).then_some(())
    }

    async fn look_again(&self, line: &Line, came: i64) -> Result<(), Error> {
        // Without SQL the line moves no further, but everybody can be told where he stands.
        if let Err(error) = self.open_draw(line).await {
            tracing::debug!(queue.name = %line.queue().name, %error, "the draw was not opened here");
        }
        if let Err(error) = self.count_stock(line, STOCK_MS).await {
            tracing::debug!(queue.name = %line.queue().name, %error, "the stock was not counted anew");
        }
        let watch = async || self.watch(line, &self.redis_line(line).await?).await;
        line.watching.renew(&self.clock, || self.fresh_snapshot(line, came), watch).await
    }

    async fn watch(&self, line: &Line, redis: &RedisLine<'_>) -> Result<(), Error> {
        let (at, given) = (self.clock.now_ms(), line.given_in(redis.epoch));
        match redis.watch().await? {
            // It forgets numbers that we gave: it was put back to an older state.
            Some(figures) if figures.arrivals < given.arrival() => {
                redis.disown(given).await?;
                Err(self.doubt(line))
            }
            Some(figures) => {
                line.show(figures, redis.epoch, at);
                Ok(())
            }
            None => Err(self.doubt(line)),
        }
    }

    /// The queue's state in Redis, if this connection leads to the server that holds it.
    pub async fn redis_line<'a>(&'a self, line: &'a Line) -> Result<RedisLine<'a>, Error> {
        let connection = self.redis.connection().await?;
        let is_its = |line: &Line| line.queue().lineage.as_deref() == Some(&*connection.lineage);
        if !is_its(line) {
            // Another instance may have settled it already: the row of this moment decides, not our copy.
            self.reread(line).await?;
        }
        let queue = line.queue();
        let redis = RedisLine {
            redis: &self.redis,
            connection: connection.clone(),
            keys: &line.keys,
            epoch: queue.epoch,
        };
        if queue.lineage.is_none() && queue.epoch == 1 && redis.open().await? {
            self.sql.adopt(queue.id, &connection.lineage, self.clock.now_ms()).await?;
            self.reread(line).await?;
        }
        if is_its(line) { Ok(redis) } else { Err(self.doubt(line)) }
    }

    /// The state in Redis is not what SQL expects: nobody is admitted until it is certain again. Whoever found it has
    /// asked for the line, so that the ticks see to it.
    fn doubt(&self, line: &Line) -> Error {
        line.touch(self.clock.now_ms());
        if line.doubt() {
            tracing::error!(queue.name = %line.queue().name, "the line's state in Redis is in doubt; admission stops");
        }
        Error::queue_rebuilding()
    }

    async fn make_main(&self) -> Result<(), Error> {
        let main = QueueName::main();
        match self.line(&main).await {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Code::QueueNotFound => {
                let audit = NewAudit::of_queue(self.clock.now_ms(), "usher", "queue.create", &main);
                match self.sql.create_queue(&main, &policy::Policy::default(), audit).await {
                    Ok(queue) => drop(self.learn(queue)),
                    // Another instance was first.
                    Err(error) if error.code() == Code::QueueExists => {
                        drop(self.line(&main).await?);
                    }
                    Err(error) => return Err(error),
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}
