//! One instance at a time: a lock on the file beside SQLite's, or a session of PostgreSQL that holds an advisory lock.
//! Both end with the process, however it ends.

use std::fs::{File, TryLockError};
use std::path::Path;

use sea_orm::{ConnectionTrait, Database, DatabaseConnection};

use super::{Sql, from_db, get, options};
use crate::config::SqlConfig;
use crate::error::{Code, Error, Machine};

/// Any number, as long as every instance takes the same; the other half of the key is the installation.
const LOCK: i32 = 7_538_113;

/// The session that will hold the lock; one that was cut is replaced.
pub(super) async fn session(config: &SqlConfig) -> Result<DatabaseConnection, Error> {
    Database::connect(options(&config.url, 1)).await.map_err(from_db)
}

impl Sql {
    /// Makes sure that no other instance with a private Redis uses this database. Asked again and again: whoever lost
    /// his session takes the lock anew, if nobody else has it by then.
    pub async fn stay_alone(&self) -> Result<(), Error> {
        let Some(session) = &self.session else { return Ok(()) };
        let values = [LOCK.into(), self.installation.as_str().into()];
        let lock = "SELECT pg_try_advisory_lock($1, hashtext($2)) AS alone";
        let row = session.query_one_raw(self.statement(lock, values)).await.map_err(from_db)?;
        if get(&row.ok_or_else(|| Error::bug("a lock gave no row"))?, "alone")? {
            return Ok(());
        }
        Err(Error::refused(
            Code::Unavailable,
            "another Usher with a private Redis uses this database: several instances need one USHER_REDIS_URL",
        ))
    }
}

/// SQLite has one writer, so a second Usher on the same file is refused at the door.
pub(super) fn lock_file(config: &SqlConfig) -> Result<File, Error> {
    let path = lock_path(config);
    let unavailable = |source: std::io::Error| Error::Unavailable {
        machine: Machine::Sql,
        source: source.into(),
    };
    if let Some(dir) = Path::new(&path).parent() {
        std::fs::create_dir_all(dir).map_err(unavailable)?;
    }
    let file = File::create(&path).map_err(unavailable)?;
    file.try_lock().map_err(|_| Error::Unavailable {
        machine: Machine::Sql,
        source: format!("another Usher has {path} locked: one instance per SQLite file").into(),
    })?;
    Ok(file)
}

/// Whether a server has this SQLite file.
pub(super) fn is_locked(config: &SqlConfig) -> bool {
    let file = File::open(lock_path(config));
    file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

fn lock_path(config: &SqlConfig) -> String {
    format!("{}.lock", config.url.trim_start_matches("sqlite://"))
}
