//! Whether this process lives, whether it can serve, and its figures for a monitor.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::reply::Problem;
use crate::app::App;
use crate::error::{Code, Error};

/// When a probe may come again.
const RETRY_AFTER: std::time::Duration = std::time::Duration::from_secs(2);

/// What readiness found.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Readiness {
    pub ready: bool,
    /// `ok` or what is wrong with the connection.
    pub redis: String,
    pub database: String,
    /// `ok`, or how far the clocks are apart.
    pub clock: String,
    /// `ok` or `rebuilding`; the latter is everybody's, so it does not make this instance unready.
    pub queue: &'static str,
}

/// Alive: the process answers.
#[utoipa::path(get, path = "/livez", tag = "health", responses((status = 200, description = "The process lives")))]
pub async fn livez() -> &'static str {
    "ok"
}

/// Ready: this instance reaches Redis and the database, and their clocks agree.
#[utoipa::path(get, path = "/readyz", tag = "health",
    responses((status = 200, body = Readiness),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "`detail` says what is wrong")))]
pub async fn readyz(State(app): State<App>) -> Result<Json<Readiness>, Error> {
    let readiness = app.readiness().await;
    if readiness.ready {
        return Ok(Json(readiness));
    }
    let Readiness { redis, database, clock, .. } = readiness;
    let detail = format!("not ready: Redis: {redis}; database: {database}; clock: {clock}");
    Err(Error::Busy { code: Code::Unavailable, detail, retry_after: RETRY_AFTER })
}

/// Figures in Prometheus's text form.
#[utoipa::path(get, path = "/metrics", tag = "health", responses((status = 200, content_type = "text/plain")))]
pub async fn metrics(State(app): State<App>) -> Response {
    let text = app.metrics_text();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
