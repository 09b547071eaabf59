//! The catalogue in SQL, and what is left of it. Holds and sales are read here, never written.

use std::collections::HashMap;

use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseTransaction,
    EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QueryResult, QuerySelect,
};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::{ChangeConcert, CreateConcert, SeatStatus, Stock, missing};
use crate::error::{Code, Error};
use crate::ids::{ConcertId, QueueName, SeatId};
use crate::sql::audit::NewAudit;
use crate::sql::entity::{booking, concert, seat};
use crate::sql::rows::list;
use crate::sql::{Sql, commit, from_db, get};

/// SQLite binds at most 32,766 values a statement, five for each seat.
const SEATS_PER_INSERT: usize = 5_000;

/// So many bookings tell how many seats a buyer takes.
const BOOKINGS_TELLING: i64 = 10;

/// One performance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concert {
    pub id: ConcertId,
    pub queue_id: i64,
    pub queue: QueueName,
    pub title: String,
    pub place: String,
    /// Milliseconds since 1970.
    pub starts_at: i64,
}

/// A seat of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    pub id: SeatId,
    pub tier: String,
    pub price: i64,
}

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
}

const CONCERT: &str = "SELECT c.id, c.queue_id, q.name AS queue, c.title, c.place, c.starts_at
                       FROM concert c JOIN queue q ON q.id = c.queue_id";

impl Sql {
    pub async fn concert(&self, id: ConcertId) -> Result<Option<Concert>, Error> {
        let statement = self.statement(&format!("{CONCERT} WHERE c.id = $1"), [id.0.into()]);
        let row = self.reader().query_one_raw(statement).await.map_err(from_db)?;
        row.map(|row| Concert::read(&row)).transpose()
    }

    pub async fn concerts_on_sale(&self, now: i64) -> Result<Vec<Concert>, Error> {
        let sql = format!("{CONCERT} WHERE c.starts_at > $1 ORDER BY c.starts_at, c.id");
        let rows = self
            .reader()
            .query_all_raw(self.statement(&sql, [now.into()]))
            .await
            .map_err(from_db)?;
        rows.iter().map(Concert::read).collect()
    }

    /// Concerts whose seats a transaction gives away: until it is over, none is put off or moved to another queue.
    pub async fn lock_concerts(
        &self,
        transaction: &DatabaseTransaction,
        ids: impl Iterator<Item = ConcertId>,
    ) -> Result<HashMap<ConcertId, Concert>, Error> {
        let lock = format!(
            "{CONCERT} JOIN {} ON v.concert_id = c.id ORDER BY c.id {}",
            self.rows(&[("concert_id", "BIGINT")]),
            self.lock("FOR KEY SHARE OF c")
        );
        let statement = self.statement(&lock, [list(ids.map(|id| json!({"concert_id": id})))]);
        let rows = transaction.query_all_raw(statement).await.map_err(from_db)?;
        let read = |row| Concert::read(row).map(|concert| (concert.id, concert));
        rows.iter().map(read).collect()
    }

    pub async fn seats(&self, id: ConcertId) -> Result<Vec<Seat>, Error> {
        let rows = seat::Entity::find()
            .filter(seat::Column::ConcertId.eq(id.0))
            .order_by_asc(seat::Column::Ordinal)
            .all(self.reader())
            .await
            .map_err(from_db)?;
        let seat = |row: seat::Model| {
            Some(Seat { id: SeatId::parse(&row.seat_id)?, tier: row.tier, price: row.price })
        };
        Ok(rows.into_iter().filter_map(seat).collect())
    }

    /// The seats of a concert that are sold or held at `now`.
    pub async fn taken(
        &self,
        id: ConcertId,
        now: i64,
    ) -> Result<HashMap<SeatId, SeatStatus>, Error> {
        let sql = "SELECT seat_id, until FROM seat_claim WHERE concert_id = $1 AND (until IS NULL OR until > $2)";
        let statement = self.statement(sql, [id.0.into(), now.into()]);
        let rows = self.reader().query_all_raw(statement).await.map_err(from_db)?;
        let mut taken = HashMap::with_capacity(rows.len());
        for row in rows {
            let (seat, until): (String, Option<i64>) = (get(&row, "seat_id")?, get(&row, "until")?);
            let status = if until.is_some() { SeatStatus::Held } else { SeatStatus::Sold };
            if let Some(seat) = SeatId::parse(&seat) {
                taken.insert(seat, status);
            }
        }
        Ok(taken)
    }

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

    pub async fn create_concert(
        &self,
        request: &CreateConcert,
        seats: &[Seat],
        (queue_id, queue): (i64, &QueueName),
        (operator, now): (&str, i64),
    ) -> Result<ConcertId, Error> {
        let transaction = self.begin().await?;
        let row = concert::ActiveModel {
            queue_id: Set(queue_id),
            title: Set(request.title.clone()),
            place: Set(request.place.clone()),
            starts_at: Set(request.starts_at * 1_000),
            ..Default::default()
        };
        let id = row.insert(&transaction).await.map_err(from_db)?.id;
        for (chunk, first) in
            seats.chunks(SEATS_PER_INSERT).zip((0_i64..).step_by(SEATS_PER_INSERT))
        {
            let rows = chunk.iter().zip(first..).map(|(seat, ordinal)| seat::ActiveModel {
                concert_id: Set(id),
                seat_id: Set(seat.id.to_string()),
                ordinal: Set(ordinal),
                tier: Set(seat.tier.clone()),
                price: Set(seat.price),
            });
            seat::Entity::insert_many(rows)
                .exec_without_returning(&transaction)
                .await
                .map_err(from_db)?;
        }
        let announced =
            Announced::new((&request.title, &request.place), request.starts_at, queue.as_str());
        NewAudit::new(now, operator, "concert.create", format!("concert:{id}"))
            .change(None, Some(&announced))
            .insert(&transaction)
            .await?;
        commit(transaction).await?;
        Ok(ConcertId(id))
    }

    /// Changes what is announced. A change that changes nothing leaves no trace.
    pub async fn change_concert(
        &self,
        id: ConcertId,
        change: &ChangeConcert,
        queue_id: Option<i64>,
        (operator, now): (&str, i64),
    ) -> Result<(), Error> {
        let transaction = self.begin().await?;
        let found = concert::Entity::find_by_id(id.0)
            .lock_exclusive()
            .one(&transaction)
            .await
            .map_err(from_db)?;
        let old = found.ok_or_else(|| missing(id))?;
        if queue_id.is_some_and(|queue_id| queue_id != old.queue_id) {
            let bookings = booking::Entity::find().filter(booking::Column::ConcertId.eq(id.0));
            if bookings.count(&transaction).await.map_err(from_db)? > 0 {
                return Err(Error::refused(
                    Code::ConcertHasBookings,
                    "a concert with bookings stays in its queue",
                ));
            }
        }
        let new = concert::Model {
            id: old.id,
            queue_id: queue_id.unwrap_or(old.queue_id),
            title: change.title.clone().unwrap_or_else(|| old.title.clone()),
            place: change.place.clone().unwrap_or_else(|| old.place.clone()),
            starts_at: change.starts_at.map_or(old.starts_at, |starts_at| starts_at * 1_000),
        };
        if new == old {
            return Ok(());
        }
        let row = concert::ActiveModel::from(new.clone()).reset_all();
        row.update(&transaction).await.map_err(from_db)?;
        let announced = |row: &concert::Model| {
            Announced::new(
                (&row.title, &row.place),
                row.starts_at / 1_000,
                &format!("#{}", row.queue_id),
            )
        };
        NewAudit::new(now, operator, "concert.change", format!("concert:{id}"))
            .change(Some(&announced(&old)), Some(&announced(&new)))
            .insert(&transaction)
            .await?;
        commit(transaction).await
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

impl Concert {
    pub fn sells_at(&self, now: i64) -> Result<(), Error> {
        let started = || Error::refused(Code::SaleClosed, "this concert has started");
        (self.starts_at > now).then_some(()).ok_or_else(started)
    }

    fn read(row: &QueryResult) -> Result<Self, Error> {
        Ok(Self {
            id: ConcertId(get(row, "id")?),
            queue_id: get(row, "queue_id")?,
            queue: QueueName::parse(&get::<String>(row, "queue")?)?,
            title: get(row, "title")?,
            place: get(row, "place")?,
            starts_at: get(row, "starts_at")?,
        })
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

/// What the audit shows of a concert.
#[derive(Serialize)]
struct Announced {
    title: String,
    place: String,
    starts_at: i64,
    queue: String,
}

impl Announced {
    fn new((title, place): (&str, &str), starts_at: i64, queue: &str) -> Self {
        Self {
            title: title.to_owned(),
            place: place.to_owned(),
            starts_at,
            queue: queue.to_owned(),
        }
    }
}
