//! The spans there are: what one is called and what it tells. While nobody collects them, a span is a look at a flag.

use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::field::Empty;
use tracing::{Instrument, Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::error::Error;

/// By which our spans are known among those of libraries.
pub(super) const TARGET: &str = "usher::spans";

/// A request, in the trace of whoever sent it: `header` gives the W3C headers that say which that is.
pub fn request<'a>(
    (method, route): (&str, &str),
    request_id: &str,
    header: &'a dyn Fn(&str) -> Option<&'a str>,
) -> Span {
    let span = info_span!(
        target: TARGET,
        "request",
        otel.name = format!("{method} {route}"),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
        request.id = request_id,
    );
    if !span.is_disabled() {
        let caller = TraceContextPropagator::new().extract(&Headers(header));
        if caller.span().span_context().is_valid() {
            // It fails only for a span that has begun, and this one has not.
            let _ = span.set_parent(caller);
        }
    }
    span
}

/// What became of a request.
pub fn answered(request: &Span, status: u16) {
    // The collector hears of signed numbers only as numbers.
    request.record("http.response.status_code", i64::from(status));
    if status >= 500 {
        failed(request);
    }
}

/// A call of a script in Redis.
pub fn script(name: &'static str) -> Span {
    info_span!(
        target: TARGET,
        "script",
        otel.name = format!("redis {name}"),
        otel.kind = "client",
        otel.status_code = Empty,
        db.system.name = "redis",
        db.operation.name = name,
    )
}

/// A transaction, from asking for its connection to its end.
pub fn transaction(what: &'static str, is_postgres: bool) -> Span {
    info_span!(
        target: TARGET,
        "transaction",
        otel.name = format!("sql {what}"),
        otel.kind = "client",
        db.system.name = if is_postgres { "postgresql" } else { "sqlite" },
        db.operation.name = what,
        committed = false,
    )
}

pub fn committed(transaction: &Span) {
    transaction.record("committed", true);
}

/// A tick of a queue.
pub fn tick(queue: &str) -> Span {
    info_span!(target: TARGET, "tick", otel.status_code = Empty, queue.name = queue)
}

/// Work that is done for several at once: it belongs to the first whose trace is kept, and is linked to the others'.
pub fn shared<'a>(what: &'static str, asked_in: impl Iterator<Item = &'a Span>) -> Span {
    let mut kept = asked_in.filter(|span| is_kept(span));
    let Some(first) = kept.next() else { return Span::none() };
    let span = info_span!(target: TARGET, parent: first, "shared", otel.name = what);
    for other in kept {
        span.follows_from(other);
    }
    span
}

/// Does the work within a span, and marks it where the work fails.
pub async fn within<T>(
    span: Span,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let outcome = work.instrument(span.clone()).await;
    if outcome.is_err() {
        failed(&span);
    }
    outcome
}

/// The trace in which this happens, for the log; `None` when nobody collects them.
pub fn trace_id() -> Option<String> {
    let context = Span::current().context();
    let span = context.span().span_context().clone();
    span.is_valid().then(|| span.trace_id().to_string())
}

fn failed(span: &Span) {
    span.record("otel.status_code", "ERROR");
}

fn is_kept(span: &Span) -> bool {
    !span.is_disabled() && span.context().span().span_context().is_sampled()
}

struct Headers<'a>(&'a dyn Fn(&str) -> Option<&'a str>);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (self.0)(key)
    }

    fn keys(&self) -> Vec<&str> {
        Vec::new()
    }
}
