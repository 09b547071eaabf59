//! The answers that a crowd asks for all the time, built once a second and handed out as bytes.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use super::hall::Hall;
use super::{Concert, Seat, SeatStatus};
use crate::clock::rfc3339;
use crate::error::Error;
use crate::http::page::Page;
use crate::ids::{ConcertId, QueueName, SeatId};

/// Every concert on sale, as the pages that are asked for.
#[derive(Debug)]
pub struct Listing {
    /// `GET /concerts`.
    pub all: Page,
    /// `GET /concerts?concert_id=`.
    pub each: HashMap<ConcertId, Page>,
    /// `GET /concerts/{id}/seats`.
    pub letters: HashMap<ConcertId, Page>,
}

/// A concert and its seats, as the original specification has them.
#[derive(Serialize, ToSchema)]
pub struct ConcertView {
    pub concert_id: ConcertId,
    /// The original's spelling of `concert_id`.
    #[schema(value_type = i64, minimum = 1, maximum = 9_007_199_254_740_991_i64, deprecated)]
    pub ceoncert_id: ConcertId,
    /// Unix seconds.
    #[serde(rename = "concert_dateTime")]
    pub concert_date_time: i64,
    /// The original's spelling of `concert_dateTime`.
    #[serde(rename = "ceoncert_dateTime")]
    #[schema(deprecated)]
    pub ceoncert_date_time: i64,
    pub title: String,
    pub place: String,
    /// The queue that sells it.
    #[schema(value_type = QueueName)]
    pub queue: String,
    pub seats: Vec<SeatView>,
}

/// A seat and whether it can be had.
#[derive(Serialize, ToSchema)]
pub struct SeatView {
    pub seat_id: SeatId,
    pub seat_status: SeatStatus,
}

/// `GET /concerts`.
#[derive(Serialize, ToSchema)]
pub struct ConcertsView {
    pub concerts: Vec<ConcertView>,
}

/// One letter a seat, in the order of `GET /concerts/{id}`: `A`vailable, `H`eld, `S`old.
#[derive(Serialize, ToSchema)]
pub struct SeatLetters {
    pub concert_id: ConcertId,
    #[schema(format = DateTime)]
    pub as_of: String,
    #[schema(pattern = "^[AHS]*$")]
    pub seats: String,
}

/// A concert, its hall, and the status of the seats that are not free.
pub type Occupied = (Concert, Arc<Hall>, HashMap<SeatId, SeatStatus>);

impl Listing {
    pub fn build(occupied: &[Occupied], now: i64) -> Result<Self, Error> {
        let (mut views, mut each, mut letters) = (Vec::new(), HashMap::new(), HashMap::new());
        let mut all_letters = Vec::new();
        for (concert, hall, taken) in occupied {
            let status =
                |seat: &Seat| taken.get(&seat.id).copied().unwrap_or(SeatStatus::Available);
            let row: String = hall.seats.iter().map(|seat| status(seat).letter()).collect();
            let meaning = (
                concert.id,
                &concert.title,
                &concert.place,
                concert.starts_at,
                concert.queue.as_str(),
                &row,
            );
            let view = ConcertsView { concerts: vec![view(concert, &hall.seats, status)] };
            each.insert(concert.id, Page::meaning(&view, &meaning)?);
            views.extend(view.concerts);
            let page =
                SeatLetters { concert_id: concert.id, as_of: rfc3339(now), seats: row.clone() };
            letters.insert(concert.id, Page::meaning(&page, &row)?);
            all_letters.push(each[&concert.id].etag().to_owned());
        }
        let all = Page::meaning(&ConcertsView { concerts: views }, &all_letters)?;
        Ok(Self { all, each, letters })
    }
}

fn view(concert: &Concert, seats: &[Seat], status: impl Fn(&Seat) -> SeatStatus) -> ConcertView {
    ConcertView {
        concert_id: concert.id,
        ceoncert_id: concert.id,
        concert_date_time: concert.starts_at / 1_000,
        ceoncert_date_time: concert.starts_at / 1_000,
        title: concert.title.clone(),
        place: concert.place.clone(),
        queue: concert.queue.to_string(),
        seats: seats
            .iter()
            .map(|seat| SeatView { seat_id: seat.id.clone(), seat_status: status(seat) })
            .collect(),
    }
}
