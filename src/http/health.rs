//! Whether this process lives, whether it can serve, and its figures for a monitor.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::Operator;
use crate::app::App;
use crate::clock::SKEW_MS_MAX;
use crate::error::{Code, Error};
use crate::queue::LineState;

/// When a probe may come again.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// Readiness waits no longer than this for any machine.
const PROBE_TIMEOUT: Duration = Duration::from_millis(1_500);

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
    let readiness = examine(&app).await;
    if readiness.ready {
        return Ok(Json(readiness));
    }
    let Readiness { redis, database, clock, .. } = readiness;
    let detail = format!("not ready: Redis: {redis}; database: {database}; clock: {clock}");
    Err(Error::Busy { code: Code::Unavailable, detail, retry_after: RETRY_AFTER })
}

/// Figures in Prometheus's text form.
#[utoipa::path(get, path = "/metrics", operation_id = "metrics", tag = "operators",
    responses((status = 200, description = "The figures", body = String, content_type = "text/plain")))]
pub async fn metrics(State(app): State<App>, _: Operator) -> Response {
    let text = figures(&app);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn examine(app: &App) -> Readiness {
    let sql_clock_ms = async {
        app.sql.stay_alone().await?;
        app.sql.clock_ms().await
    };
    let (redis, database) = tokio::join!(
        probe(app.clock.skew_ms(app.redis.clock_ms())),
        probe(app.clock.skew_ms(sql_clock_ms))
    );
    let is_off = |skew: &Result<i64, Error>| matches!(skew, Ok(ms) if ms.abs() > SKEW_MS_MAX);
    // A clock in a test's hand is nowhere near the machines'.
    let off = !app.clock.is_manual() && (is_off(&redis) || is_off(&database));
    let said = |probe: &Result<i64, Error>| match probe {
        Ok(_) => "ok".to_owned(),
        Err(error) => error.to_string(),
    };
    let rebuilding = app.queue.lines().iter().any(|line| line.is_rebuilding());
    Readiness {
        ready: redis.is_ok() && database.is_ok() && !off && !app.work.is_closed(),
        redis: said(&redis),
        database: said(&database),
        clock: if off { format!("more than {SKEW_MS_MAX} ms apart") } else { "ok".to_owned() },
        queue: LineState::of(rebuilding),
    }
}

async fn probe(skew_ms: impl Future<Output = Result<i64, Error>>) -> Result<i64, Error> {
    tokio::time::timeout(PROBE_TIMEOUT, skew_ms)
        .await
        .unwrap_or_else(|_| Err(Error::refused(Code::Unavailable, "it does not answer in time")))
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
        gauge("usher_rebuilding", f64::from(u8::from(line.is_rebuilding())));
    }
    app.metrics.render()
}
