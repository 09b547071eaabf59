//! When people who wait are told to ask again.

use std::ops::RangeInclusive;

use crate::chance;

/// The shortest interval that is told, and how much shorter than told a crowd's intervals are made, to spread it.
pub const POLL_MS_MIN: f64 = 500.0;
const POLL_SPREAD: f64 = 0.3;
/// Polls a second that one instance answers at its ease; beyond them the intervals grow in proportion.
const POLLS_PER_SECOND_EASY: f64 = 10_000.0;
/// Before an unclaimed turn is over, its owner is told to ask at least this much earlier.
const CLAIM_MARGIN_SECONDS: i64 = 5;

/// What an interval is made from.
#[derive(Clone, Copy, Debug)]
pub struct Interval {
    pub position: i64,
    pub rate_per_second: f64,
    pub claim_seconds: i64,
    pub poll_seconds_max: i64,
    /// Polls that this instance answers.
    pub polls_per_second: f64,
}

impl Interval {
    /// When to ask again, in milliseconds: later the further from the front and the more people ask, spread over a
    /// crowd, and never so late that a turn could pass unclaimed.
    pub fn poll_after_ms(self) -> i64 {
        let range = self.range();
        let told = *range.end();
        chance::at_most(told, POLL_SPREAD).max(*range.start()) as i64
    }

    fn range(self) -> RangeInclusive<f64> {
        let longest = self.poll_seconds_max as f64 * 1_000.0;
        // Unclaimed turns are made up for, so for a while the line moves at up to twice the rate.
        let earliest = self.position as f64 / (2.0 * self.rate_per_second) * 1_000.0;
        let claim_by =
            earliest + (self.claim_seconds - CLAIM_MARGIN_SECONDS).max(1) as f64 * 1_000.0;
        let load = (self.polls_per_second / POLLS_PER_SECOND_EASY).max(1.0);
        let easy = earliest.max(POLL_MS_MIN / (1.0 - POLL_SPREAD)) * load;
        let shortest = POLL_MS_MIN.min(longest);
        shortest..=easy.min(claim_by).min(longest).max(shortest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn interval(position: i64, rate_per_second: f64, polls_per_second: f64) -> Interval {
        let (claim_seconds, poll_seconds_max) = (60, 30);
        Interval { position, rate_per_second, claim_seconds, poll_seconds_max, polls_per_second }
    }

    #[test]
    fn intervals_grow_with_the_distance_and_with_the_load() {
        let told = |position, polls| *interval(position, 50.0, polls).range().end();
        assert_eq!(told(1, 0.0), POLL_MS_MIN / (1.0 - POLL_SPREAD));
        assert_eq!((told(1_000, 0.0), told(1_000, 20_000.0)), (10_000.0, 20_000.0));
        assert_eq!(told(1_000_000, 0.0), 30_000.0);
        let mut soon = interval(100, 50.0, 1e9);
        soon.claim_seconds = 10;
        assert_eq!(*soon.range().end(), 6_000.0, "a second until the turn, five to claim it");
    }

    proptest! {
        #[test]
        fn an_interval_is_from_half_a_second_to_the_longest(
            position in 1..2_000_000_i64, rate in 0.0..20_000.0_f64, polls in 0.0..1e6_f64
        ) {
            let told = interval(position, rate, polls).poll_after_ms();
            prop_assert!((500..=30_000).contains(&told), "{told}");
        }
    }
}
