//! Announcements: what everybody who listens to a queue is told at the same moment. One task looks at the line for as
//! long as somebody listens, and writes the common part once; each stream completes it with its own place. How a stream
//! is sent is HTTP's affair.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::policy::Mode;
use super::{Line, Place, Queues, Reason, Snapshot};
use crate::error::Error;
use crate::ids::{Epoch, QueueNumber, UserId};

/// How often the line is looked at: news is half a second old at most, and a crowd can be told within the other half.
pub const LOOK_EVERY: Duration = Duration::from_millis(500);
/// After so much silence those who listen hear something all the same: broken connections are found by it.
pub const SILENCE_MS_MAX: i64 = 15_000;

/// What is said to everybody at one moment.
#[derive(Clone, Debug)]
pub struct Announcement {
    at_ms: i64,
    epoch: Epoch,
    snapshot: Snapshot,
    /// Whether the line could be seen.
    certain: bool,
    reason: Option<Reason>,
    /// `"mode":"open","message":""`: fields of a JSON object, the same for everybody.
    pub common: Arc<str>,
}

#[derive(Serialize)]
struct Common<'a> {
    mode: Mode,
    message: &'a str,
}

/// Where a queue's announcements are made.
#[derive(Default)]
pub struct Announcing {
    latest: watch::Sender<Option<Arc<Announcement>>>,
    under_way: AtomicBool,
}

pub type Heard = watch::Receiver<Option<Arc<Announcement>>>;

impl Announcement {
    /// Whether a number has come up by then: its owner has a turn, or is about to.
    pub fn is_past(&self, number: QueueNumber) -> bool {
        self.snapshot.figures.serving >= number
    }

    fn says_the_same(&self, other: &Self) -> bool {
        self.snapshot.figures.serving == other.snapshot.figures.serving
            && self.epoch == other.epoch
            && self.certain == other.certain
            && self.reason == other.reason
            && self.common == other.common
    }
}

impl Queues {
    /// Every announcement of a queue from now on.
    pub fn listen(&self, line: &Arc<Line>) -> Heard {
        let heard = line.announcing.latest.subscribe();
        if !line.announcing.under_way.swap(true, Ordering::SeqCst) {
            tokio::spawn(announce(self.clone(), line.clone()));
        }
        heard
    }

    /// The announcement that somebody can be given who has not heard any yet.
    pub async fn announcement(&self, line: &Line) -> Announcement {
        let now = self.clock.now_ms();
        line.touch(now);
        let seen = self.renew_snapshot(line).await;
        let queue = line.queue();
        let policy = &queue.policy;
        let common = Common { mode: policy.mode, message: &policy.message };
        let common = serde_json::to_string(&common).unwrap_or_default();
        Announcement {
            at_ms: now,
            epoch: queue.epoch,
            snapshot: line.snapshot(),
            certain: seen.is_ok() && !line.is_in_doubt(),
            reason: line.reason(now),
            common: common.trim_matches(['{', '}']).into(),
        }
    }

    /// What an announcement means for one who listens. From memory for all but those whose number has come up.
    pub async fn hear(
        &self,
        line: &Arc<Line>,
        announcement: &Announcement,
        (user, number, confirmed): (UserId, QueueNumber, Epoch),
    ) -> Result<Place, Error> {
        let Announcement { epoch, snapshot, certain, .. } = announcement;
        let waits = number > snapshot.figures.serving && !line.has_left(number);
        if waits && !certain {
            return Ok(Place { confirmed, ..self.waiting(line, snapshot, number, None) });
        }
        if waits && confirmed == *epoch {
            return Ok(self.waiting(line, snapshot, number, Some(confirmed)));
        }
        self.glance(line, user, number, confirmed).await
    }
}

/// Announces until nobody listens any more.
async fn announce(queues: Queues, line: Arc<Line>) {
    let Announcing { latest, under_way } = &line.announcing;
    let mut interval = tokio::time::interval(LOOK_EVERY);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        if latest.receiver_count() == 0 {
            under_way.store(false, Ordering::SeqCst);
            // Somebody may have come in between, who found this task at work.
            if latest.receiver_count() == 0 || under_way.swap(true, Ordering::SeqCst) {
                return;
            }
        }
        // Whatever happens to one look, the next one is taken.
        let looked = AssertUnwindSafe(queues.announcement(&line)).catch_unwind().await;
        let Ok(news) = looked else { continue };
        let is_news = latest.borrow().as_ref().is_none_or(|last| {
            !news.says_the_same(last) || !(0..SILENCE_MS_MAX).contains(&(news.at_ms - last.at_ms))
        });
        if is_news {
            latest.send_replace(Some(Arc::new(news)));
        }
    }
}
