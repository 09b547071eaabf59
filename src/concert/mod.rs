//! The catalogue: concerts, their seats and prices, and what of them is left. It grants nothing.

pub mod http;
pub mod listing;
pub mod sql;

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use utoipa::ToSchema;

use crate::clock::Clock;
use crate::error::{Code, Error, FieldProblem};
use crate::ids::{ConcertId, ID_MAX, QueueName, SeatId};
use crate::sql::Sql;
use listing::Listing;
pub use sql::{Concert, Seat, TierSums};

/// A hall has room for this many, and a request for no more.
const SEATS_MAX: usize = 100_000;
const PRICE_MAX: i64 = 1_000_000_000;
const TEXT_CHARS_MAX: usize = 200;
/// Until the year 9999, the last that RFC 3339 can write.
const STARTS_AT_MAX: i64 = 253_402_300_799;
/// A listing is built at most this often.
const LISTING_MS: i64 = 1_000;

/// What a queue's concerts have left to sell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stock {
    /// In all; 0: the queue sells nothing, and its admission is not coupled to seats.
    pub seats: i64,
    /// Not sold: free or held.
    pub unsold: i64,
    /// Neither sold nor held.
    pub free: i64,
    /// Open turns whose owner holds seats: they do not compete for the free ones.
    pub turns_with_hold: i64,
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

/// A request to sell a new concert.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateConcert {
    pub title: String,
    pub place: String,
    /// Unix seconds.
    pub starts_at: i64,
    /// Through which queue; `main` when absent.
    pub queue: Option<String>,
    pub tiers: Vec<CreateTier>,
}

/// Seats of one price.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateTier {
    pub name: String,
    /// Minor units of the currency.
    pub price: i64,
    pub seats: CreateSeats,
}

/// Seats by name, or rows of numbered ones.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum CreateSeats {
    Named(Vec<String>),
    Rows(CreateRows),
}

/// `A-1 … B-50` from rows `A`, `B` with 50 seats each.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateRows {
    pub rows: Vec<String>,
    pub per_row: u32,
}

/// A change of what is announced; seats and prices stay as they were sold.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeConcert {
    pub title: Option<String>,
    pub place: Option<String>,
    /// Unix seconds.
    pub starts_at: Option<i64>,
    pub queue: Option<String>,
}

/// The catalogue and its cached listings.
#[derive(Clone)]
pub struct Concerts {
    inner: Arc<Inner>,
}

struct Inner {
    sql: Sql,
    clock: Clock,
    listing: ArcSwap<Option<(i64, Arc<Listing>)>>,
    building: Mutex<()>,
    /// Seats and tiers never change once a concert is made.
    halls: ArcSwap<HashMap<ConcertId, Arc<Vec<Seat>>>>,
}

impl Concerts {
    pub fn new(sql: Sql, clock: Clock) -> Self {
        let inner = Inner {
            sql,
            clock,
            listing: ArcSwap::default(),
            building: Mutex::new(()),
            halls: ArcSwap::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// What a queue's concerts that have not started have left.
    pub async fn stock(&self, queue_id: i64) -> Result<Stock, Error> {
        self.inner.sql.stock(queue_id, self.inner.clock.now_ms()).await
    }

    pub async fn concert(&self, id: ConcertId) -> Result<Concert, Error> {
        self.inner.sql.concert(id).await?.ok_or_else(|| missing(id))
    }

    /// A concert that still sells.
    pub async fn on_sale(&self, id: ConcertId) -> Result<Concert, Error> {
        let concert = self.concert(id).await?;
        if concert.starts_at <= self.inner.clock.now_ms() {
            return Err(Error::refused(Code::SaleClosed, "this concert has started"));
        }
        Ok(concert)
    }

    /// The seats of a concert, in order.
    pub async fn seats(&self, id: ConcertId) -> Result<Arc<Vec<Seat>>, Error> {
        if let Some(seats) = self.inner.halls.load().get(&id) {
            return Ok(seats.clone());
        }
        let seats = Arc::new(self.inner.sql.seats(id).await?);
        if seats.is_empty() {
            return Err(missing(id));
        }
        self.inner.halls.rcu(|halls| {
            let mut halls = HashMap::clone(halls);
            halls.insert(id, seats.clone());
            halls
        });
        Ok(seats)
    }

    /// Every concert that has not started, with the status of its seats, at most a second old.
    pub async fn listing(&self) -> Result<Arc<Listing>, Error> {
        let now = self.inner.clock.now_ms();
        let fresh = || {
            let cached = self.inner.listing.load();
            cached
                .as_ref()
                .as_ref()
                .filter(|(at, _)| now - at < LISTING_MS)
                .map(|(_, listing)| listing.clone())
        };
        if let Some(listing) = fresh() {
            return Ok(listing);
        }
        let _one = self.inner.building.lock().await;
        if let Some(listing) = fresh() {
            return Ok(listing);
        }
        let mut concerts = Vec::new();
        for concert in self.inner.sql.concerts_on_sale(now).await? {
            let seats = self.seats(concert.id).await?;
            let taken = self.inner.sql.taken(concert.id, now).await?;
            concerts.push((concert, seats, taken));
        }
        let listing = Arc::new(Listing::build(&concerts, now)?);
        self.inner.listing.store(Arc::new(Some((now, listing.clone()))));
        Ok(listing)
    }

    pub async fn create(
        &self,
        request: CreateConcert,
        queue: (i64, &QueueName),
        operator: &str,
    ) -> Result<ConcertId, Error> {
        let seats = check(&request)?;
        self.inner
            .sql
            .create_concert(&request, &seats, queue, (operator, self.inner.clock.now_ms()))
            .await
    }

    pub async fn change(
        &self,
        id: ConcertId,
        change: &ChangeConcert,
        queue_id: Option<i64>,
        operator: &str,
    ) -> Result<(), Error> {
        let mut problems = Vec::new();
        for (text, pointer) in [(&change.title, "/title"), (&change.place, "/place")] {
            check_text(text.as_deref().unwrap_or("-"), pointer, &mut problems);
        }
        check_instant(change.starts_at.unwrap_or(1), &mut problems);
        refuse(problems)?;
        self.inner
            .sql
            .change_concert(id, change, queue_id, (operator, self.inner.clock.now_ms()))
            .await
    }

    /// Every concert, started or not, with its sums.
    pub async fn all(&self) -> Result<Vec<sql::ConcertSums>, Error> {
        self.inner.sql.concert_sums(None, self.inner.clock.now_ms()).await
    }

    /// The concerts that a queue sells and that have not started.
    pub async fn tiers_of(&self, queue: &QueueName) -> Result<Vec<sql::ConcertSums>, Error> {
        let now = self.inner.clock.now_ms();
        let all = self.inner.sql.concert_sums(None, now).await?;
        Ok(all
            .into_iter()
            .filter(|sums| sums.queue == queue.as_str() && sums.starts_at * 1_000 > now)
            .collect())
    }

    pub async fn sums(&self, id: ConcertId) -> Result<sql::ConcertSums, Error> {
        let sums = self.inner.sql.concert_sums(Some(id), self.inner.clock.now_ms()).await?;
        sums.into_iter().next().ok_or_else(|| missing(id))
    }
}

fn missing(id: ConcertId) -> Error {
    Error::refused(Code::ConcertNotFound, format!("there is no concert {id}"))
}

/// The seats a request names, in order, or everything that is wrong with it.
fn check(request: &CreateConcert) -> Result<Vec<Seat>, Error> {
    let mut problems = Vec::new();
    check_text(&request.title, "/title", &mut problems);
    check_text(&request.place, "/place", &mut problems);
    check_instant(request.starts_at, &mut problems);
    let mut problem = |pointer: String, reason: &str| {
        problems.push(FieldProblem { pointer, reason: reason.to_owned() });
    };
    let mut seats: Vec<Seat> = Vec::new();
    let mut known = std::collections::HashSet::new();
    for (index, tier) in request.tiers.iter().enumerate() {
        if !(1..=PRICE_MAX).contains(&tier.price) {
            problem(format!("/tiers/{index}/price"), "is a whole number from 1 to 1000000000");
        }
        if tier.name.is_empty()
            || tier.name.chars().count() > TEXT_CHARS_MAX
            || tier.name.contains('\0')
        {
            problem(format!("/tiers/{index}/name"), "is 1 to 200 characters");
        }
        let pointer = format!("/tiers/{index}/seats");
        let names = match &tier.seats {
            CreateSeats::Named(names) if names.len() <= SEATS_MAX => names.clone(),
            CreateSeats::Rows(rows)
                if rows.rows.len().saturating_mul(rows.per_row as usize) <= SEATS_MAX =>
            {
                rows.rows
                    .iter()
                    .flat_map(|row| (1..=rows.per_row).map(move |seat| format!("{row}-{seat}")))
                    .collect()
            }
            _ => {
                problem(pointer, "a concert has at most 100000 seats");
                continue;
            }
        };
        for name in names {
            match SeatId::parse(&name) {
                None => {
                    return Err(Error::field(
                        Code::InvalidField,
                        &pointer,
                        "a seat id is 1 to 16 of A-Z, a-z, 0-9 and `-`",
                    ));
                }
                Some(seat) if !known.insert(seat.clone()) => {
                    return Err(Error::field(
                        Code::DuplicateSeat,
                        &pointer,
                        format!("seat {seat} is named twice"),
                    ));
                }
                Some(id) => seats.push(Seat { id, tier: tier.name.clone(), price: tier.price }),
            }
        }
    }
    if problems.is_empty() && (seats.is_empty() || seats.len() > SEATS_MAX) {
        return Err(Error::field(Code::InvalidField, "/tiers", "name 1 to 100000 seats"));
    }
    refuse(problems)?;
    Ok(seats)
}

fn check_text(text: &str, pointer: &str, problems: &mut Vec<FieldProblem>) {
    if text.is_empty() || text.chars().count() > TEXT_CHARS_MAX || text.contains('\0') {
        problems.push(FieldProblem {
            pointer: pointer.to_owned(),
            reason: "is 1 to 200 characters".to_owned(),
        });
    }
}

fn check_instant(starts_at: i64, problems: &mut Vec<FieldProblem>) {
    if !(1..=STARTS_AT_MAX.min(ID_MAX)).contains(&starts_at) {
        let reason = "is in Unix seconds, until the year 9999".to_owned();
        problems.push(FieldProblem { pointer: "/starts_at".to_owned(), reason });
    }
}

fn refuse(problems: Vec<FieldProblem>) -> Result<(), Error> {
    if problems.is_empty() {
        Ok(())
    } else {
        Err(Error::InvalidFields { code: Code::InvalidField, problems })
    }
}
