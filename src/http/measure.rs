//! What is counted of requests: how many, and how long they took. The labels are few, and none is a client's to invent.

use std::collections::HashMap;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::http::{Method, StatusCode};
use metrics::{Counter, Histogram};

/// The figures of every route. The recorder is asked for each once: to find one there costs more than most answers.
#[derive(Default)]
pub struct Measurements {
    known: ArcSwap<HashMap<String, RouteFigures>>,
}

#[derive(Clone)]
struct RouteFigures {
    seconds: Histogram,
    requests: HashMap<(&'static str, StatusCode), Counter>,
}

impl Measurements {
    pub fn count(&self, method: &Method, route: &str, status: StatusCode, took: Duration) {
        let label = label(method);
        if !self.counted((label, route, status), took) {
            self.learn(label, route, status);
            self.counted((label, route, status), took);
        }
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
