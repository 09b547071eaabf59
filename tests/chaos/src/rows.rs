//! The final database, read once into plain structs. Nothing is judged here; only `read` knows SQL.

use anyhow::Context;
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, FromQueryResult,
    Statement,
};

/// Everything the invariants need of the tables.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// The database's clock when it was read.
    pub read_at_ms: i64,
    pub queues: Vec<Queue>,
    pub turns: Vec<Turn>,
    pub seats: Vec<Seat>,
    pub bookings: Vec<Booking>,
    pub claims: Vec<Claim>,
    pub accounts: Vec<Account>,
    pub transfers: Vec<Transfer>,
    /// The names of the triggers that are really there.
    pub triggers: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, FromQueryResult)]
pub struct Queue {
    pub id: i64,
    pub name: String,
    pub epoch: i64,
    pub active_max: i64,
    pub rate_per_second: f64,
}

#[derive(Clone, Debug, PartialEq, FromQueryResult)]
pub struct Turn {
    pub queue_id: i64,
    pub seq: i64,
    pub user_id: i64,
    pub kind: String,
    pub admitted_at: Option<i64>,
    pub issued: i64,
    pub claimed_at: Option<i64>,
    pub ends_at: i64,
    pub closes_at: i64,
    pub ended_at: Option<i64>,
    pub end_reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, FromQueryResult)]
pub struct Seat {
    pub concert_id: i64,
    pub seat_id: String,
    pub price: i64,
}

#[derive(Clone, Debug, PartialEq, FromQueryResult)]
pub struct Booking {
    pub id: i64,
    pub queue_id: i64,
    pub turn_seq: i64,
    pub user_id: i64,
    pub concert_id: i64,
    /// Names of seats, parted by commas.
    pub seats: String,
    pub seat_count: i64,
    pub amount: i64,
    pub status: String,
    pub made_at: i64,
    pub expires_at: i64,
    pub paid_at: Option<i64>,
    pub idem_key: Option<String>,
}

/// Who has a seat; sold when `until` is none.
#[derive(Clone, Debug, PartialEq, FromQueryResult)]
pub struct Claim {
    pub concert_id: i64,
    pub seat_id: String,
    pub booking_id: i64,
    pub until: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, FromQueryResult)]
pub struct Account {
    pub user_id: i64,
    pub balance: i64,
    pub version: i64,
}

#[derive(Clone, Debug, PartialEq, FromQueryResult)]
pub struct Transfer {
    pub user_id: i64,
    pub version: i64,
    pub kind: String,
    pub amount: i64,
    pub balance_after: i64,
    pub reference: String,
    pub idem_key: Option<String>,
}

#[derive(FromQueryResult)]
struct Name {
    name: String,
}

#[derive(FromQueryResult)]
struct Instant {
    now: i64,
}

impl Rows {
    /// Reads a database that nobody writes to any more.
    pub async fn read(database_url: &str) -> anyhow::Result<Self> {
        let mut options = ConnectOptions::new(database_url);
        options.idle_timeout(None).max_lifetime(None);
        let database = Database::connect(options).await.context("the final database")?;
        let (now, triggers) = match database.get_database_backend() {
            DbBackend::Sqlite => (
                "SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) AS now",
                "SELECT name FROM sqlite_master WHERE type = 'trigger'",
            ),
            _ => (
                "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT) AS now",
                "SELECT CAST(tgname AS TEXT) AS name FROM pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'D'",
            ),
        };
        let instants: Vec<Instant> = all(&database, now).await?;
        let names: Vec<Name> = all(&database, triggers).await?;
        let rows = Self {
            read_at_ms: instants.first().map_or(0, |instant| instant.now),
            queues: all(&database, "SELECT * FROM queue").await?,
            turns: all(&database, "SELECT * FROM turn ORDER BY seq").await?,
            seats: all(&database, "SELECT * FROM seat").await?,
            bookings: all(&database, "SELECT * FROM booking ORDER BY id").await?,
            claims: all(&database, "SELECT * FROM seat_claim").await?,
            accounts: all(&database, "SELECT * FROM account").await?,
            transfers: all(
                &database,
                "SELECT transfer.*, ref AS reference FROM transfer ORDER BY user_id, version",
            )
            .await?,
            triggers: names.into_iter().map(|row| row.name).collect(),
        };
        database.close().await?;
        Ok(rows)
    }
}

async fn all<T: FromQueryResult>(
    database: &DatabaseConnection,
    sql: &str,
) -> anyhow::Result<Vec<T>> {
    let statement = Statement::from_string(database.get_database_backend(), sql.to_owned());
    let rows = database.query_all_raw(statement).await.with_context(|| sql.to_owned())?;
    rows.iter().map(|row| T::from_query_result(row, "").context("a row of another shape")).collect()
}

impl Turn {
    /// Whether it stood open at an instant.
    pub fn is_open_at(&self, ms: i64) -> bool {
        self.admitted_at.is_some_and(|admitted| admitted <= ms)
            && self.ended_at.is_none_or(|ended| ms < ended)
    }

    pub fn ended_for(&self, reason: &str) -> bool {
        self.end_reason.as_deref() == Some(reason)
    }
}

impl Booking {
    pub fn seat_names(&self) -> impl Iterator<Item = &str> {
        self.seats.split(',')
    }

    pub fn is(&self, status: &str) -> bool {
        self.status == status
    }
}
