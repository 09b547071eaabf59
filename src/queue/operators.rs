//! What operators do to a queue: make it, tune it, let people in by hand, look at it.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::join_all;
use serde::Serialize;
use utoipa::ToSchema;

use super::admission::STOCK_MS;
use super::policy::{Mode, Policy, PolicyView, TunePolicy};
use super::ramp::RampView;
use super::sql::{Expected, Queue, Totals};
use super::{Line, LineState, Queues, Reason};
use crate::clock::rfc3339;
use crate::error::{Code, Error};
use crate::ids::{IdempotencyKey, QueueName};
use crate::sql::audit::{AuditEntry, NewAudit};

/// The admissions of this long make the measured rate.
const MEASURED_MS: i64 = 10_000;
/// Turns one request may grant by hand.
pub const GRANT_MAX: i64 = 100_000;

/// A queue as operators see it.
#[derive(Debug, Serialize, ToSchema)]
pub struct QueueDetail {
    pub name: QueueName,
    pub policy: PolicyView,
    /// The rate in force: the policy's, or one on the way to it.
    #[schema(minimum = 0, maximum = 20_000)]
    pub rate_now_per_second: f64,
    /// `null`: the rate is the policy's.
    #[schema(required)]
    pub ramp: Option<RampView>,
    /// Grows with each change of the policy; its `ETag`.
    pub version: i64,
    /// `rebuilding` while the state in Redis is in doubt: then the figures are old.
    pub state: LineState,
    /// Why people wait although they might expect to move.
    #[schema(required)]
    pub reason: Option<Reason>,
    #[schema(minimum = 0)]
    pub waiting: i64,
    #[schema(minimum = 0)]
    pub active: i64,
    /// Turns at once up to which people are let in now: `active_max`, fewer where seats are scarce, none while no seat is
    /// free.
    #[schema(minimum = 0)]
    pub active_allowed: i64,
    /// The highest number admitted.
    pub serving_number: i64,
    /// Turns ever opened.
    #[schema(minimum = 0)]
    pub admitted_total: i64,
    /// Those of them that nobody claimed and that gave their credit back.
    #[schema(minimum = 0)]
    pub unclaimed_total: i64,
    /// Instant of the last batch.
    #[schema(required, format = DateTime)]
    pub last_admitted_at: Option<String>,
    /// Admissions a second over the last ten seconds.
    #[schema(minimum = 0)]
    pub measured_rate_per_second: f64,
    /// `null`: the queue sells nothing.
    #[schema(required, minimum = 0)]
    pub free_seats: Option<i64>,
    /// Free or held.
    #[schema(required, minimum = 0)]
    pub unsold_seats: Option<i64>,
}

/// A queue at one moment, for whoever looks on.
#[derive(Debug, Serialize, ToSchema)]
pub struct QueueFigures {
    pub name: QueueName,
    /// Grows with each change of the policy; its `ETag` is `"v…"`.
    pub version: i64,
    pub mode: Mode,
    pub message: String,
    /// `rebuilding` while the state in Redis is in doubt or cannot be read: then the figures are old.
    pub state: LineState,
    /// Why people wait although they might expect to move.
    #[schema(required)]
    pub reason: Option<Reason>,
    #[schema(minimum = 0)]
    pub waiting: i64,
    #[schema(minimum = 0)]
    pub active: i64,
    #[schema(minimum = 0)]
    pub active_max: i64,
    /// Turns at once up to which people are let in now.
    #[schema(minimum = 0)]
    pub active_allowed: i64,
    /// How long a turn may last.
    #[schema(minimum = 1)]
    pub session_seconds: i64,
    /// As the policy sets it.
    #[schema(minimum = 0, maximum = 20_000)]
    pub rate_per_second: f64,
    /// The rate in force: the policy's, or one on the way to it.
    #[schema(minimum = 0, maximum = 20_000)]
    pub rate_now_per_second: f64,
    /// Admissions a second over the last ten seconds.
    #[schema(minimum = 0)]
    pub measured_rate_per_second: f64,
    /// Turns ever opened.
    #[schema(minimum = 0)]
    pub admitted_total: i64,
    /// `null`: the queue sells nothing.
    #[schema(required)]
    pub seats: Option<SeatFigures>,
}

/// The seats of a queue's concerts by what they are.
#[derive(Debug, Serialize, ToSchema)]
pub struct SeatFigures {
    #[schema(minimum = 0)]
    pub available: i64,
    #[schema(minimum = 0)]
    pub held: i64,
    #[schema(minimum = 0)]
    pub sold: i64,
}

/// What came of admitting by hand.
#[derive(Debug, Serialize, ToSchema)]
pub struct Granted {
    #[schema(minimum = 1, maximum = 100_000)]
    pub count: i64,
    /// Turns ever granted by hand in this queue.
    #[schema(minimum = 1)]
    pub manual_total: i64,
}

impl Queues {
    pub async fn create(
        &self,
        name: &QueueName,
        policy: TunePolicy,
        operator: &str,
    ) -> Result<Arc<Line>, Error> {
        let policy = Policy::default().tuned(policy)?;
        let audit = NewAudit::of_queue(self.clock.now_ms(), operator, "queue.create", name);
        Ok(self.learn(self.sql.create_queue(name, &policy, audit).await?))
    }

    /// Changes the policy. It is in force here when this returns, and within half a second everywhere.
    pub async fn tune(
        &self,
        name: &QueueName,
        change: TunePolicy,
        expected: Expected,
        operator: &str,
    ) -> Result<Arc<Queue>, Error> {
        let due_by = self.due_by().await?;
        let audit = NewAudit::of_queue(self.clock.now_ms(), operator, "policy.tune", name);
        let line = self.learn(self.sql.tune(name, (change, expected), due_by, audit).await?);
        self.tick_soon(&line).await;
        Ok(line.queue())
    }

    /// Grants turns by hand: rate and mode do not apply, the cap does.
    pub async fn grant_by_hand(
        &self,
        name: &QueueName,
        count: i64,
        key: Option<IdempotencyKey>,
        operator: &str,
    ) -> Result<Granted, Error> {
        if !(1..=GRANT_MAX).contains(&count) {
            return Err(Error::field(
                Code::InvalidField,
                "/count",
                format!("is a whole number from 1 to {GRANT_MAX}"),
            ));
        }
        let audit =
            NewAudit::of_queue(self.clock.now_ms(), operator, "queue.admit", name).with_key(key);
        let line = self.learn(self.sql.grant_by_hand(name, count, audit).await?);
        self.tick_soon(&line).await;
        Ok(Granted { count, manual_total: line.queue().manual_total })
    }

    /// A queue with its figures of this moment.
    pub async fn detail(&self, line: &Line) -> Result<QueueDetail, Error> {
        let recent_since = self.clock.now_ms() - MEASURED_MS;
        Ok(self.described(line, self.sql.totals(line.queue().id, recent_since).await?).await)
    }

    /// Every queue, looked at all at once: a machine that is silent is waited for once.
    pub async fn details(&self) -> Result<Vec<QueueDetail>, Error> {
        let (lines, totals) = (self.lines(), self.totals().await?);
        let details = lines.iter().map(|line| {
            self.described(line, totals.get(&line.queue().id).copied().unwrap_or_default())
        });
        Ok(join_all(details).await)
    }

    async fn described(&self, line: &Line, totals: Totals) -> QueueDetail {
        // Where a machine is away the figures are old, and `state` says so.
        let fresh = async {
            self.open_draw(line).await?;
            self.count_stock(line, STOCK_MS).await?;
            self.watch(line, &self.redis_line(line).await?).await
        };
        let state = LineState::of(fresh.await.is_err() || line.is_rebuilding());
        let (queue, now) = (line.queue(), self.clock.now_ms());
        let stock = line.stock();
        let figures = line.snapshot().figures;
        QueueDetail {
            name: queue.name.clone(),
            policy: PolicyView::from(&queue.policy),
            rate_now_per_second: queue.rate_at(now),
            ramp: queue.ramp_view(now),
            version: queue.version,
            state,
            reason: line.reason(now),
            waiting: figures.waiting,
            active: figures.active,
            active_allowed: line.cap(),
            serving_number: line.counted(figures.serving).0,
            admitted_total: totals.admitted,
            unclaimed_total: totals.unclaimed,
            last_admitted_at: totals.last_admitted_at.map(rfc3339),
            measured_rate_per_second: per_second(totals),
            free_seats: (stock.seats > 0).then_some(stock.free),
            unsold_seats: (stock.seats > 0).then_some(stock.unsold),
        }
    }

    /// A queue's figures, as fresh as the machines let them be.
    pub async fn figures(&self, line: &Line, totals: Totals) -> QueueFigures {
        let seen = self.renew_snapshot(line).await;
        let (queue, now) = (line.queue(), self.clock.now_ms());
        let (policy, stock, figures) = (&queue.policy, line.stock(), line.snapshot().figures);
        if figures.active > 0 || figures.waiting > 0 {
            // Whoever looks on sees turns end, also when nobody else asks for the queue any more.
            line.touch(now);
        }
        QueueFigures {
            name: queue.name.clone(),
            version: queue.version,
            mode: policy.mode,
            message: policy.message.clone(),
            state: LineState::of(seen.is_err() || line.is_rebuilding()),
            reason: line.reason(now),
            waiting: figures.waiting,
            active: figures.active,
            active_max: policy.active_max,
            active_allowed: line.cap(),
            session_seconds: policy.session_seconds,
            rate_per_second: policy.rate_per_second,
            rate_now_per_second: queue.rate_at(now),
            measured_rate_per_second: per_second(totals),
            admitted_total: totals.admitted,
            seats: (stock.seats > 0).then_some(SeatFigures {
                available: stock.free,
                held: stock.unsold - stock.free,
                sold: stock.seats - stock.unsold,
            }),
        }
    }

    /// The turns of every queue, counted, by its id.
    pub async fn totals(&self) -> Result<HashMap<i64, Totals>, Error> {
        self.sql.all_totals(self.clock.now_ms() - MEASURED_MS).await
    }

    pub async fn audit(
        &self,
        queue: Option<&QueueName>,
        limit: u64,
        before: Option<i64>,
    ) -> Result<Vec<AuditEntry>, Error> {
        self.sql.audit(queue, limit, before).await
    }

    /// A tick for the sake of what just changed. The interval repeats it, so its failure is not the caller's.
    pub async fn tick_soon(&self, line: &Arc<Line>) {
        line.touch(self.clock.now_ms());
        if let Err(error) = self.tick_anew(line).await {
            tracing::warn!(queue.name = %line.queue().name, %error, "a tick failed; the next one repeats it");
        }
    }
}

fn per_second(totals: Totals) -> f64 {
    totals.recent as f64 * 1_000.0 / MEASURED_MS as f64
}
