//! Wishes that share transactions: whoever comes while one commits is written by the next, with everybody who came
//! meanwhile. Here is who goes with whom, and who hears what; what a wish writes stands in the `sql` of its feature.

use std::collections::{HashSet, VecDeque};
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot};
use tracing::{Instrument, Span};

use super::{Sql, awaited, retried};
use crate::clock::Clock;
use crate::error::{Code, Error};
use crate::ids::IdempotencyKey;
use crate::telemetry::spans;

/// Wishes in one transaction, as many as a tick admits: on SQLite, which has one writer, ticks and claims wait no longer
/// than these take.
const WISHES_MAX: usize = 250;
/// What they touch together, so that no statement grows without bound.
const THINGS_MAX: usize = 1_000;
/// Wishes that wait to be looked at; one more is refused at once.
const COMING_MAX: usize = 1_024;
/// Wishes among which the next transaction is put together.
const SEEN_MAX: usize = 1_024;
/// A wish that waited so long is not begun: whoever made it is about to be told that nobody knows.
const PATIENCE: Duration = Duration::from_secs(3);

/// A wish that SQL grants, in one transaction with others of its kind.
pub trait Wish: Eq + Send + Sync + 'static {
    type Granted: Clone + Send + 'static;
    type Thing: Eq + Hash;

    /// What two wishes of one transaction may not both touch.
    fn things(&self) -> Vec<Self::Thing>;

    /// The name that its client gave it.
    fn key(&self) -> Option<&IdempotencyKey>;

    /// One transaction, and one answer for each wish, in their order. A wish that is refused leaves no write.
    fn grant(
        wishes: &[Arc<Self>],
        sql: &Sql,
        clock: &Clock,
    ) -> impl Future<Output = Result<Answers<Self>, Error>> + Send;

    /// What somebody hears who wished the very same at the same time.
    fn again(granted: &Self::Granted) -> Self::Granted;
}

pub type Answers<W> = Vec<Answer<W>>;
pub type Answer<W> = Result<<W as Wish>::Granted, Error>;

/// The way to the one task that writes wishes of a kind.
pub struct Writer<W: Wish>(mpsc::Sender<Asked<W>>);

/// Somebody with a wish.
struct Asked<W: Wish> {
    wish: Arc<W>,
    since: Instant,
    asked_in: Span,
    tell: oneshot::Sender<Answer<W>>,
}

/// A wish, and everybody who has it.
struct Shared<W: Wish> {
    wish: Arc<W>,
    asked_in: Span,
    tell: Vec<oneshot::Sender<Answer<W>>>,
}

impl<W: Wish> Writer<W> {
    pub fn new(sql: Sql, clock: Clock) -> Self {
        let (ask, coming) = mpsc::channel(COMING_MAX);
        tokio::spawn(write(sql, clock, coming));
        Self(ask)
    }

    /// What becomes of a wish. It is carried out even if nobody waits for that.
    pub async fn grant(&self, wish: Arc<W>) -> Answer<W> {
        let (tell, told) = oneshot::channel();
        let asked = Asked { wish, since: Instant::now(), asked_in: Span::current(), tell };
        self.0.try_send(asked).map_err(|_| overloaded())?;
        told.await.map_err(|_| Error::bug("a wish was dropped"))?
    }
}

impl<W: Wish> Shared<W> {
    fn tell(self, answer: Answer<W>) {
        let answer = answer.map_err(|error| awaited(error, self.wish.key()));
        let mut tell = self.tell.into_iter();
        let first = tell.next();
        // Who hung up does not hear it; it is done all the same.
        for other in tell {
            let _ = other.send(answer.as_ref().map(W::again).map_err(Error::shared));
        }
        let _ = first.map(|first| first.send(answer));
    }
}

async fn write<W: Wish>(sql: Sql, clock: Clock, mut coming: mpsc::Receiver<Asked<W>>) {
    let mut waiting = VecDeque::new();
    while let Some(batch) = next_batch(&mut coming, &mut waiting).await {
        let wishes: Vec<Arc<W>> = batch.iter().map(|shared| shared.wish.clone()).collect();
        let span = spans::shared("wishes", batch.iter().map(|shared| &shared.asked_in));
        match granted(&wishes, &sql, &clock).instrument(span).await {
            Ok(answers) => {
                batch.into_iter().zip(answers).for_each(|(shared, answer)| shared.tell(answer));
            }
            // It may have happened: nothing is done again by us. Or it was one anyway.
            Err(error) if is_unknown(&error) || batch.len() == 1 => {
                batch.into_iter().for_each(|shared| shared.tell(Err(error.shared())));
            }
            // Nothing of it happened. Only the one that failed fails, and the others do not wait for it.
            Err(_) => batch.into_iter().for_each(|shared| {
                let span = shared.asked_in.clone();
                tokio::spawn(write_alone(sql.clone(), clock.clone(), shared).instrument(span));
            }),
        }
    }
}

async fn write_alone<W: Wish>(sql: Sql, clock: Clock, shared: Shared<W>) {
    let answers = granted(std::slice::from_ref(&shared.wish), &sql, &clock).await;
    let unanswered = || Err(Error::bug("a wish got no answer"));
    shared.tell(answers.and_then(|mut answers| answers.pop().unwrap_or_else(unanswered)));
}

/// Whatever happens to these wishes, and however long it takes, the next ones are written.
async fn granted<W: Wish>(
    wishes: &[Arc<W>],
    sql: &Sql,
    clock: &Clock,
) -> Result<Answers<W>, Error> {
    let granted = AssertUnwindSafe(retried(|| W::grant(wishes, sql, clock))).catch_unwind();
    granted.await.unwrap_or_else(|_| Err(Error::bug("writing wishes panicked")))
}

/// Waits for somebody, and takes who can go together; `None` when nobody can come any more.
async fn next_batch<W: Wish>(
    coming: &mut mpsc::Receiver<Asked<W>>,
    waiting: &mut VecDeque<Asked<W>>,
) -> Option<Vec<Shared<W>>> {
    loop {
        if waiting.is_empty() {
            waiting.push_back(coming.recv().await?);
        }
        while waiting.len() < SEEN_MAX
            && let Ok(asked) = coming.try_recv()
        {
            waiting.push_back(asked);
        }
        let batch = take_batch(waiting);
        if !batch.is_empty() {
            return Some(batch);
        }
    }
}

/// Takes the first wishes that touch nothing twice; the others stay, in their order. The same wish of several people,
/// or of one who asks again and again, is one.
fn take_batch<W: Wish>(waiting: &mut VecDeque<Asked<W>>) -> Vec<Shared<W>> {
    let (mut batch, mut later) = (Vec::<Shared<W>>::new(), VecDeque::new());
    let mut touched = HashSet::new();
    while batch.len() < WISHES_MAX
        && let Some(asked) = waiting.pop_front()
    {
        if asked.since.elapsed() > PATIENCE {
            let _ = asked.tell.send(Err(overloaded()));
            continue;
        }
        let things = asked.wish.things();
        let has_room = batch.is_empty() || touched.len() + things.len() <= THINGS_MAX;
        if has_room && !things.iter().any(|thing| touched.contains(thing)) {
            let Asked { wish, asked_in, tell, .. } = asked;
            batch.push(Shared { wish, asked_in, tell: vec![tell] });
        } else if let Some(same) = batch.iter_mut().find(|shared| shared.wish == asked.wish) {
            same.tell.push(asked.tell);
        } else {
            later.push_back(asked);
        }
        // Also of those who wait: nobody passes them.
        touched.extend(things);
    }
    later.append(waiting);
    *waiting = later;
    batch
}

fn is_unknown(error: &Error) -> bool {
    matches!(error, Error::OutcomeUnknown { .. })
}

fn overloaded() -> Error {
    Error::Busy {
        code: Code::Overloaded,
        detail: "too many wishes of this kind at once".to_owned(),
        retry_after: Duration::from_secs(1),
    }
}
