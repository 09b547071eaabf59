//! The line in Redis: one function per script in `lua/queue/`, each reply an enum. No rule is decided here.

mod draw;
pub mod rebuild;

use std::sync::Arc;

use super::policy::{Mode, Policy};
use super::sql::{Admitted, Batch, Look};
use crate::error::Error;
use crate::ids::{Epoch, QueueNumber, UserId};
use crate::redis::keys::QueueKeys;
use crate::redis::script::{
    ADMIT_COMMIT, ADMIT_RESERVE, Arg, DISOWN, JOIN, LEAVE, OPEN, PLACE, Reply, WATCH,
};
use crate::redis::{Connection, Redis};
pub use draw::{Announced, Drawn};

/// A call in 250 numbers stays well under 5 ms; a thousand took nine.
pub const BATCH_MAX: i64 = 250;
/// An unanswered batch is handed out again after this long, which few transactions take. One that still runs does no
/// harm: both write the same rows.
const BATCH_RETRY_MS: i64 = 500;
/// A turn's end is looked up at the latest after this long: a `leave` that got lost costs no more.
const LOOK_MS_MAX: i64 = 30_000;

/// One queue's state in Redis, on a connection whose lineage was checked.
pub struct RedisLine<'a> {
    pub redis: &'a Redis,
    pub connection: Arc<Connection>,
    pub keys: &'a QueueKeys,
    pub epoch: Epoch,
}

/// What joining came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Joined {
    New(QueueNumber),
    Waiting(QueueNumber),
    Pending(QueueNumber),
    Active(QueueNumber),
    Full,
    /// There was no room because nobody might join, when he asked. Whoever asked for him knows; Redis does not.
    Closed,
    /// Redis says that he waits with a number of an earlier epoch, and SQL, which knows whether that is over, is silent.
    Unsure,
}

/// What asking for people's numbers came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// One answer for each.
    Joined(Vec<Joined>),
    /// Nobody gets a number but by the draw.
    Drawing,
    /// More were drawn than the asker knew of: so many.
    Behind(i64),
    /// The draw is over.
    Opened,
    /// Redis has not heard of the draw.
    Unannounced,
    Stale,
}

/// Where a number stands.
#[derive(Debug, PartialEq, Eq)]
pub enum Standing {
    Active,
    Pending,
    Waiting,
    Absent,
    /// It is one that this line, by its own count, has not come to.
    Ungiven,
    Stale,
}

/// The figures of the line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Highest number that came up and is known to SQL; 0 when none did.
    pub serving: QueueNumber,
    pub arrivals: i64,
    /// Whoever came and has no turn yet.
    pub waiting: i64,
    /// Those of them who are on their way into SQL.
    pub pending: i64,
    pub active: i64,
    /// Until when nobody is admitted after a rebuild. 0: there is no such pause.
    pub pause_until: i64,
}

/// What a tick may take.
#[derive(Debug)]
pub struct Allowance<'a> {
    pub version: i64,
    pub policy: &'a Policy,
    pub cap: i64,
    pub manual_total: i64,
}

/// What a tick took.
#[derive(Debug)]
pub enum Reserved {
    Batch {
        batch: Batch,
        looks: Vec<Look>,
        /// More wait than one batch holds: tick again at once.
        full: bool,
    },
    OldPolicy,
    Stale,
}

impl RedisLine<'_> {
    /// Makes the first generation of a new queue. `false`: there is another one.
    pub async fn open(&self) -> Result<bool, Error> {
        let mut reply = OPEN.call(self.on(), [&self.keys.generation], [self.epoch()], []).await?;
        match reply.text()?.as_str() {
            "OPEN" => Ok(true),
            "STALE" => Ok(false),
            word => Err(reply.unknown(word)),
        }
    }

    /// The number of each person: the one he has, or the next.
    pub async fn join(
        &self,
        people: &[UserId],
        waiting_max: i64,
        now: i64,
    ) -> Result<Asked, Error> {
        let QueueKeys { generation, line, wait, pend, turns, .. } = self.keys;
        let base = QueueNumber::base(self.epoch);
        let args = [self.epoch(), base.into(), waiting_max.into(), now.into()];
        let rest = people.iter().map(|user| Arg::from(user.0));
        let mut reply =
            JOIN.call(self.on(), [generation, line, wait, pend, turns], args, rest).await?;
        match reply.text()?.as_str() {
            "JOINED" => joined(&mut reply, people.len()),
            "DRAWING" => Ok(Asked::Drawing),
            "STALE" => Ok(Asked::Stale),
            word => Err(reply.unknown(word)),
        }
    }

    pub async fn place(&self, user: UserId, number: QueueNumber) -> Result<Standing, Error> {
        let QueueKeys { generation, line, wait, pend, turns, .. } = self.keys;
        let base = QueueNumber::base(self.epoch).into();
        let args = [self.epoch(), user.0.into(), number.0.into(), base];
        let keys = [generation, line, wait, pend, turns];
        let mut reply = PLACE.call(self.on(), keys.map(String::as_str), args, []).await?;
        match reply.text()?.as_str() {
            "ACTIVE" => Ok(Standing::Active),
            "PENDING" => Ok(Standing::Pending),
            "WAITING" => Ok(Standing::Waiting),
            "ABSENT" => Ok(Standing::Absent),
            "UNGIVEN" => Ok(Standing::Ungiven),
            "STALE" => Ok(Standing::Stale),
            word => Err(reply.unknown(word)),
        }
    }

    /// Puts a line in doubt, for everybody, that has forgotten a number which it gave. Whether it has.
    pub async fn disown(&self, number: QueueNumber) -> Result<bool, Error> {
        let QueueKeys { generation, line, .. } = self.keys;
        let base = QueueNumber::base(self.epoch).into();
        let args = [self.epoch(), number.0.into(), base];
        let mut reply = DISOWN.call(self.on(), [generation, line], args, []).await?;
        match reply.text()?.as_str() {
            "DISOWNED" | "STALE" => Ok(true),
            "OWNED" => Ok(false),
            word => Err(reply.unknown(word)),
        }
    }

    /// Takes a number out of the line and out of its turn; SQL has closed it before. `false`: another epoch.
    pub async fn leave(&self, user: UserId, number: QueueNumber) -> Result<bool, Error> {
        let QueueKeys { generation, line, wait, pend, act, turns, left, .. } = self.keys;
        let args = [self.epoch(), user.0.into(), number.0.into()];
        let keys = [generation, line, wait, pend, act, turns, left];
        let mut reply = LEAVE.call(self.on(), keys.map(String::as_str), args, []).await?;
        match reply.text()?.as_str() {
            "LEFT" | "ABSENT" => Ok(true),
            "STALE" => Ok(false),
            word => Err(reply.unknown(word)),
        }
    }

    /// `None`: another epoch.
    pub async fn watch(&self) -> Result<Option<Figures>, Error> {
        let QueueKeys { generation, line, wait, pend, act, .. } = self.keys;
        let mut reply =
            WATCH.call(self.on(), [generation, line, wait, pend, act], [self.epoch()], []).await?;
        match reply.text()?.as_str() {
            "LINE" => Ok(Some(Figures {
                serving: QueueNumber(reply.int()?),
                arrivals: reply.int()?,
                waiting: reply.int()?,
                pending: reply.int()?,
                active: reply.int()?,
                pause_until: reply.int()?,
            })),
            "STALE" => Ok(None),
            word => Err(reply.unknown(word)),
        }
    }

    pub async fn admit_reserve(
        &self,
        allowance: &Allowance<'_>,
        now: i64,
    ) -> Result<Reserved, Error> {
        let QueueKeys { generation, line, wait, pend, act, turns, .. } = self.keys;
        let policy = allowance.policy;
        let (flow, otherwise) = match policy.mode {
            Mode::Open | Mode::Draining => ("rate", "manual"),
            Mode::Passthrough => ("all", "passthrough"),
            Mode::Paused | Mode::Closed => ("none", "manual"),
        };
        // A rate of nothing lets nobody in, unless somebody said how many may come at once.
        let stands = policy.rate_per_second <= 0.0 && policy.burst.is_none();
        let burst = if stands { 0.0 } else { policy.burst() };
        let args: [Arg; 10] = [
            self.epoch(),
            now.into(),
            allowance.version.into(),
            policy.rate_per_second.into(),
            burst.into(),
            allowance.cap.into(),
            BATCH_MAX.into(),
            allowance.manual_total.into(),
            flow.into(),
            BATCH_RETRY_MS.into(),
        ];
        let mut reply = ADMIT_RESERVE
            .call(self.on(), [generation, line, wait, pend, act, turns], args, [])
            .await?;
        match reply.text()?.as_str() {
            "BATCH" => {
                let at_ms = reply.int()?;
                let base = QueueNumber::base(self.epoch);
                let issued = QueueNumber(base + reply.int()?);
                let tuned = QueueNumber(base + reply.int()?);
                let paid = QueueNumber(reply.int()?);
                let numbers = people(reply.pairs()?);
                let looks = people(reply.pairs()?);
                let full = reply.int()? == 1;
                Ok(Reserved::Batch {
                    batch: Batch { at_ms, issued, tuned, paid, otherwise, numbers },
                    looks,
                    full,
                })
            }
            "OLD_POLICY" => Ok(Reserved::OldPolicy),
            "STALE" => Ok(Reserved::Stale),
            word => Err(reply.unknown(word)),
        }
    }

    /// Makes the line agree with what SQL has written. `false`: another epoch.
    pub async fn admit_commit(
        &self,
        admitted: &Admitted,
        owed_max: f64,
        now: i64,
    ) -> Result<bool, Error> {
        let QueueKeys { generation, line, pend, act, turns, .. } = self.keys;
        let counts = [
            admitted.opened.len(),
            admitted.dropped.len(),
            admitted.gone.len(),
            admitted.looked.len(),
        ];
        let [opened, dropped, gone, looked] =
            counts.map(|count| Arg::from(i64::try_from(count).unwrap_or(0)));
        let args = [
            self.epoch(),
            opened,
            dropped,
            gone,
            looked,
            admitted.unclaimed.into(),
            owed_max.into(),
        ];
        let look_at = |turns: &[super::Turn]| -> Vec<i64> {
            turns
                .iter()
                .flat_map(|turn| {
                    [turn.user.0, turn.number.0, turn.closes_at.min(now + LOOK_MS_MAX)]
                })
                .collect()
        };
        let pairs = |people: &[Look]| -> Vec<i64> {
            people.iter().flat_map(|(user, number)| [user.0, number.0]).collect()
        };
        let lists = [
            look_at(&admitted.opened),
            pairs(&admitted.dropped),
            pairs(&admitted.gone),
            look_at(&admitted.looked),
        ];
        let rest = lists.into_iter().flatten().map(Arg::from);
        let mut reply =
            ADMIT_COMMIT.call(self.on(), [generation, line, pend, act, turns], args, rest).await?;
        match reply.text()?.as_str() {
            "DONE" => Ok(true),
            "STALE" => Ok(false),
            word => Err(reply.unknown(word)),
        }
    }

    fn on(&self) -> (&Redis, &Connection) {
        (self.redis, &self.connection)
    }

    fn epoch(&self) -> Arg {
        self.epoch.into()
    }
}

/// How a join answers for each of so many people.
fn joined(reply: &mut Reply, people: usize) -> Result<Asked, Error> {
    let mut one = || {
        let (standing, number) = (reply.text()?, QueueNumber(reply.int()?));
        match standing.as_str() {
            "new" => Ok(Joined::New(number)),
            "waiting" => Ok(Joined::Waiting(number)),
            "pending" => Ok(Joined::Pending(number)),
            "active" => Ok(Joined::Active(number)),
            "full" => Ok(Joined::Full),
            other => Err(reply.unknown(other)),
        }
    };
    (0..people).map(|_| one()).collect::<Result<_, _>>().map(Asked::Joined)
}

fn people(pairs: Vec<(i64, i64)>) -> Vec<Look> {
    pairs.into_iter().map(|(user, number)| (UserId(user), QueueNumber(number))).collect()
}
