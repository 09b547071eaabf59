//! Logs, figures and traces: one line of JSON for each event, one recorder for the process, spans for a collector.

mod collector;
pub mod spans;

use std::sync::OnceLock;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::filter::{EnvFilter, FilterExt, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::TracesConfig;
use crate::error::Error;
pub use collector::Collector;

/// Buckets of request times in seconds: from a poll out of memory to a check of the books.
const SECONDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 30.0];

static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// Logs to standard error, as JSON for machines, and tells a collector of spans, if there is one.
pub fn start(log: &str, traces: Option<&TracesConfig>) -> Result<Option<Collector>, Error> {
    // Before the first of them is counted.
    metrics()?;
    let filter = EnvFilter::try_new(log).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .with_writer(std::io::stderr)
        // Spans are the collector's, and without one nobody's.
        .with_filter(filter.and(filter_fn(|about| !about.is_span())));
    let subscriber = tracing_subscriber::registry().with(lines);
    // A second call, as in a test with several servers, keeps the first subscriber.
    let Some(traces) = traces else {
        // No layer at all: one that is there and empty has each span asked for again and again.
        let _ = subscriber.try_init();
        return Ok(None);
    };
    let (tracer, collector) = Collector::at(traces)?;
    let spans = tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_context_activation(false)
        .with_filter(filter_fn(|about| about.is_span() && about.target() == spans::TARGET));
    let _ = subscriber.with(spans).try_init();
    Ok(Some(collector))
}

/// The recorder of this process; the second server of a test shares it.
pub fn metrics() -> Result<PrometheusHandle, Error> {
    if let Some(handle) = RECORDER.get() {
        return Ok(handle.clone());
    }
    let bug = |error: metrics_exporter_prometheus::BuildError| Error::Internal {
        context: "the metrics recorder cannot be built",
        source: error.into(),
    };
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)
        .map_err(bug)?
        .build_recorder();
    let handle = RECORDER.get_or_init(|| recorder.handle()).clone();
    // Lost only when another thread was first, and then its recorder is the one that counts.
    let _ = metrics::set_global_recorder(recorder);
    Ok(handle)
}
