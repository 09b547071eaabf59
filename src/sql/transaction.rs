//! Transactions: how they begin, commit, and are run again. Each is a span, from asking for a connection to its end.

use std::future::Future;
use std::ops::Deref;
use std::time::Duration;

use sea_orm::{
    AccessMode, DatabaseTransaction, DbErr, IsolationLevel, SqliteTransactionMode,
    TransactionOptions, TransactionTrait,
};
use tracing::Span;

use super::{Sql, from_db, sqlx_error};
use crate::error::{Error, Machine};
use crate::ids::IdempotencyKey;
use crate::telemetry::spans;

/// A transaction whose database has fallen silent is given up.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// A deadlock or a serialisation failure is invisible to clients this many times in a row.
const ATTEMPTS_MAX: u32 = 3;

/// A transaction that has begun. Dropped, it is rolled back.
pub struct Transaction {
    rows: DatabaseTransaction,
    span: Span,
}

impl Deref for Transaction {
    type Target = DatabaseTransaction;

    fn deref(&self) -> &DatabaseTransaction {
        &self.rows
    }
}

impl Sql {
    /// Begins a transaction that may write, to do this. On SQLite it takes the write lock at once: a lock taken halfway
    /// fails instead of waiting.
    pub async fn begin(&self, what: &'static str) -> Result<Transaction, Error> {
        let span = spans::transaction(what, self.is_postgres());
        let options = TransactionOptions {
            isolation_level: self.is_postgres().then_some(IsolationLevel::ReadCommitted),
            access_mode: Some(AccessMode::ReadWrite).filter(|_| self.is_postgres()),
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        };
        let rows = self.writers.begin_with_options(options).await.map_err(from_db)?;
        Ok(Transaction { rows, span })
    }

    /// Begins a transaction whose reads all see the same moment.
    pub async fn begin_snapshot(&self, what: &'static str) -> Result<Transaction, Error> {
        let span = spans::transaction(what, self.is_postgres());
        let options = TransactionOptions {
            isolation_level: self.is_postgres().then_some(IsolationLevel::RepeatableRead),
            access_mode: Some(AccessMode::ReadOnly).filter(|_| self.is_postgres()),
            sqlite_transaction_mode: Some(SqliteTransactionMode::Deferred),
        };
        let rows = self.readers.begin_with_options(options).await.map_err(from_db)?;
        Ok(Transaction { rows, span })
    }
}

/// Commits. A lost answer is not a failure: the rows may be there.
pub async fn commit(transaction: Transaction) -> Result<(), Error> {
    let Transaction { rows, span } = transaction;
    rows.commit().await.map_err(|error| match from_db(error) {
        Error::Unavailable { source, .. } => Error::OutcomeUnknown { source },
        definite => definite,
    })?;
    spans::committed(&span);
    Ok(())
}

/// A request with a key that waits in vain may wait for itself, sent before and still at work: until that is done, what
/// became of it is not known.
pub fn awaited(error: Error, key: Option<&IdempotencyKey>) -> Error {
    match error {
        Error::Unavailable { source, .. } if key.is_some() => Error::OutcomeUnknown { source },
        other => other,
    }
}

/// Runs a whole transaction again when the database broke it off to resolve a deadlock. One whose database has fallen
/// silent is given up, and nobody knows what became of it.
pub async fn retried<T, F>(transaction: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    tokio::time::timeout(WRITE_TIMEOUT, repeated(transaction))
        .await
        .unwrap_or_else(|elapsed| Err(Error::OutcomeUnknown { source: elapsed.into() }))
}

async fn repeated<T, F>(mut transaction: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut attempt = 1;
    loop {
        match transaction().await {
            Err(Error::Internal { source, .. })
                if attempt < ATTEMPTS_MAX && broke_off(source.as_ref()) =>
            {
                attempt += 1;
            }
            Err(Error::Internal { source, .. }) if broke_off(source.as_ref()) => {
                return Err(Error::Unavailable { machine: Machine::Sql, source });
            }
            outcome => return outcome,
        }
    }
}

fn broke_off(source: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    source
        .downcast_ref::<DbErr>()
        .and_then(sqlx_error)
        .and_then(sqlx::Error::as_database_error)
        .is_some_and(|refusal| {
            refusal.code().is_some_and(|code| code == "40001" || code == "40P01")
        })
}
