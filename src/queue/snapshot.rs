//! The figures of a line as they were at one moment, and the places that follow from them. A copy; nothing is granted
//! by it.

use serde::Serialize;
use utoipa::ToSchema;

use super::pace::Pace;
use super::redis::Figures;
use crate::ids::{Epoch, QueueNumber};

/// Polls are answered from figures at most this old.
pub(super) const SNAPSHOT_MS: i64 = 100;

/// Whether the state of a queue in Redis is certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LineState {
    Ok,
    Rebuilding,
}

impl LineState {
    pub fn of(rebuilding: bool) -> Self {
        if rebuilding { Self::Rebuilding } else { Self::Ok }
    }
}

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
    /// skipped before it. Of a later epoch than the one that is served, it counts everybody who `arrived` in those before,
    /// newest first: whoever of them does not come back is skipped as well, so a place never rises. `None` while people
    /// come back after a rebuild.
    pub(super) fn position(
        &self,
        number: QueueNumber,
        serving: QueueNumber,
        arrived: &[i64],
    ) -> Option<i64> {
        if self.figures.pause_until > 0 {
            return None;
        }
        if number < serving || serving.epoch() == number.epoch() {
            return Some((number.0 - serving.0).max(1));
        }
        // A line that was not looked at yet is of no epoch.
        let skipped = usize::try_from((self.epoch - number.epoch()).max(0)).ok()?;
        let between = usize::try_from(number.epoch() - serving.epoch()).ok()?;
        // A line that nobody has come up in yet is served from its very beginning.
        let (served, oldest) = (serving.arrival(), skipped + between - 1);
        let came = arrived.get(oldest).filter(|_| serving.epoch() > 0);
        let left = came.map_or(0, |came| (came - served).max(0));
        let later: i64 = arrived.iter().take(oldest).skip(skipped).sum();
        Some(left + later + number.arrival())
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
        let place = |n| snapshot.position(nth(1, n), figures.serving, &[]);
        assert_eq!((place(11), place(15), place(9)), (Some(1), Some(5), Some(1)));
        assert_eq!(
            Snapshot { epoch: 1, ..Snapshot::default() }.position(nth(1, 3), QueueNumber(0), &[]),
            Some(3)
        );
    }

    #[test]
    fn whoever_came_after_a_loss_has_those_before_him_who_came_earlier() {
        let at = |serving| {
            let figures = Figures { serving, ..Figures::default() };
            Snapshot { figures, epoch: 3, ..Snapshot::default() }
        };
        // Thirty came in the first epoch, seven in the second.
        let place = |serving, number| at(serving).position(number, serving, &[7, 30]);
        assert_eq!(place(nth(1, 10), nth(1, 12)), Some(2));
        assert_eq!(place(nth(1, 10), nth(2, 1)), Some(30 - 10 + 1));
        assert_eq!(place(nth(1, 10), nth(3, 5)), Some(30 - 10 + 7 + 5));
        assert_eq!(place(nth(2, 3), nth(3, 5)), Some(7 - 3 + 5));
        assert_eq!(place(nth(2, 3), nth(2, 5)), Some(2));
        assert_eq!(place(nth(2, 3), nth(1, 99)), Some(1), "he came late, and is next");
        assert_eq!(place(QueueNumber(0), nth(2, 1)), Some(31), "nobody has come up yet");
        assert_eq!(place(nth(1, 35), nth(2, 1)), Some(1), "more had come than anybody knew");
        assert_eq!(
            place(nth(1, 35), nth(3, 5)),
            Some(7 + 5),
            "and they are in nobody else's place"
        );
        let mut paused = at(nth(1, 10));
        paused.figures.pause_until = 1;
        assert_eq!(paused.position(nth(1, 12), nth(1, 10), &[7, 30]), None);
    }
}
