//! One step of the rate by what was measured: additive increase, multiplicative decrease (D.-M. Chiu and R. Jain,
//! "Analysis of the increase and decrease algorithms for congestion avoidance in computer networks", 1989). Pure.

use std::fmt;

/// Between which rates, how far at once, and what is too much.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub min: f64,
    pub max: f64,
    /// Added where all is well.
    pub step: f64,
    /// What is left of the rate where it is not.
    pub keep: f64,
    pub latency_max_ms: f64,
    pub errors_max_percent: f64,
}

/// What was measured since the last step.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    pub latency_ms: Option<f64>,
    pub errors_percent: Option<f64>,
    /// Whether everybody who was asked told a figure.
    pub complete: bool,
    /// Whether people wait and are let in at about the rate: otherwise nobody knows what the rate would do.
    pub tried: bool,
}

/// What becomes of the rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    Raise(f64),
    Lower(f64),
    Stay(Why),
}

/// Why the rate stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    Unmeasured,
    Untried,
    AtMax,
    AtMin,
}

impl Bounds {
    pub fn step(&self, rate: f64, look: &Look) -> Step {
        let exceeds = |measure: Option<f64>, max: f64| measure.is_some_and(|measure| measure > max);
        if rate > self.max {
            return Step::Lower(self.max);
        }
        if exceeds(look.latency_ms, self.latency_max_ms)
            || exceeds(look.errors_percent, self.errors_max_percent)
        {
            let lower = rounded(rate * self.keep).max(self.min);
            return if lower < rate { Step::Lower(lower) } else { Step::Stay(Why::AtMin) };
        }
        if !look.complete || look.latency_ms.is_none() || look.errors_percent.is_none() {
            return Step::Stay(Why::Unmeasured);
        }
        if rate >= self.max {
            return Step::Stay(Why::AtMax);
        }
        if !look.tried {
            return Step::Stay(Why::Untried);
        }
        Step::Raise((rate + self.step).min(self.max))
    }
}

/// To a thousandth: what is set can be read.
fn rounded(rate: f64) -> f64 {
    (rate * 1_000.0).round() / 1_000.0
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unmeasured => "a measure is missing, so the rate stays",
            Self::Untried => "the line does not use the rate, so it stays",
            Self::AtMax => "at --max",
            Self::AtMin => "too much, but at --min",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        min: 10.0,
        max: 100.0,
        step: 5.0,
        keep: 0.5,
        latency_max_ms: 500.0,
        errors_max_percent: 1.0,
    };

    fn look(latency_ms: f64, errors_percent: f64) -> Look {
        Look {
            latency_ms: Some(latency_ms),
            errors_percent: Some(errors_percent),
            complete: true,
            tried: true,
        }
    }

    #[test]
    fn up_by_a_step_down_by_a_share() {
        for (rate, look, expected) in [
            (50.0, look(500.0, 1.0), Step::Raise(55.0)),
            (98.0, look(20.0, 0.0), Step::Raise(100.0)),
            (100.0, look(20.0, 0.0), Step::Stay(Why::AtMax)),
            (50.0, look(501.0, 0.0), Step::Lower(25.0)),
            (50.0, look(20.0, 1.1), Step::Lower(25.0)),
            (15.0, look(501.0, 0.0), Step::Lower(10.0)),
            (10.0, look(501.0, 0.0), Step::Stay(Why::AtMin)),
            (300.0, look(20.0, 0.0), Step::Lower(100.0)),
            (33.333_3, look(501.0, 0.0), Step::Lower(16.667)),
        ] {
            assert_eq!(BOUNDS.step(rate, &look), expected, "{rate} {look:?}");
        }
    }

    #[test]
    fn a_rate_below_the_least_is_somebodys_wish_and_is_not_raised_by_trouble() {
        assert_eq!(BOUNDS.step(4.0, &look(501.0, 0.0)), Step::Stay(Why::AtMin));
        assert_eq!(BOUNDS.step(4.0, &look(20.0, 0.0)), Step::Raise(9.0));
    }

    #[test]
    fn nothing_is_raised_blind() {
        let well = look(20.0, 0.0);
        for (blind, why) in [
            (Look { latency_ms: None, ..well }, Why::Unmeasured),
            (Look { errors_percent: None, ..well }, Why::Unmeasured),
            (Look { complete: false, ..well }, Why::Unmeasured),
            (Look { tried: false, ..well }, Why::Untried),
        ] {
            assert_eq!(BOUNDS.step(50.0, &blind), Step::Stay(why), "{blind:?}");
        }
        let half_blind = Look { complete: false, latency_ms: Some(900.0), ..Look::default() };
        assert_eq!(BOUNDS.step(50.0, &half_blind), Step::Lower(25.0), "bad news is enough");
    }

    fn looks() -> impl Strategy<Value = Look> {
        let measure = || proptest::option::of(0.0..2_000.0);
        (measure(), proptest::option::of(0.0..5.0), any::<bool>(), any::<bool>()).prop_map(
            |(latency_ms, errors_percent, complete, tried)| Look {
                latency_ms,
                errors_percent,
                complete,
                tried,
            },
        )
    }

    proptest! {
        #[test]
        fn whatever_is_seen_the_rate_stays_within_its_bounds(
            start in 0.0..20_000.0,
            looks in proptest::collection::vec(looks(), 1..50),
        ) {
            let mut rate: f64 = start;
            for look in looks {
                match BOUNDS.step(rate, &look) {
                    Step::Raise(to) => {
                        prop_assert!(look.complete && look.tried, "raised blind: {look:?}");
                        prop_assert!(rate < to && to <= rate + BOUNDS.step && to <= BOUNDS.max);
                        rate = to;
                    }
                    Step::Lower(to) => {
                        prop_assert!(to < rate && to >= BOUNDS.min, "{rate} to {to}");
                        prop_assert!(rate > BOUNDS.max || to >= rounded(rate * BOUNDS.keep));
                        rate = to;
                    }
                    Step::Stay(_) => {}
                }
            }
        }

        /// A shop that is slow above what it can take: the rate comes near that, and then goes no farther from it than
        /// a step above and a decrease below.
        #[test]
        fn the_rate_finds_what_the_shop_takes(takes in 20.0..95.0, start in 10.0..100.0) {
            let mut rate: f64 = start;
            for round in 0..100 {
                let seen = look(if rate > takes { 900.0 } else { 100.0 }, 0.0);
                if let Step::Raise(to) | Step::Lower(to) = BOUNDS.step(rate, &seen) {
                    rate = to;
                }
                prop_assert!(round < 25 || rate <= takes + BOUNDS.step);
                prop_assert!(round < 25 || rate >= (takes * BOUNDS.keep - 0.001).max(BOUNDS.min));
            }
        }
    }
}
