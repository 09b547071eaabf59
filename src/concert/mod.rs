//! The catalogue: concerts, their seats and prices, and what of them is left. It grants nothing.

pub mod hall;
pub mod http;
pub mod listing;
mod request;
pub mod sql;

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Clock;
use crate::error::{Code, Error};
use crate::ids::{ConcertId, QueueName};
use crate::recent::Recent;
use crate::sql::Sql;
use hall::Hall;
use listing::Listing;
pub use request::{ChangeConcert, CreateConcert, CreateRows, CreateSeats, CreateTier};
pub use sql::{Concert, ConcertSums, Seat, TierSums};

/// What a crowd asks for is made at most this often.
const CROWD_MS: i64 = 1_000;
/// What somebody is refused by was read less than so long ago.
const REFUSED_MS: i64 = 100;

/// What a queue's concerts have left to sell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stock {
    /// In all; 0: the queue sells nothing, and its admission is not coupled to seats.
    pub seats: i64,
    /// Not sold: free or held.
    pub unsold: i64,
    /// Neither sold nor held.
    pub free: i64,
    /// Open turns that do not compete for the free seats: their owner holds some, or has been idle for long.
    pub turns_aside: i64,
    /// Seats that one buyer takes: the mean of those who booked, and one standard deviation, for prudence. `None`
    /// before a few have.
    pub seats_per_buyer: Option<f64>,
}

/// What a seat is right now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum SeatStatus {
    Available,
    Held,
    Sold,
}

impl SeatStatus {
    /// One letter, for the map of a whole hall.
    pub fn letter(self) -> char {
        match self {
            Self::Available => 'A',
            Self::Held => 'H',
            Self::Sold => 'S',
        }
    }
}

/// The catalogue and its cached listings.
#[derive(Clone)]
pub struct Concerts {
    inner: Arc<Inner>,
}

struct Inner {
    sql: Sql,
    clock: Clock,
    listing: Recent<Arc<Listing>>,
    sums: Recent<Arc<Vec<sql::ConcertSums>>>,
    halls: ArcSwap<HashMap<ConcertId, Arc<Hall>>>,
}

impl Concerts {
    pub fn new(sql: Sql, clock: Clock) -> Self {
        let inner = Inner {
            sql,
            clock,
            listing: Recent::default(),
            sums: Recent::default(),
            halls: ArcSwap::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// What a queue's concerts that have not started have left.
    pub async fn stock(&self, queue_id: i64, idle_ms: i64) -> Result<Stock, Error> {
        let now = self.inner.clock.now_ms();
        self.inner.sql.stock(queue_id, (now, now - idle_ms)).await
    }

    pub async fn concert(&self, id: ConcertId) -> Result<Concert, Error> {
        self.inner.sql.concert(id).await?.ok_or_else(|| missing(id))
    }

    /// Refuses whoever wants seats of a concert that this queue does not sell, or no more. Whoever may go on may do so by
    /// what was announced a moment ago: where seats are given, it is looked at again.
    pub async fn check_sells(&self, id: ConcertId, queue: &QueueName) -> Result<(), Error> {
        let (hall, clock) = (self.hall(id).await?, &self.inner.clock);
        let announced = async || self.concert(id).await.map(Arc::new);
        let sells =
            |concert: &Concert| concert.check_sells(concert.queue == *queue, clock.now_ms());
        if sells(&*hall.announced.get(clock, CROWD_MS, announced).await?).is_ok() {
            return Ok(());
        }
        sells(&*hall.announced.get(clock, REFUSED_MS, announced).await?)
    }

    pub async fn hall(&self, id: ConcertId) -> Result<Arc<Hall>, Error> {
        if let Some(hall) = self.inner.halls.load().get(&id) {
            return Ok(hall.clone());
        }
        let hall = Arc::new(Hall::new(self.inner.sql.seats(id).await?));
        if hall.seats.is_empty() {
            return Err(missing(id));
        }
        self.inner.halls.rcu(|halls| {
            let mut halls = HashMap::clone(halls);
            halls.insert(id, hall.clone());
            halls
        });
        Ok(hall)
    }

    /// Every concert that has not started, with the status of its seats, at most a second old.
    pub async fn listing(&self) -> Result<Arc<Listing>, Error> {
        self.inner.listing.get(&self.inner.clock, CROWD_MS, async || self.list().await).await
    }

    async fn list(&self) -> Result<Arc<Listing>, Error> {
        let now = self.inner.clock.now_ms();
        let mut occupied = Vec::new();
        for concert in self.inner.sql.concerts_on_sale(now).await? {
            let hall = self.hall(concert.id).await?;
            let taken = self.inner.sql.taken(concert.id, now).await?;
            occupied.push((concert, hall, taken));
        }
        Ok(Arc::new(Listing::build(&occupied, now)?))
    }

    pub async fn create(
        &self,
        request: CreateConcert,
        queue: (i64, &QueueName),
        operator: &str,
    ) -> Result<ConcertId, Error> {
        let now = self.inner.clock.now_ms();
        let seats = request.seats(now)?;
        let by = (operator, now);
        let made = self.inner.sql.create_concert(&request, &seats, queue, by).await?;
        self.forget_listing();
        Ok(made)
    }

    /// Whoever has just changed the catalogue finds it changed; other instances show it within a second.
    fn forget_listing(&self) {
        self.inner.listing.forget();
        self.inner.sums.forget();
    }

    pub async fn change(
        &self,
        id: ConcertId,
        change: &ChangeConcert,
        queue_id: Option<i64>,
        operator: &str,
    ) -> Result<(), Error> {
        change.check()?;
        let by = (operator, self.inner.clock.now_ms());
        let changed = self.inner.sql.change_concert(id, change, queue_id, by).await;
        self.forget_listing();
        if let Some(hall) = self.inner.halls.load().get(&id) {
            hall.announced.forget();
        }
        changed
    }

    /// Every concert, started or not, with its sums.
    pub async fn all(&self) -> Result<Vec<sql::ConcertSums>, Error> {
        self.inner.sql.concert_sums(None, self.inner.clock.now_ms()).await
    }

    /// The concerts that a queue sells and that have not started, with sums at most a second old.
    pub async fn tiers_of(&self, queue: &QueueName) -> Result<Vec<sql::ConcertSums>, Error> {
        let all = async || self.all().await.map(Arc::new);
        let sums = self.inner.sums.get(&self.inner.clock, CROWD_MS, all).await?;
        let now = self.inner.clock.now_ms();
        let sells =
            |sums: &&sql::ConcertSums| sums.queue == queue.as_str() && sums.starts_at * 1_000 > now;
        Ok(sums.iter().filter(sells).cloned().collect())
    }

    pub async fn sums(&self, id: ConcertId) -> Result<sql::ConcertSums, Error> {
        let sums = self.inner.sql.concert_sums(Some(id), self.inner.clock.now_ms()).await?;
        sums.into_iter().next().ok_or_else(|| missing(id))
    }
}

fn missing(id: ConcertId) -> Error {
    Error::refused(Code::ConcertNotFound, format!("there is no concert {id}"))
}
