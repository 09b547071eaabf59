//! How fast the line moves, and what people are told of it: when their turn may come, and when to ask again. These are
//! estimates; nothing is granted by them.

use std::ops::RangeInclusive;

use super::redis::Figures;
use crate::chance;
use crate::ids::QueueNumber;

/// The flow is measured over the last minute, from marks five seconds apart.
const MARKS: usize = 12;
const MARK_EVERY_MS: i64 = 5_000;
const MARKS_MS: i64 = MARKS as i64 * MARK_EVERY_MS;
/// The set rate counts like so much time of measuring: it is all that is known at first, and little after a minute.
const BELIEF_SECONDS: f64 = 5.0;
/// Turns that are all taken are all taken again in a moment: the line goes on to be bound by them for so long.
const FULL_MS: i64 = 10_000;
/// How much of their turns people are thought to need before it was seen.
const STAY: f64 = 0.5;
/// A range reaches two standard deviations either way, and never claims to be better than this.
const DEVIATIONS: f64 = 2.0;
const ETA_SPREAD_MIN: f64 = 0.1;
const ETA_SECONDS_MAX: i64 = 86_400;
/// The shortest interval that is told, and how much shorter than told a crowd's intervals are made, to spread it.
pub const POLL_MS_MIN: f64 = 500.0;
const POLL_SPREAD: f64 = 0.3;
/// Polls a second that one instance answers at its ease; beyond them the intervals grow in proportion.
const POLLS_PER_SECOND_EASY: f64 = 10_000.0;
/// Before an unclaimed turn is over, its owner is told to ask at least this much earlier.
const CLAIM_MARGIN_SECONDS: i64 = 5;

/// Under which policy the line moves, or stands.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Regime {
    /// Of the policy.
    pub version: i64,
    pub rate_per_second: f64,
    /// Where a ramp leads; without one the same.
    pub aim_per_second: f64,
    /// Turns at once.
    pub cap: i64,
    pub session_seconds: i64,
    /// Nobody is admitted, for a reason that people are told.
    pub stands: bool,
}

/// Where the line stood at one moment.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    at: i64,
    serving: QueueNumber,
    active: i64,
}

/// Where the line stood at moments of the last minute, while one policy was in force.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    regime: Regime,
    /// Oldest first.
    marks: [Mark; MARKS],
    known: usize,
    latest: Mark,
    /// Since when every turn is taken, and when that was seen last.
    full: Option<(i64, i64)>,
}

/// Numbers served a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flow {
    pub per_second: f64,
    /// How many numbers that was concluded from: few of them tell little.
    pub seen: f64,
    /// What a ramp makes of it: the slowest and the fastest that is to be expected.
    pub bounds: (f64, f64),
}

/// Seconds until the turn: the estimate and its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eta {
    pub seconds: i64,
    pub low: i64,
    pub high: i64,
}

impl Eta {
    /// This estimate where it may take up to so many seconds, whatever the pace was so far.
    pub fn at_most(self, seconds: i64) -> Self {
        Self { high: self.high.max(seconds.min(ETA_SECONDS_MAX)), ..self }
    }
}

impl Pace {
    /// This pace when the line stands like this. What was seen under another policy, in another epoch, or while nobody
    /// waited or nobody was let in says nothing of what comes.
    pub fn at(mut self, now: i64, figures: &Figures, regime: Regime) -> Self {
        let Figures { serving, active, .. } = *figures;
        let same = self.known > 0
            && self.regime.version == regime.version
            && self.latest.serving.epoch() == serving.epoch();
        if !same {
            self = Self::default();
        }
        self.regime = regime;
        self.latest = Mark { at: now, serving, active };
        self.full = if active >= regime.cap {
            Some((self.full.map_or(now, |(since, _)| since), now))
        } else {
            self.full.filter(|(_, last)| now - last < FULL_MS)
        };
        let due = self.known == 0 || now - self.marks[self.known - 1].at >= MARK_EVERY_MS;
        if due && self.known == MARKS {
            self.marks.rotate_left(1);
            self.known -= 1;
        }
        if due {
            self.marks[self.known] = self.latest;
            self.known += 1;
        }
        if figures.waiting == 0 || regime.stands {
            (self.marks[0], self.known) = (self.latest, 0);
        }
        self
    }

    /// Whether the turns bound the line, and not the rate: it moves as people finish.
    pub fn is_full(&self) -> bool {
        self.full.is_some()
    }

    /// What was measured, tempered by what is set.
    pub fn flow(&self) -> Flow {
        let Regime { rate_per_second: rate, aim_per_second: aim, cap, session_seconds, .. } =
            self.regime;
        let (since, now) = (self.marks[0], self.latest);
        let seconds = (now.at - since.at).max(0) as f64 / 1_000.0;
        let served = now.serving.0 - since.serving.0;
        // The turns that the line filled at first do not come again: those that ended do.
        let (moved, believed) = match self.full {
            Some(_) => {
                let stay = STAY * session_seconds as f64;
                (served - (now.active - since.active), rate.min(cap as f64 / stay))
            }
            None => (served, rate),
        };
        let seen = moved.max(0) as f64 + believed * BELIEF_SECONDS;
        let per_second = seen / (seconds + BELIEF_SECONDS);
        let bounds = match aim {
            aim if aim > rate => (per_second, per_second.max(aim)),
            aim if aim < rate => (per_second.min(aim), per_second),
            _ => (per_second, per_second),
        };
        // Nobody has been inside for long enough to tell how long people stay.
        let is_new = self.full.is_some_and(|(since, _)| now.at - since < MARKS_MS);
        let fastest = if is_new { bounds.1.max(rate) } else { bounds.1 };
        Flow { per_second, seen, bounds: (bounds.0, fastest) }
    }
}

impl Flow {
    /// When a position comes up: arrivals of turns are counted like any other, so their number varies by its root.
    pub fn eta(self, position: i64) -> Option<Eta> {
        if self.per_second <= 0.0 {
            return None;
        }
        let (position, seen) = (position.max(1) as f64, self.seen.max(1.0));
        let spread = DEVIATIONS * (1.0 / position + 1.0 / seen).sqrt();
        let (slowest, fastest) = self.bounds;
        let (seconds, factor) = (position / self.per_second, 1.0 + spread.max(ETA_SPREAD_MIN));
        let whole = |seconds: f64| seconds.ceil() as i64;
        Some(Eta {
            seconds: whole(seconds),
            // What was concluded from nothing may be refuted at once.
            low: if self.seen < 1.0 { 0 } else { (position / fastest / factor).floor() as i64 },
            // A ramp that ends at nothing leaves some behind, and nobody knows for how long.
            high: if slowest > 0.0 { whole(position / slowest * factor) } else { ETA_SECONDS_MAX },
        })
    }
}

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

    fn nth(n: i64) -> Figures {
        serving(QueueNumber(QueueNumber::base(1) + n))
    }

    fn rate(per_second: f64) -> Regime {
        Regime {
            version: per_second.to_bits() as i64,
            rate_per_second: per_second,
            aim_per_second: per_second,
            cap: 500,
            session_seconds: 600,
            stands: false,
        }
    }

    /// Somebody waits.
    fn serving(serving: QueueNumber) -> Figures {
        Figures { serving, waiting: 1, ..Figures::default() }
    }

    /// A line that has moved at `flow` for a minute under a rate of 50.
    fn a_minute_of(flow: i64) -> Pace {
        (0..=60).fold(Pace::default(), |pace, second| {
            pace.at(second * 1_000, &nth(flow * second), rate(50.0))
        })
    }

    #[test]
    fn at_first_the_rate_is_believed_and_later_what_was_seen() {
        let first = Pace::default().at(0, &nth(0), rate(50.0)).flow();
        assert_eq!(first.per_second, 50.0);
        let slow = a_minute_of(10).flow();
        assert!((10.0..14.0).contains(&slow.per_second), "{slow:?}");
    }

    #[test]
    fn another_rate_or_another_epoch_begins_anew() {
        let tuned = a_minute_of(10).at(61_000, &nth(610), rate(20.0));
        assert_eq!(tuned.flow().per_second, 20.0);
        let epoch = serving(QueueNumber(QueueNumber::base(2)));
        assert_eq!(a_minute_of(10).at(61_000, &epoch, rate(50.0)).flow().per_second, 50.0);
    }

    #[test]
    fn while_nobody_waits_nothing_is_learned() {
        let quiet = (0..=60).fold(Pace::default(), |pace, second| {
            pace.at(second * 1_000, &Figures { waiting: 0, ..nth(5) }, rate(50.0))
        });
        assert_eq!(quiet.at(61_000, &nth(5), rate(50.0)).flow().per_second, 50.0);
    }

    #[test]
    fn while_nobody_is_let_in_nothing_is_learned() {
        let paused = Regime { stands: true, ..rate(50.0) };
        let paused = (0..=60).fold(a_minute_of(50), |pace, second| {
            pace.at(60_000 + second * 1_000, &nth(3_000), paused)
        });
        assert_eq!(paused.at(121_000, &nth(3_000), rate(50.0)).flow().per_second, 50.0);
    }

    /// A line behind 500 turns, all taken by people who stay for `stay` seconds, so many seconds after the first came.
    fn full_for(seconds: i64, stay: i64) -> Flow {
        let inside = |second: i64| (second * 50).min(500);
        let gone = |second: i64| (second - stay).max(0) * 500 / stay;
        let at = |second| Figures { active: inside(second), ..nth(inside(second) + gone(second)) };
        let line = (0..=seconds)
            .fold(Pace::default(), |pace, second| pace.at(second * 1_000, &at(second), rate(50.0)));
        assert_eq!(line.is_full(), seconds >= 10);
        line.flow()
    }

    #[test]
    fn while_every_turn_is_taken_the_line_moves_as_people_finish() {
        assert_eq!(full_for(9, 60).per_second, 50.0);
        let at_first = full_for(11, 60).eta(1_000).unwrap();
        assert!(at_first.low <= 20 && at_first.seconds > 300, "nobody knows: {at_first:?}");
        let later = full_for(200, 60).eta(1_000).unwrap();
        assert!(later.low > 60 && (100..140).contains(&later.seconds), "500 a minute: {later:?}");
        assert!(full_for(200, 600).per_second < 0.2, "nobody has gone");
    }

    #[test]
    fn a_turn_that_is_free_for_a_moment_does_not_mean_that_the_rate_bounds_the_line() {
        let full = Pace::default().at(0, &Figures { active: 500, ..nth(500) }, rate(50.0));
        let for_a_moment = full.at(100, &Figures { active: 499, ..nth(500) }, rate(50.0));
        assert!(for_a_moment.is_full());
        let for_long = for_a_moment.at(10_000, &Figures { active: 499, ..nth(500) }, rate(50.0));
        assert!(!for_long.is_full());
    }

    #[test]
    fn on_a_ramp_the_range_reaches_to_its_end() {
        let rising = Regime { aim_per_second: 100.0, ..rate(1.0) };
        let eta = Pace::default().at(0, &nth(0), rising).flow().eta(298).unwrap();
        assert!(eta.low <= 2 && eta.high >= 298, "{eta:?}");
    }

    #[test]
    fn a_line_that_stands_has_no_estimate() {
        assert_eq!(Pace::default().at(0, &nth(0), rate(0.0)).flow().eta(5), None);
    }

    #[test]
    fn a_long_look_at_a_long_line_is_a_narrow_range() {
        let eta = a_minute_of(50).flow().eta(5_000).unwrap();
        assert_eq!((eta.low, eta.seconds, eta.high), (90, 100, 111));
        let near = Pace::default().at(0, &nth(0), rate(0.1)).flow().eta(1).unwrap();
        assert!(near.low <= 3 && near.high >= 30, "{near:?}");
    }

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
