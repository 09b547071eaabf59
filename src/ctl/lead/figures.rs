//! What Usher says of its own answers, from the text of `/metrics`: how slow they were and how many failed between two
//! looks. Only seats and money count: they are what people who were let in ask for.

const ROUTES: [&str; 2] = ["/booking", "/payment"];
/// The slowest twentieth is somebody's bad luck.
const QUANTILE: f64 = 0.95;

/// Sums since the server started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    answers: f64,
    failed: f64,
    /// Upper bounds in seconds, and how many answers took no longer.
    buckets: Vec<(f64, f64)>,
}

/// What happened between two looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Since {
    pub latency_ms: f64,
    pub errors_percent: f64,
}

impl Figures {
    pub fn read(text: &str) -> Self {
        let mut figures = Self::default();
        for line in text.lines() {
            let Some((name, labels, value)) = sample(line) else { continue };
            if !label(labels, "route").is_some_and(|route| ROUTES.contains(&route)) {
                continue;
            }
            match name {
                "usher_http_requests_total" => {
                    figures.answers += value;
                    if label(labels, "status").is_some_and(|status| status.starts_with('5')) {
                        figures.failed += value;
                    }
                }
                "usher_http_request_seconds_bucket" => {
                    let bound = label(labels, "le").and_then(|le| le.parse().ok());
                    figures.add(bound.unwrap_or(f64::INFINITY), value);
                }
                _ => {}
            }
        }
        figures.buckets.sort_by(|(bound, _), (other, _)| bound.total_cmp(other));
        figures
    }

    /// `None` when nothing was asked in between, or when the server began anew.
    pub fn since(&self, earlier: &Self) -> Option<Since> {
        let answers = self.answers - earlier.answers;
        let was = |bound: f64| {
            let bucket = earlier.buckets.iter().find(|(other, _)| *other == bound);
            bucket.map_or(0.0, |(_, count)| *count)
        };
        let counts: Vec<_> =
            self.buckets.iter().map(|(bound, count)| (*bound, count - was(*bound))).collect();
        let failed = self.failed - earlier.failed;
        let anew = failed < 0.0 || counts.iter().any(|(_, count)| *count < 0.0);
        if anew || answers < 1.0 {
            return None;
        }
        Some(Since { latency_ms: quantile(&counts)?, errors_percent: failed * 100.0 / answers })
    }

    fn add(&mut self, bound: f64, count: f64) {
        match self.buckets.iter_mut().find(|(other, _)| *other == bound) {
            Some((_, sum)) => *sum += count,
            None => self.buckets.push((bound, count)),
        }
    }
}

/// Somewhere in the bucket that it falls into, as if that were filled evenly; in the last one, at least its beginning.
fn quantile(counts: &[(f64, f64)]) -> Option<f64> {
    let wanted = counts.last()?.1 * QUANTILE;
    let index = counts.iter().position(|(_, count)| *count >= wanted && *count > 0.0)?;
    let (bound, count) = counts[index];
    let (below, before) = index.checked_sub(1).map_or((0.0, 0.0), |before| counts[before]);
    let seconds = if bound.is_finite() {
        below + (bound - below) * (wanted - before) / (count - before)
    } else {
        below
    };
    Some(seconds * 1_000.0)
}

/// `name{labels} value`.
fn sample(line: &str) -> Option<(&str, &str, f64)> {
    let (name, rest) = line.split_once('{')?;
    let (labels, value) = rest.rsplit_once('}')?;
    Some((name, labels, value.trim().parse().ok()?))
}

/// None of the labels that are looked for holds a comma or a quote.
fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    labels.split(',').find_map(|label| {
        let (found, value) = label.split_once('=')?;
        (found == name).then(|| value.trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Figures, Since};

    fn text(created: u32, failed: u32, fast: u32, all: u32) -> String {
        format!(
            "# TYPE usher_http_requests_total counter\n\
             usher_http_requests_total{{method=\"POST\",route=\"/booking\",status=\"201\"}} {created}\n\
             usher_http_requests_total{{method=\"POST\",route=\"/payment\",status=\"503\"}} {failed}\n\
             usher_http_requests_total{{method=\"GET\",route=\"/queue\",status=\"503\"}} 900\n\
             usher_http_request_seconds_bucket{{route=\"/booking\",le=\"0.1\"}} {fast}\n\
             usher_http_request_seconds_bucket{{route=\"/booking\",le=\"0.5\"}} {all}\n\
             usher_http_request_seconds_bucket{{route=\"/booking\",le=\"+Inf\"}} {all}\n\
             usher_http_request_seconds_bucket{{route=\"/token/{{userId}}\",le=\"0.1\"}} 7\n\
             usher_waiting{{queue=\"main\"}} 12\n"
        )
    }

    #[test]
    fn two_looks_tell_what_happened_in_between() {
        let earlier = Figures::read(&text(100, 5, 80, 100));
        let later = Figures::read(&text(190, 15, 80, 200));
        let since = later.since(&earlier).unwrap();
        assert!((since.errors_percent - 10.0).abs() < 1e-9, "{since:?}");
        assert!((since.latency_ms - 480.0).abs() < 1e-9, "{since:?}");
    }

    #[test]
    fn nothing_asked_tells_nothing_and_neither_does_a_new_server() {
        let figures = Figures::read(&text(100, 5, 80, 100));
        assert_eq!(figures.since(&figures), None);
        assert_eq!(Figures::read(&text(200, 0, 100, 300)).since(&figures), None);
        assert_eq!(Figures::read("<html>").since(&Figures::default()), None);
    }

    #[test]
    fn an_answer_beyond_the_last_bound_took_at_least_that_long() {
        let slow = "usher_http_requests_total{method=\"POST\",route=\"/booking\",status=\"201\"} 4\n\
            usher_http_request_seconds_bucket{route=\"/booking\",le=\"30\"} 0\n\
            usher_http_request_seconds_bucket{route=\"/booking\",le=\"+Inf\"} 4\n";
        let expected = Since { latency_ms: 30_000.0, errors_percent: 0.0 };
        assert_eq!(Figures::read(slow).since(&Figures::default()), Some(expected));
    }

    proptest! {
        #[test]
        fn any_text_can_be_read(first in "[a-z_{}=\",0-9.+/ \n]{0,200}", second in "\\PC*") {
            let _ = Figures::read(&first).since(&Figures::read(&second));
        }
    }
}
