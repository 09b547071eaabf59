//! Requests of one kind that share calls: whoever comes while those before him are served is served in the next call,
//! with everybody who came meanwhile, in the order of their coming. What serving means is its owner's affair.

use std::panic::AssertUnwindSafe;
use std::sync::OnceLock;

use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::{Instrument, Span};

use crate::error::Error;
use crate::telemetry::spans;

/// Requests that wait for their call; further ones wait for room. As many as are served at once.
const COMING_MAX: usize = 8_192;

/// Somebody who asks.
struct Coming<Q, A> {
    request: Q,
    tell: oneshot::Sender<Result<A, Error>>,
    /// Whoever hangs up is served all the same: the process does not stop before that.
    at_work: TaskTrackerToken,
    asked_in: Span,
}

/// The way to the one task that serves; it begins with the first request.
pub struct Together<Q, A>(OnceLock<mpsc::Sender<Coming<Q, A>>>);

impl<Q, A> Default for Together<Q, A> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<Q: Send + 'static, A: Send + 'static> Together<Q, A> {
    /// The answer to a request, which is served with at most `together_max` − 1 others. `begin` makes what serves them:
    /// it gives an answer for each, in their order, or one error for all.
    pub async fn ask<S, F>(
        &self,
        request: Q,
        (work, together_max): (&TaskTracker, usize),
        begin: impl FnOnce() -> S,
    ) -> Result<A, Error>
    where
        S: Fn(Vec<Q>) -> F + Send + 'static,
        F: Future<Output = Result<Vec<A>, Error>> + Send + 'static,
    {
        let (tell, told) = oneshot::channel();
        let coming = self.0.get_or_init(|| {
            let (coming, requests) = mpsc::channel(COMING_MAX);
            tokio::spawn(serve(requests, together_max, begin()));
            coming
        });
        let gone = || Error::bug("nobody serves these requests any more");
        let one = Coming { request, tell, at_work: work.token(), asked_in: Span::current() };
        coming.send(one).await.map_err(|_| gone())?;
        told.await.map_err(|_| gone())?
    }
}

/// Serves as many as there are, again and again, for as long as anybody can ask.
async fn serve<Q, A, F: Future<Output = Result<Vec<A>, Error>>>(
    mut requests: mpsc::Receiver<Coming<Q, A>>,
    together_max: usize,
    serve: impl Fn(Vec<Q>) -> F,
) {
    let mut batch = Vec::with_capacity(together_max);
    while requests.recv_many(&mut batch, together_max).await > 0 {
        let span = spans::shared("together", batch.iter().map(|coming| &coming.asked_in));
        let (asked, mut told): (Vec<Q>, Vec<_>) = batch
            .drain(..)
            .map(|coming: Coming<Q, A>| (coming.request, (coming.tell, coming.at_work)))
            .unzip();
        // Whatever happens to these people, the next ones are served.
        let served = AssertUnwindSafe(serve(asked)).catch_unwind().instrument(span).await;
        let answers = served.unwrap_or_else(|_| Err(Error::bug("serving requests panicked")));
        // Who hung up does not hear his answer; it holds all the same.
        match answers {
            Ok(answers) => told.drain(..).zip(answers).for_each(|((tell, _), answer)| {
                let _ = tell.send(Ok(answer));
            }),
            Err(error) => {
                // Whoever came while it failed does not wait for it to fail again.
                while let Ok(coming) = requests.try_recv() {
                    told.push((coming.tell, coming.at_work));
                }
                for (tell, _) in told {
                    let _ = tell.send(Err(error.shared()));
                }
            }
        }
    }
}
