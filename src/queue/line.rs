//! One queue as this instance sees it: the row it last read, the figures it last watched, the stock it last counted.
//! Everything here is a copy that may be a moment old; nothing is granted by it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, PoisonError};

use arc_swap::ArcSwap;
use serde::Serialize;
use tokio::sync::Mutex;
use utoipa::ToSchema;

use super::policy::Mode;
use super::redis::Figures;
use super::sql::Queue;
use crate::concert::Stock;
use crate::ids::QueueNumber;
use crate::recent::{Recent, Renewal};
use crate::redis::keys::QueueKeys;

/// Polls are answered from figures at most this old.
pub const SNAPSHOT_MS: i64 = 200;
/// The outflow is measured over about this long.
const OUTFLOW_WINDOW_MS: i64 = 10_000;
/// A queue that nobody has asked for this long is left alone by the ticks.
const IDLE_MS: i64 = 60_000;

/// Why people wait although they might expect to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    Paused,
    Closed,
    /// Every seat that is not sold is held.
    Full,
    SoldOut,
    /// The state in Redis is in doubt.
    Rebuilding,
}

/// Whether the state of a queue in Redis is certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LineState {
    Ok,
    Rebuilding,
}

impl LineState {
    pub fn in_doubt(doubt: bool) -> Self {
        if doubt { Self::Rebuilding } else { Self::Ok }
    }
}

/// Figures and when they were read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Snapshot {
    pub figures: Figures,
    pub at_ms: i64,
    /// Numbers served a second, over the last seconds; 0 before the first were.
    pub outflow: f64,
    /// Where the measurement of the outflow began.
    mark: (i64, QueueNumber),
}

impl Snapshot {
    /// This snapshot with newer figures.
    fn renewed(&self, figures: Figures, now: i64) -> Self {
        let same_epoch = self.mark.1.epoch() == figures.serving.epoch();
        let (mark, outflow) = if self.at_ms == 0 || !same_epoch {
            ((now, figures.serving), 0.0)
        } else {
            let (since, from) = self.mark;
            let seconds = (now - since) as f64 / 1_000.0;
            let served = (figures.serving.0 - from.0) as f64;
            let measured = if seconds >= 1.0 { served / seconds } else { self.outflow };
            let mark =
                if now - since > OUTFLOW_WINDOW_MS { (now, figures.serving) } else { self.mark };
            (mark, measured)
        };
        Self { figures, at_ms: now, outflow, mark }
    }

    /// The place of a number: 1 is next. Never less, whatever was skipped before it.
    pub fn position(&self, number: QueueNumber) -> i64 {
        let serving = self.figures.serving;
        let ahead =
            if serving.epoch() == number.epoch() { number.0 - serving.0 } else { number.arrival() };
        ahead.max(1)
    }
}

/// A queue in this process.
pub struct Line {
    pub keys: QueueKeys,
    queue: ArcSwap<Queue>,
    snapshot: ArcSwap<Snapshot>,
    pub stock: Recent<Stock>,
    asked_at: AtomicI64,
    doubt: AtomicBool,
    /// Numbers that left while they waited: this instance tells them so at once, every other when they come up.
    left: std::sync::Mutex<BTreeSet<QueueNumber>>,
    pub watching: Renewal,
    /// One at a time ticks.
    pub ticking: Mutex<()>,
}

impl Line {
    pub fn new(installation: &str, queue: Queue) -> Self {
        Self {
            keys: QueueKeys::new(installation, &queue.name),
            queue: ArcSwap::from_pointee(queue),
            snapshot: ArcSwap::default(),
            stock: Recent::default(),
            asked_at: AtomicI64::new(i64::MIN),
            doubt: AtomicBool::new(false),
            left: std::sync::Mutex::default(),
            watching: Renewal::default(),
            ticking: Mutex::new(()),
        }
    }

    pub fn queue(&self) -> Arc<Queue> {
        self.queue.load_full()
    }

    /// Takes a newer row; an older one that arrives late is ignored.
    pub fn learn(&self, queue: &Queue) {
        self.queue.rcu(|known| {
            let newer = (queue.epoch, queue.version) > (known.epoch, known.version);
            let adopted = queue.version == known.version
                && queue.lineage != known.lineage
                && queue.lineage.is_some();
            if newer || adopted { Arc::new(queue.clone()) } else { known.clone() }
        });
    }

    pub fn snapshot(&self) -> Snapshot {
        **self.snapshot.load()
    }

    pub fn show(&self, figures: Figures, now: i64) {
        // Two looks may be told in the wrong order; what was served stays served.
        self.snapshot.rcu(|old| {
            let older = figures.serving < old.figures.serving
                && figures.serving.epoch() == old.figures.serving.epoch();
            if older { Arc::clone(old) } else { Arc::new(old.renewed(figures, now)) }
        });
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        *left = left.split_off(&QueueNumber(figures.serving.0 + 1));
        self.doubt.store(false, Ordering::Relaxed);
    }

    /// What was left to sell at the last count.
    pub fn stock(&self) -> Stock {
        self.stock.last().unwrap_or_default()
    }

    /// Somebody asked for this queue.
    pub fn touch(&self, now: i64) {
        self.asked_at.fetch_max(now, Ordering::Relaxed);
    }

    pub fn is_asked_for(&self, now: i64) -> bool {
        now.saturating_sub(self.asked_at.load(Ordering::Relaxed)) < IDLE_MS
    }

    /// Remembers that a waiting number left, until it comes up.
    pub fn leave(&self, number: QueueNumber) {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).insert(number);
    }

    pub fn has_left(&self, number: QueueNumber) -> bool {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).contains(&number)
    }

    /// Whether the state in Redis was last seen to be in doubt.
    pub fn is_in_doubt(&self) -> bool {
        self.doubt.load(Ordering::Relaxed)
    }

    /// Says whether this is news.
    pub fn doubt(&self) -> bool {
        !self.doubt.swap(true, Ordering::Relaxed)
    }

    /// Why people wait, as everybody is told it.
    pub fn reason(&self) -> Option<Reason> {
        if self.is_in_doubt() {
            return Some(Reason::Rebuilding);
        }
        match self.queue().policy.mode {
            Mode::Paused => Some(Reason::Paused),
            Mode::Closed => Some(Reason::Closed),
            Mode::Passthrough => None,
            Mode::Open | Mode::Draining => match self.stock() {
                Stock { seats: 0, .. } => None,
                Stock { unsold: 0, .. } => Some(Reason::SoldOut),
                Stock { free: 0, .. } => Some(Reason::Full),
                Stock { .. } => None,
            },
        }
    }

    /// Turns at once: never more than the operator allows, nor than there are seats to sell to them.
    pub fn cap(&self) -> i64 {
        let policy = &self.queue().policy;
        let stock = self.stock();
        match policy.mode {
            Mode::Passthrough => i64::from(u32::MAX),
            _ if stock.seats == 0 => policy.active_max,
            _ => policy.active_max.min(stock.free + stock.turns_with_hold),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(serving: i64) -> Figures {
        Figures { serving: QueueNumber(QueueNumber::base(1) + serving), ..Figures::default() }
    }

    #[test]
    fn a_position_is_the_distance_to_the_serving_number_and_at_least_one() {
        let snapshot = Snapshot::default().renewed(figures(10), 1_000);
        let place = |n| snapshot.position(QueueNumber(QueueNumber::base(1) + n));
        assert_eq!((place(11), place(15), place(9)), (1, 5, 1));
        assert_eq!(Snapshot::default().position(QueueNumber(QueueNumber::base(1) + 3)), 3);
    }

    #[test]
    fn the_outflow_is_what_was_served_over_the_time_it_took() {
        let snapshot = Snapshot::default().renewed(figures(0), 1_000).renewed(figures(20), 3_000);
        assert!((snapshot.outflow - 10.0).abs() < 1e-9);
    }
}
