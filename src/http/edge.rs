//! What happens to every request on both listeners, in one pass: its name, its deadline, a panic's net, the
//! headers of the answer, the error written out, the measurement.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, Method, Uri, header};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use tokio_util::task::TaskTracker;
use tower::{Layer, Service};
use tracing::{Instrument, Span};

use super::json::BODY_TIMEOUT;
use super::measure::{Measurements, label};
use super::reply;
use crate::chance;
use crate::error::{Code, Error};
use crate::telemetry::spans;

const URI_BYTES_MAX: usize = 8 * 1_024;
const REQUEST_ID_CHARS_MAX: usize = 64;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// What a browser may load: nothing for an answer of the API, our own files for the page of `/docs`.
const API_CONTENT: &str = "default-src 'none'";
const PAGE_CONTENT: &str =
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'";

/// The edge as a layer. Its clones share what they measure: one for each listener.
#[derive(Clone)]
pub struct EdgeLayer {
    measured: Arc<Measurements>,
    work: TaskTracker,
    deadline: Duration,
}

impl EdgeLayer {
    /// Once this `work` is closed, the process is about to go. No request is answered later than its `deadline`; one that
    /// may bring a body has that body's own before it.
    pub fn new(measured: Arc<Measurements>, work: TaskTracker, deadline: Duration) -> Self {
        Self { measured, work, deadline }
    }
}

impl<S> Layer<S> for EdgeLayer {
    type Service = Edge<S>;

    fn layer(&self, inner: S) -> Edge<S> {
        Edge { inner, edge: self.clone() }
    }
}

/// Wraps the routes of a stack.
#[derive(Clone)]
pub struct Edge<S> {
    inner: S,
    edge: EdgeLayer,
}

impl<S> Service<Request> for Edge<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let (asked, edge) = (Asked::of(&request), self.edge.clone());
        let span = asked.span(&request);
        let within = span.clone();
        let EdgeLayer { measured, work, deadline } = edge;
        let length = request.uri().path_and_query().map_or(0, |uri| uri.as_str().len());
        let answering = (length <= URI_BYTES_MAX).then(|| self.inner.call(request));
        let answered = async move {
            let response = match answering {
                Some(answering) => asked.answer(answering, deadline).await,
                None => {
                    let detail = format!("an address is at most {URI_BYTES_MAX} bytes");
                    Error::refused(Code::UriTooLong, detail).into_response()
                }
            };
            let mut response = asked.finish(response);
            if work.is_closed() {
                // The next request had better go to another instance.
                response
                    .headers_mut()
                    .insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            measured.count(&asked.method, asked.route(), response.status(), asked.at.elapsed());
            spans::answered(&span, response.status().as_u16());
            Ok(response)
        };
        Box::pin(answered.instrument(within))
    }
}

/// What is known of a request when it has been answered.
struct Asked {
    at: Instant,
    method: Method,
    uri: Uri,
    route: Option<MatchedPath>,
    id: HeaderValue,
}

impl Asked {
    fn of(request: &Request) -> Self {
        Self {
            at: Instant::now(),
            method: request.method().clone(),
            uri: request.uri().clone(),
            route: request.extensions().get::<MatchedPath>().cloned(),
            id: request_id(request),
        }
    }

    fn route(&self) -> &str {
        self.route.as_ref().map_or("none", MatchedPath::as_str)
    }

    fn span(&self, request: &Request) -> Span {
        let id = self.id.to_str().unwrap_or_default();
        spans::request((label(&self.method), self.route()), id, &|name| {
            request.headers().get(name)?.to_str().ok()
        })
    }

    async fn answer(
        &self,
        answering: impl Future<Output = Result<Response, Infallible>>,
        deadline: Duration,
    ) -> Response {
        let answered = AssertUnwindSafe(answering).catch_unwind();
        let body = if self.method.is_safe() { Duration::ZERO } else { BODY_TIMEOUT };
        let deadline = deadline.saturating_add(body);
        match tokio::time::timeout(deadline, answered).await {
            Ok(Ok(Ok(response))) => response,
            Ok(Err(panic)) => {
                let said = panic.downcast_ref::<String>().map(String::as_str);
                let said = said
                    .or_else(|| panic.downcast_ref::<&str>().copied())
                    .unwrap_or("no message")
                    .to_owned();
                Error::Internal { context: "a handler panicked", source: said.into() }
                    .into_response()
            }
            Err(_) if self.method.is_safe() => Error::Busy {
                code: Code::Overloaded,
                detail: "this took too long".to_owned(),
                retry_after: Duration::from_secs(2),
            }
            .into_response(),
            Err(elapsed) => Error::OutcomeUnknown { source: elapsed.into() }.into_response(),
        }
    }

    fn finish(&self, response: Response) -> Response {
        let path = self.uri.path();
        let mut response = reply::finish(response, &self.id, path);
        let headers = response.headers_mut();
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        let content = if path.starts_with("/docs") { PAGE_CONTENT } else { API_CONTENT };
        headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(content));
        headers.insert(REQUEST_ID, self.id.clone());
        response
    }
}

/// The caller's name for the request if it is well formed, else one of ours.
fn request_id(request: &Request) -> HeaderValue {
    let plain = |id: &&HeaderValue| {
        (1..=REQUEST_ID_CHARS_MAX).contains(&id.len())
            && id
                .as_bytes()
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    let given = request.headers().get(&REQUEST_ID).filter(plain).cloned();
    given.unwrap_or_else(|| {
        HeaderValue::try_from(chance::name()).expect("a name is made of hex digits")
    })
}

/// An address that leads nowhere.
pub async fn not_found() -> Error {
    Error::refused(Code::NotFound, "there is nothing here")
}

/// A method that this address does not know; `Allow` says which it does.
pub async fn method_not_allowed() -> Error {
    Error::refused(Code::MethodNotAllowed, "this address has other methods")
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::http::StatusCode;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    const A_WHILE: Duration = Duration::from_secs(5);

    async fn breaks() -> &'static str {
        panic!("a bug of ours")
    }

    async fn ask(router: &Router, path: &str) -> Response {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        router.clone().oneshot(request).await.unwrap()
    }

    #[tokio::test]
    async fn a_panic_is_one_answer_and_the_next_is_served() {
        let edge = EdgeLayer::new(Arc::default(), TaskTracker::new(), A_WHILE);
        let router = Router::new()
            .route("/breaks", get(breaks))
            .route("/works", get(|| async { "ok" }))
            .layer(edge);
        assert_eq!(ask(&router, "/breaks").await.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(ask(&router, "/works").await.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn who_is_about_to_go_says_so_with_each_answer() {
        let work = TaskTracker::new();
        let edge = EdgeLayer::new(Arc::default(), work.clone(), A_WHILE);
        let router = Router::new().route("/", get(|| async { "ok" })).layer(edge);
        assert_eq!(ask(&router, "/").await.headers().get(header::CONNECTION), None);
        work.close();
        assert_eq!(ask(&router, "/").await.headers()[header::CONNECTION], "close");
    }
}
