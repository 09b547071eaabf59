//! The few long-lived things, and how they are built. Cheap to clone; no rules, no I/O of its own.

use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::auth::{Desk, Identities, QueueToken, Tokens};
use crate::booking::Bookings;
use crate::clock::{Clock, SKEW_MS_MAX};
use crate::concert::{Concerts, CreateConcert, CreateRows, CreateSeats, CreateTier};
use crate::config::{Config, RedisConfig};
use crate::embedded::PrivateRedis;
use crate::error::{Code, Error};
use crate::http::figures::Telling;
use crate::http::health::Looks;
use crate::http::limits::{Limits, room};
use crate::http::measure::Measurements;
use crate::ids::{QueueName, UserId};
use crate::pages::Pages;
use crate::payment::Payments;
use crate::queue::{Line, Place, Queues};
use crate::redis::Redis;
use crate::sql::Sql;
use crate::telemetry;

/// Twice the skew that readiness tolerates: whoever may give a hold away judges this much later than its owner.
const GRACE_MS: i64 = 2 * SKEW_MS_MAX;
/// Work that must finish is answered by then, or its outcome is said to be unknown.
const WORK_TIMEOUT: Duration = Duration::from_secs(5);
/// The demo concert is a month away.
const DEMO_STARTS_IN_SECONDS: i64 = 30 * 86_400;

/// Everything a handler may need. Every request clones it, so it is one pointer.
#[derive(Clone)]
pub struct App(Arc<Parts>);

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// What an `App` is made of.
pub struct Parts {
    pub queue: Queues,
    pub concert: Concerts,
    pub booking: Bookings,
    pub payment: Payments,
    pub config: Config,
    pub clock: Clock,
    pub started_at: i64,
    pub tokens: Tokens,
    pub desk: Desk,
    /// `None`: everybody is who he says (`open`).
    pub identities: Option<Identities>,
    pub limits: Arc<Limits>,
    pub looks: Looks,
    /// What buyers' requests cost.
    pub measured: Arc<Measurements>,
    pub figures: Telling,
    pub pages: Pages,
    pub sql: Sql,
    pub redis: Redis,
    /// The Redis that this process started, if it did.
    pub private_redis: Option<PrivateRedis>,
    /// Work that goes on when its client hangs up.
    pub work: TaskTracker,
    /// The process is told to stop: whatever would never end by itself ends now.
    pub stopping: CancellationToken,
    pub metrics: PrometheusHandle,
}

impl App {
    /// Connects, migrates, and reads what must be known before the first request. When it fails, or is told to `stop`
    /// meanwhile, everything is as it was: a seal is broken last of all.
    pub async fn build(
        config: Config,
        clock: Clock,
        stop: &CancellationToken,
    ) -> Result<Self, Error> {
        clock.check()?;
        let identities = Identities::new(&config.auth.identity)?;
        let sql = unless(stop, Sql::connect(&config.sql)).await?;
        let (url, private_redis) = match &config.redis {
            RedisConfig::Url(url) => (url.clone(), None),
            RedisConfig::Private { dir, program } => {
                let private = PrivateRedis::start(dir, program.as_deref()).await?;
                (private.url(), Some(private))
            }
        };
        let furnished = unless(stop, async {
            if let Some(private) = &private_redis {
                private.ready().await?;
            }
            let machines = (Redis::new(&url)?, sql.clone());
            Self::furnish((config, clock), machines, identities, private_redis.clone()).await
        });
        let built = match furnished.await {
            Ok(app) if private_redis.is_some() => app.queue.unseal().await.map(|()| app),
            built => built,
        };
        if built.is_err() {
            if let Some(private) = &private_redis {
                private.leave_as_found().await;
            }
            sql.close().await;
        }
        built
    }

    async fn furnish(
        (config, clock): (Config, Clock),
        (redis, sql): (Redis, Sql),
        identities: Option<Identities>,
        private_redis: Option<PrivateRedis>,
    ) -> Result<Self, Error> {
        // Where everybody goes by one clock, nobody can be late by another's.
        let grace_ms = if clock.is_shared() || config.sql.is_sqlite() { 0 } else { GRACE_MS };
        let machines = || (redis.clone(), sql.clone());
        let concert = Concerts::new(sql.clone(), clock.clone());
        let work = TaskTracker::new();
        let line = (config.queue.clone(), work.clone());
        let queue = Queues::open(machines(), clock.clone(), concert.clone(), line).await?;
        let booking =
            Bookings::new(machines(), clock.clone(), concert.clone(), queue.clone(), grace_ms);
        let payment = Payments::new(sql.clone(), clock.clone(), booking.clone(), work.clone());
        Ok(Self(Arc::new(Parts {
            queue,
            concert,
            booking,
            payment,
            tokens: Tokens::new(&config.auth),
            desk: Desk::new(&config.auth.admin_key),
            identities,
            limits: Arc::new(Limits::new(&config.http)),
            looks: Looks::default(),
            measured: Arc::default(),
            figures: Telling::default(),
            pages: Pages::new(&config.pages)?,
            config,
            started_at: clock.now_ms(),
            clock,
            sql,
            redis,
            private_redis,
            work,
            stopping: CancellationToken::new(),
            metrics: telemetry::metrics()?,
        })))
    }

    /// The random name of the database, which prefixes every key in Redis.
    pub fn installation(&self) -> &str {
        self.sql.installation()
    }

    /// Seals and stops the private Redis, and closes the database. Whoever built an `App` closes it, also when it never
    /// came to serve: the state that was unsealed must be sealed again.
    pub async fn close(&self) {
        if let Some(redis) = &self.private_redis {
            if let Err(error) = self.queue.seal().await {
                tracing::error!(%error, "the line could not be sealed; the next start will doubt it");
            }
            redis.stop().await;
        }
        self.sql.clone().close().await;
    }

    /// Runs work that must finish, whether or not its client waits for the answer.
    pub async fn detached<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let room = room();
        let work = async move {
            let _room = room;
            work.await
        };
        let work = self.work.spawn(work.in_current_span());
        match tokio::time::timeout(WORK_TIMEOUT, work).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panic)) => {
                Err(Error::Internal { context: "detached work panicked", source: panic.into() })
            }
            Err(elapsed) => Err(Error::OutcomeUnknown { source: elapsed.into() }),
        }
    }

    /// Signs a place into the hand of its owner.
    pub fn sign(&self, user: UserId, place: &Place) -> Result<String, Error> {
        let place_in_line = (place.veiled(), place.confirmed);
        self.tokens.sign(&place.queue, user, place_in_line, self.clock.now_ms())
    }

    /// Checks a token, and finds the place that it stands for.
    pub async fn verify(&self, token: &str) -> Result<QueueToken, Error> {
        self.queue.unveil(self.tokens.verify(token, self.clock.now_ms())?).await
    }

    /// Ticks one queue; a line that was rebuilt by it gets the marks of its seats back.
    pub async fn tick(&self, line: &Arc<Line>) -> Result<(), Error> {
        let ticked = self.queue.tick(line).await;
        self.booking.return_marks(line).await;
        ticked.map(drop)
    }

    /// Learns of keys that were rotated.
    pub async fn refresh_keys(&self) {
        self.tokens.refresh().await;
        if let Some(identities) = &self.identities {
            identities.refresh().await;
        }
    }

    /// Ticks every queue until nobody more can be admitted now. Tests call it; the server has a loop for it.
    pub async fn admit_once(&self) -> Result<(), Error> {
        for line in self.queue.lines() {
            self.queue.tick_in_turn(&line).await?;
            self.booking.return_marks(&line).await;
        }
        Ok(())
    }

    /// Repairs that may be late or never happen without breaking a promise.
    pub async fn housekeep(&self) -> Result<(), Error> {
        if let Err(error) = self.sql.stay_alone().await {
            tracing::error!(%error, "this instance may not be the only one");
        }
        let expired = self.booking.expire().await?;
        let ended = self.queue.end_forgotten_turns().await?;
        self.limits.forget_idle();
        // Samples of times are kept one by one until they are summed up, whether or not anybody asks for the figures.
        self.metrics.run_upkeep();
        if expired + ended > 0 {
            tracing::info!(expired, ended, "housekeeping");
        }
        Ok(())
    }

    /// Makes a small concert to try things on, unless there is a concert already.
    pub async fn make_demo_concert(&self) -> Result<(), Error> {
        if !self.concert.all().await?.is_empty() {
            return Ok(());
        }
        let queue = self.queue.line(&QueueName::main()).await?.queue();
        let rows = |names: &[&str], per_row| {
            let rows = names.iter().map(|name| (*name).to_owned()).collect();
            CreateSeats::Rows(CreateRows { rows, per_row })
        };
        let tier = |name: &str, price, seats| CreateTier { name: name.to_owned(), price, seats };
        let demo = CreateConcert {
            title: "Demo Night".to_owned(),
            place: "The Hall".to_owned(),
            starts_at: self.clock.now_ms() / 1_000 + DEMO_STARTS_IN_SECONDS,
            queue: None,
            tiers: vec![
                tier("stalls", 15_000, rows(&["A", "B", "C"], 10)),
                tier("circle", 9_000, rows(&["D", "E"], 10)),
            ],
        };
        self.concert.create(demo, (queue.id, &queue.name), "usher").await.map(drop)
    }
}

/// Does this unless it is told to stop first.
async fn unless<T>(
    stop: &CancellationToken,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let told = || Err(Error::refused(Code::Unavailable, "told to stop while starting"));
    stop.run_until_cancelled(work).await.unwrap_or_else(told)
}
