//! What the rows say of holds before anything is written. It locks what the holds will change, in the house's order, and
//! decides nothing.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use sea_orm::{ConnectionTrait, EntityTrait, FromQueryResult, QueryResult};
use serde_json::{Value, json};

use crate::booking::Hold;
use crate::clock::Clock;
use crate::concert::Concert;
use crate::error::Error;
use crate::ids::{ConcertId, IdempotencyKey, SeatId, UserId};
use crate::sql::entity::{booking, turn};
use crate::sql::rows::{At, list};
use crate::sql::{from_db, get};

/// A seat, and until when somebody has it; for ever when it is sold.
type Claims = HashMap<(i64, String), Option<i64>>;

/// The rows that holds depend on. Each person has one hold here.
pub(super) struct Seen {
    /// Read when every lock was held.
    pub now: i64,
    turns: HashMap<(i64, i64), turn::Model>,
    claims: Claims,
    /// Unpaid bookings of each person in the queue of his hold, the oldest first.
    pub held: HashMap<UserId, Vec<booking::Model>>,
    /// The booking that a hold's key has made.
    pub by_key: HashMap<UserId, booking::Model>,
    /// Seats that a person has of the concert already, where there is a limit.
    pub had: HashMap<UserId, i64>,
    concerts: HashMap<ConcertId, Concert>,
}

impl Seen {
    /// The turn of a hold, if it is open and this person's.
    pub fn turn(&self, hold: &Hold) -> Option<&turn::Model> {
        let turn = self.turns.get(&(hold.queue_id, hold.number.0));
        turn.filter(|turn| turn.user_id == hold.user.0 && turn.ended_at.is_none())
    }

    /// Refuses a hold of a concert that has started, or is sold to another line, since its wish was looked at.
    pub fn check_sells(&self, hold: &Hold) -> Result<(), Error> {
        let concert = self.concerts.get(&hold.concert);
        let concert = concert.ok_or_else(|| Error::bug("a concert is gone"))?;
        concert.check_sells(concert.queue_id == hold.queue_id, self.now)
    }

    pub fn is_taken(&self, hold: &Hold, seat: &SeatId) -> bool {
        let claim = self.claims.get(&(hold.concert.0, seat.as_str().to_owned()));
        claim.is_some_and(|until| until.is_none_or(|until| until > self.now - hold.grace_ms))
    }
}

/// Locks the turns of holds, the seats that somebody has or had and the concerts, then reads the rest.
pub(super) async fn see(at: At<'_>, holds: &[Arc<Hold>], clock: &Clock) -> Result<Seen, Error> {
    let turns = lock_turns(at, holds).await?;
    let claims = lock_claims(at, holds).await?;
    let ids = holds.iter().map(|hold| hold.concert).collect::<BTreeSet<_>>();
    let concerts = at.0.lock_concerts(at.1, ids.into_iter()).await?;
    let now = clock.now_ms();
    let mut held: HashMap<_, Vec<_>> = HashMap::new();
    for row in unpaid(at, holds).await? {
        held.entry(UserId(row.user_id)).or_default().push(row);
    }
    let by_key = by_key(at, holds).await?;
    let had = had(at, holds, now).await?;
    Ok(Seen { now, turns, claims, held, by_key, had, concerts })
}

async fn lock_turns(
    (sql, transaction): At<'_>,
    holds: &[Arc<Hold>],
) -> Result<HashMap<(i64, i64), turn::Model>, Error> {
    let lock = format!(
        "SELECT turn.* FROM {} JOIN turn ON turn.queue_id = v.queue_id AND turn.seq = v.seq
         ORDER BY turn.queue_id, turn.seq {}",
        sql.rows(&[("queue_id", "BIGINT"), ("seq", "BIGINT")]),
        sql.lock("FOR UPDATE OF turn")
    );
    let numbers = holds.iter().map(|hold| json!({"queue_id": hold.queue_id, "seq": hold.number.0}));
    let statement = sql.statement(&lock, [list(numbers)]);
    let turns = turn::Entity::find().from_raw_sql(statement).all(transaction).await;
    let turns = turns.map_err(from_db)?;
    Ok(turns.into_iter().map(|turn| ((turn.queue_id, turn.seq), turn)).collect())
}

async fn lock_claims((sql, transaction): At<'_>, holds: &[Arc<Hold>]) -> Result<Claims, Error> {
    let lock = format!(
        "SELECT c.concert_id, c.seat_id, c.until
         FROM {} JOIN seat_claim c ON c.concert_id = v.concert_id AND c.seat_id = v.seat_id
         ORDER BY c.concert_id, c.seat_id {}",
        sql.rows(&[("concert_id", "BIGINT"), ("seat_id", "TEXT")]),
        sql.lock("COLLATE \"C\" FOR UPDATE OF c")
    );
    let seats = holds.iter().flat_map(|hold| {
        hold.seats.iter().map(|seat| json!({"concert_id": hold.concert, "seat_id": seat}))
    });
    let statement = sql.statement(&lock, [list(seats)]);
    let rows = transaction.query_all_raw(statement).await.map_err(from_db)?;
    let claim = |row: &QueryResult| {
        Ok(((get(row, "concert_id")?, get(row, "seat_id")?), get(row, "until")?))
    };
    rows.iter().map(claim).collect()
}

async fn unpaid(
    (sql, transaction): At<'_>,
    holds: &[Arc<Hold>],
) -> Result<Vec<booking::Model>, Error> {
    let unpaid = format!(
        "SELECT b.* FROM {} ORDER BY b.id",
        sql.holds_of(&[("queue_id", "BIGINT"), ("user_id", "BIGINT")])
    );
    let people = holds.iter().map(|hold| json!({"queue_id": hold.queue_id, "user_id": hold.user}));
    bookings_read((sql, transaction), &unpaid, people).await
}

async fn by_key(
    (sql, transaction): At<'_>,
    holds: &[Arc<Hold>],
) -> Result<HashMap<UserId, booking::Model>, Error> {
    let by_key = format!(
        "SELECT b.* FROM {} JOIN booking b ON b.user_id = v.user_id AND b.idem_key = v.idem_key",
        sql.rows(&[("user_id", "BIGINT"), ("idem_key", "TEXT")])
    );
    let keys = holds.iter().filter_map(|hold| {
        let key = hold.key.as_ref().map(IdempotencyKey::as_str)?;
        Some(json!({"user_id": hold.user, "idem_key": key}))
    });
    let rows = bookings_read((sql, transaction), &by_key, keys).await?;
    Ok(rows.into_iter().map(|row| (UserId(row.user_id), row)).collect())
}

/// Seats that count against a limit: sold, or held by somebody who may still pay.
async fn had(
    (sql, transaction): At<'_>,
    holds: &[Arc<Hold>],
    now: i64,
) -> Result<HashMap<UserId, i64>, Error> {
    // Found by their person: the concert may have very many.
    let had = format!(
        "SELECT b.user_id, CAST(SUM(b.seat_count) AS BIGINT) AS had
         FROM {} JOIN booking b ON b.user_id = v.user_id AND b.concert_id + 0 = v.concert_id
         WHERE b.status = 'paid' OR (b.status = 'held' AND b.expires_at > v.lapsed_by) GROUP BY b.user_id",
        sql.rows(&[("user_id", "BIGINT"), ("concert_id", "BIGINT"), ("lapsed_by", "BIGINT")])
    );
    let limited = holds.iter().filter(|hold| hold.seats_per_user_max.is_some());
    let people = limited.map(|hold| {
        let lapsed_by = now - hold.grace_ms;
        json!({"user_id": hold.user, "concert_id": hold.concert, "lapsed_by": lapsed_by})
    });
    let rows = read((sql, transaction), &had, people).await?;
    rows.iter().map(|row| Ok((UserId(get(row, "user_id")?), get(row, "had")?))).collect()
}

async fn bookings_read(
    (sql, transaction): At<'_>,
    statement: &str,
    rows: impl Iterator<Item = Value>,
) -> Result<Vec<booking::Model>, Error> {
    let rows = read((sql, transaction), statement, rows).await?;
    rows.iter().map(booking_read).collect()
}

pub(super) fn booking_read(row: &QueryResult) -> Result<booking::Model, Error> {
    booking::Model::from_query_result(row, "").map_err(from_db)
}

/// What a statement finds for these rows; without any it is not asked.
async fn read(
    (sql, transaction): At<'_>,
    statement: &str,
    rows: impl Iterator<Item = Value>,
) -> Result<Vec<QueryResult>, Error> {
    let rows: Vec<Value> = rows.collect();
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let statement = sql.statement(statement, [list(rows.into_iter())]);
    transaction.query_all_raw(statement).await.map_err(from_db)
}
