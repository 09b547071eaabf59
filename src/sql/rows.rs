//! Rows that a statement is given, to join with or to insert: one parameter, however many they are, so that a statement
//! keeps its text and stays prepared.

use sea_orm::{ConnectionTrait, DatabaseTransaction, QueryResult, Statement, Value};

use super::{Sql, from_db};
use crate::error::Error;

/// For a while PostgreSQL keeps the plans by which it looks for what rows refer to.
const PLANS_KEPT: &str = "SET LOCAL plan_cache_mode = auto";
const PLANS_MADE: &str = "SET LOCAL plan_cache_mode = force_custom_plan";

/// Where a statement is sent: the dialect, and the transaction that it is part of.
pub type At<'a> = (&'a Sql, &'a DatabaseTransaction);

/// A column of such rows: its name and its type in SQL.
pub type Column = (&'static str, &'static str);

impl Sql {
    /// The rows of parameter `$1` as a table named `v`.
    pub fn rows(&self, columns: &[Column]) -> String {
        let list = |column: fn(&Column) -> String| {
            columns.iter().map(column).collect::<Vec<_>>().join(", ")
        };
        if self.is_postgres() {
            let typed = list(|(name, kind)| format!("{name} {kind}"));
            format!("json_to_recordset(CAST($1 AS JSON)) AS v({typed})")
        } else {
            let read = list(|(name, _)| format!("value ->> '$.{name}' AS {name}"));
            format!("(SELECT {read} FROM json_each($1)) AS v")
        }
    }

    /// Those rows, each with the bookings `b` that its person holds in its queue. PostgreSQL takes all that are held for few,
    /// and would read them once for each row; a subquery with an offset is looked up instead.
    pub fn holds_of(&self, columns: &[Column]) -> String {
        let rows = self.rows(columns);
        let held = "b.queue_id = v.queue_id AND b.user_id = v.user_id AND b.status = 'held'";
        if self.is_postgres() {
            format!("{rows} CROSS JOIN LATERAL (SELECT * FROM booking b WHERE {held} OFFSET 0) b")
        } else {
            format!("{rows} JOIN booking b ON {held}")
        }
    }

    /// Inserts rows; what the statement returns. PostgreSQL would plan the check of every foreign key of every row anew,
    /// which takes five times as long as the check.
    pub async fn insert(
        &self,
        transaction: &DatabaseTransaction,
        statement: Statement,
    ) -> Result<Vec<QueryResult>, Error> {
        let plans = async |plans: &str| match self.is_postgres() {
            true => transaction.execute_unprepared(plans).await.map(drop).map_err(from_db),
            false => Ok(()),
        };
        plans(PLANS_KEPT).await?;
        let rows = transaction.query_all_raw(statement).await.map_err(from_db)?;
        plans(PLANS_MADE).await?;
        Ok(rows)
    }
}

/// The value of that parameter: each row an object, its names those of the columns.
pub fn list(rows: impl Iterator<Item = serde_json::Value>) -> Value {
    serde_json::Value::from_iter(rows).to_string().into()
}
