//! One queue as this instance sees it: the row it last read, the figures it last watched, the stock it last counted.
//! Everything here is a copy that may be a moment old; nothing is granted by it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::{Mutex, watch};

use super::draw::Order;
use super::entering::Returning;
use super::events::Announcing;
use super::joining::Joining;
use super::pace::Regime;
use super::place::Reason;
use super::policy::Mode;
use super::redis::Figures;
use super::snapshot::{SNAPSHOT_MS, Snapshot};
use super::sql::Queue;
use crate::concert::Stock;
use crate::ids::{Epoch, QueueNumber};
use crate::recent::{Recent, Renewal};
use crate::redis::keys::QueueKeys;

/// How long people are told that the rate was lowered: each of them asks within it.
const LOWERED_MS: i64 = 60_000;
/// A queue that nobody has asked for this long is left alone by the ticks.
const IDLE_MS: i64 = 60_000;
/// So many may choose seats at once while nobody knows how many each will take; more if all could take the most.
const CHOOSING_UNKNOWN: i64 = 25;

/// A queue in this process.
pub struct Line {
    pub keys: QueueKeys,
    queue: ArcSwap<Queue>,
    snapshot: ArcSwap<Snapshot>,
    pub stock: Recent<Stock>,
    asked_at: AtomicI64,
    polls: AtomicU64,
    /// When an operator last lowered the rate.
    lowered_at: AtomicI64,
    doubt: AtomicBool,
    /// Somebody could not be given his place back.
    turned_away: AtomicBool,
    /// The highest number of an arrival that this instance gave.
    pub issued: AtomicI64,
    /// The marks of seats in Redis are to be written anew.
    pub marks_due: AtomicBool,
    /// Numbers that left while they waited: this instance tells them so at once, every other when they come up.
    left: std::sync::Mutex<BTreeSet<QueueNumber>>,
    left_count: AtomicUsize,
    /// Numbers of the draw that were given in an epoch, as far as this instance knows.
    drawn: std::sync::Mutex<(Epoch, i64)>,
    order: ArcSwapOption<Order>,
    /// One at a time opens the draw.
    pub opening: Mutex<()>,
    pub watching: Renewal,
    pub joining: Joining,
    pub entering: Returning,
    pub announcing: Announcing,
    /// One at a time ticks. It holds how many of the ticks that were asked for have been served.
    pub ticking: Mutex<u64>,
    pub ticks_asked: AtomicU64,
    pub ticked_at: AtomicI64,
    /// Tells that a snapshot was shown.
    shown: watch::Sender<()>,
}

impl Line {
    pub fn new(installation: &str, queue: Queue) -> Self {
        Self {
            keys: QueueKeys::new(installation, &queue.name),
            queue: ArcSwap::from_pointee(queue),
            snapshot: ArcSwap::default(),
            stock: Recent::default(),
            asked_at: AtomicI64::new(i64::MIN),
            polls: AtomicU64::new(0),
            lowered_at: AtomicI64::new(i64::MIN),
            doubt: AtomicBool::new(false),
            turned_away: AtomicBool::new(false),
            issued: AtomicI64::new(0),
            marks_due: AtomicBool::new(false),
            left: std::sync::Mutex::default(),
            left_count: AtomicUsize::new(0),
            drawn: std::sync::Mutex::default(),
            order: ArcSwapOption::empty(),
            opening: Mutex::default(),
            watching: Renewal::default(),
            joining: Joining::default(),
            entering: Returning::default(),
            announcing: Announcing::default(),
            ticking: Mutex::default(),
            ticks_asked: AtomicU64::new(0),
            ticked_at: AtomicI64::new(i64::MIN / 2),
            shown: watch::Sender::default(),
        }
    }

    pub fn queue(&self) -> Arc<Queue> {
        self.queue.load_full()
    }

    /// The epoch of the row last read.
    pub fn epoch(&self) -> Epoch {
        self.queue.load().epoch
    }

    /// Takes a newer row, and says whether it was one; an older one that arrives late is ignored.
    pub fn learn(&self, queue: &Queue) -> bool {
        let known = self.queue.rcu(|known| {
            let newer = (queue.epoch, queue.version) > (known.epoch, known.version);
            let adopted = queue.version == known.version
                && queue.lineage != known.lineage
                && queue.lineage.is_some();
            let (rate, before) = (queue.policy.rate_per_second, known.policy.rate_per_second);
            if newer && rate.total_cmp(&before).is_ne() {
                let lowered_at = if rate < before { queue.changed_at } else { i64::MIN };
                self.lowered_at.store(lowered_at, Ordering::Relaxed);
            }
            if newer || adopted { Arc::new(queue.clone()) } else { known.clone() }
        });
        queue.version > known.version
    }

    pub fn snapshot(&self) -> Snapshot {
        **self.snapshot.load()
    }

    /// When the last look was taken.
    pub fn snapshot_at(&self) -> i64 {
        self.snapshot.load().at_ms
    }

    pub fn show(&self, figures: Figures, epoch: Epoch, now: i64) {
        let regime = self.regime(now);
        let polls = self.polls.load(Ordering::Relaxed);
        let counted = Figures { serving: self.counted(figures.serving), ..figures };
        // Two looks may be told in the wrong order; what was served stays served.
        self.snapshot.rcu(|old| {
            let older = (epoch, figures.serving) < (old.epoch, old.figures.serving);
            if older {
                Arc::clone(old)
            } else {
                let pace = old.pace.at(now, &counted, regime);
                Arc::new(old.renewed((figures, epoch), pace, (now, polls)))
            }
        });
        let mut left = self.left();
        *left = left.split_off(&QueueNumber(figures.serving.0 + 1));
        self.left_count.store(left.len(), Ordering::Release);
        drop(left);
        self.doubt.store(false, Ordering::Relaxed);
        self.shown.send_replace(());
    }

    fn regime(&self, now: i64) -> Regime {
        let queue = self.queue.load();
        Regime {
            version: queue.version,
            rate_per_second: queue.rate_at(now),
            aim_per_second: queue.policy.rate_per_second,
            cap: self.cap(),
            session_seconds: queue.policy.session_seconds,
            stands: self.reason(now).is_some_and(Reason::stops),
        }
    }

    /// The place of a number: 1 is next. `None` while a draw has no order yet, and while the line is rebuilt.
    pub fn position(&self, snapshot: &Snapshot, number: QueueNumber) -> Option<i64> {
        let queue = self.queue.load();
        // A look from before the epoch that the row speaks of: what had arrived is counted from another one.
        if snapshot.epoch != queue.epoch && snapshot.epoch != 0 {
            return None;
        }
        if queue.draw.as_ref().is_none_or(|draw| draw.epoch != number.epoch()) {
            let serving = self.counted(snapshot.figures.serving);
            return snapshot.position(number, serving, &self.arrived(&queue));
        }
        if snapshot.figures.pause_until > 0 {
            return None;
        }
        let order = self.order.load();
        let order = order.as_ref().filter(|order| order.epoch() == number.epoch())?;
        let serving = snapshot.figures.serving;
        if number < serving {
            return Some(1);
        }
        let served = if serving.epoch() == number.epoch() { order.place(serving) } else { 0 };
        Some((order.place(number) - served).max(1))
    }

    /// How many had arrived in each of the epochs that are over, newest first; the drawn with them.
    fn arrived<'a>(&self, queue: &'a Queue) -> Cow<'a, [i64]> {
        let order = self.order.load();
        let drawn = order.as_ref().and_then(|order| {
            let ago = usize::try_from(queue.epoch - order.epoch()).ok()?.checked_sub(1)?;
            Some((ago, order.size()))
        });
        let mut arrived = Cow::Borrowed(&*queue.arrived);
        if let Some((ago, size)) = drawn
            && ago < arrived.len()
        {
            arrived.to_mut()[ago] += size;
        }
        arrived
    }

    /// A number as if everybody up to it had come in the order of service; of no epoch while that is not known.
    pub fn counted(&self, number: QueueNumber) -> QueueNumber {
        let queue = self.queue.load();
        match queue.draw.as_ref().filter(|draw| draw.epoch == number.epoch()) {
            None => number,
            Some(draw) => self.known_order().map_or_else(QueueNumber::default, |order| {
                QueueNumber(QueueNumber::base(draw.epoch) + order.place(number))
            }),
        }
    }

    /// As which the owner of a number came to the draw, if he did.
    pub fn draw_number(&self, number: QueueNumber) -> Option<i64> {
        number.drawn()?;
        let known = self.order.load().as_ref().and_then(|order| order.draw_number(number));
        known.or_else(|| self.queue.load().draw_number(number))
    }

    /// How many numbers of the draw were given in this epoch, as far as this instance knows.
    pub fn drawn_in(&self, epoch: Epoch) -> i64 {
        let (known_of, drawn) = *self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        if known_of == epoch { drawn } else { 0 }
    }

    pub fn note_drawn(&self, epoch: Epoch, drawn: i64) {
        *self.drawn.lock().unwrap_or_else(PoisonError::into_inner) = (epoch, drawn);
    }

    /// Takes the order of a draw.
    pub fn order(&self, order: Order) {
        self.order.store(Some(Arc::new(order)));
    }

    pub fn known_order(&self) -> Option<Arc<Order>> {
        self.order.load_full()
    }

    /// Whether there is a draw of which this instance does not know the order.
    pub fn lacks_order(&self, queue: &Queue) -> bool {
        let known = self.order.load();
        let known = known.as_ref().map(|order| order.epoch());
        queue.draw.as_ref().is_some_and(|draw| known != Some(draw.epoch))
    }

    /// Tells of each further snapshot.
    pub fn shown(&self) -> watch::Receiver<()> {
        self.shown.subscribe()
    }

    /// What was left to sell at the last count.
    pub fn stock(&self) -> Stock {
        self.stock.last().unwrap_or_default()
    }

    /// The highest number of an arrival that this instance gave in an epoch, or the one before the first.
    pub fn given_in(&self, epoch: Epoch) -> QueueNumber {
        QueueNumber(self.issued.load(Ordering::Relaxed).max(QueueNumber::base(epoch)))
    }

    /// Somebody asked for this queue.
    pub fn touch(&self, now: i64) {
        // Most come within the same moment: reading it is cheap, and writing it is not.
        if now.saturating_sub(self.asked_at.load(Ordering::Relaxed)) > SNAPSHOT_MS {
            self.asked_at.fetch_max(now, Ordering::Relaxed);
        }
    }

    /// Somebody asked for his place.
    pub fn poll(&self, now: i64) {
        self.touch(now);
        self.polls.fetch_add(1, Ordering::Relaxed);
    }

    pub fn is_asked_for(&self, now: i64) -> bool {
        now.saturating_sub(self.asked_at.load(Ordering::Relaxed)) < IDLE_MS
    }

    /// Remembers that a waiting number left, until it comes up.
    pub fn leave(&self, number: QueueNumber) {
        let mut left = self.left();
        left.insert(number);
        self.left_count.store(left.len(), Ordering::Release);
    }

    pub fn has_left(&self, number: QueueNumber) -> bool {
        // Every poll asks, and most of the time nobody has.
        self.left_count.load(Ordering::Acquire) > 0 && self.left().contains(&number)
    }

    fn left(&self) -> MutexGuard<'_, BTreeSet<QueueNumber>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the state in Redis was last seen to be in doubt.
    pub fn is_in_doubt(&self) -> bool {
        self.doubt.load(Ordering::Relaxed)
    }

    /// Says whether this is news.
    pub fn doubt(&self) -> bool {
        !self.doubt.swap(true, Ordering::Relaxed)
    }

    /// Whether the state in Redis is in doubt, or people are still coming back to it.
    pub fn is_rebuilding(&self) -> bool {
        self.is_in_doubt() || self.snapshot.load().figures.pause_until > 0
    }

    /// Somebody who may have lost his place was turned away.
    pub fn turn_away(&self) {
        self.turned_away.store(true, Ordering::Relaxed);
    }

    /// Whether anybody was, since this was asked the last time.
    pub fn has_turned_away(&self) -> bool {
        self.turned_away.swap(false, Ordering::Relaxed)
    }

    /// Why people wait, as everybody is told it.
    pub fn reason(&self, now: i64) -> Option<Reason> {
        if self.is_rebuilding() {
            return Some(Reason::Rebuilding);
        }
        let queue = self.queue.load();
        match queue.policy.mode {
            Mode::Closed => Some(Reason::Closed),
            _ if self.is_undrawn() => Some(Reason::Draw),
            Mode::Paused => Some(Reason::Paused),
            Mode::Passthrough => None,
            Mode::Open | Mode::Draining => match self.stock() {
                Stock { seats: 1.., unsold: 0, .. } => Some(Reason::SoldOut),
                Stock { seats: 1.., free: 0, .. } => Some(Reason::Full),
                _ if queue.rate_at(now) <= 0.0 || queue.policy.active_max == 0 => {
                    Some(Reason::Paused)
                }
                _ if self.was_lowered(now) => Some(Reason::RateLowered),
                _ => self.snapshot.load().pace.is_full().then_some(Reason::TurnsTaken),
            },
        }
    }

    fn was_lowered(&self, now: i64) -> bool {
        now.saturating_sub(self.lowered_at.load(Ordering::Relaxed)) < LOWERED_MS
    }

    /// Turns at once: never more than the operator allows, nor than can hope for seats. Those who hold some, or look on for
    /// long, do not compete for the free ones; each of the others is expected to take what buyers took before him.
    pub fn cap(&self) -> i64 {
        let queue = self.queue.load();
        let (policy, stock) = (&queue.policy, self.stock());
        match policy.mode {
            Mode::Passthrough => i64::from(u32::MAX),
            _ if stock.seats == 0 => policy.active_max,
            // However many of those inside go: a count of them may be old.
            _ if stock.free == 0 => 0,
            _ => {
                let choosing = match stock.seats_per_buyer {
                    Some(expected) => (stock.free as f64 / expected) as i64,
                    None => CHOOSING_UNKNOWN.max(stock.free / policy.seats_per_booking_max),
                };
                let choosing = choosing.clamp(1, stock.free);
                policy.active_max.min(choosing + stock.turns_aside)
            }
        }
    }

    /// Whether each seat counts: seats, and not the operator, are what bounds the turns; or there are none, and a concert
    /// may have been announced since.
    pub fn is_bound_by_stock(&self) -> bool {
        let stock = self.stock();
        let scarce = stock.free > 0 && self.cap() < self.queue.load().policy.active_max;
        scarce || stock.seats == 0
    }
}
