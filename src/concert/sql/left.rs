//! What is left of the catalogue: counts of seats, sold and held. Nothing is written here.

use sea_orm::{ConnectionTrait, QueryResult};
use serde::Serialize;
use utoipa::ToSchema;

use crate::concert::Stock;
use crate::error::Error;
use crate::ids::{ConcertId, QueueName};
use crate::sql::{Sql, from_db, get};

/// So many bookings tell how many seats a buyer takes.
const BOOKINGS_TELLING: i64 = 10;

/// A concert with its sums, for operators.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ConcertSums {
    pub concert_id: ConcertId,
    pub title: String,
    pub place: String,
    /// Unix seconds.
    pub starts_at: i64,
    #[schema(value_type = QueueName)]
    pub queue: String,
    #[schema(minimum = 1)]
    pub seats_total: i64,
    #[schema(minimum = 0)]
    pub seats_free: i64,
    #[schema(minimum = 0)]
    pub seats_held: i64,
    #[schema(minimum = 0)]
    pub seats_sold: i64,
    pub tiers: Vec<TierSums>,
}

/// How many seats a tier has, and at what price.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct TierSums {
    pub name: String,
    /// Minor units.
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    pub price: i64,
    #[schema(minimum = 1)]
    pub seats: i64,
    #[schema(minimum = 0)]
    pub seats_free: i64,
    #[schema(minimum = 0)]
    pub seats_held: i64,
    #[schema(minimum = 0)]
    pub seats_sold: i64,
}

impl Sql {
    /// What the concerts of a queue that have not started have left. Turns that began before `idle_since` and hold
    /// nothing are idle.
    pub async fn stock(
        &self,
        queue_id: i64,
        (now, idle_since): (i64, i64),
    ) -> Result<Stock, Error> {
        // Where nothing is sold there is nothing to count, least of all the turns of a great crowd.
        let sells = "SELECT id FROM concert WHERE queue_id = $1 AND starts_at > $2 LIMIT 1";
        let statement = self.statement(sells, [queue_id.into(), now.into()]);
        if self.reader().query_one_raw(statement).await.map_err(from_db)?.is_none() {
            return Ok(Stock::default());
        }
        let sql = "SELECT
            (SELECT count(*) FROM seat s JOIN concert c ON c.id = s.concert_id
             WHERE c.queue_id = $1 AND c.starts_at > $2) AS seats,
            (SELECT count(*) FROM turn t WHERE t.queue_id = $1 AND t.ended_at IS NULL
                AND (coalesce(t.claimed_at, t.admitted_at) <= $3 OR EXISTS
                    (SELECT 1 FROM booking b WHERE b.queue_id = t.queue_id AND b.user_id = t.user_id
                     AND b.status = 'held' AND b.expires_at > $2))) AS turns_aside,
            s.sold, s.held, b.bookings, b.booked, b.squares
            FROM (SELECT count(*) FILTER (WHERE s.until IS NULL) AS sold, count(*) FILTER (WHERE s.until > $2) AS held
                  FROM seat_claim s JOIN concert c ON c.id = s.concert_id
                  WHERE c.queue_id = $1 AND c.starts_at > $2) s,
                 (SELECT count(*) AS bookings, CAST(coalesce(sum(seat_count), 0) AS BIGINT) AS booked,
                         CAST(coalesce(sum(seat_count * seat_count), 0) AS BIGINT) AS squares
                  FROM booking b JOIN concert c ON c.id = b.concert_id
                  WHERE c.queue_id = $1 AND c.starts_at > $2 AND b.status IN ('held', 'paid')) b";
        let statement = self.statement(sql, [queue_id.into(), now.into(), idle_since.into()]);
        let row = self.reader().query_one_raw(statement).await.map_err(from_db)?;
        let row = row.ok_or_else(|| Error::bug("a count gave no row"))?;
        let (seats, sold, held): (i64, i64, i64) =
            (get(&row, "seats")?, get(&row, "sold")?, get(&row, "held")?);
        let turns_aside = get(&row, "turns_aside")?;
        let seats_per_buyer =
            prudent_mean(get(&row, "bookings")?, (get(&row, "booked")?, get(&row, "squares")?));
        let (unsold, free) = (seats - sold, seats - sold - held);
        Ok(Stock { seats, unsold, free, turns_aside, seats_per_buyer })
    }

    /// One concert, or all, with the sums of its seats by tier.
    pub async fn concert_sums(
        &self,
        id: Option<ConcertId>,
        now: i64,
    ) -> Result<Vec<ConcertSums>, Error> {
        let sql = "SELECT c.id, c.title, c.place, c.starts_at, q.name AS queue, s.tier, s.price, count(*) AS seats,
                count(*) FILTER (WHERE k.seat_id IS NOT NULL AND k.until IS NULL) AS sold,
                count(*) FILTER (WHERE k.until > $1) AS held
            FROM concert c JOIN queue q ON q.id = c.queue_id JOIN seat s ON s.concert_id = c.id
            LEFT JOIN seat_claim k ON k.concert_id = s.concert_id AND k.seat_id = s.seat_id
            WHERE ($2 = 0 OR c.id = $2)
            GROUP BY c.id, c.title, c.place, c.starts_at, q.name, s.tier, s.price ORDER BY c.id, min(s.ordinal)";
        let values = [now.into(), id.map_or(0, |id| id.0).into()];
        let rows =
            self.reader().query_all_raw(self.statement(sql, values)).await.map_err(from_db)?;
        let mut concerts: Vec<ConcertSums> = Vec::new();
        for row in &rows {
            let sums = ConcertSums::read(row)?;
            match concerts.last_mut() {
                Some(concert) if concert.concert_id == sums.concert_id => concert.add(sums),
                _ => concerts.push(sums),
            }
        }
        Ok(concerts)
    }
}

impl ConcertSums {
    /// A concert with the one tier of this row.
    fn read(row: &QueryResult) -> Result<Self, Error> {
        let (seats, sold, held): (i64, i64, i64) =
            (get(row, "seats")?, get(row, "sold")?, get(row, "held")?);
        let tier = TierSums {
            name: get(row, "tier")?,
            price: get(row, "price")?,
            seats,
            seats_free: seats - sold - held,
            seats_held: held,
            seats_sold: sold,
        };
        Ok(Self {
            concert_id: ConcertId(get(row, "id")?),
            title: get(row, "title")?,
            place: get(row, "place")?,
            starts_at: get::<i64>(row, "starts_at")? / 1_000,
            queue: get(row, "queue")?,
            seats_total: seats,
            seats_free: seats - sold - held,
            seats_held: held,
            seats_sold: sold,
            tiers: vec![tier],
        })
    }

    fn add(&mut self, tier: Self) {
        self.seats_total += tier.seats_total;
        self.seats_free += tier.seats_free;
        self.seats_held += tier.seats_held;
        self.seats_sold += tier.seats_sold;
        self.tiers.extend(tier.tiers);
    }
}

/// What a buyer is expected to take, by those before him: their mean and one standard deviation.
fn prudent_mean(bookings: i64, (booked, squares): (i64, i64)) -> Option<f64> {
    if bookings < BOOKINGS_TELLING {
        return None;
    }
    let count = bookings as f64;
    let mean = booked as f64 / count;
    let variance = (squares as f64 / count - mean * mean).max(0.0);
    Some(mean + variance.sqrt())
}
