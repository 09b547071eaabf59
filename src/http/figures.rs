//! What operators see live: the figures of every queue and of this instance, told twice a second to everybody who
//! listens. One task gathers them for all, for as long as somebody does; a listener who is slow hears the latest.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::header::{self, HeaderName};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use futures_util::future::join_all;
use futures_util::stream::unfold;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, timeout};
use utoipa::ToSchema;

use super::extract::Operator;
use super::health::{Readiness, examine};
use super::measure::Count;
use crate::app::App;
use crate::clock::rfc3339;
use crate::error::Error;
use crate::queue::Totals;
use crate::queue::operators::QueueFigures;

const EVERY: Duration = Duration::from_millis(500);
/// Requests of so many looks make the rates and times that are told: five seconds.
const LOOKS: usize = 10;
/// The turns are counted again after so many times as long as it took: who looks on must not slow down what he looks at.
const COUNTING_SHARE: u32 = 20;
/// A database that does not answer is not waited for any longer. It may still be counting, and is let alone as long as
/// after any count that took so long.
const COUNTING_TIMEOUT: Duration = Duration::from_secs(1);
/// Whoever listens shows again, after so long, who he is: a browser does so by itself.
const LISTENING_MAX: Duration = Duration::from_secs(600);
/// nginx would keep the events for itself until there are many.
const HEADERS: [(HeaderName, &str); 2] =
    [(header::CACHE_CONTROL, "no-store"), (HeaderName::from_static("x-accel-buffering"), "no")];

/// The data of an event `figures`.
#[derive(Serialize, ToSchema)]
pub struct Figures {
    /// By the clock of this instance.
    #[schema(format = DateTime)]
    pub at: String,
    /// When the turns were counted that `admitted_total` and `measured_rate_per_second` tell of: less often, where there
    /// are very many.
    #[schema(format = DateTime)]
    pub counted_at: String,
    pub queues: Vec<QueueFigures>,
    pub instance: InstanceFigures,
}

/// What this instance did for buyers over the last five seconds, and what it stands on.
#[derive(Serialize, ToSchema)]
pub struct InstanceFigures {
    #[schema(minimum = 0)]
    pub requests_per_second: f64,
    /// Answers of 500 and above.
    #[schema(minimum = 0)]
    pub errors_per_second: f64,
    /// Half of the requests were answered within this; `null`: there were none.
    #[schema(required, minimum = 0)]
    pub p50_ms: Option<f64>,
    #[schema(required, minimum = 0)]
    pub p99_ms: Option<f64>,
    #[serde(flatten)]
    #[schema(inline)]
    pub readiness: Readiness,
}

/// Where the figures are told.
#[derive(Default)]
pub struct Telling {
    latest: watch::Sender<Option<Arc<str>>>,
    under_way: AtomicBool,
}

/// Live figures as server-sent events.
///
/// `event: figures` tells of every queue and of this instance: at once, then every 500 ms, and right after a change of
/// a policy. With Redis or the database away it says so, and goes on with what was known last.
#[utoipa::path(get, path = "/admin/events", operation_id = "listen_to_figures", tag = "operators",
    responses((status = 200, description = "Events `figures`", body = Figures, content_type = "text/event-stream")))]
pub async fn events(State(app): State<App>, _: Operator) -> Response {
    let heard = app.figures.latest.subscribe();
    if !app.figures.under_way.swap(true, Ordering::SeqCst) {
        tokio::spawn(tell(app.clone()));
    }
    let ends_at = tokio::time::Instant::now() + LISTENING_MAX;
    let stream = unfold((app, heard, false), move |(app, mut heard, told)| async move {
        let next = async {
            if told {
                heard.changed().await.ok()?;
            }
            let figures = heard.wait_for(Option::is_some).await.ok()?;
            figures.clone()
        };
        let next = tokio::time::timeout_at(ends_at, next);
        let figures = app.stopping.run_until_cancelled(next).await?.ok()??;
        heard.mark_unchanged();
        let event = Event::default().event("figures").data(figures);
        Some((Ok::<_, Infallible>(event), (app, heard, true)))
    });
    (HEADERS, Sse::new(stream)).into_response()
}

/// Tells until nobody listens any more.
async fn tell(app: App) {
    let Telling { latest, under_way } = &app.figures;
    let mut gatherer = Gatherer::default();
    let mut interval = tokio::time::interval(EVERY);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = interval.tick() => {}
            () = app.queue.changed.notified() => {}
            () = app.stopping.cancelled() => return,
        }
        if latest.receiver_count() == 0 {
            // Whoever comes next does not begin with what is old by then.
            latest.send_replace(None);
            under_way.store(false, Ordering::SeqCst);
            // Somebody may have come in between, who found this task at work.
            if latest.receiver_count() == 0 || under_way.swap(true, Ordering::SeqCst) {
                return;
            }
        }
        // Whatever happens to one look, the next one is taken.
        let gathered = AssertUnwindSafe(gatherer.gather(&app)).catch_unwind().await;
        match gathered {
            Ok(Ok(figures)) => drop(latest.send_replace(Some(figures))),
            Ok(Err(error)) => tracing::warn!(%error, "the figures were not gathered"),
            Err(_) => tracing::error!("gathering the figures panicked"),
        }
    }
}

/// What is remembered from one look to the next.
#[derive(Default)]
struct Gatherer {
    totals: HashMap<i64, Totals>,
    counted_at: i64,
    counts_again_at: Option<Instant>,
    /// What had been measured at the last looks, oldest first.
    measured: VecDeque<(Instant, Count)>,
}

impl Gatherer {
    async fn gather(&mut self, app: &App) -> Result<Arc<str>, Error> {
        let (totals, readiness) = tokio::join!(self.count(app), examine(app));
        let lines = app.queue.lines();
        let queues = lines.iter().map(|line| {
            let totals = totals.get(&line.queue().id).copied().unwrap_or_default();
            app.queue.figures(line, totals)
        });
        let figures = Figures {
            at: rfc3339(app.clock.now_ms()),
            counted_at: rfc3339(self.counted_at),
            queues: join_all(queues).await,
            instance: self.instance(app.measured.so_far(), readiness?),
        };
        let json = serde_json::to_string(&figures);
        json.map(Arc::from).map_err(|_| Error::bug("figures have no JSON"))
    }

    /// The turns of each queue; those of the last count while it is too early for another, or none can be made.
    async fn count(&mut self, app: &App) -> HashMap<i64, Totals> {
        let (began, counted_at) = (Instant::now(), app.clock.now_ms());
        if self.counts_again_at.is_none_or(|at| began >= at) {
            match timeout(COUNTING_TIMEOUT, app.queue.totals()).await {
                Ok(Ok(totals)) => (self.totals, self.counted_at) = (totals, counted_at),
                Ok(Err(error)) => tracing::debug!(%error, "the turns were not counted"),
                Err(_) => tracing::debug!("the turns were not counted in time"),
            }
            self.counts_again_at = Some(began + COUNTING_SHARE * began.elapsed());
        }
        self.totals.clone()
    }

    fn instance(&mut self, count: Count, readiness: Readiness) -> InstanceFigures {
        let now = Instant::now();
        let (since, before) = self.measured.front().unwrap_or(&(now, count.clone())).clone();
        let (between, seconds) = (count.since(&before), (now - since).as_secs_f64());
        self.measured.push_back((now, count));
        if self.measured.len() > LOOKS {
            self.measured.pop_front();
        }
        let per_second = |number: u64| if seconds > 0.0 { number as f64 / seconds } else { 0.0 };
        let ms = |share| between.within(share).map(|took: Duration| took.as_secs_f64() * 1_000.0);
        InstanceFigures {
            requests_per_second: per_second(between.requests()),
            errors_per_second: per_second(between.errors),
            p50_ms: ms(0.5),
            p99_ms: ms(0.99),
            readiness,
        }
    }
}
