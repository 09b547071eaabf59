//! A ramp: the rate on its way to the policy's. A function of the row and the instant: while it runs nothing is written
//! and nobody has to be awake. Who starts one stands in `schedule.rs`.

use serde::Serialize;
use utoipa::ToSchema;

use super::Queue;
use super::policy::{Policy, TunePolicy};
use crate::clock::instant;
use crate::error::Error;

/// From which rate, and between which instants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ramp {
    pub from: f64,
    pub began_at: i64,
    pub ends_at: i64,
}

/// A ramp as operators see it.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub struct RampView {
    #[schema(minimum = 0, maximum = 20_000)]
    pub from_per_second: f64,
    /// The policy's rate.
    #[schema(minimum = 0, maximum = 20_000)]
    pub to_per_second: f64,
    #[serde(with = "instant")]
    #[schema(value_type = String, format = DateTime)]
    pub began_at: i64,
    #[serde(with = "instant")]
    #[schema(value_type = String, format = DateTime)]
    pub ends_at: i64,
}

impl Ramp {
    /// A straight line; beyond its ends, the rate of that end.
    fn rate_at(self, to: f64, now: i64) -> f64 {
        let share = (now - self.began_at) as f64 / (self.ends_at - self.began_at) as f64;
        let share = share.clamp(0.0, 1.0);
        self.from * (1.0 - share) + to * share
    }
}

impl Queue {
    /// The ramp that is on at this instant.
    pub fn ramp_at(&self, now: i64) -> Option<Ramp> {
        self.ramp.filter(|ramp| now < ramp.ends_at)
    }

    /// The rate in force at this instant.
    pub fn rate_at(&self, now: i64) -> f64 {
        let to = self.policy.rate_per_second;
        self.ramp_at(now).map_or(to, |ramp| ramp.rate_at(to, now))
    }

    /// The highest rate from now until then: a straight line is highest at one of its ends.
    pub fn highest_rate(&self, now: i64, until: i64) -> f64 {
        self.rate_at(now).max(self.rate_at(until))
    }

    /// The policy with the rate in force at this instant. A burst that follows the rate follows this one.
    pub fn policy_at(&self, now: i64) -> Policy {
        Policy { rate_per_second: self.rate_at(now), ..self.policy.clone() }
    }

    pub fn ramp_view(&self, now: i64) -> Option<RampView> {
        self.ramp_at(now).map(|Ramp { from, began_at, ends_at }| RampView {
            from_per_second: from,
            to_per_second: self.policy.rate_per_second,
            began_at,
            ends_at,
        })
    }

    /// This queue with a change that is made at an instant, or everything that is wrong with it. Whoever names a rate
    /// means it from then on: a ramp towards another ends. With `ramp_seconds` the new rate is reached in so long.
    pub fn tuned(
        &self,
        change: TunePolicy,
        ramp_seconds: Option<i64>,
        at: i64,
    ) -> Result<Self, Error> {
        let ramp = match (change.rate_per_second, ramp_seconds) {
            (None, _) => self.ramp,
            (Some(_), None) => None,
            (Some(_), Some(seconds)) => {
                Some(Ramp { from: self.rate_at(at), began_at: at, ends_at: at + seconds * 1_000 })
            }
        };
        Ok(Self { policy: self.policy.tuned(change)?, ramp, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::QueueName;

    fn queue(rate_per_second: f64) -> Queue {
        Queue {
            id: 1,
            name: QueueName::main(),
            epoch: 1,
            lineage: None,
            epoch_at: 0,
            arrived: Vec::new(),
            version: 1,
            changed_at: 0,
            manual_total: 0,
            policy: Policy { rate_per_second, ..Policy::default() },
            ramp: None,
            draw: None,
        }
    }

    fn to(rate: f64) -> TunePolicy {
        TunePolicy { rate_per_second: Some(rate), ..TunePolicy::default() }
    }

    fn rates(queue: &Queue, instants: [i64; 5]) -> [f64; 5] {
        instants.map(|now| queue.rate_at(now))
    }

    #[test]
    fn a_ramp_goes_straight_from_the_rate_in_force_to_the_new_one() {
        let instants = [0, 1_000, 6_000, 11_000, 99_000];
        let up = queue(10.0).tuned(to(110.0), Some(10), 1_000).unwrap();
        assert_eq!(rates(&up, instants), [10.0, 10.0, 60.0, 110.0, 110.0]);
        let down = queue(10.0).tuned(to(0.0), Some(10), 1_000).unwrap();
        assert_eq!(rates(&down, instants), [10.0, 10.0, 5.0, 0.0, 0.0]);
        assert!((up.policy.rate_per_second - 110.0).abs() < f64::EPSILON, "the policy is the aim");
        assert_eq!((up.ramp_at(10_999), up.ramp_at(11_000)), (up.ramp, None));
    }

    #[test]
    fn a_second_ramp_goes_on_from_where_the_first_is() {
        let first = queue(0.0).tuned(to(100.0), Some(10), 0).unwrap();
        let second = first.tuned(to(0.0), Some(10), 5_000).unwrap();
        assert_eq!(
            rates(&second, [5_000, 10_000, 15_000, 20_000, 0]),
            [50.0, 25.0, 0.0, 0.0, 50.0]
        );
    }

    #[test]
    fn whoever_names_a_rate_ends_the_ramp_and_nobody_else_does() {
        let ramp = queue(0.0).tuned(to(100.0), Some(10), 0).unwrap();
        let message = TunePolicy { message: Some("soon".to_owned()), ..TunePolicy::default() };
        assert_eq!(ramp.tuned(message, None, 5_000).unwrap().ramp, ramp.ramp);
        let same = ramp.tuned(to(100.0), None, 5_000).unwrap();
        assert!((same.rate_at(5_000) - 100.0).abs() < f64::EPSILON, "at once, not in five seconds");
    }

    #[test]
    fn the_highest_rate_is_at_an_end() {
        let up = queue(10.0).tuned(to(110.0), Some(10), 0).unwrap();
        let down = queue(10.0).tuned(to(0.0), Some(10), 0).unwrap();
        let highest = [&up, &down].map(|queue| queue.highest_rate(5_000, 8_000));
        assert_eq!(highest, [90.0, 5.0]);
    }

    #[test]
    fn the_burst_follows_the_rate_in_force() {
        let ramp = queue(2.0).tuned(to(100.0), Some(10), 0).unwrap();
        assert_eq!([0, 5_000].map(|now| ramp.policy_at(now).burst()), [2.0, 51.0]);
        assert!((ramp.policy.burst() - 100.0).abs() < f64::EPSILON);
    }
}
