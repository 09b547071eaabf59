//! The catalogue in SQL. What is left of it stands in `left.rs`; holds and sales are read here, never written.

mod left;

use std::collections::HashMap;

use sea_orm::sea_query::LockType;
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseTransaction,
    EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QueryResult, QuerySelect,
};
use serde::Serialize;
use serde_json::json;

use super::{ChangeConcert, CreateConcert, SeatStatus, missing};
use crate::error::{Code, Error};
use crate::ids::{ConcertId, QueueName, SeatId};
use crate::sql::audit::NewAudit;
use crate::sql::entity::{booking, concert, seat};
use crate::sql::rows::list;
use crate::sql::{Sql, commit, from_db, get};

pub use left::{ConcertSums, TierSums};

/// SQLite binds at most 32,766 values a statement, five for each seat.
const SEATS_PER_INSERT: usize = 5_000;

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

/// Whoever waits for the row finds it with the queue that it has by then, which a join would not.
const CONCERT: &str =
    "SELECT c.id, c.queue_id, (SELECT name FROM queue WHERE id = c.queue_id) AS queue,
                              c.title, c.place, c.starts_at FROM concert c";

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

    pub async fn create_concert(
        &self,
        request: &CreateConcert,
        seats: &[Seat],
        (queue_id, queue): (i64, &QueueName),
        (operator, now): (&str, i64),
    ) -> Result<ConcertId, Error> {
        let transaction = self.begin("concert.create_concert").await?;
        let row = concert::ActiveModel {
            queue_id: Set(queue_id),
            title: Set(request.title.clone()),
            place: Set(request.place.clone()),
            starts_at: Set(request.starts_at * 1_000),
            ..Default::default()
        };
        let id = row.insert(&*transaction).await.map_err(from_db)?.id;
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
                .exec_without_returning(&*transaction)
                .await
                .map_err(from_db)?;
        }
        let announced =
            Announced::new((&request.title, &request.place), request.starts_at, queue.as_str());
        NewAudit::new(now, operator, "concert.create", format!("concert:{id}"))
            .change(None, Some(&announced))
            .insert(&*transaction)
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
        let transaction = self.begin("concert.change_concert").await?;
        // Buyers do not wait for this lock, nor it for them.
        let old = locked(&transaction, id, LockType::NoKeyUpdate).await?;
        if queue_id.is_some_and(|queue_id| queue_id != old.queue_id) {
            refuse_if_booked(&transaction, id).await?;
            // Nobody books it any more, and whoever was about to has done so.
            locked(&transaction, id, LockType::Update).await?;
            refuse_if_booked(&transaction, id).await?;
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
        let before = self.announced(&transaction, id).await?;
        let row = concert::ActiveModel::from(new).reset_all();
        row.update(&*transaction).await.map_err(from_db)?;
        let after = self.announced(&transaction, id).await?;
        NewAudit::new(now, operator, "concert.change", format!("concert:{id}"))
            .change(Some(&before), Some(&after))
            .insert(&*transaction)
            .await?;
        commit(transaction).await
    }

    async fn announced(
        &self,
        transaction: &DatabaseTransaction,
        id: ConcertId,
    ) -> Result<Announced, Error> {
        let statement = self.statement(&format!("{CONCERT} WHERE c.id = $1"), [id.0.into()]);
        let row = transaction.query_one_raw(statement).await.map_err(from_db)?;
        let Concert { title, place, starts_at, queue, .. } =
            Concert::read(&row.ok_or_else(|| missing(id))?)?;
        Ok(Announced::new((&title, &place), starts_at / 1_000, queue.as_str()))
    }
}

async fn locked(
    transaction: &DatabaseTransaction,
    id: ConcertId,
    lock: LockType,
) -> Result<concert::Model, Error> {
    let found = concert::Entity::find_by_id(id.0).lock(lock).one(transaction).await;
    found.map_err(from_db)?.ok_or_else(|| missing(id))
}

async fn refuse_if_booked(transaction: &DatabaseTransaction, id: ConcertId) -> Result<(), Error> {
    let bookings = booking::Entity::find().filter(booking::Column::ConcertId.eq(id.0));
    if bookings.count(transaction).await.map_err(from_db)? > 0 {
        let detail = "a concert with bookings stays in its queue";
        return Err(Error::refused(Code::ConcertHasBookings, detail));
    }
    Ok(())
}

impl Concert {
    /// Refuses whoever comes too late, or from another queue.
    pub fn check_sells(&self, is_of_its_queue: bool, now: i64) -> Result<(), Error> {
        if self.starts_at <= now {
            return Err(Error::refused(Code::SaleClosed, "this concert has started"));
        }
        if !is_of_its_queue {
            return Err(Error::WrongQueue { queue: self.queue.clone() });
        }
        Ok(())
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
