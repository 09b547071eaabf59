//! The checker: what must be true of the rows, asked of the rows. It reads one moment and changes nothing.
//!
//! The ids are those of the invariants in `docs/ARCHITECTURE.md`.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseTransaction};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Sql, Transaction, from_db, get};
use crate::error::Error;

/// Each query reads whole tables: what any other statement has is too little after a big sale. It ends before its answer
/// is due, and before a stop has waited enough.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(20);

/// What the checker found.
#[derive(Debug, Serialize, ToSchema)]
pub struct Report {
    /// Whether nothing is violated.
    pub ok: bool,
    pub checks: Vec<Check>,
    pub queues: Vec<QueueCheck>,
}

/// One invariant.
#[derive(Debug, Serialize, ToSchema)]
pub struct Check {
    pub id: &'static str,
    /// What must hold.
    pub what: &'static str,
    /// Rows for which it does not.
    #[schema(minimum = 0)]
    pub violations: i64,
}

/// The most turns that were ever open at once, beside the cap of today.
#[derive(Debug, Serialize, ToSchema)]
pub struct QueueCheck {
    #[schema(value_type = crate::ids::QueueName)]
    pub name: String,
    pub active_max: i64,
    pub active_peak: i64,
    pub admitted_total: i64,
}

/// Each query counts what must not be.
const CHECKS: &[(&str, &str, &str)] = &[
    ("S1", "a sold seat belongs to one paid booking",
        "SELECT count(*) AS n FROM seat_claim c JOIN booking b ON b.id = c.booking_id WHERE c.until IS NULL AND b.status <> 'paid'"),
    ("S6", "a paid booking has exactly the seats it was made with",
        "SELECT count(*) AS n FROM booking b WHERE b.status = 'paid' AND b.seat_count <>
            (SELECT count(*) FROM seat_claim c WHERE c.booking_id = b.id AND c.until IS NULL AND c.concert_id = b.concert_id)"),
    ("S8", "a hold was paid before it ran out",
        "SELECT count(*) AS n FROM booking WHERE status = 'paid' AND paid_at >= expires_at"),
    ("M3c", "a booking costs what the catalogue says",
        "SELECT count(*) AS n FROM booking b WHERE b.status = 'paid' AND b.amount <> (SELECT coalesce(sum(s.price), 0)
            FROM seat_claim c JOIN seat s ON s.concert_id = c.concert_id AND s.seat_id = c.seat_id WHERE c.booking_id = b.id)"),
    ("S10", "a live hold has all its seats",
        "SELECT count(*) AS n FROM booking b WHERE b.status = 'held' AND b.expires_at > $1 AND b.seat_count <>
            (SELECT count(*) FROM seat_claim c WHERE c.booking_id = b.id)"),
    ("M1", "a balance is the sum of its transfers",
        "SELECT count(*) AS n FROM account a WHERE a.balance <> (SELECT coalesce(sum(CASE t.kind WHEN 'topup' THEN t.amount ELSE -t.amount END), 0)
            FROM transfer t WHERE t.user_id = a.user_id)"),
    ("M3", "a debit has its paid booking",
        "SELECT count(*) AS n FROM transfer t WHERE t.kind = 'purchase' AND NOT EXISTS
            (SELECT 1 FROM booking b WHERE b.id = CAST(t.ref AS BIGINT) AND b.status = 'paid' AND b.amount = t.amount AND b.user_id = t.user_id)"),
    ("M3b", "a paid booking has its debit",
        "SELECT count(*) AS n FROM booking b WHERE b.status = 'paid' AND NOT EXISTS
            (SELECT 1 FROM transfer t WHERE t.kind = 'purchase' AND t.ref = CAST(b.id AS TEXT))"),
    ("M5", "no balance was ever below zero",
        "SELECT count(*) AS n FROM transfer WHERE balance_after < 0"),
    ("M6", "an account's transfers are numbered without a gap, each balance following from the one before",
        "SELECT count(*) AS n FROM transfer t LEFT JOIN transfer p ON p.user_id = t.user_id AND p.version = t.version - 1
            WHERE (t.version > 1 AND p.id IS NULL) OR t.balance_after <>
            coalesce(p.balance_after, 0) + CASE t.kind WHEN 'topup' THEN t.amount ELSE -t.amount END"),
    ("M9", "the books sum to zero: what people have and what was sold is what came in",
        "SELECT CASE WHEN (SELECT coalesce(sum(balance), 0) FROM account) + (SELECT coalesce(sum(amount), 0) FROM booking WHERE status = 'paid')
            = (SELECT coalesce(sum(amount), 0) FROM transfer WHERE kind = 'topup') THEN 0 ELSE 1 END AS n"),
    ("A3", "nobody has two open turns in a queue",
        "SELECT count(*) AS n FROM (SELECT queue_id, user_id FROM turn WHERE ended_at IS NULL GROUP BY queue_id, user_id HAVING count(*) > 1) twice"),
    ("A4", "a booking was made while its turn was open",
        "SELECT count(*) AS n FROM booking b LEFT JOIN turn t ON t.queue_id = b.queue_id AND t.seq = b.turn_seq
            WHERE t.admitted_at IS NULL OR b.made_at < t.admitted_at OR (t.ended_at IS NOT NULL AND b.made_at > t.ended_at)"),
    ("Q2", "numbers are admitted in their order",
        "SELECT count(*) AS n FROM (SELECT admitted_at, max(admitted_at) OVER (PARTITION BY queue_id ORDER BY seq
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before FROM turn WHERE admitted_at IS NOT NULL) o WHERE before > admitted_at"),
];

impl Sql {
    /// Asks everything of one moment.
    pub async fn check(&self, now: i64) -> Result<Report, Error> {
        let moment = self.begin_patient_snapshot("sql.check").await?;
        let mut checks = Vec::with_capacity(CHECKS.len());
        for (id, what, sql) in CHECKS {
            let values = if sql.contains("$1") { vec![now.into()] } else { Vec::new() };
            let row = moment.query_one_raw(self.statement(sql, values)).await.map_err(from_db)?;
            let row = row.ok_or_else(|| Error::bug("a count gave no row"))?;
            let violations = match get::<i64>(&row, "n") {
                Ok(violations) => violations,
                // PostgreSQL calls a bare 0 or 1 a shorter number.
                Err(_) => get::<i32>(&row, "n")?.into(),
            };
            checks.push(Check { id, what, violations });
        }
        let queues = self.check_queues(&moment).await?;
        Ok(Report { ok: checks.iter().all(|check| check.violations == 0), checks, queues })
    }

    /// One moment, for statements that read whole tables.
    pub(super) async fn begin_patient_snapshot(
        &self,
        what: &'static str,
    ) -> Result<Transaction, Error> {
        let moment = self.begin_snapshot(what).await?;
        if self.is_postgres() {
            let patience = STATEMENT_TIMEOUT.as_millis();
            let patience = format!("SET LOCAL statement_timeout = {patience}");
            moment.execute_unprepared(&patience).await.map_err(from_db)?;
        }
        Ok(moment)
    }

    /// Counts how many turns were open at once, by going through their beginnings and ends in order.
    async fn check_queues(&self, moment: &DatabaseTransaction) -> Result<Vec<QueueCheck>, Error> {
        let peaks = "SELECT q.name, q.active_max, coalesce(max(m.open), 0) AS peak,
                (SELECT count(*) FROM turn a WHERE a.queue_id = q.id AND a.admitted_at IS NOT NULL) AS admitted
            FROM queue q LEFT JOIN (
                SELECT queue_id, CAST(sum(step) OVER (PARTITION BY queue_id ORDER BY at, step ROWS UNBOUNDED PRECEDING) AS BIGINT) AS open FROM (
                    SELECT queue_id, admitted_at AS at, 1 AS step FROM turn WHERE admitted_at IS NOT NULL UNION ALL
                    SELECT queue_id, ended_at AS at, -1 AS step FROM turn WHERE admitted_at IS NOT NULL AND ended_at IS NOT NULL
                ) steps
            ) m ON m.queue_id = q.id GROUP BY q.id, q.name, q.active_max ORDER BY q.id";
        let rows = moment.query_all_raw(self.statement(peaks, [])).await.map_err(from_db)?;
        let queue = |row: &sea_orm::QueryResult| {
            Ok(QueueCheck {
                name: get(row, "name")?,
                active_max: get(row, "active_max")?,
                active_peak: get(row, "peak")?,
                admitted_total: get(row, "admitted")?,
            })
        };
        rows.iter().map(queue).collect()
    }
}
