//! A draw in Redis: begun, joined, opened.

use super::{Asked, RedisLine, joined};
use crate::error::Error;
use crate::ids::{QueueNumber, UserId};
use crate::redis::keys::QueueKeys;
use crate::redis::script::{Arg, DRAW_ANNOUNCE, DRAW_JOIN, DRAW_OPEN};

/// Whether a draw has begun.
#[derive(Debug, PartialEq, Eq)]
pub enum Announced {
    Yes,
    /// Somebody joined before.
    InUse,
    Stale,
}

/// The next numbers of a draw.
#[derive(Debug)]
pub struct Drawn {
    /// So many were given before them.
    pub known: i64,
    pub numbers: Vec<QueueNumber>,
}

impl RedisLine<'_> {
    /// Begins a draw, if nobody has joined yet.
    pub async fn draw_announce(&self) -> Result<Announced, Error> {
        let QueueKeys { generation, line, wait, .. } = self.keys;
        let mut reply =
            DRAW_ANNOUNCE.call(self.on(), [generation, line, wait], [self.epoch()], []).await?;
        match reply.text()?.as_str() {
            "ANNOUNCED" => Ok(Announced::Yes),
            "IN_USE" => Ok(Announced::InUse),
            "STALE" => Ok(Announced::Stale),
            word => Err(reply.unknown(word)),
        }
    }

    /// The number of each person: the one he has, or the next of the draw.
    pub async fn draw_join(
        &self,
        people: &[UserId],
        drawn: &Drawn,
        waiting_max: i64,
        now: i64,
    ) -> Result<Asked, Error> {
        let QueueKeys { generation, line, wait, left, .. } = self.keys;
        let (base, count) = (QueueNumber::base(self.epoch), people.len() as i64);
        let args = [
            self.epoch(),
            base.into(),
            waiting_max.into(),
            now.into(),
            drawn.known.into(),
            count.into(),
        ];
        let users = people.iter().map(|user| user.0);
        let rest = users.chain(drawn.numbers.iter().map(|number| number.0)).map(Arg::from);
        let mut reply =
            DRAW_JOIN.call(self.on(), [generation, line, wait, left], args, rest).await?;
        match reply.text()?.as_str() {
            "JOINED" => joined(&mut reply, people.len()),
            "BEHIND" => Ok(Asked::Behind(reply.int()?)),
            "OPENED" => Ok(Asked::Opened),
            "UNANNOUNCED" => Ok(Asked::Unannounced),
            "STALE" => Ok(Asked::Stale),
            word => Err(reply.unknown(word)),
        }
    }

    /// Ends a draw; how many were drawn. `None`: another epoch.
    pub async fn draw_open(&self) -> Result<Option<i64>, Error> {
        let QueueKeys { generation, line, left, .. } = self.keys;
        let mut reply =
            DRAW_OPEN.call(self.on(), [generation, line, left], [self.epoch()], []).await?;
        match reply.text()?.as_str() {
            "OPENED" => reply.int().map(Some),
            "STALE" => Ok(None),
            word => Err(reply.unknown(word)),
        }
    }
}
