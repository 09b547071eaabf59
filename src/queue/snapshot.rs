//! The figures of a line as they were at one moment, and the places that follow from them. A copy; nothing is granted
//! by it.

use super::line::SNAPSHOT_MS;
use super::pace::Pace;
use super::redis::Figures;
use crate::ids::{Epoch, QueueNumber};

/// Figures and when they were read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Snapshot {
    pub figures: Figures,
    /// Of which epoch they are.
    pub epoch: Epoch,
    pub at_ms: i64,
    pub pace: Pace,
    /// Polls that this instance had answered at the last count, when that was, and how many a second there were.
    polls: (i64, u64),
    pub polls_per_second: f64,
}

impl Snapshot {
    /// This snapshot with newer figures.
    pub(super) fn renewed(
        &self,
        (figures, epoch): (Figures, Epoch),
        pace: Pace,
        (now, polls): (i64, u64),
    ) -> Self {
        let (counted_at, counted) = self.polls;
        let newer = Self { figures, epoch, at_ms: now, pace, ..*self };
        // Shorter spans tell nothing: a tick may show the line a moment after somebody looked.
        if (0..SNAPSHOT_MS).contains(&(now - counted_at)) {
            return newer;
        }
        let seconds = (now - counted_at).max(SNAPSHOT_MS) as f64 / 1_000.0;
        let polls_per_second = polls.saturating_sub(counted) as f64 / seconds;
        Self { polls: (now, polls), polls_per_second, ..newer }
    }

    /// The place of a number where numbers are given in the order of service: 1 is next. Never less, whatever was
    /// skipped before it. `None` while people are coming back after a rebuild: until then nobody knows how many.
    pub(super) fn position(&self, number: QueueNumber) -> Option<i64> {
        let Figures { serving, pause_until, taken, .. } = self.figures;
        if pause_until > 0 {
            return None;
        }
        let ahead = if number < serving || serving.epoch() == number.epoch() {
            number.0 - serving.0
        } else {
            self.waited_before(number.epoch())? - taken + number.arrival()
        };
        Some(ahead.max(1))
    }

    /// How many of earlier epochs were in line when people had come back.
    fn waited_before(&self, epoch: Epoch) -> Option<i64> {
        if epoch <= 1 {
            return Some(0);
        }
        let newest = usize::try_from(self.epoch - epoch).ok()?;
        *self.figures.ahead.get(newest)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nth(epoch: Epoch, n: i64) -> QueueNumber {
        QueueNumber(QueueNumber::base(epoch) + n)
    }

    #[test]
    fn a_position_is_the_distance_to_the_serving_number_and_at_least_one() {
        let figures = Figures { serving: nth(1, 10), ..Figures::default() };
        let snapshot = Snapshot { figures, epoch: 1, ..Snapshot::default() };
        let place = |n| snapshot.position(nth(1, n));
        assert_eq!((place(11), place(15), place(9)), (Some(1), Some(5), Some(1)));
        assert_eq!(Snapshot::default().position(nth(1, 3)), Some(3));
    }

    #[test]
    fn whoever_came_after_a_loss_has_those_before_him_who_came_back() {
        let mut figures = Figures { serving: nth(1, 10), taken: 4, ..Figures::default() };
        (figures.ahead[0], figures.ahead[1]) = (Some(30), Some(20));
        let snapshot = |figures| Snapshot { figures, epoch: 3, ..Snapshot::default() };
        let place = |figures, number| snapshot(figures).position(number);
        assert_eq!(place(figures, nth(1, 12)), Some(2));
        assert_eq!(place(figures, nth(2, 1)), Some(20 - 4 + 1));
        assert_eq!(place(figures, nth(3, 5)), Some(30 - 4 + 5));
        let later = Figures { serving: nth(2, 3), taken: 23, ..figures };
        assert_eq!(place(later, nth(2, 5)), Some(2));
        assert_eq!(place(later, nth(1, 99)), Some(1), "he came late, and is next");
        assert_eq!(place(Figures { pause_until: 1, ..figures }, nth(1, 12)), None);
    }
}
