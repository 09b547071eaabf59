//! Answers of machines that may be a moment old, and who asks for newer ones. What is asked, and whether the copy may
//! decide anything, is for its owner to know.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;

use crate::clock::Clock;
use crate::error::{Code, Error};

/// A machine that did not answer is left alone for this long.
const PAUSE_MS: i64 = 200;
/// And for this long nobody waits for whoever asks it anew.
const FAILING_MS: i64 = 5_000;
/// No machine has failed yet.
const NEVER: i64 = i64::MIN;

/// One at a time asks, and the others wait for that answer; but while the machine fails, nobody waits for whoever asks.
#[derive(Debug)]
pub struct Renewal {
    asking: Mutex<()>,
    failed_at: AtomicI64,
}

impl Default for Renewal {
    fn default() -> Self {
        Self { asking: Mutex::default(), failed_at: AtomicI64::new(NEVER) }
    }
}

impl Renewal {
    /// What is `known`, if it is still good; else what is asked for, by us or by somebody else.
    pub async fn renew<T>(
        &self,
        clock: &Clock,
        known: impl Fn() -> Option<T>,
        ask: impl AsyncFnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        if let Some(known) = known() {
            return Ok(known);
        }
        let _one = match self.asking.try_lock() {
            Ok(one) => one,
            Err(_) if self.failed_within(clock, FAILING_MS) => return Err(unanswered()),
            Err(_) => self.asking.lock().await,
        };
        if let Some(known) = known() {
            return Ok(known);
        }
        if self.failed_within(clock, PAUSE_MS) {
            return Err(unanswered());
        }
        let mut asking = Asking { renewal: self, clock, since: clock.now_ms(), answered: false };
        let asked = ask().await;
        asking.answered = true;
        self.failed_at.store(if asked.is_ok() { NEVER } else { clock.now_ms() }, Ordering::Relaxed);
        asked
    }

    fn failed_within(&self, clock: &Clock, span_ms: i64) -> bool {
        let failed_at = self.failed_at.load(Ordering::Relaxed);
        (0..span_ms).contains(&clock.now_ms().saturating_sub(failed_at))
    }
}

/// Whoever hangs up takes his question with him; that it was not answered is remembered all the same.
struct Asking<'a> {
    renewal: &'a Renewal,
    clock: &'a Clock,
    since: i64,
    answered: bool,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let now = self.clock.now_ms();
        if !self.answered && now - self.since >= PAUSE_MS {
            self.renewal.failed_at.store(now, Ordering::Relaxed);
        }
    }
}

fn unanswered() -> Error {
    Error::Busy {
        code: Code::Unavailable,
        detail: "a machine that is needed did not answer a moment ago".to_owned(),
        retry_after: Duration::from_secs(1),
    }
}

/// The last answer.
#[derive(Debug)]
pub struct Recent<T> {
    last: ArcSwapOption<(i64, T)>,
    /// How often it was forgotten: an answer to a question from before that is not kept.
    forgotten: AtomicU64,
    renewal: Renewal,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        let (last, forgotten) = (ArcSwapOption::empty(), AtomicU64::default());
        Self { last, forgotten, renewal: Renewal::default() }
    }
}

impl<T: Clone> Recent<T> {
    /// The last answer, however old.
    pub fn last(&self) -> Option<T> {
        self.last.load().as_ref().map(|last| last.1.clone())
    }

    /// Forgets it: what it was about has just been changed here.
    pub fn forget(&self) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        self.last.store(None);
    }

    /// An answer that was asked for less than `age_ms_max` ago.
    pub async fn get(
        &self,
        clock: &Clock,
        age_ms_max: i64,
        ask: impl AsyncFnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        // Age counts from the coming: an answer that took long is still the answer to all who waited for it.
        let came = clock.now_ms();
        let known = || {
            let last = self.last.load();
            let (at, answer) = &**last.as_ref()?;
            // A clock that was put back makes no answer young.
            let young = came - at < age_ms_max && *at <= clock.now_ms();
            young.then(|| answer.clone())
        };
        self.renewal
            .renew(clock, known, async || {
                let (at, forgotten) = (clock.now_ms(), self.forgotten.load(Ordering::SeqCst));
                let answer = ask().await?;
                if self.forgotten.load(Ordering::SeqCst) == forgotten {
                    self.last.store(Some(Arc::new((at, answer.clone()))));
                }
                Ok(answer)
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::sync::oneshot;

    use super::*;

    const AGE_MS: i64 = 1_000;

    async fn fails() -> Result<u8, Error> {
        Err(Error::bug("away"))
    }

    #[tokio::test]
    async fn an_answer_is_asked_for_when_the_last_one_is_old() {
        let (clock, recent) = (Clock::manual(0), Recent::default());
        assert_eq!(recent.get(&clock, AGE_MS, async || Ok(1)).await.unwrap(), 1);
        clock.advance(Duration::from_millis(999));
        assert_eq!(recent.get(&clock, AGE_MS, async || Ok(2)).await.unwrap(), 1);
        clock.advance(Duration::from_millis(1));
        assert_eq!(recent.get(&clock, AGE_MS, async || Ok(3)).await.unwrap(), 3);
    }

    #[tokio::test]
    async fn what_is_forgotten_is_asked_for_anew() {
        let (clock, recent) = (Clock::manual(0), Recent::default());
        recent.get(&clock, AGE_MS, async || Ok(1)).await.unwrap();
        recent.forget();
        assert_eq!(recent.get(&clock, AGE_MS, async || Ok(2)).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn what_was_asked_before_it_was_forgotten_is_not_kept() {
        let (clock, recent, (tell, told)) =
            (Clock::manual(0), Recent::default(), oneshot::channel());
        let mut asks = Box::pin(recent.get(&clock, AGE_MS, async || Ok(told.await.unwrap())));
        assert!(asks.as_mut().now_or_never().is_none());
        recent.forget();
        tell.send(1).unwrap();
        assert_eq!(asks.await.unwrap(), 1);
        assert_eq!(recent.get(&clock, AGE_MS, async || Ok(2)).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn whoever_comes_while_one_asks_shares_the_answer() {
        let (clock, recent, (tell, told)) =
            (Clock::manual(0), Recent::default(), oneshot::channel());
        let mut first = Box::pin(recent.get(&clock, AGE_MS, async || Ok(told.await.unwrap())));
        assert!(first.as_mut().now_or_never().is_none());
        let mut second = Box::pin(recent.get(&clock, AGE_MS, fails));
        assert!(second.as_mut().now_or_never().is_none(), "it waits");
        clock.advance(Duration::from_millis(2 * AGE_MS as u64));
        tell.send(1).unwrap();
        assert_eq!((first.await.unwrap(), second.await.unwrap()), (1, 1));
    }

    #[tokio::test]
    async fn after_a_failure_nobody_waits_for_whoever_asks() {
        let (clock, recent) = (Clock::manual(0), Recent::default());
        recent.get(&clock, AGE_MS, fails).await.unwrap_err();
        recent.get(&clock, AGE_MS, async || Ok(1)).await.expect_err("left alone for a moment");

        clock.advance(Duration::from_millis(PAUSE_MS as u64));
        let (tell, told) = oneshot::channel();
        let mut asks = Box::pin(recent.get(&clock, AGE_MS, async || Ok(told.await.unwrap())));
        assert!(asks.as_mut().now_or_never().is_none());
        let other = recent.get(&clock, AGE_MS, async || Ok(2)).now_or_never();
        other.expect("no wait").unwrap_err();
        tell.send(3).unwrap();
        assert_eq!(asks.await.unwrap(), 3);
        assert_eq!(recent.last(), Some(3));
    }

    #[tokio::test]
    async fn a_failure_is_forgotten_in_time() {
        let (clock, recent) = (Clock::manual(0), Recent::default());
        recent.get(&clock, AGE_MS, fails).await.unwrap_err();
        clock.advance(Duration::from_millis(FAILING_MS as u64));
        let (tell, told) = oneshot::channel();
        let mut asks = Box::pin(recent.get(&clock, AGE_MS, async || Ok(told.await.unwrap())));
        assert!(asks.as_mut().now_or_never().is_none());
        let mut waits = Box::pin(recent.get(&clock, AGE_MS, fails));
        assert!(waits.as_mut().now_or_never().is_none(), "it waits");
        tell.send(1).unwrap();
        assert_eq!((asks.await.unwrap(), waits.await.unwrap()), (1, 1));
    }

    #[tokio::test]
    async fn whoever_hangs_up_while_a_machine_hangs_leaves_word() {
        let (clock, recent) = (Clock::manual(0), Recent::default());
        let mut asks = Box::pin(recent.get(&clock, AGE_MS, std::future::pending));
        assert!(asks.as_mut().now_or_never().is_none());
        clock.advance(Duration::from_millis(PAUSE_MS as u64));
        drop(asks);
        recent.get(&clock, AGE_MS, async || Ok(1)).await.expect_err("left alone for a moment");
    }
}
