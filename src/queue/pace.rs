//! How fast the line moves, and what people are told of it: when their turn may come. These are estimates; nothing is
//! granted by them.

use super::redis::Figures;
use crate::ids::QueueNumber;

/// The flow is measured over the last minute, from marks five seconds apart.
const MARKS: usize = 12;
const MARK_EVERY_MS: i64 = 5_000;
/// The set rate counts like so much time of measuring: it is all that is known at first, and little after a minute.
const BELIEF_SECONDS: f64 = 5.0;
/// Turns that are all taken are all taken again in a moment: the line goes on to be bound by them for so long.
const FULL_MS: i64 = 10_000;
/// How much of their turns people are thought to need before it was seen.
const STAY: f64 = 0.5;
/// Fewer turns that ended say nothing of how soon others do.
const ENDED_MIN: i64 = 5;
/// A range reaches two standard deviations either way, and never claims to be better than this.
const DEVIATIONS: f64 = 2.0;
const ETA_SPREAD_MIN: f64 = 0.1;
const ETA_SECONDS_MAX: i64 = 86_400;

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
    cap: i64,
}

/// Where the line stood at moments of the last minute, while one policy was in force.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    regime: Regime,
    /// Oldest first.
    marks: [Mark; MARKS],
    known: usize,
    latest: Mark,
    /// When every turn was last seen taken.
    full_at: Option<i64>,
}

/// Numbers served a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flow {
    pub per_second: f64,
    /// How many numbers that was concluded from: few of them tell little.
    pub seen: f64,
    /// What a ramp makes of it, or people who may finish at any time: the slowest and the fastest that is to be expected.
    pub bounds: (f64, f64),
    /// While turns bound the line.
    pub turns: Option<Turns>,
}

/// Turns that are all taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turns {
    pub cap: i64,
    pub session_seconds: i64,
    /// So many have to end before the next is given: the cap has fallen below what is inside.
    pub excess: i64,
}

/// Seconds until the turn: the estimate and its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eta {
    pub seconds: i64,
    pub low: i64,
    pub high: i64,
}

impl Pace {
    /// This pace when the line stands like this. What was seen under another policy, in another epoch, or while nobody
    /// waited or nobody was let in says nothing of what comes.
    pub fn at(mut self, now: i64, figures: &Figures, regime: Regime) -> Self {
        let Figures { serving, active, .. } = *figures;
        let same =
            self.regime.version == regime.version && self.latest.serving.epoch() == serving.epoch();
        if !same {
            self = Self::default();
        }
        self.regime = regime;
        self.latest = Mark { at: now, serving, active, cap: regime.cap };
        if regime.cap > 0 && active >= regime.cap {
            self.full_at = Some(now);
        }
        let lasts = |at: &i64| now - at < FULL_MS && !regime.stands;
        self.full_at = self.full_at.filter(lasts);
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

    /// Whether turns bound the line, and not the rate: it moves as people finish.
    pub fn is_full(&self) -> bool {
        self.full_at.is_some()
    }

    /// What was measured, tempered by what is set.
    pub fn flow(&self) -> Flow {
        let seconds = (self.latest.at - self.marks[0].at).max(0) as f64 / 1_000.0;
        let measured = |moved: i64, believed: f64| {
            let seen = moved.max(0) as f64 + believed * BELIEF_SECONDS;
            (seen, seen / (seconds + BELIEF_SECONDS))
        };
        if self.is_full() { self.flow_of_turns(measured) } else { self.flow_of_rate(measured) }
    }

    fn flow_of_rate(&self, measured: impl Fn(i64, f64) -> (f64, f64)) -> Flow {
        let Regime { rate_per_second: rate, aim_per_second: aim, .. } = self.regime;
        let (seen, per_second) = measured(self.latest.serving.0 - self.marks[0].serving.0, rate);
        let bounds = match aim {
            aim if aim > rate => (per_second, per_second.max(aim)),
            aim if aim < rate => (per_second.min(aim), per_second),
            _ => (per_second, per_second),
        };
        Flow { per_second, seen, bounds, turns: None }
    }

    /// The turns that the line filled at first do not come again: those that ended do, but for those that the cap has lost
    /// meanwhile.
    fn flow_of_turns(&self, measured: impl Fn(i64, f64) -> (f64, f64)) -> Flow {
        let Regime { rate_per_second: rate, cap, session_seconds, .. } = self.regime;
        let (since, now) = (self.marks[0], self.latest);
        let ended = now.serving.0 - since.serving.0 - (now.active - since.active);
        let moved = ended + (now.cap - since.cap).min(0);
        // Nobody stays for longer than that.
        let slowest = rate.min(cap as f64 / session_seconds.max(1) as f64);
        let (seen, per_second) = measured(moved, rate.min(slowest / STAY));
        let per_second = per_second.max(slowest);
        let fastest = if moved < ENDED_MIN { rate.max(per_second) } else { per_second };
        let turns = Turns { cap, session_seconds, excess: (now.active - cap).max(0) };
        Flow { per_second, seen, bounds: (per_second, fastest), turns: Some(turns) }
    }
}

impl Turns {
    /// When so many have ended, whatever the pace was so far: a session each, at the latest.
    fn are_over_in(self, count: i64) -> i64 {
        let sessions = count.saturating_add(self.cap - 1) / self.cap.max(1);
        self.session_seconds.saturating_mul(sessions)
    }
}

impl Flow {
    /// When a position comes up: arrivals of turns are counted like any other, so their number varies by its root.
    pub fn eta(self, position: i64) -> Option<Eta> {
        if self.per_second <= 0.0 {
            return None;
        }
        let ahead = position.max(1).saturating_add(self.turns.map_or(0, |turns| turns.excess));
        let over_in = self.turns.map_or(0, |turns| turns.are_over_in(ahead));
        let (ahead, seen) = (ahead as f64, self.seen.max(1.0));
        let spread = DEVIATIONS * (1.0 / ahead + 1.0 / seen).sqrt();
        let (slowest, fastest) = self.bounds;
        let (seconds, factor) = (ahead / self.per_second, 1.0 + spread.max(ETA_SPREAD_MIN));
        let whole = |seconds: f64| seconds.ceil() as i64;
        // A ramp that ends at nothing leaves some behind, and nobody knows for how long.
        let high = if slowest > 0.0 { whole(ahead / slowest * factor) } else { ETA_SECONDS_MAX };
        Some(Eta {
            seconds: whole(seconds),
            low: (ahead / fastest / factor).floor() as i64,
            high: high.max(over_in.min(ETA_SECONDS_MAX)),
        })
    }
}

#[cfg(test)]
mod tests {
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
        for seconds in [11, 70, 500] {
            let nobody_goes = full_for(seconds, 600).eta(500).unwrap();
            let Eta { seconds: told, low, high } = nobody_goes;
            assert!(low <= 10 && (300..=600).contains(&told) && high >= 600, "{nobody_goes:?}");
        }
        let later = full_for(200, 60).eta(1_000).unwrap();
        assert!(later.low > 60 && (100..140).contains(&later.seconds), "500 a minute: {later:?}");
    }

    #[test]
    fn a_turn_that_is_free_for_a_moment_does_not_mean_that_the_rate_bounds_the_line() {
        let figures = |active, waiting| Figures { active, waiting, ..nth(500) };
        let full = Pace::default().at(0, &figures(500, 1), rate(50.0));
        let for_a_moment = full.at(100, &figures(499, 0), rate(50.0));
        assert!(for_a_moment.is_full());
        assert!(!for_a_moment.at(10_000, &figures(499, 1), rate(50.0)).is_full());
        let none = Regime { cap: 0, ..rate(50.0) };
        assert!(!Pace::default().at(0, &figures(0, 1), none).is_full(), "there is none to take");
        let stands = Regime { stands: true, ..rate(50.0) };
        assert!(!full.at(100, &figures(500, 1), stands).is_full());
    }

    /// Each of 50 sells two of 100 seats and goes; the other 50 seats go to those who are still inside.
    #[test]
    fn a_turn_that_ended_with_the_last_seats_lets_nobody_in() {
        let at = |second: i64| {
            let inside = 100 - second;
            let regime = Regime { cap: inside, ..rate(50.0) };
            (Figures { active: inside, ..nth(100) }, regime)
        };
        let line = (0..=50).fold(Pace::default(), |pace, second| {
            let (figures, regime) = at(second);
            pace.at(second * 1_000, &figures, regime)
        });
        let eta = line.flow().eta(50).unwrap();
        assert!(eta.seconds >= 500 && eta.high >= 600, "{eta:?}");
    }

    #[test]
    fn whoever_is_inside_beyond_a_lowered_cap_goes_first() {
        let lowered = Regime { cap: 100, ..rate(50.0) };
        let line = (0..=60).fold(Pace::default(), |pace, second| {
            let figures = Figures { active: 500 - second, ..nth(500) };
            pace.at(second * 1_000, &figures, lowered)
        });
        let eta = line.flow().eta(1).unwrap();
        assert!((300..=400).contains(&eta.seconds), "340 go before, one a second: {eta:?}");
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
}
