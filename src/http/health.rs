//! Whether this process lives, whether it can serve, and its figures for a monitor.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;

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
    responses((status = 200, body = Readiness), (status = 503, body = Readiness)))]
pub async fn readyz(State(app): State<App>) -> Response {
    let readiness = app.readiness().await;
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut response = (status, Json(readiness)).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("2"));
    }
    response
}

/// Figures in Prometheus's text form.
#[utoipa::path(get, path = "/metrics", tag = "health", responses((status = 200, content_type = "text/plain")))]
pub async fn metrics(State(app): State<App>) -> Response {
    let text = app.metrics_text();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
