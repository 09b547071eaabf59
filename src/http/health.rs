//! Whether this process lives, whether it can serve, and its figures for a monitor.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::watch;
use utoipa::ToSchema;

use super::extract::Operator;
use crate::app::App;
use crate::clock::{SKEW_MS_MAX, rfc3339};
use crate::doctor::{self, Finding};
use crate::error::{Code, Error};
use crate::queue::{LineState, Reason};

/// When a probe may come again.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// Readiness waits no longer than this for any machine.
const PROBE_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Probes that come within so long of the first share its look, however many they are. A fault is told of when both have
/// passed: within 2 s.
const LOOK_MS: i64 = 400;

/// What readiness found.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Readiness {
    pub ready: bool,
    /// `ok` or what is wrong with the connection.
    pub redis: String,
    pub database: String,
    /// `ok`, or how far the clocks are apart.
    pub clock: String,
    /// `rebuilding` is everybody's, so it does not make this instance unready.
    pub queue: LineState,
}

/// How an instance is, for operators.
#[derive(Serialize, ToSchema)]
pub struct Health {
    pub version: &'static str,
    #[schema(format = DateTime)]
    pub started_at: String,
    /// By this instance's clock.
    #[schema(format = DateTime)]
    pub now: String,
    #[serde(flatten)]
    #[schema(inline)]
    pub readiness: Readiness,
    /// What `usher doctor` finds right now.
    pub findings: Vec<Finding>,
}

/// Alive: the process answers.
#[utoipa::path(get, path = "/livez", operation_id = "livez", tag = "health", security(()),
    responses((status = 200, description = "`ok`", body = String, content_type = "text/plain")))]
pub async fn livez() -> &'static str {
    "ok"
}

/// Ready: this instance reaches Redis and the database, and their clocks agree.
#[utoipa::path(get, path = "/readyz", operation_id = "readyz", tag = "health", security(()),
    responses((status = 200, description = "Ready", body = Readiness)))]
pub async fn readyz(State(app): State<App>) -> Result<Json<Readiness>, Error> {
    let not = |detail| Error::Busy { code: Code::Unavailable, detail, retry_after: RETRY_AFTER };
    if app.work.is_closed() {
        return Err(not("not ready: it is told to stop".to_owned()));
    }
    let readiness = examine(&app).await?;
    if readiness.ready {
        return Ok(Json(readiness));
    }
    let Readiness { redis, database, clock, .. } = readiness;
    Err(not(format!("not ready: Redis: {redis}; database: {database}; clock: {clock}")))
}

/// How this instance and its machines are: all of it, also when it is not ready.
#[utoipa::path(get, path = "/admin/health", operation_id = "get_health", tag = "operators",
    responses((status = 200, description = "What was found", body = Health)))]
pub async fn health(State(app): State<App>, _: Operator) -> Result<Json<Health>, Error> {
    let (readiness, findings) = tokio::join!(examine(&app), doctor::examine(&app.config));
    Ok(Json(Health {
        version: env!("CARGO_PKG_VERSION"),
        started_at: rfc3339(app.started_at),
        now: rfc3339(app.clock.now_ms()),
        readiness: readiness?,
        findings,
    }))
}

/// Figures in Prometheus's text form.
#[utoipa::path(get, path = "/metrics", operation_id = "metrics", tag = "operators",
    responses((status = 200, description = "The figures", body = String, content_type = "text/plain")))]
pub async fn metrics(State(app): State<App>, _: Operator) -> Response {
    let text = figures(&app);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// What this instance knows of itself is of this moment; what its machines said may be of a moment ago.
pub async fn examine(app: &App) -> Result<Readiness, Error> {
    let Machines { redis, database } = app.looks.latest(app).await?;
    let is_off = |skew: &Result<i64, String>| matches!(skew, Ok(ms) if ms.abs() > SKEW_MS_MAX);
    // A clock in a test's hand is nowhere near the machines'.
    let off = !app.clock.is_manual() && (is_off(&redis) || is_off(&database));
    let rebuilding = app.queue.lines().iter().any(|line| line.is_rebuilding());
    let ready = redis.is_ok() && database.is_ok() && !off && !app.work.is_closed();
    let said = |probe: Result<i64, String>| probe.err().unwrap_or_else(|| "ok".to_owned());
    Ok(Readiness {
        ready,
        redis: said(redis),
        database: said(database),
        clock: if off { format!("more than {SKEW_MS_MAX} ms apart") } else { "ok".to_owned() },
        queue: LineState::of(rebuilding),
    })
}

/// What the machines said: how far each one's clock is from ours, or what is wrong.
#[derive(Clone, Debug)]
struct Machines {
    redis: Result<i64, String>,
    database: Result<i64, String>,
}

/// The last look at the machines, and when it began; it may still go on.
#[derive(Default)]
pub struct Looks(Mutex<Option<(i64, watch::Receiver<Option<Machines>>)>>);

impl Looks {
    async fn latest(&self, app: &App) -> Result<Machines, Error> {
        let mut looking = self.looking(app);
        let found = looking.wait_for(Option::is_some).await.ok().and_then(|found| found.clone());
        found.ok_or_else(|| Error::bug("a look at the machines was not finished"))
    }

    fn looking(&self, app: &App) -> watch::Receiver<Option<Machines>> {
        let now = app.clock.now_ms();
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((at, looking)) if (0..LOOK_MS).contains(&(now - at)) => looking.clone(),
            _ => {
                let (tell, told) = watch::channel(None);
                let look = look(app.clone());
                // Whoever hangs up shall not take along what others wait for.
                app.work.spawn(async move { tell.send_replace(Some(look.await)) });
                *last = Some((now, told.clone()));
                told
            }
        }
    }
}

async fn look(app: App) -> Machines {
    let sql_clock_ms = async {
        app.sql.stay_alone().await?;
        app.sql.clock_ms().await
    };
    let (redis, database) = tokio::join!(
        probe(app.clock.skew_ms(app.redis.clock_ms())),
        probe(app.clock.skew_ms(sql_clock_ms))
    );
    Machines { redis, database }
}

async fn probe(skew_ms: impl Future<Output = Result<i64, Error>>) -> Result<i64, String> {
    match tokio::time::timeout(PROBE_TIMEOUT, skew_ms).await {
        Ok(skew) => skew.map_err(|error| error.to_string()),
        Err(_) => Err("it does not answer in time".to_owned()),
    }
}

/// Every figure in Prometheus's text form, the line's read at this moment.
fn figures(app: &App) -> String {
    let now = app.clock.now_ms();
    for line in app.queue.lines() {
        let queue = line.queue();
        let figures = line.snapshot().figures;
        let gauge = |name: &'static str, value: f64| {
            metrics::gauge!(name, "queue" => queue.name.to_string()).set(value);
        };
        gauge("usher_waiting", figures.waiting as f64);
        gauge("usher_active", figures.active as f64);
        gauge("usher_active_max", queue.policy.active_max as f64);
        gauge("usher_rate_per_second", queue.rate_at(now));
        gauge("usher_cap", line.cap() as f64);
        let stands = line.reason(now).is_some_and(Reason::stops);
        gauge("usher_standing", f64::from(u8::from(stands)));
        gauge("usher_rebuilding", f64::from(u8::from(line.is_rebuilding())));
    }
    app.metrics.render()
}
