//! Admission: the tick. Reserve in Redis, grant in SQL, commit in Redis; any instance, any time, no leader.
//!
//! A crash between any two steps leaves the batch in `pend`, and the next tick, on whichever instance, does the same
//! batch again: the rows are keyed by number, so doing it twice is doing it once.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::error::Elapsed;
use tracing::Instrument;

use super::line::Line;
use super::redis::{Allowance, Reserved, Standing};
use super::sql::{Admitted, Batch, Grant, Look};
use super::{Queue, Queues, Reason};
use crate::clock::SKEW_MS_MAX;
use crate::crash_point;
use crate::error::{Code, Error, Machine};
use crate::ids::{QueueNumber, UserId};
use crate::telemetry::spans;

/// How long a join waits for an admission that is due at once.
const ADMISSION_WAIT: Duration = Duration::from_millis(500);
const ADMISSION_STEP: Duration = Duration::from_millis(20);
/// How often every instance ticks the queues that somebody asks for.
pub const TICK_MS: u64 = 200;
/// Unsold seats are counted at most this often.
pub(super) const STOCK_MS: i64 = 1_000;
/// Who has had his turn for this part of a session and holds nothing is not waited for: he may still buy.
const IDLE_SHARE: i64 = 2;
/// Our clock is compared with Redis's at most this often; a step of ours is seen at once, for it makes the last
/// comparison old.
const SKEW_MS: i64 = 1_000;
/// Beyond the longest poll interval: time for an answer to travel after a policy shortened the wait.
const CLAIM_SLACK_MS: i64 = 15_000;
/// Ticks in a row for one queue before the others get their turn.
const FULL_BATCHES_MAX: u32 = 40;
/// Beyond what any step of a tick takes while its machines answer, or say that they cannot.
const STEP_TIMEOUT: Duration = Duration::from_secs(15);

/// What one tick did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticked {
    pub opened: usize,
    /// Tick again at once: a full batch, numbers that were dropped, or turns that ended.
    pub again: bool,
}

impl Queues {
    /// Whether a turn is free for this number within the moment that a join waits, as far as memory knows; at least so
    /// many are believed to be free.
    pub(super) fn comes_up_soon(&self, line: &Line, number: QueueNumber, free_min: i64) -> bool {
        let (snapshot, now) = (line.snapshot(), self.clock.now_ms());
        let soon = line.queue().policy_at(now).admits_within(ADMISSION_WAIT);
        let free = (line.cap() - snapshot.figures.active).max(free_min);
        !line.reason(now).is_some_and(Reason::stops)
            && line.position(&snapshot, number).is_some_and(|position| position <= free.min(soon))
    }

    /// Ticks until a person at the head of the line is admitted, while a turn is free for him. A tick serves everybody
    /// who waits for it.
    pub(super) async fn wait_for_admission(
        &self,
        line: &Arc<Line>,
        user: UserId,
        number: QueueNumber,
    ) -> Result<(), Error> {
        let wait = async {
            let (mut shown, mut span) = (line.shown(), Duration::ZERO);
            loop {
                self.tick_unless_ticked_within(line, span).await?;
                // A clock in a test's hand does not move while we wait.
                if self.has_come_up(line, user, number).await?
                    || self.clock.is_manual()
                    || !self.comes_up_soon(line, number, 0)
                {
                    return Ok(());
                }
                let _ = tokio::time::timeout(ADMISSION_STEP, shown.changed()).await;
                span = ADMISSION_STEP;
                self.renew_snapshot(line).await?;
            }
        };
        tokio::time::timeout(ADMISSION_WAIT, wait).await.unwrap_or(Ok(()))
    }

    /// Whether a number is out of the line and out of the batch that is on its way into SQL.
    async fn has_come_up(
        &self,
        line: &Line,
        user: UserId,
        number: QueueNumber,
    ) -> Result<bool, Error> {
        if line.snapshot().figures.serving < number {
            return Ok(false);
        }
        let standing = self.standing(line, user, number).await?;
        Ok(!matches!(standing, Standing::Waiting | Standing::Pending))
    }

    /// Ticks one queue until there is nothing to do now. If this instance is ticking it already, that tick serves.
    pub async fn tick(&self, line: &Arc<Line>) -> Result<usize, Error> {
        let Ok(_alone) = line.ticking.try_lock() else { return Ok(0) };
        self.tick_locked(line).await
    }

    /// Ticks one queue, after whoever is ticking it now.
    pub async fn tick_in_turn(&self, line: &Arc<Line>) -> Result<usize, Error> {
        let _alone = line.ticking.lock().await;
        self.tick_locked(line).await
    }

    /// Ticks one queue for the sake of what has just changed: a tick that begins after this moment serves everybody
    /// who asked before it.
    pub async fn tick_anew(&self, line: &Arc<Line>) -> Result<(), Error> {
        let asked = line.ticks_asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut served = line.ticking.lock().await;
        if *served < asked {
            *served = line.ticks_asked.load(Ordering::SeqCst);
            self.tick_locked(line).await?;
        }
        Ok(())
    }

    /// Ticks one queue anew, unless a tick began within `span`. Whoever wants it may hang up: it goes on, for its batch
    /// is everybody's.
    pub(super) async fn tick_unless_ticked_within(
        &self,
        line: &Arc<Line>,
        span: Duration,
    ) -> Result<(), Error> {
        let since_ms = self.clock.now_ms() - line.ticked_at.load(Ordering::Relaxed);
        if (0..span.as_millis() as i64).contains(&since_ms) {
            return Ok(());
        }
        let (queues, line) = (self.clone(), line.clone());
        let tick = async move { queues.tick_anew(&line).await };
        let ticked = self.work.spawn(tick.in_current_span());
        ticked.await.map_err(|_| Error::bug("a tick panicked"))?
    }

    async fn tick_locked(&self, line: &Arc<Line>) -> Result<usize, Error> {
        spans::within(spans::tick(line.queue().name.as_str()), self.tick_until_full(line)).await
    }

    async fn tick_until_full(&self, line: &Arc<Line>) -> Result<usize, Error> {
        line.ticked_at.store(self.clock.now_ms(), Ordering::Relaxed);
        if line.is_in_doubt() {
            // Its pause and its lease are told by the clock of whoever begins it.
            self.check_clock().await?;
            in_time(self.rebuild(line)).await?;
        }
        let mut opened = 0;
        for _ in 0..FULL_BATCHES_MAX {
            let ticked = in_time(self.tick_once(line)).await?;
            opened += ticked.opened;
            if !ticked.again {
                break;
            }
        }
        Ok(opened)
    }

    async fn tick_once(&self, line: &Line) -> Result<Ticked, Error> {
        self.check_clock().await?;
        // When seats are what bounds the turns, a count from before the last sale would let people in to nothing.
        let age_ms_max = if line.is_bound_by_stock() { 0 } else { STOCK_MS };
        self.count_stock(line, age_ms_max).await?;
        self.open_draw(line).await?;
        let (queue, now) = (line.queue(), self.clock.now_ms());
        let policy = queue.policy_at(now);
        let cap = if queue.has_draw_on() { 0 } else { line.cap() };
        #[cfg(feature = "broken")]
        let (policy, cap) = super::broken::bent(policy, cap);
        let allowance = Allowance {
            version: queue.version,
            policy: &policy,
            cap,
            manual_total: queue.manual_total,
        };
        let redis = self.redis_line(line).await?;
        if line.snapshot().figures.pause_until > 0 && !self.resume(line, &redis).await? {
            return Ok(Ticked::default());
        }
        match redis.admit_reserve(&allowance, now).await? {
            Reserved::Stale => Err(self.doubt(line)),
            Reserved::OldPolicy => {
                self.reread(line).await?;
                Ok(Ticked { opened: 0, again: true })
            }
            Reserved::Batch { batch, looks, full } => {
                if batch.numbers.is_empty() && looks.is_empty() {
                    // Whoever waited for this tick sees the line as it left it.
                    self.watch(line, &redis).await?;
                    return Ok(Ticked::default());
                }
                crash_point!("tick.after_reserve");
                let mut granted = self.grant(&queue, &batch, &looks).await;
                if matches!(granted, Err(Error::OutcomeUnknown { .. })) {
                    // It may stand: until the line hears of it, everybody behind it is told a place too far back.
                    granted = self.grant(&queue, &batch, &looks).await;
                }
                let Some(admitted) = granted? else {
                    return Err(self.doubt(line));
                };
                crash_point!("tick.after_commit");
                let owed_max = policy.rate_per_second * policy.claim_seconds as f64;
                if !redis.admit_commit(&admitted, owed_max, self.clock.now_ms()).await? {
                    return Err(self.doubt(line));
                }
                crash_point!("tick.after_redis");
                self.watch(line, &redis).await?;
                report(&queue, &admitted);
                let again = full || !admitted.dropped.is_empty() || !admitted.gone.is_empty();
                Ok(Ticked { opened: admitted.opened.len(), again })
            }
        }
    }

    async fn grant(
        &self,
        queue: &Queue,
        batch: &Batch,
        looks: &[Look],
    ) -> Result<Option<Admitted>, Error> {
        // From the clock of this moment, not the batch's instant: that never runs back, and may be ahead.
        let claim_by = self.clock.now_ms() + queue.policy.claim_seconds * 1_000;
        // Whoever was told a long interval under the last policy still comes in time.
        let told_by = queue.changed_at + self.config.poll_seconds_max * 1_000 + CLAIM_SLACK_MS;
        let grant =
            Grant { queue_id: queue.id, epoch: queue.epoch, batch, looks, claim_by, told_by };
        self.sql.admit(&grant, &self.clock).await
    }

    /// Refuses to tick by a clock that is off: the bucket is everybody's, and one clock ahead fills it for all.
    async fn check_clock(&self) -> Result<(), Error> {
        if self.clock.is_manual() {
            return Ok(());
        }
        let measure = async || self.clock.skew_ms(self.redis.clock_ms()).await;
        let skew_ms = self.skew.get(&self.clock, SKEW_MS, measure).await?;
        let is_off = skew_ms.abs() > SKEW_MS_MAX;
        if self.clock_is_off.swap(is_off, Ordering::Relaxed) != is_off {
            tracing::warn!(
                skew_ms,
                is_off,
                "Redis's clock and ours; while they are apart this instance admits nobody"
            );
        }
        if !is_off {
            return Ok(());
        }
        Err(Error::Busy {
            code: Code::Unavailable,
            detail: format!("Redis's clock is {skew_ms} ms from ours: this instance admits nobody"),
            retry_after: Duration::from_millis(SKEW_MS.unsigned_abs()),
        })
    }

    /// Counts the seats that the queue's concerts have left, when the last count is older than this.
    pub(super) async fn count_stock(&self, line: &Line, age_ms_max: i64) -> Result<(), Error> {
        let queue = line.queue();
        let idle_ms = queue.policy.session_seconds * 1_000 / IDLE_SHARE;
        let count = async || self.concerts.stock(queue.id, idle_ms).await;
        line.stock.get(&self.clock, age_ms_max, count).await.map(drop)
    }
}

/// A machine that vanished without a word is not waited for: what was begun is done again by the next tick.
async fn in_time<T>(step: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let given_up = |elapsed: Elapsed| {
        Err(Error::Unavailable { machine: Machine::Sql, source: elapsed.into() })
    };
    tokio::time::timeout(STEP_TIMEOUT, step).await.unwrap_or_else(given_up)
}

fn report(queue: &Queue, admitted: &Admitted) {
    let count = |name: &'static str, value: usize| {
        metrics::counter!(name, "queue" => queue.name.to_string()).increment(value as u64);
    };
    count("usher_admissions_total", admitted.opened.len());
    count("usher_turns_ended_by_time_total", admitted.gone.len());
    if !admitted.opened.is_empty() {
        tracing::debug!(queue.name = %queue.name, opened = admitted.opened.len(), "admitted");
    }
}
