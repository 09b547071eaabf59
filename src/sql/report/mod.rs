//! The report of a sale: what became of a queue's turns, bookings and money, asked of the rows, all of one moment.
//! Nothing is written here, and nothing is guessed: what no row tells (who gave up while waiting) is not told.

mod rates;

use sea_orm::{ConnectionTrait, DatabaseTransaction, QueryResult, Value};
use serde::Serialize;
use utoipa::ToSchema;

use self::rates::Rates;
use super::{Sql, from_db, get};
use crate::clock::rfc3339;
use crate::error::Error;
use crate::ids::ConcertId;

const MINUTE_MS: i64 = 60_000;
/// A day of them: longer sales tell of their last one.
const MINUTES_MAX: usize = 1_440;

/// A sale, as the rows tell it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Sale {
    /// Numbers that left the line without a turn.
    #[schema(minimum = 0)]
    pub left_line: i64,
    /// When the first turn was opened.
    #[schema(required, format = DateTime)]
    pub first_admitted_at: Option<String>,
    /// When the last seat was paid; `null` while one is left.
    #[schema(required, format = DateTime)]
    pub sold_out_at: Option<String>,
    /// From the first turn to the last seat.
    #[schema(required)]
    pub seconds_to_sold_out: Option<f64>,
    pub turns: Turns,
    pub bookings: Bookings,
    /// Money paid, in minor units.
    #[schema(minimum = 0)]
    pub amount: i64,
    pub tiers: Vec<Tier>,
    /// Those in which anything happened, in their order; of more than a day's, the last ones.
    pub minutes: Vec<Minute>,
    /// Earlier minutes that are not told.
    #[schema(minimum = 0)]
    pub minutes_left_off: usize,
}

/// Turns of a queue by what became of them.
#[derive(Debug, Serialize, ToSchema)]
pub struct Turns {
    #[schema(minimum = 0)]
    pub opened: i64,
    /// Those of them that an operator granted.
    #[schema(minimum = 0)]
    pub by_hand: i64,
    #[schema(minimum = 0)]
    pub claimed: i64,
    /// Over without anybody having come.
    #[schema(minimum = 0)]
    pub unclaimed: i64,
    #[schema(minimum = 0)]
    pub paid: i64,
    /// Given back.
    #[schema(minimum = 0)]
    pub left: i64,
    /// Claimed, and out of time.
    #[schema(minimum = 0)]
    pub timed_out: i64,
    #[schema(minimum = 0)]
    pub open: i64,
}

/// Bookings by what became of them.
#[derive(Debug, Serialize, ToSchema)]
pub struct Bookings {
    #[schema(minimum = 0)]
    pub made: i64,
    #[schema(minimum = 0)]
    pub paid: i64,
    /// Run out, whether or not anybody has looked since.
    #[schema(minimum = 0)]
    pub expired: i64,
    #[schema(minimum = 0)]
    pub cancelled: i64,
    #[schema(minimum = 0)]
    pub held: i64,
}

/// A tier of a concert of the queue.
#[derive(Debug, Serialize, ToSchema)]
pub struct Tier {
    pub concert_id: ConcertId,
    pub title: String,
    pub name: String,
    #[schema(minimum = 1)]
    pub price: i64,
    #[schema(minimum = 1)]
    pub seats: i64,
    #[schema(minimum = 0)]
    pub seats_sold: i64,
    #[schema(minimum = 0)]
    pub seats_held: i64,
    #[schema(minimum = 0)]
    pub amount: i64,
}

/// What happened in a minute.
#[derive(Debug, Serialize, ToSchema)]
pub struct Minute {
    #[schema(format = DateTime)]
    pub at: String,
    #[schema(minimum = 0)]
    pub admitted: i64,
    #[schema(minimum = 0)]
    pub booked: i64,
    #[schema(minimum = 0)]
    pub paid: i64,
    #[schema(minimum = 0)]
    pub seats_sold: i64,
    #[schema(minimum = 0)]
    pub amount: i64,
    /// The mean of the rate in force; `null` when people passed through without one.
    #[schema(required, minimum = 0)]
    pub rate_set_per_second: Option<f64>,
    #[schema(minimum = 0)]
    pub rate_reached_per_second: f64,
}

impl Sql {
    /// The sale of a queue up to `now`.
    pub async fn sale(&self, queue_id: i64, now: i64) -> Result<Sale, Error> {
        let moment = self.begin_patient_snapshot("sql.report").await?;
        let turns = "SELECT count(*) FILTER (WHERE admitted_at IS NULL) AS left_line, min(admitted_at) AS first,
                count(admitted_at) AS opened, count(*) FILTER (WHERE kind = 'manual') AS by_hand, count(claimed_at) AS claimed,
                count(*) FILTER (WHERE end_reason = 'unclaimed') AS unclaimed, count(*) FILTER (WHERE end_reason = 'paid') AS paid,
                count(*) FILTER (WHERE end_reason = 'left' AND admitted_at IS NOT NULL) AS left_turn,
                count(*) FILTER (WHERE end_reason = 'time') AS timed_out, count(*) FILTER (WHERE ended_at IS NULL) AS open
            FROM turn WHERE queue_id = $1";
        let line = self.one(&moment, turns, [queue_id.into()]).await?;
        let bookings = "SELECT count(*) AS made, count(paid_at) AS paid, count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
                count(*) FILTER (WHERE status = 'expired' OR status = 'held' AND expires_at <= $2) AS expired,
                count(*) FILTER (WHERE status = 'held' AND expires_at > $2) AS held, max(paid_at) AS last_paid,
                CAST(coalesce(sum(amount) FILTER (WHERE status = 'paid'), 0) AS BIGINT) AS amount
            FROM booking WHERE queue_id = $1";
        let shop = self.one(&moment, bookings, [queue_id.into(), now.into()]).await?;
        let tiers = self.tiers(&moment, queue_id, now).await?;
        let (minutes, minutes_left_off) = self.minutes(&moment, queue_id, now).await?;
        let first: Option<i64> = get(&line, "first")?;
        let sold_out = !tiers.is_empty() && tiers.iter().all(|tier| tier.seats_sold == tier.seats);
        let sold_out: Option<i64> = get::<Option<i64>>(&shop, "last_paid")?.filter(|_| sold_out);
        Ok(Sale {
            left_line: get(&line, "left_line")?,
            first_admitted_at: first.map(rfc3339),
            sold_out_at: sold_out.map(rfc3339),
            seconds_to_sold_out: sold_out.zip(first).map(|(end, first)| seconds(end - first)),
            turns: Turns::read(&line)?,
            bookings: Bookings::read(&shop)?,
            amount: get(&shop, "amount")?,
            tiers,
            minutes,
            minutes_left_off,
        })
    }

    async fn tiers(
        &self,
        moment: &DatabaseTransaction,
        queue_id: i64,
        now: i64,
    ) -> Result<Vec<Tier>, Error> {
        let sql = "SELECT c.id, c.title, s.tier, s.price, count(*) AS seats,
                count(*) FILTER (WHERE k.seat_id IS NOT NULL AND k.until IS NULL) AS sold,
                count(*) FILTER (WHERE k.until > $2) AS held
            FROM concert c JOIN seat s ON s.concert_id = c.id
            LEFT JOIN seat_claim k ON k.concert_id = s.concert_id AND k.seat_id = s.seat_id
            WHERE c.queue_id = $1 GROUP BY c.id, c.title, s.tier, s.price ORDER BY c.id, min(s.ordinal)";
        let statement = self.statement(sql, [queue_id.into(), now.into()]);
        let rows = moment.query_all_raw(statement).await.map_err(from_db)?;
        rows.iter().map(Tier::read).collect()
    }

    async fn minutes(
        &self,
        moment: &DatabaseTransaction,
        queue_id: i64,
        now: i64,
    ) -> Result<(Vec<Minute>, usize), Error> {
        let sql = "SELECT minute, sum(turns) AS admitted, sum(made) AS booked, sum(paid) AS paid,
                CAST(sum(seats) AS BIGINT) AS seats_sold, CAST(sum(amount) AS BIGINT) AS amount
            FROM (
                SELECT admitted_at / 60000 AS minute, 1 AS turns, 0 AS made, 0 AS paid, 0 AS seats, 0 AS amount
                FROM turn WHERE queue_id = $1 AND admitted_at IS NOT NULL
                UNION ALL SELECT made_at / 60000, 0, 1, 0, 0, 0 FROM booking WHERE queue_id = $1
                UNION ALL SELECT paid_at / 60000, 0, 0, 1, seat_count, amount
                FROM booking WHERE queue_id = $1 AND paid_at IS NOT NULL
            ) happened GROUP BY minute ORDER BY minute";
        let statement = self.statement(sql, [queue_id.into()]);
        let rows = moment.query_all_raw(statement).await.map_err(from_db)?;
        let left_off = rows.len().saturating_sub(MINUTES_MAX);
        let rates = self.rates(moment, queue_id).await?;
        let read = |row| Minute::read(row, &rates, now);
        Ok((rows[left_off..].iter().map(read).collect::<Result<_, _>>()?, left_off))
    }

    /// The rate that was set, from the audit of every change.
    async fn rates(&self, moment: &DatabaseTransaction, queue_id: i64) -> Result<Rates, Error> {
        let sql = "SELECT a.at, a.before, a.after FROM audit a JOIN queue q ON a.target = 'queue:' || q.name
            WHERE q.id = $1 AND a.action IN ('queue.create', 'policy.tune') ORDER BY a.id";
        let statement = self.statement(sql, [queue_id.into()]);
        let rows = moment.query_all_raw(statement).await.map_err(from_db)?;
        let mut rates = Rates::default();
        for row in &rows {
            let (before, after) = (get(row, "before")?, get(row, "after")?);
            rates.changed(get(row, "at")?, before, after);
        }
        if rows.is_empty() {
            let now = "SELECT mode, rate_per_second FROM queue WHERE id = $1";
            let row = self.one(moment, now, [queue_id.into()]).await?;
            rates.always(&get::<String>(&row, "mode")?, get(&row, "rate_per_second")?);
        }
        Ok(rates)
    }

    async fn one(
        &self,
        moment: &DatabaseTransaction,
        sql: &str,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<QueryResult, Error> {
        let row = moment.query_one_raw(self.statement(sql, values)).await.map_err(from_db)?;
        row.ok_or_else(|| Error::bug("a count gave no row"))
    }
}

impl Turns {
    fn read(row: &QueryResult) -> Result<Self, Error> {
        Ok(Self {
            opened: get(row, "opened")?,
            by_hand: get(row, "by_hand")?,
            claimed: get(row, "claimed")?,
            unclaimed: get(row, "unclaimed")?,
            paid: get(row, "paid")?,
            left: get(row, "left_turn")?,
            timed_out: get(row, "timed_out")?,
            open: get(row, "open")?,
        })
    }
}

impl Bookings {
    fn read(row: &QueryResult) -> Result<Self, Error> {
        Ok(Self {
            made: get(row, "made")?,
            paid: get(row, "paid")?,
            expired: get(row, "expired")?,
            cancelled: get(row, "cancelled")?,
            held: get(row, "held")?,
        })
    }
}

impl Tier {
    fn read(row: &QueryResult) -> Result<Self, Error> {
        let (price, seats_sold): (i64, i64) = (get(row, "price")?, get(row, "sold")?);
        Ok(Self {
            concert_id: ConcertId(get(row, "id")?),
            title: get(row, "title")?,
            name: get(row, "tier")?,
            price,
            seats: get(row, "seats")?,
            seats_sold,
            seats_held: get(row, "held")?,
            amount: price * seats_sold,
        })
    }
}

impl Minute {
    /// The minute that is not over yet counts for as long as it has lasted.
    fn read(row: &QueryResult, rates: &Rates, now: i64) -> Result<Self, Error> {
        let begin = get::<i64>(row, "minute")? * MINUTE_MS;
        let end = now.clamp(begin + 1, begin + MINUTE_MS);
        let admitted: i64 = get(row, "admitted")?;
        Ok(Self {
            at: rfc3339(begin),
            admitted,
            booked: get(row, "booked")?,
            paid: get(row, "paid")?,
            seats_sold: get(row, "seats_sold")?,
            amount: get(row, "amount")?,
            rate_set_per_second: rates.mean(begin, end),
            rate_reached_per_second: admitted as f64 / seconds(end - begin),
        })
    }
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1_000.0
}
