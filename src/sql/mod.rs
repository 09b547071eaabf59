//! The connection to the database, and the translation of its errors. No table is named here but
//! `installation`; what a feature asks of its tables stands in its own `sql.rs`.

mod alone;
pub mod audit;
pub mod check;
pub mod entity;
mod look;
pub mod report;
pub mod rows;
mod transaction;
pub mod writer;

pub use look::Look;
pub use transaction::{Transaction, awaited, commit, retried};

use std::time::Duration;

use migrations::{Migrator, MigratorTrait};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, DbErr, QueryResult,
    RuntimeErr, Statement, TransactionTrait, TryGetable, Value,
};
use sqlx::Connection;
use sqlx::postgres::PgConnectOptions;

use crate::chance;
use crate::config::SqlConfig;
use crate::error::{Error, Machine};

/// How long a request waits for a connection: longer would outlive its own deadline.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long one statement may take, and how long it may wait for a row.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(2);
/// Longer than PostgreSQL takes to find a deadlock (1 s), so that one of the two goes on.
const LOCK_TIMEOUT: Duration = Duration::from_millis(1_500);
const POSTGRES_WRITERS: u32 = 24;
const POSTGRES_READERS: u32 = 8;
const SQLITE_READERS: u32 = 4;
/// Whoever writes knows the keys of a few hundred rows at most, which PostgreSQL cannot know: it would rather read a table
/// of some ten thousand.
const BY_KEYS: [(&str, &str); 5] = [
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("enable_material", "off"),
    ("jit", "off"),
];
/// Any number, as long as every instance takes the same: it serialises migrations on PostgreSQL.
const MIGRATION_LOCK: i64 = 7_538_112;

/// The database: one pool that writes, one that reads, so that a slow write cannot starve a read.
#[derive(Clone)]
pub struct Sql {
    writers: DatabaseConnection,
    readers: DatabaseConnection,
    backend: DbBackend,
    installation: String,
    /// Keeps a second process off a SQLite file for as long as this one lives.
    lock_file: std::sync::Arc<Option<std::fs::File>>,
    /// Keeps a second process with a private Redis off a PostgreSQL database.
    session: Option<DatabaseConnection>,
}

impl Sql {
    /// Connects, brings the schema up to date, and reads (or makes) the installation's name.
    pub async fn connect(config: &SqlConfig) -> Result<Self, Error> {
        let lock = if config.is_sqlite() { Some(alone::lock_file(config)?) } else { None };
        let (writers, readers) = if config.is_sqlite() {
            let url = format!("{}?mode=rwc", config.url);
            let writers = Database::connect(options(&url, 1)).await.map_err(from_db)?;
            (writers, Database::connect(options(&url, SQLITE_READERS)).await.map_err(from_db)?)
        } else {
            let mut writers = options(&config.url, POSTGRES_WRITERS);
            writers.map_sqlx_postgres_opts(|postgres| settings(postgres).options(BY_KEYS));
            let readers = options(&config.url, POSTGRES_READERS);
            (
                Database::connect(writers).await.map_err(from_db)?,
                Database::connect(readers).await.map_err(from_db)?,
            )
        };
        let backend = writers.get_database_backend();
        migrate(&readers).await?;
        let installation = installation(&writers).await?;
        let session = if config.alone && !config.is_sqlite() {
            Some(alone::session(config).await?)
        } else {
            None
        };
        let lock_file = std::sync::Arc::new(lock);
        let sql = Self { writers, readers, backend, installation, lock_file, session };
        sql.stay_alone().await?;
        Ok(sql)
    }

    /// The random name of this database, made once.
    pub fn installation(&self) -> &str {
        &self.installation
    }

    /// The pool for reads outside a transaction.
    pub fn reader(&self) -> &DatabaseConnection {
        &self.readers
    }

    /// A row lock where rows can be locked; SQLite's writer is alone anyway.
    pub fn lock(&self, clause: &'static str) -> &'static str {
        if self.is_postgres() { clause } else { "" }
    }

    /// A statement in the dialect both databases share; `$1` stands for the first value.
    pub fn statement(&self, sql: &str, values: impl IntoIterator<Item = Value>) -> Statement {
        Statement::from_sql_and_values(self.backend, sql, values)
    }

    /// The database's clock in milliseconds, to be compared with ours by readiness and doctor.
    pub async fn clock_ms(&self) -> Result<i64, Error> {
        clock_ms(&self.readers).await
    }

    pub async fn close(self) {
        // Errors on the way out have nobody to go to.
        let _ = self.readers.close().await;
        let _ = self.writers.close().await;
        if let Some(session) = self.session {
            let _ = session.close().await;
        }
        if let Some(file) = self.lock_file.as_ref() {
            let _ = file.unlock();
        }
    }

    fn is_postgres(&self) -> bool {
        self.backend == DbBackend::Postgres
    }
}

/// `($1, $2), ($3, $4)`: `rows` groups of `columns` placeholders, numbered on from `first`.
pub fn placeholders(first: usize, columns: usize, rows: usize) -> String {
    let group = |row: usize| {
        let numbers = (0..columns).map(|column| format!("${}", first + row * columns + column));
        format!("({})", numbers.collect::<Vec<_>>().join(", "))
    };
    (0..rows).map(group).collect::<Vec<_>>().join(", ")
}

/// One column of a row.
pub fn get<T: TryGetable>(row: &QueryResult, column: &str) -> Result<T, Error> {
    row.try_get("", column).map_err(from_db)
}

/// The name of the constraint that refused the statement, if one did.
pub fn violated(error: &DbErr, constraint: &str) -> bool {
    sqlx_error(error).and_then(sqlx::Error::as_database_error).is_some_and(|refusal| {
        refusal.constraint() == Some(constraint) || refusal.message().contains(constraint)
    })
}

/// Translates the driver's error: a machine that is away is not a bug of ours.
pub fn from_db(error: DbErr) -> Error {
    let away = match &error {
        DbErr::ConnectionAcquire(_) | DbErr::Conn(_) => true,
        other => sqlx_error(other).is_some_and(is_away),
    };
    if away {
        Error::Unavailable { machine: Machine::Sql, source: error.into() }
    } else {
        Error::Internal { context: "the database refused a statement", source: error.into() }
    }
}

fn sqlx_error(error: &DbErr) -> Option<&sqlx::Error> {
    match error {
        DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error)) => {
            Some(error)
        }
        _ => None,
    }
}

fn is_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        // PostgreSQL: connection, resources, operator intervention (shutdown, statement time-out), lock time-out.
        // SQLite: busy (5), locked (6), I/O (10), full (13), and their extended codes.
        sqlx::Error::Database(refusal) => refusal.code().is_some_and(|code| {
            ["08", "53", "57", "58"].iter().any(|class| code.len() == 5 && code.starts_with(class))
                || ["55P03", "25P03", "25006"].contains(&code.as_ref())
                || code
                    .parse::<i64>()
                    .is_ok_and(|code| code < 10_000 && [5, 6, 10, 13].contains(&(code & 0xff)))
        }),
        _ => false,
    }
}

fn options(url: &str, connections: u32) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options.max_connections(connections).acquire_timeout(ACQUIRE_TIMEOUT).sqlx_logging(false);
    // Connections are kept, and asked whether they live before they are used. The task that closes old ones may count
    // the idle ones down below nothing, and then turns for ever without a pause: a core is lost, and no stop ends
    // (https://github.com/launchbadge/sqlx/issues/3645, in sqlx 0.9.0).
    options.idle_timeout(None).max_lifetime(None);
    options.map_sqlx_sqlite_opts(|sqlite| {
        sqlite
            .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal)
            .synchronous(sqlx::sqlite::SqliteSynchronous::Full)
            .busy_timeout(LOCK_TIMEOUT)
            .foreign_keys(true)
    });
    // SQLite breaks a transaction off by itself when the disk is full, and the roll-back that follows fails. Whoever began
    // another one on that connection would begin inside of it, and nothing he committed would ever be written.
    options.map_sqlx_sqlite_pool_opts(|pool| {
        pool.before_acquire(|connection, _| Box::pin(async { Ok(!connection.is_in_transaction()) }))
    });
    // Whoever gives a connection up leaves it in the midst of a statement, and the pool waits for that before it lets
    // the place of the connection go: for ever, if the database is gone without a word.
    options.map_sqlx_postgres_pool_opts(|pool| {
        pool.after_release(|connection, _| {
            Box::pin(async {
                let answered = tokio::time::timeout(STATEMENT_TIMEOUT, connection.ping()).await;
                answered.map_err(|elapsed| sqlx::Error::Io(elapsed.into()))?.map(|()| true)
            })
        })
    });
    options.map_sqlx_postgres_opts(settings);
    options
}

fn settings(postgres: PgConnectOptions) -> PgConnectOptions {
    postgres.options([
        ("statement_timeout", STATEMENT_TIMEOUT.as_millis().to_string()),
        ("lock_timeout", LOCK_TIMEOUT.as_millis().to_string()),
        ("idle_in_transaction_session_timeout", "5000".to_owned()),
        // A plan for lists of any length, made while the tables were empty, reads whole tables when they are not.
        ("plan_cache_mode", "force_custom_plan".to_owned()),
    ])
}

async fn clock_ms(database: &DatabaseConnection) -> Result<i64, Error> {
    let backend = database.get_database_backend();
    let sql = if backend == DbBackend::Postgres {
        "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT) AS now_ms"
    } else {
        "SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) AS now_ms"
    };
    let row =
        database.query_one_raw(Statement::from_string(backend, sql)).await.map_err(from_db)?;
    get(&row.ok_or_else(|| Error::bug("the database did not tell its time"))?, "now_ms")
}

/// Over connections that may plan as the tables are: a migration may read whole ones.
async fn migrate(readers: &DatabaseConnection) -> Result<(), Error> {
    if readers.get_database_backend() != DbBackend::Postgres {
        return Migrator::up(readers, None).await.map_err(from_db);
    }
    let guard = readers.begin().await.map_err(from_db)?;
    let lock = format!(
        "SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0; SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"
    );
    guard.execute_unprepared(&lock).await.map_err(from_db)?;
    Migrator::up(&guard, None).await.map_err(from_db)?;
    guard.commit().await.map_err(from_db)
}

async fn installation(writers: &DatabaseConnection) -> Result<String, Error> {
    let backend = writers.get_database_backend();
    let fresh = Statement::from_sql_and_values(
        backend,
        "INSERT INTO installation (id) VALUES ($1) ON CONFLICT DO NOTHING",
        [chance::name()[..12].into()],
    );
    writers.execute_raw(fresh).await.map_err(from_db)?;
    let row = writers
        .query_one_raw(Statement::from_string(backend, "SELECT id FROM installation"))
        .await
        .map_err(from_db)?;
    get(&row.ok_or_else(|| Error::bug("the installation has no name"))?, "id")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a row; `None` when it could not be.
    async fn write(sql: &Sql, pages_max: i64, values: &str) -> Option<()> {
        let transaction = sql.begin("proof").await.unwrap();
        let room = format!("PRAGMA max_page_count = {pages_max}");
        transaction.execute_unprepared(&room).await.unwrap();
        let row = format!("INSERT INTO proof VALUES ({values})");
        transaction.execute_unprepared(&row).await.ok()?;
        commit(transaction).await.ok()
    }

    #[tokio::test]
    async fn no_pool_has_a_task_that_closes_old_connections() {
        let pool = Database::connect(options("sqlite::memory:", 1)).await.unwrap();
        let pool = pool.get_sqlite_connection_pool().options();
        assert_eq!((pool.get_idle_timeout(), pool.get_max_lifetime()), (None, None));
        assert_eq!(pool.get_min_connections(), 0);
    }

    /// SQLite breaks a transaction off when there is no room for a page, and keeps it open when there is none for the
    /// commit, here for a reference to nothing.
    #[tokio::test]
    async fn what_is_committed_after_the_disk_was_full_is_there() {
        let home = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", home.path().join("usher.db").display());
        let sql = Sql::connect(&SqlConfig { url, alone: false }).await.unwrap();
        let proof = "CREATE TABLE proof (
            text, of TEXT REFERENCES installation (id) DEFERRABLE INITIALLY DEFERRED)";
        sql.writers.execute_unprepared(proof).await.unwrap();
        assert_eq!(write(&sql, 1, "zeroblob(1000000), NULL").await, None);
        assert_eq!(write(&sql, 1_000_000, "'lost', 'nothing'").await, None);
        write(&sql, 1_000_000, "'kept', NULL").await.unwrap();
        let rows = sql.statement("SELECT text FROM proof", []);
        assert_eq!(sql.reader().query_all_raw(rows).await.unwrap().len(), 1);
    }
}
