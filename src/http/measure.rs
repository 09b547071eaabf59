//! What is counted of requests: how many, and how long they took. The labels are few, and none is a client's to invent.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::http::{Method, StatusCode};
use metrics::{Counter, Histogram};

/// The figures of every route. The recorder is asked for each once: to find one there costs more than most answers.
#[derive(Default)]
pub struct Measurements {
    known: ArcSwap<HashMap<String, RouteFigures>>,
    tally: Tally,
}

#[derive(Clone)]
struct RouteFigures {
    seconds: Histogram,
    requests: HashMap<(&'static str, StatusCode), Counter>,
}

impl Measurements {
    pub fn count(&self, method: &Method, route: &str, status: StatusCode, took: Duration) {
        self.tally.count(status, took);
        let label = label(method);
        if !self.counted((label, route, status), took) {
            self.learn(label, route, status);
            self.counted((label, route, status), took);
        }
    }

    /// All requests so far.
    pub fn so_far(&self) -> Count {
        self.tally.read()
    }

    fn counted(
        &self,
        (label, route, status): (&'static str, &str, StatusCode),
        took: Duration,
    ) -> bool {
        let known = self.known.load();
        let Some(figures) = known.get(route) else { return false };
        let Some(requests) = figures.requests.get(&(label, status)) else { return false };
        requests.increment(1);
        figures.seconds.record(took.as_secs_f64());
        true
    }

    fn learn(&self, label: &'static str, route: &str, status: StatusCode) {
        let labels = [
            ("method", label.to_owned()),
            ("route", route.to_owned()),
            ("status", status.as_u16().to_string()),
        ];
        let counter = metrics::counter!("usher_http_requests_total", &labels);
        let seconds =
            metrics::histogram!("usher_http_request_seconds", "route" => route.to_owned());
        self.known.rcu(|known| {
            let mut known = HashMap::clone(known);
            let figures = known.entry(route.to_owned()).or_insert_with(|| RouteFigures {
                seconds: seconds.clone(),
                requests: HashMap::new(),
            });
            figures.requests.insert((label, status), counter.clone());
            known
        });
    }
}

/// Anybody can invent a method; a label that grows with them would grow for ever.
pub fn label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

/// An octave of times is counted in so many steps: what is told of them is an eighth too much at most.
const STEPS: usize = 8;
const STEP_BITS: u32 = STEPS.ilog2();
/// From a microsecond up to an hour.
const OCTAVES: usize = 32;

/// Requests by how long they took, of every route together, for whoever looks now and again. Numbers only grow: what
/// happened between two looks is their difference. A request costs an addition or two, and no lock.
struct Tally {
    times: [AtomicU64; OCTAVES * STEPS],
    errors: AtomicU64,
}

/// What a tally showed at one moment.
#[derive(Clone)]
pub struct Count {
    times: [u64; OCTAVES * STEPS],
    /// Answers of 500 and above.
    pub errors: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Self { times: [const { AtomicU64::new(0) }; OCTAVES * STEPS], errors: AtomicU64::new(0) }
    }
}

impl Tally {
    fn count(&self, status: StatusCode, took: Duration) {
        self.times[step(took)].fetch_add(1, Ordering::Relaxed);
        if status.is_server_error() {
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn read(&self) -> Count {
        Count {
            times: std::array::from_fn(|at| self.times[at].load(Ordering::Relaxed)),
            errors: self.errors.load(Ordering::Relaxed),
        }
    }
}

impl Count {
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            times: std::array::from_fn(|at| self.times[at].saturating_sub(earlier.times[at])),
            errors: self.errors.saturating_sub(earlier.errors),
        }
    }

    pub fn requests(&self) -> u64 {
        self.times.iter().sum()
    }

    /// Within which time this share of them was answered; nothing of none.
    pub fn within(&self, share: f64) -> Option<Duration> {
        let wanted = (self.requests() as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        let reached = |count: &u64| {
            seen += count;
            seen >= wanted
        };
        self.times.iter().position(reached).map(end_of)
    }
}

/// In which step a time lies.
fn step(took: Duration) -> usize {
    let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX).max(1);
    let octave = micros.ilog2();
    let within = (u64::from(micros) << STEP_BITS >> octave) as usize - STEPS;
    octave as usize * STEPS + within
}

/// The longest time of a step.
fn end_of(step: usize) -> Duration {
    let (octave, within) = (step / STEPS, step % STEPS);
    Duration::from_micros((((STEPS + within + 1) as u64) << octave >> STEP_BITS).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_an_eighth_too_long_at_most() {
        for micros in (1..5_000).chain([65_536, 1_000_000, 59_999_999, 3_600_000_000]) {
            let took = Duration::from_micros(micros);
            let told = end_of(step(took));
            assert!(
                told >= took && told <= took + took / 8 + Duration::from_micros(1),
                "{took:?}: {told:?}"
            );
        }
        assert_eq!(step(Duration::MAX), OCTAVES * STEPS - 1);
        assert_eq!(step(Duration::ZERO), 0);
    }

    #[test]
    fn what_happened_between_two_looks_is_their_difference() {
        let measured = Measurements::default();
        let count = |status, millis| {
            measured.count(&Method::GET, "/queue", status, Duration::from_millis(millis));
        };
        count(StatusCode::OK, 1_000);
        let before = measured.so_far();
        assert!(before.since(&before).within(0.5).is_none());
        for _ in 0..98 {
            count(StatusCode::OK, 8);
        }
        count(StatusCode::SERVICE_UNAVAILABLE, 80);
        count(StatusCode::CONFLICT, 80);
        let between = measured.so_far().since(&before);
        assert_eq!((between.requests(), between.errors), (100, 1));
        let ms = |share| between.within(share).unwrap().as_millis();
        assert!(
            (8..=9).contains(&ms(0.5)) && (80..=90).contains(&ms(0.99)),
            "{} {}",
            ms(0.5),
            ms(0.99)
        );
    }
}
