//! The database, looked at without leaving a trace: it may serve, or not be there yet.

use std::collections::BTreeSet;
use std::path::Path;

use migrations::{Migrator, MigratorTrait};
use sea_orm::{ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement};

use super::{Sql, alone, from_db, get, options};
use crate::config::SqlConfig;
use crate::error::Error;

/// What was seen.
pub struct Look {
    /// A server has the SQLite file.
    pub is_running: bool,
    /// Migrations that the next start makes.
    pub pending: usize,
    /// Tables, indexes, triggers and constraints that should be there.
    pub missing: Vec<String>,
    pub clock_ms: i64,
}

impl Sql {
    /// Looks at a database; `None` when the first start will make it.
    pub async fn look(config: &SqlConfig) -> Result<Option<Look>, Error> {
        let file = config.url.strip_prefix("sqlite://");
        if file.is_some_and(|file| !Path::new(file).exists()) {
            return Ok(None);
        }
        let is_running = file.is_some() && alone::is_locked(config);
        let (url, read_only) = match file {
            Some(_) => (format!("{}?mode=rw", config.url), "PRAGMA query_only = on"),
            None => (config.url.clone(), "SET default_transaction_read_only = on"),
        };
        let eye = Database::connect(options(&url, 1)).await.map_err(from_db)?;
        eye.execute_unprepared(read_only).await.map_err(from_db)?;
        let pending = Migrator::get_pending_migrations_read_only(&eye).await.map_err(from_db)?;
        let missing = if pending.is_empty() { missing(&eye).await? } else { Vec::new() };
        let clock_ms = super::clock_ms(&eye).await?;
        // Errors on the way out have nobody to go to.
        let _ = eye.close().await;
        Ok(Some(Look { is_running, pending: pending.len(), missing, clock_ms }))
    }
}

/// What a new database of this version has, and this one has not.
async fn missing(eye: &DatabaseConnection) -> Result<Vec<String>, Error> {
    let fresh = Database::connect(options("sqlite::memory:", 1)).await.map_err(from_db)?;
    Migrator::up(&fresh, None).await.map_err(from_db)?;
    let (expected, found) = (names(&fresh).await?, names(eye).await?);
    Ok(expected.difference(&found).cloned().collect())
}

async fn names(database: &DatabaseConnection) -> Result<BTreeSet<String>, Error> {
    let backend = database.get_database_backend();
    let catalogue = if backend == DbBackend::Postgres {
        "SELECT CAST(relname AS TEXT) AS name, '' AS definition FROM pg_class
            UNION SELECT CAST(conname AS TEXT), '' FROM pg_constraint
            UNION SELECT CAST(tgname AS TEXT), '' FROM pg_trigger WHERE tgenabled <> 'D'"
    } else {
        "SELECT name, coalesce(sql, '') AS definition FROM sqlite_master WHERE name NOT LIKE 'sqlite%'"
    };
    let rows = database.query_all_raw(Statement::from_string(backend, catalogue)).await;
    let mut names = BTreeSet::new();
    for row in rows.map_err(from_db)? {
        let (name, definition): (String, String) = (get(&row, "name")?, get(&row, "definition")?);
        // One trigger of PostgreSQL guards against both, SQLite needs two.
        let name = name.trim_end_matches("_update").trim_end_matches("_delete");
        names.insert(name.to_owned());
        let constraints = definition.split("CONSTRAINT ").skip(1);
        names.extend(constraints.filter_map(|rest| rest.split(' ').next()).map(str::to_owned));
    }
    Ok(names)
}
