//! Turns, once they are granted: what became of a number, claims, ends. A row is closed once and never reopened. They
//! are granted in `grant.rs`.

use std::collections::HashMap;

use sea_orm::{ConnectionTrait, EntityTrait, QueryResult, Value};

use super::Look;
use crate::error::Error;
use crate::ids::{QueueNumber, UserId};
use crate::sql::entity::turn;
use crate::sql::{Sql, commit, from_db, get, placeholders};

/// An admitted person's right to hold seats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    pub number: QueueNumber,
    pub user: UserId,
    pub claimed_at: Option<i64>,
    /// The last moment to hold seats.
    pub ends_at: i64,
    /// When the turn stops counting against the cap: later than `ends_at` while a hold lives.
    pub closes_at: i64,
    pub ended_at: Option<i64>,
}

/// What SQL knows of a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing: it never left the line.
    Unknown,
    Open(Turn),
    /// It is over, for ever.
    Dead,
}

/// Sums over a queue's turns, read in one statement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub admitted: i64,
    pub unclaimed: i64,
    pub recent: i64,
    pub last_admitted_at: Option<i64>,
}

/// With the instant since when a turn is recent as the first argument.
const TOTALS: &str =
    "count(*) AS admitted, count(*) FILTER (WHERE end_reason = 'unclaimed') AS unclaimed,
    count(*) FILTER (WHERE admitted_at > $1) AS recent, max(admitted_at) AS last_admitted_at";

impl Totals {
    fn read(row: &QueryResult) -> Result<Self, Error> {
        Ok(Self {
            admitted: get(row, "admitted")?,
            unclaimed: get(row, "unclaimed")?,
            recent: get(row, "recent")?,
            last_admitted_at: get(row, "last_admitted_at")?,
        })
    }
}

impl Sql {
    /// What became of people's numbers, of each in its turn. No clock is compared: only rows decide.
    pub async fn fates(&self, queue_id: i64, people: &[Look]) -> Result<Vec<Fate>, Error> {
        if people.is_empty() {
            return Ok(Vec::new());
        }
        // One statement sees one moment. Two arms, because for an OR SQLite reads every turn of the queue.
        let sql = format!(
            "SELECT * FROM turn WHERE queue_id = $1 AND seq IN {}
             UNION SELECT * FROM turn WHERE queue_id = $1 AND user_id IN {} AND admitted_at IS NOT NULL",
            placeholders(2, people.len(), 1),
            placeholders(2 + people.len(), people.len(), 1)
        );
        let numbers = people.iter().map(|(_, number)| number.0.into());
        let users = people.iter().map(|(user, _)| user.0.into());
        let values: Vec<Value> =
            std::iter::once(queue_id.into()).chain(numbers).chain(users).collect();
        let rows = self.reader().query_all_raw(self.statement(&sql, values)).await;
        let rows = rows.map_err(from_db)?.iter().map(Row::read).collect::<Result<Vec<_>, _>>()?;
        let mut own: HashMap<QueueNumber, &Row> = HashMap::new();
        let mut issued: HashMap<UserId, QueueNumber> = HashMap::new();
        for row in &rows {
            own.insert(row.turn.number, row);
            if row.admitted {
                let last = issued.entry(row.turn.user).or_default();
                *last = row.issued.max(*last);
            }
        }
        let fate = |(user, number): &Look| match own.get(number) {
            Some(Row { turn, .. }) if turn.ended_at.is_none() && turn.user == *user => {
                Fate::Open(turn.clone())
            }
            Some(_) => Fate::Dead,
            None if issued.get(user).is_some_and(|issued| issued >= number) => Fate::Dead,
            None => Fate::Unknown,
        };
        Ok(people.iter().map(fate).collect())
    }

    /// What became of one person's number.
    pub async fn fate(
        &self,
        queue_id: i64,
        user: UserId,
        number: QueueNumber,
    ) -> Result<Fate, Error> {
        let fates = self.fates(queue_id, &[(user, number)]).await?;
        fates.into_iter().next().ok_or_else(|| Error::bug("a number has no fate"))
    }

    /// Claims an open turn: from now on it lasts until `ends_at`. A turn that was claimed before, or is over, stays.
    pub async fn claim(
        &self,
        queue_id: i64,
        number: QueueNumber,
        now: i64,
        ends_at: i64,
    ) -> Result<Option<Turn>, Error> {
        let transaction = self.begin("queue.claim").await?;
        let claim = "UPDATE turn SET claimed_at = $3, ends_at = $4, closes_at = $4
                     WHERE queue_id = $1 AND seq = $2 AND ended_at IS NULL AND claimed_at IS NULL";
        let values = [queue_id.into(), number.0.into(), now.into(), ends_at.into()];
        transaction.execute_raw(self.statement(claim, values)).await.map_err(from_db)?;
        let row = turn::Entity::find_by_id((queue_id, number.0))
            .one(&*transaction)
            .await
            .map_err(from_db)?;
        commit(transaction).await?;
        Ok(row.map(Turn::from))
    }

    /// Ends one claimed turn that may hold no seats any more.
    pub async fn end_overdue(
        &self,
        queue_id: i64,
        number: QueueNumber,
        now: i64,
    ) -> Result<(), Error> {
        let transaction = self.begin("queue.end_overdue").await?;
        let end =
            "UPDATE turn SET ended_at = $3, end_reason = 'time' WHERE queue_id = $1 AND seq = $2
                   AND ended_at IS NULL AND claimed_at IS NOT NULL AND ends_at <= $3";
        let statement = self.statement(end, [queue_id.into(), number.0.into(), now.into()]);
        transaction.execute_raw(statement).await.map_err(from_db)?;
        commit(transaction).await
    }

    /// Figures for operators.
    pub async fn totals(&self, queue_id: i64, recent_since: i64) -> Result<Totals, Error> {
        let sql =
            format!("SELECT {TOTALS} FROM turn WHERE queue_id = $2 AND admitted_at IS NOT NULL");
        let statement = self.statement(&sql, [recent_since.into(), queue_id.into()]);
        let row = self.reader().query_one_raw(statement).await.map_err(from_db)?;
        Totals::read(&row.ok_or_else(|| Error::bug("a count gave no row"))?)
    }

    /// Those of every queue that had a turn, by its id.
    pub async fn all_totals(&self, recent_since: i64) -> Result<HashMap<i64, Totals>, Error> {
        let sql = format!(
            "SELECT queue_id, {TOTALS} FROM turn WHERE admitted_at IS NOT NULL GROUP BY queue_id"
        );
        let statement = self.statement(&sql, [recent_since.into()]);
        let rows = self.reader().query_all_raw(statement).await.map_err(from_db)?;
        rows.iter().map(|row| Ok((get(row, "queue_id")?, Totals::read(row)?))).collect()
    }

    /// Ends turns that nobody's tick looks at any more. A repair, never needed for an invariant.
    pub async fn end_forgotten_turns(&self, closed_before: i64, now: i64) -> Result<u64, Error> {
        let transaction = self.begin("queue.end_forgotten_turns").await?;
        let end = "UPDATE turn SET ended_at = $2, end_reason = CASE WHEN claimed_at IS NULL THEN 'unclaimed' ELSE 'time' END
                   WHERE ended_at IS NULL AND closes_at < $1";
        let statement = self.statement(end, [closed_before.into(), now.into()]);
        let ended = transaction.execute_raw(statement).await.map_err(from_db)?.rows_affected();
        commit(transaction).await?;
        Ok(ended)
    }
}

/// A row of `turn` with what the batch needs of it.
pub(super) struct Row {
    pub turn: Turn,
    pub unclaimed: bool,
    /// Whether it was a turn: a number may have left the line without one.
    pub admitted: bool,
    /// The highest number handed out when the row was opened.
    pub issued: QueueNumber,
}

impl Row {
    pub fn read(row: &QueryResult) -> Result<Self, Error> {
        let turn = Turn {
            number: QueueNumber(get(row, "seq")?),
            user: UserId(get(row, "user_id")?),
            claimed_at: get(row, "claimed_at")?,
            ends_at: get(row, "ends_at")?,
            closes_at: get(row, "closes_at")?,
            ended_at: get(row, "ended_at")?,
        };
        let reason: Option<String> = get(row, "end_reason")?;
        Ok(Self {
            turn,
            unclaimed: reason.as_deref() == Some("unclaimed"),
            admitted: get::<Option<i64>>(row, "admitted_at")?.is_some(),
            issued: QueueNumber(get(row, "issued")?),
        })
    }
}

impl From<turn::Model> for Turn {
    fn from(row: turn::Model) -> Self {
        Self {
            number: QueueNumber(row.seq),
            user: UserId(row.user_id),
            claimed_at: row.claimed_at,
            ends_at: row.ends_at,
            closes_at: row.closes_at,
            ended_at: row.ended_at,
        }
    }
}
