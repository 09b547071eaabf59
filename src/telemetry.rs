//! Logs and figures: one line of JSON for each event, one recorder for the process.

use std::sync::OnceLock;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::error::Error;

/// Buckets of request times in seconds: from a poll out of memory to a check of the books.
const SECONDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 30.0];

static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// Logs to standard error, as JSON for machines.
pub fn log(filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber =
        tracing_subscriber::fmt().with_env_filter(filter).json().with_writer(std::io::stderr);
    // A second call, as in a test with several servers, keeps the first subscriber.
    let _ = subscriber.try_init();
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
