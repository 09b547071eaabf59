//! The rate that was set, at every instant of a sale, from the audit of its changes. Pure: no table is asked here.

use serde::Deserialize;

use crate::clock::instant;

/// Policies in their order, each from its instant on.
#[derive(Debug, Default)]
pub struct Rates(Vec<Setting>);

#[derive(Clone, Copy, Debug)]
struct Setting {
    from: i64,
    admission: Admission,
}

/// How people are admitted under a policy.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Admission {
    None,
    Rate(f64),
    /// From one rate straight to another between two instants.
    Ramp {
        from: f64,
        to: f64,
        began_at: i64,
        ends_at: i64,
    },
    /// Without a rate.
    Unlimited,
}

/// What of a policy the audit keeps that matters here.
#[derive(Deserialize)]
struct Audited {
    mode: String,
    rate_per_second: f64,
    ramp: Option<Ramp>,
}

#[derive(Deserialize)]
struct Ramp {
    from_per_second: f64,
    #[serde(deserialize_with = "instant::deserialize")]
    began_at: i64,
    #[serde(deserialize_with = "instant::deserialize")]
    ends_at: i64,
}

impl Rates {
    /// A change of policy, as the audit tells it. Before the first one its `before` was in force; a queue that is new
    /// admitted nobody.
    pub fn changed(&mut self, at: i64, before: Option<String>, after: Option<String>) {
        if self.0.is_empty() {
            self.push(i64::MIN, before);
        }
        self.push(at, after);
    }

    /// A policy that was never changed.
    pub fn always(&mut self, mode: &str, rate: f64) {
        self.0 = vec![Setting { from: i64::MIN, admission: Admission::of(mode, rate) }];
    }

    /// The mean rate from `begin` to `end`, nothing while nobody was admitted; `None` if there was no rate at some time.
    pub fn mean(&self, begin: i64, end: i64) -> Option<f64> {
        let mut people = 0.0;
        for (index, setting) in self.0.iter().enumerate() {
            let next = self.0.get(index + 1).map_or(i64::MAX, |next| next.from);
            let (begin, end) = (begin.max(setting.from), end.min(next));
            if begin < end {
                people += setting.admission.people_ms(begin, end)?;
            }
        }
        Some(people / (end - begin) as f64)
    }

    fn push(&mut self, from: i64, policy: Option<String>) {
        let policy = policy.and_then(|text| serde_json::from_str::<Audited>(&text).ok());
        let admission = policy.map_or(Admission::None, Admission::from);
        self.0.push(Setting { from, admission });
    }
}

impl Admission {
    fn of(mode: &str, rate: f64) -> Self {
        match mode {
            "open" | "draining" => Self::Rate(rate),
            "passthrough" => Self::Unlimited,
            _ => Self::None,
        }
    }

    /// The rate, summed over the milliseconds between two instants.
    fn people_ms(self, begin: i64, end: i64) -> Option<f64> {
        let ms = (end - begin) as f64;
        match self {
            Self::None => Some(0.0),
            Self::Rate(rate) => Some(rate * ms),
            Self::Unlimited => None,
            Self::Ramp { from, to, began_at, ends_at } => {
                let until = end.min(ends_at);
                let rate_at = |at: i64| {
                    let share = (at - began_at) as f64 / (ends_at - began_at) as f64;
                    from + (to - from) * share.clamp(0.0, 1.0)
                };
                // Up to its end a straight line: its mean is in the middle. Beyond, the rate that it led to.
                let on_ramp = (until - begin).max(0) as f64;
                let mean = f64::midpoint(rate_at(begin), rate_at(until));
                Some(mean * on_ramp + to * (ms - on_ramp))
            }
        }
    }
}

impl From<Audited> for Admission {
    fn from(policy: Audited) -> Self {
        match (Self::of(&policy.mode, policy.rate_per_second), policy.ramp) {
            (Self::Rate(to), Some(Ramp { from_per_second: from, began_at, ends_at })) => {
                Self::Ramp { from, to, began_at, ends_at }
            }
            (admission, _) => admission,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Rates;
    use crate::clock::rfc3339;

    fn policy(mode: &str, rate: f64) -> Option<String> {
        Some(json!({"mode": mode, "rate_per_second": rate}).to_string())
    }

    #[test]
    fn a_minute_with_a_pause_in_it_has_the_mean_of_both() {
        let mut rates = Rates::default();
        rates.changed(0, None, policy("paused", 50.0));
        rates.changed(30_000, policy("paused", 50.0), policy("open", 50.0));
        rates.changed(75_000, policy("open", 50.0), policy("draining", 10.0));
        rates.changed(90_000, policy("draining", 10.0), policy("closed", 10.0));
        let means = [0, 60_000, 120_000].map(|begin| rates.mean(begin, begin + 60_000));
        assert_eq!(means, [Some(25.0), Some(15.0), Some(0.0)]);
        assert_eq!(rates.mean(-60_000, 0), Some(0.0), "a queue that is new admitted nobody");
    }

    #[test]
    fn what_was_in_force_before_the_first_change_is_told_by_it() {
        let mut rates = Rates::default();
        rates.changed(1_000, policy("open", 8.0), policy("paused", 8.0));
        assert_eq!(rates.mean(0, 2_000), Some(4.0));
        let mut rates = Rates::default();
        rates.always("open", 3.0);
        assert_eq!(rates.mean(0, 2_000), Some(3.0));
    }

    #[test]
    fn a_ramp_counts_as_the_straight_line_that_it_is() {
        let ramp = json!({"from_per_second": 0.0, "to_per_second": 100.0,
            "began_at": rfc3339(0), "ends_at": rfc3339(90_000)});
        let after = json!({"mode": "open", "rate_per_second": 100.0, "ramp": ramp}).to_string();
        let mut rates = Rates::default();
        rates.changed(0, policy("paused", 0.0), Some(after));
        let means = [0, 45_000, 90_000].map(|begin| rates.mean(begin, begin + 45_000));
        assert_eq!(means, [Some(25.0), Some(75.0), Some(100.0)]);
        assert_eq!(rates.mean(45_000, 135_000), Some(87.5), "half of it on the ramp");
    }

    #[test]
    fn people_who_pass_through_have_no_rate() {
        let mut rates = Rates::default();
        rates.changed(0, policy("open", 5.0), policy("passthrough", 5.0));
        rates.changed(60_000, policy("passthrough", 5.0), policy("open", 5.0));
        let means = [0, 59_999, 60_000].map(|begin| rates.mean(begin, begin + 1_000));
        assert_eq!(means, [None, None, Some(5.0)]);
    }
}
