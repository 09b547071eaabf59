//! The seats of a concert, which never change once it is made, and the page that shows them. Whether a seat is free
//! stands elsewhere.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Concert, Seat};
use crate::error::Error;
use crate::http::page::Page;
use crate::ids::{ConcertId, QueueName, SeatId};
use crate::recent::Recent;

/// Seats in their order, and what each costs.
#[derive(Debug)]
pub struct Hall {
    pub seats: Vec<Seat>,
    prices: HashMap<SeatId, i64>,
    /// The concert, for those who want its seats.
    pub announced: Recent<Arc<Concert>>,
    /// As the concert was last announced.
    page: ArcSwapOption<(Concert, Arc<Page>)>,
}

impl Hall {
    pub fn new(seats: Vec<Seat>) -> Self {
        let prices = seats.iter().map(|seat| (seat.id.clone(), seat.price)).collect();
        Self { seats, prices, announced: Recent::default(), page: ArcSwapOption::empty() }
    }

    /// What a seat costs, in minor units; `None`: there is no such seat.
    pub fn price(&self, seat: &SeatId) -> Option<i64> {
        self.prices.get(seat).copied()
    }

    /// `GET /concerts/{id}`, made anew when something else is announced.
    pub fn page(&self, concert: &Concert) -> Result<Arc<Page>, Error> {
        if let Some(last) = &*self.page.load()
            && last.0 == *concert
        {
            return Ok(last.1.clone());
        }
        let page = Arc::new(Page::of(&ConcertDetail::of(concert, &self.seats))?);
        self.page.store(Some(Arc::new((concert.clone(), page.clone()))));
        Ok(page)
    }
}

/// A concert: its tiers and prices, and its seats in order.
#[derive(Serialize, ToSchema)]
pub struct ConcertDetail {
    pub concert_id: ConcertId,
    pub title: String,
    pub place: String,
    /// Unix seconds.
    #[serde(rename = "concert_dateTime")]
    pub concert_date_time: i64,
    #[schema(value_type = QueueName)]
    pub queue: String,
    pub tiers: Vec<TierDetail>,
    /// Every seat, in the order of `GET /concerts/{id}/seats`.
    #[schema(value_type = Vec<SeatId>)]
    pub seats: Vec<String>,
}

impl ConcertDetail {
    fn of(concert: &Concert, seats: &[Seat]) -> Self {
        Self {
            concert_id: concert.id,
            concert_date_time: concert.starts_at / 1_000,
            queue: concert.queue.to_string(),
            title: concert.title.clone(),
            place: concert.place.clone(),
            tiers: TierDetail::of(seats),
            seats: seats.iter().map(|seat| seat.id.to_string()).collect(),
        }
    }
}

/// Seats of one price.
#[derive(Serialize, ToSchema)]
pub struct TierDetail {
    pub name: String,
    /// Minor units.
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    pub price: i64,
    #[schema(value_type = Vec<SeatId>)]
    pub seats: Vec<String>,
}

impl TierDetail {
    /// The tiers of a hall, in the order in which their first seats stand.
    fn of(seats: &[Seat]) -> Vec<Self> {
        let mut tiers: Vec<Self> = Vec::new();
        for seat in seats {
            match tiers.iter_mut().find(|tier| tier.name == seat.tier && tier.price == seat.price) {
                Some(tier) => tier.seats.push(seat.id.to_string()),
                None => {
                    tiers.push(Self {
                        name: seat.tier.clone(),
                        price: seat.price,
                        seats: vec![seat.id.to_string()],
                    });
                }
            }
        }
        tiers
    }
}
