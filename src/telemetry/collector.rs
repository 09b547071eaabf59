//! The way of spans to a collector: OTLP over HTTP, in batches, by a task of its own. Whoever ends a span never waits;
//! what finds no room, and what the collector does not take, is dropped and counted.

use std::time::Duration;

use metrics::Counter;
use opentelemetry::trace::TracerProvider;
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::resource::EnvResourceDetector;
use opentelemetry_sdk::trace::{
    Sampler, SdkTracer, SdkTracerProvider, Span, SpanData, SpanExporter as _, SpanProcessor,
};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::chance;
use crate::config::TracesConfig;
use crate::error::Error;

/// Spans that wait to be sent, some megabytes of them; further ones are dropped.
const WAITING_MAX: usize = 8_192;
/// Spans of one request to the collector, and how long the first of them waits for the others.
const BATCH_MAX: usize = 512;
const BATCH_WAIT: Duration = Duration::from_secs(1);
/// A collector that takes longer has not taken them.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// What is on its way when the process stops has so long.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// The task that sends.
pub struct Collector {
    stop: CancellationToken,
    sending: JoinHandle<()>,
}

impl Collector {
    /// What makes spans, and the task that takes them from there.
    pub fn at(config: &TracesConfig) -> Result<(SdkTracer, Self), Error> {
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_endpoint(&config.endpoint)
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(SEND_TIMEOUT)
            .build()
            .map_err(|error| Error::Internal {
                context: "spans cannot be sent",
                source: error.into(),
            })?;
        let resource = resource();
        exporter.set_resource(&resource);
        let (end, ended) = channel(WAITING_MAX);
        let dropped = metrics::counter!("usher_spans_dropped_total");
        let maker = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.ratio))))
            .with_span_processor(Waiting { end, dropped: dropped.clone() })
            .build();
        let stop = CancellationToken::new();
        let sending = tokio::spawn(send(exporter, ended, (dropped, stop.clone())));
        Ok((maker.tracer("usher"), Self { stop, sending }))
    }

    /// Sends what has ended, for as long as that may take.
    pub async fn flush(mut self) {
        self.stop.cancel();
        if tokio::time::timeout(FLUSH_TIMEOUT, &mut self.sending).await.is_err() {
            tracing::warn!("some spans were not sent in time");
            self.sending.abort();
        }
    }
}

/// Who tells: the name that the collector knows us by, unless `OTEL_RESOURCE_ATTRIBUTES` says another.
fn resource() -> Resource {
    Resource::builder_empty()
        .with_service_name("usher")
        .with_attributes([
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", chance::name()),
        ])
        .with_detector(Box::new(EnvResourceDetector::new()))
        .build()
}

/// Where spans wait once they have ended.
#[derive(Debug)]
struct Waiting {
    end: Sender<SpanData>,
    dropped: Counter,
}

impl SpanProcessor for Waiting {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.end.try_send(span).is_err() {
            self.dropped.increment(1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

async fn send(
    exporter: SpanExporter,
    mut ended: Receiver<SpanData>,
    (dropped, stop): (Counter, CancellationToken),
) {
    let mut is_away = false;
    loop {
        let batch = next_batch(&mut ended, &stop).await;
        if batch.is_empty() {
            return;
        }
        let spans = batch.len() as u64;
        match exporter.export(batch).await {
            Ok(()) => is_away = false,
            Err(error) => {
                dropped.increment(spans);
                // Once for each time that it goes away.
                if !is_away {
                    tracing::warn!(%error, "the collector does not take spans");
                }
                is_away = true;
            }
        }
    }
}

/// Waits for a span, and for those that end soon after it. Empty when there are no more and the process stops.
async fn next_batch(ended: &mut Receiver<SpanData>, stop: &CancellationToken) -> Vec<SpanData> {
    let mut batch = Vec::new();
    if stop.run_until_cancelled(ended.recv_many(&mut batch, BATCH_MAX)).await.is_some() {
        let more = async {
            while batch.len() < BATCH_MAX {
                let room = BATCH_MAX - batch.len();
                ended.recv_many(&mut batch, room).await;
            }
        };
        // However it ends, what has come is the batch.
        let _ = tokio::time::timeout(BATCH_WAIT, stop.run_until_cancelled(more)).await;
    }
    if stop.is_cancelled() {
        ended.close();
        while batch.len() < BATCH_MAX
            && let Ok(span) = ended.try_recv()
        {
            batch.push(span);
        }
    }
    batch
}
