//! The copy of who has which seat, for saying no quickly: one function per script in `lua/booking/`.

use std::sync::Arc;

use super::sql::Owner;
use crate::error::Error;
use crate::ids::{ConcertId, Epoch, QueueNumber, SeatId, UserId};
use crate::queue::redis::RedisLine;
use crate::redis::script::{Arg, HOLD, RELEASE, Reply, SETTLE};
use crate::redis::{Connection, Redis};

/// The mark of a seat that was paid for.
const SOLD: &str = "sold";

/// The seats of one concert in Redis.
pub struct RedisSeats<'a> {
    redis: &'a Redis,
    connection: Arc<Connection>,
    generation: &'a str,
    turns: &'a str,
    seats: String,
    epoch: Epoch,
    pub concert: ConcertId,
}

/// What marking seats came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Marked {
    Held,
    /// These seats, by these marks.
    Taken(Vec<(SeatId, Owner)>),
    NotActive,
    Stale,
}

impl<'a> RedisSeats<'a> {
    pub fn new(redis: &'a Redis, line: &RedisLine<'a>, concert: ConcertId) -> Self {
        Self {
            redis,
            connection: line.connection.clone(),
            generation: &line.keys.generation,
            turns: &line.keys.turns,
            seats: line.keys.seats(concert),
            epoch: line.epoch,
            concert,
        }
    }

    /// Marks every seat for one buyer until `until`, or none.
    pub async fn hold(
        &self,
        (user, number): (UserId, QueueNumber),
        now: i64,
        until: i64,
        seats: &[SeatId],
    ) -> Result<Marked, Error> {
        let keys = [self.generation, &self.seats, self.turns];
        let args = [self.epoch.into(), now.into(), user.0.into(), number.0.into(), until.into()];
        let mut reply = HOLD.call((self.redis, &self.connection), keys, args, names(seats)).await?;
        match reply.text()?.as_str() {
            "HELD" => Ok(Marked::Held),
            "TAKEN" => taken(reply).map(Marked::Taken),
            "NOT_ACTIVE" => Ok(Marked::NotActive),
            "STALE" => Ok(Marked::Stale),
            word => Err(reply.unknown(word)),
        }
    }

    /// Takes one buyer's marks off. `false`: another epoch.
    pub async fn release(&self, user: UserId, seats: &[SeatId]) -> Result<bool, Error> {
        let keys = [self.generation, &self.seats];
        let args = [self.epoch.into(), user.0.into()];
        let mut reply =
            RELEASE.call((self.redis, &self.connection), keys, args, names(seats)).await?;
        match reply.text()?.as_str() {
            "RELEASED" => Ok(true),
            "STALE" => Ok(false),
            word => Err(reply.unknown(word)),
        }
    }

    /// Writes what SQL says of seats. `false`: another epoch.
    pub async fn settle(&self, owners: &[(SeatId, Owner)], grace_ms: i64) -> Result<bool, Error> {
        if owners.is_empty() {
            return Ok(true);
        }
        let mark = |owner: &Owner| match owner {
            Owner::Sold => SOLD.to_owned(),
            Owner::Held { user, until } => format!("{user}|{}", until + grace_ms),
        };
        let marks = owners
            .iter()
            .flat_map(|(seat, owner)| [Arg::from(seat.as_str()), Arg::from(mark(owner).as_str())]);
        let keys = [self.generation, &self.seats];
        let mut reply =
            SETTLE.call((self.redis, &self.connection), keys, [self.epoch.into()], marks).await?;
        match reply.text()?.as_str() {
            "SETTLED" => Ok(true),
            "STALE" => Ok(false),
            word => Err(reply.unknown(word)),
        }
    }
}

/// Seats and the marks in the way.
fn taken(mut reply: Reply) -> Result<Vec<(SeatId, Owner)>, Error> {
    let mut taken = Vec::new();
    while let Some(seat) = reply.more() {
        let mark = reply.text()?;
        let owner = match mark.split_once('|') {
            Some((user, until)) => user
                .parse()
                .ok()
                .zip(until.parse().ok())
                .map(|(user, until)| Owner::Held { user: UserId(user), until }),
            None => (mark == SOLD).then_some(Owner::Sold),
        };
        let seat = SeatId::parse(&seat).zip(owner);
        taken.push(seat.ok_or_else(|| reply.unknown(&mark))?);
    }
    Ok(taken)
}

fn names(seats: &[SeatId]) -> impl Iterator<Item = Arg> {
    seats.iter().map(|seat| Arg::from(seat.as_str()))
}
