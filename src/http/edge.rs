//! What happens to every request on both listeners, in one pass: its name, its deadline, a panic's net, the
//! headers of the answer, the error written out, the measurement.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;

use super::reply;
use crate::chance;
use crate::error::{Code, Error};

const URI_BYTES_MAX: usize = 8 * 1_024;
const REQUEST_ID_CHARS_MAX: usize = 64;
/// No request is answered later than this; a body has its own deadline before it.
const DEADLINE: Duration = Duration::from_secs(15);
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// What a browser may load: nothing for an answer of the API, our own files for the page of `/docs`.
const API_CONTENT: &str = "default-src 'none'";
const PAGE_CONTENT: &str =
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'";

/// Wraps every route.
pub async fn edge(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let route =
        request.extensions().get::<MatchedPath>().map(|matched| matched.as_str().to_owned());
    let request_id = request_id(&request);
    let length = request.uri().path_and_query().map_or(0, |uri| uri.as_str().len());
    let response = if length > URI_BYTES_MAX {
        let detail = format!("an address is at most {URI_BYTES_MAX} bytes");
        Error::refused(Code::UriTooLong, detail).into_response()
    } else {
        answer(request, next).await
    };
    let mut response = reply::finish(response, &request_id, &path);
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    let content = if path.starts_with("/docs") { PAGE_CONTENT } else { API_CONTENT };
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(content));
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        headers.insert(REQUEST_ID, id);
    }
    measure(
        &method,
        route.as_deref().unwrap_or("none"),
        response.status().as_u16(),
        started.elapsed(),
    );
    response
}

async fn answer(request: Request, next: Next) -> Response {
    let safe = *request.method() == Method::GET || *request.method() == Method::HEAD;
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind();
    match tokio::time::timeout(DEADLINE, answered).await {
        Ok(Ok(response)) => response,
        Ok(Err(panic)) => {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no message")
                .to_owned();
            Error::Internal { context: "a handler panicked", source: said.into() }.into_response()
        }
        Err(_) if safe => Error::Busy {
            code: Code::Overloaded,
            detail: "this took too long".to_owned(),
            retry_after: Duration::from_secs(2),
        }
        .into_response(),
        Err(elapsed) => Error::OutcomeUnknown { source: elapsed.into() }.into_response(),
    }
}

/// The caller's name for the request if it is well formed, else one of ours.
fn request_id(request: &Request) -> String {
    let plain = |id: &&str| {
        (1..=REQUEST_ID_CHARS_MAX).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    let given = request.headers().get(&REQUEST_ID).and_then(|id| id.to_str().ok()).filter(plain);
    given.map_or_else(chance::name, str::to_owned)
}

fn measure(method: &Method, route: &str, status: u16, took: Duration) {
    // Anybody can invent a method; a label that grows with them would grow for ever.
    let label = match *method {
        Method::GET
        | Method::HEAD
        | Method::POST
        | Method::PUT
        | Method::PATCH
        | Method::DELETE => method.as_str(),
        _ => "other",
    };
    let labels =
        [("method", label.to_owned()), ("route", route.to_owned()), ("status", status.to_string())];
    metrics::counter!("usher_http_requests_total", &labels).increment(1);
    metrics::histogram!("usher_http_request_seconds", "route" => route.to_owned())
        .record(took.as_secs_f64());
}

/// An address that leads nowhere.
pub async fn not_found() -> Error {
    Error::refused(Code::NotFound, "there is nothing here")
}

/// A method that this address does not know; `Allow` says which it does.
pub async fn method_not_allowed() -> Error {
    Error::refused(Code::MethodNotAllowed, "this address has other methods")
}
