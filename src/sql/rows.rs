//! Rows that a statement is given, to join with: one parameter, however many they are, so that a statement keeps its
//! text and stays prepared.

use sea_orm::{DatabaseTransaction, Value};

use super::Sql;

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
}

/// The value of that parameter: each row an object, its names those of the columns.
pub fn list(rows: impl Iterator<Item = serde_json::Value>) -> Value {
    serde_json::Value::from_iter(rows).to_string().into()
}
