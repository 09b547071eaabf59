//! A line's state made anew in Redis, and people who come back to it.

use super::RedisLine;
use crate::error::Error;
use crate::ids::{QueueNumber, UserId};
use crate::queue::sql::Look;
use crate::redis::keys::QueueKeys;
use crate::redis::script::{
    Arg, ENTER, REBUILD_BEGIN, REBUILD_FILL, REBUILD_PUBLISH, REBUILD_RESUME, Reply,
};

/// What the first state of an epoch says beside its turns.
#[derive(Debug)]
pub struct Published {
    /// The highest number that has come up.
    pub serving: QueueNumber,
    pub manual_total: i64,
    pub pause_until: i64,
    /// Whether a draw is on; `None`: there is none.
    pub drawing: Option<bool>,
}

/// Somebody who comes back with his token.
#[derive(Clone, Copy, Debug)]
pub struct Entering {
    pub user: UserId,
    pub number: QueueNumber,
    pub instead: Instead,
}

/// Which number in the line gives way to the one of a token.
#[derive(Clone, Copy, Debug)]
pub enum Instead {
    Higher,
    Only(QueueNumber),
    None,
}

/// Where somebody who came back stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Waiting,
    Active,
    /// With another number.
    Other(QueueNumber),
    /// Waiting; this other number of his gave way.
    Instead(QueueNumber),
}

/// Whether people are admitted again after a rebuild.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumed {
    Yes,
    NotYet,
    Stale,
}

impl RedisLine<'_> {
    /// Empties what SQL will write anew. `false`: a later epoch has begun, or this one is published.
    pub async fn rebuild_begin(&self) -> Result<bool, Error> {
        let QueueKeys { generation, line, pend, act, turns, left, .. } = self.keys;
        let keys = [generation, line, pend, act, turns, left].map(String::as_str);
        let mut reply = REBUILD_BEGIN.call(self.on(), keys, [self.epoch()], []).await?;
        match reply.text()?.as_str() {
            "BEGUN" => Ok(true),
            "STALE" => Ok(false),
            word => Err(reply.unknown(word)),
        }
    }

    /// Writes open turns, to be looked at from `look_at` on, and people who left a draw.
    pub async fn rebuild_fill(
        &self,
        open: &[Look],
        left: &[Look],
        look_at: i64,
    ) -> Result<bool, Error> {
        let QueueKeys { generation, line, act, turns, left: gone, .. } = self.keys;
        let args = [self.epoch(), look_at.into(), (open.len() as i64).into()];
        let rest =
            open.iter().chain(left).flat_map(|(user, number)| [user.0, number.0]).map(Arg::from);
        let keys = [generation, line, act, turns, gone].map(String::as_str);
        let mut reply = REBUILD_FILL.call(self.on(), keys, args, rest).await?;
        match reply.text()?.as_str() {
            "FILLED" => Ok(true),
            "STALE" => Ok(false),
            word => Err(reply.unknown(word)),
        }
    }

    /// Says that the state is the epoch's. `false`: it is another's by now.
    pub async fn rebuild_publish(&self, published: &Published, now: i64) -> Result<bool, Error> {
        let QueueKeys { generation, line, .. } = self.keys;
        let drawing = match published.drawing {
            Some(true) => "1",
            Some(false) => "0",
            None => "-",
        };
        let args = [
            self.epoch(),
            now.into(),
            published.serving.0.into(),
            published.manual_total.into(),
            published.pause_until.into(),
            drawing.into(),
        ];
        let mut reply = REBUILD_PUBLISH.call(self.on(), [generation, line], args, []).await?;
        match reply.text()?.as_str() {
            "PUBLISHED" => Ok(true),
            "STALE" => Ok(false),
            word => Err(reply.unknown(word)),
        }
    }

    /// Ends the pause if it is over; makes it last until `longer` if somebody was turned away meanwhile.
    pub async fn rebuild_resume(&self, now: i64, longer: Option<i64>) -> Result<Resumed, Error> {
        let QueueKeys { generation, line, .. } = self.keys;
        let args = [self.epoch(), now.into(), longer.unwrap_or(0).into()];
        let mut reply = REBUILD_RESUME.call(self.on(), [generation, line], args, []).await?;
        match reply.text()?.as_str() {
            "RESUMED" => Ok(Resumed::Yes),
            "PAUSED" => Ok(Resumed::NotYet),
            "STALE" => Ok(Resumed::Stale),
            word => Err(reply.unknown(word)),
        }
    }

    /// Gives people back the places that their tokens say; SQL knows of no turn of theirs. `None`: another epoch.
    pub async fn enter(
        &self,
        people: &[Entering],
        now: i64,
    ) -> Result<Option<Vec<Standing>>, Error> {
        let QueueKeys { generation, line, wait, pend, turns, .. } = self.keys;
        let rest = people.iter().flat_map(|entering| {
            let instead = match entering.instead {
                Instead::Higher => Arg::from("-"),
                Instead::Only(number) => number.0.into(),
                Instead::None => 0.into(),
            };
            [entering.user.0.into(), entering.number.0.into(), instead]
        });
        let keys = [generation, line, wait, pend, turns].map(String::as_str);
        let mut reply = ENTER.call(self.on(), keys, [self.epoch(), now.into()], rest).await?;
        match reply.text()?.as_str() {
            "ENTERED" => {
                people.iter().map(|_| standing(&mut reply)).collect::<Result<_, _>>().map(Some)
            }
            "STALE" => Ok(None),
            word => Err(reply.unknown(word)),
        }
    }
}

fn standing(reply: &mut Reply) -> Result<Standing, Error> {
    let (standing, number) = (reply.text()?, QueueNumber(reply.int()?));
    match standing.as_str() {
        "waiting" => Ok(Standing::Waiting),
        "active" => Ok(Standing::Active),
        "other" => Ok(Standing::Other(number)),
        "instead" => Ok(Standing::Instead(number)),
        word => Err(reply.unknown(word)),
    }
}
