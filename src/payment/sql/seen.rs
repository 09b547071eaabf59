//! What the rows say of payments before anything is written. It locks what the payments will change, in the house's order,
//! and decides nothing.

use std::collections::HashMap;
use std::sync::Arc;

use sea_orm::{ConnectionTrait, EntityTrait, QueryResult};
use serde_json::{Value, json};

use crate::booking::{Booking, BookingStatus};
use crate::clock::Clock;
use crate::error::Error;
use crate::ids::{IdempotencyKey, UserId};
use crate::payment::{PayBooking, Transfer};
use crate::sql::entity::{account, booking, transfer, turn};
use crate::sql::rows::{At, Column, list};
use crate::sql::{from_db, get};

pub(super) const BOOKING: [Column; 2] = [("booking_id", "BIGINT"), ("user_id", "BIGINT")];

/// The rows that payments depend on, most of them locked; by person, who has one payment here.
pub(super) struct Seen {
    /// Read when every lock was held: whoever gives seats away looks at a later clock.
    pub now: i64,
    pub bookings: HashMap<UserId, Booking>,
    pub turns: HashMap<UserId, turn::Model>,
    /// How many of its seats the booking still has.
    pub claimed: HashMap<i64, usize>,
    pub accounts: HashMap<UserId, account::Model>,
    /// What the payment's key has paid for.
    pub by_key: HashMap<UserId, Transfer>,
    /// Of bookings that are paid.
    pub receipts: HashMap<UserId, Transfer>,
    /// Until when other live holds of the person in the same queue last.
    pub held_until: HashMap<UserId, i64>,
}

/// Locks what payments will change, then reads the rest.
pub(super) async fn see(
    at: At<'_>,
    wishes: &[Arc<PayBooking>],
    clock: &Clock,
) -> Result<Seen, Error> {
    let wanted =
        || wishes.iter().map(|wish| json!({"booking_id": wish.booking, "user_id": wish.user}));
    let turns = lock_turns(at, wanted()).await?;
    let bookings = lock_bookings(at, wanted()).await?;
    let mine = || {
        bookings.values().map(|booking| {
            let queue_id = booking.queue_id;
            json!({"booking_id": booking.id, "user_id": booking.user, "queue_id": queue_id})
        })
    };
    let claimed = lock_claims(at, mine()).await?;
    let accounts = lock_accounts(at, wanted()).await?;
    let now = clock.now_ms();
    let keys = wishes.iter().filter_map(|wish| {
        let key = wish.key.as_ref().map(IdempotencyKey::as_str)?;
        Some(json!({"user_id": wish.user, "idem_key": key}))
    });
    let by_key = paid_by_key(at, keys).await?;
    let paid = bookings.values().filter(|booking| booking.status == BookingStatus::Paid);
    let paid = paid.map(|booking| json!({"ref": booking.id.to_string()}));
    let receipts = receipts(at, paid).await?;
    let held_until = held_until(at, mine(), now).await?;
    Ok(Seen { now, bookings, turns, claimed, accounts, by_key, receipts, held_until })
}

async fn lock_turns(
    (sql, transaction): At<'_>,
    wanted: impl Iterator<Item = Value>,
) -> Result<HashMap<UserId, turn::Model>, Error> {
    let lock = format!(
        "SELECT turn.* FROM {} JOIN booking b ON b.id = v.booking_id AND b.user_id = v.user_id
         JOIN turn ON turn.queue_id = b.queue_id AND turn.seq = b.turn_seq
         ORDER BY turn.queue_id, turn.seq {}",
        sql.rows(&BOOKING),
        sql.lock("FOR UPDATE OF turn")
    );
    let statement = sql.statement(&lock, [list(wanted)]);
    let rows = turn::Entity::find().from_raw_sql(statement).all(transaction).await;
    Ok(rows.map_err(from_db)?.into_iter().map(|row| (UserId(row.user_id), row)).collect())
}

async fn lock_bookings(
    (sql, transaction): At<'_>,
    wanted: impl Iterator<Item = Value>,
) -> Result<HashMap<UserId, Booking>, Error> {
    let lock = format!(
        "SELECT b.* FROM {} JOIN booking b ON b.id = v.booking_id AND b.user_id = v.user_id ORDER BY b.id {}",
        sql.rows(&BOOKING),
        sql.lock("FOR UPDATE OF b")
    );
    let statement = sql.statement(&lock, [list(wanted)]);
    let rows = booking::Entity::find().from_raw_sql(statement).all(transaction).await;
    let rows = rows.map_err(from_db)?.into_iter();
    rows.map(|row| Booking::try_from(row).map(|booking| (booking.user, booking))).collect()
}

/// Locks the seats that bookings have, by their bytes whatever the database sorts by; says how many they are.
async fn lock_claims(
    (sql, transaction): At<'_>,
    bookings: impl Iterator<Item = Value>,
) -> Result<HashMap<i64, usize>, Error> {
    let lock = format!(
        "SELECT c.booking_id FROM {} JOIN seat_claim c ON c.booking_id = v.booking_id
         ORDER BY c.concert_id, c.seat_id {}",
        sql.rows(&BOOKING),
        sql.lock("COLLATE \"C\" FOR UPDATE OF c")
    );
    let statement = sql.statement(&lock, [list(bookings)]);
    let mut claimed = HashMap::new();
    for row in transaction.query_all_raw(statement).await.map_err(from_db)? {
        let seats: &mut usize = claimed.entry(get(&row, "booking_id")?).or_default();
        *seats = seats.saturating_add(1);
    }
    Ok(claimed)
}

async fn lock_accounts(
    (sql, transaction): At<'_>,
    wanted: impl Iterator<Item = Value>,
) -> Result<HashMap<UserId, account::Model>, Error> {
    let lock = format!(
        "SELECT a.* FROM {} JOIN account a ON a.user_id = v.user_id ORDER BY a.user_id {}",
        sql.rows(&BOOKING),
        sql.lock("FOR UPDATE OF a")
    );
    let statement = sql.statement(&lock, [list(wanted)]);
    let rows = account::Entity::find().from_raw_sql(statement).all(transaction).await;
    Ok(rows.map_err(from_db)?.into_iter().map(|row| (UserId(row.user_id), row)).collect())
}

async fn paid_by_key(
    (sql, transaction): At<'_>,
    keys: impl Iterator<Item = Value>,
) -> Result<HashMap<UserId, Transfer>, Error> {
    let by_key = format!(
        "SELECT t.* FROM {} JOIN transfer t ON t.user_id = v.user_id AND t.idem_key = v.idem_key
         WHERE t.kind = 'purchase'",
        sql.rows(&[("user_id", "BIGINT"), ("idem_key", "TEXT")])
    );
    transfers((sql, transaction), &by_key, keys.collect()).await
}

async fn receipts(
    (sql, transaction): At<'_>,
    paid: impl Iterator<Item = Value>,
) -> Result<HashMap<UserId, Transfer>, Error> {
    let receipts = format!(
        "SELECT t.* FROM {} JOIN transfer t ON t.ref = v.ref WHERE t.kind = 'purchase'",
        sql.rows(&[("ref", "TEXT")])
    );
    transfers((sql, transaction), &receipts, paid.collect()).await
}

/// The transfers that a statement finds for these rows; without any it is not asked.
async fn transfers(
    (sql, transaction): At<'_>,
    statement: &str,
    rows: Vec<Value>,
) -> Result<HashMap<UserId, Transfer>, Error> {
    if rows.is_empty() {
        return Ok(HashMap::new());
    }
    let statement = sql.statement(statement, [list(rows.into_iter())]);
    let rows = transfer::Entity::find().from_raw_sql(statement).all(transaction).await;
    let rows = rows.map_err(from_db)?.into_iter();
    rows.map(|row| Transfer::read(row).map(|transfer| (transfer.user, transfer))).collect()
}

async fn held_until(
    (sql, transaction): At<'_>,
    bookings: impl Iterator<Item = Value>,
    now: i64,
) -> Result<HashMap<UserId, i64>, Error> {
    let others = format!(
        "SELECT b.user_id, MAX(b.expires_at) AS held_until
         FROM {} WHERE b.id <> v.booking_id AND b.expires_at > $2 GROUP BY b.user_id",
        sql.holds_of(&[("booking_id", "BIGINT"), ("user_id", "BIGINT"), ("queue_id", "BIGINT")])
    );
    let statement = sql.statement(&others, [list(bookings), now.into()]);
    let rows = transaction.query_all_raw(statement).await.map_err(from_db)?;
    let read = |row: &QueryResult| Ok((UserId(get(row, "user_id")?), get(row, "held_until")?));
    rows.iter().map(read).collect()
}
