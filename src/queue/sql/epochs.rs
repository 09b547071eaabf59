//! Epochs: begun here, and read by whoever rebuilds a line from its rows. The line itself is not here.

use sea_orm::ConnectionTrait;

use super::{Look, Queue};
use crate::error::Error;
use crate::ids::{QueueNumber, UserId};
use crate::sql::{Sql, commit, from_db, get};

/// Epochs whose arrivals are remembered: a line that is served has nobody left of earlier ones.
const EPOCHS_MAX: usize = 16;

impl Sql {
    /// Begins the epoch after `old`'s: from the commit on nobody opens a turn in the old one. So many had arrived and been
    /// drawn in it, as far as its caller knows. `None`: somebody else was first.
    pub async fn begin_epoch(
        &self,
        old: &Queue,
        lineage: &str,
        (arrived, drawn): (i64, i64),
        now: i64,
    ) -> Result<Option<Queue>, Error> {
        let transaction = self.begin("queue.begin_epoch").await?;
        let begin =
            "UPDATE queue SET epoch = epoch + 1, lineage = $3, epoch_at = $4, changed_at = $4,
                            version = version + 1, draw_lost = $5, arrived = $6 WHERE id = $1 AND epoch = $2";
        let values = [
            old.id.into(),
            old.epoch.into(),
            lineage.into(),
            now.into(),
            old.draw_lost_with(drawn).into(),
            listed(std::iter::once(arrived).chain(old.arrived.iter().copied()).take(EPOCHS_MAX))
                .into(),
        ];
        let begun =
            transaction.execute_raw(self.statement(begin, values)).await.map_err(from_db)?;
        commit(transaction).await?;
        if begun.rows_affected() == 0 {
            return Ok(None);
        }
        self.queue_named(&old.name).await
    }

    /// The highest number that was issued when a turn was opened last.
    pub async fn issued(&self, queue_id: i64) -> Result<QueueNumber, Error> {
        let sql = "SELECT issued FROM turn WHERE queue_id = $1 ORDER BY seq DESC LIMIT 1";
        let row = self.reader().query_one_raw(self.statement(sql, [queue_id.into()])).await;
        let issued = row.map_err(from_db)?.map(|row| get(&row, "issued")).transpose()?;
        Ok(QueueNumber(issued.unwrap_or(0)))
    }

    /// The highest number that came up: it has a row, with a turn or without.
    pub async fn serving(&self, queue_id: i64) -> Result<QueueNumber, Error> {
        let sql = "SELECT seq FROM turn WHERE queue_id = $1 AND (admitted_at IS NOT NULL OR end_reason = 'void')
                   ORDER BY seq DESC LIMIT 1";
        let statement = self.statement(sql, [queue_id.into()]);
        let row = self.reader().query_one_raw(statement).await.map_err(from_db)?;
        Ok(QueueNumber(row.map(|row| get(&row, "seq")).transpose()?.unwrap_or(0)))
    }

    /// Open turns with numbers behind `after`, in order.
    pub async fn open_turns(
        &self,
        queue_id: i64,
        after: QueueNumber,
        limit: u64,
    ) -> Result<Vec<Look>, Error> {
        let sql =
            "SELECT user_id, seq FROM turn WHERE queue_id = $1 AND seq > $2 AND ended_at IS NULL
                   ORDER BY seq LIMIT $3";
        let values = [queue_id.into(), after.0.into(), limit.into()];
        self.looks(sql, values).await
    }

    /// Numbers of its draw behind `after` whose owners left before it was opened, in order.
    pub async fn left_draw(
        &self,
        queue: &Queue,
        after: QueueNumber,
        limit: u64,
    ) -> Result<Vec<Look>, Error> {
        let Some(draw) = &queue.draw else { return Ok(Vec::new()) };
        let sql = "SELECT user_id, seq FROM turn WHERE queue_id = $1 AND seq > $2 AND seq < $4 AND end_reason = 'left'
                   ORDER BY seq LIMIT $3";
        let first = QueueNumber::of_draw(draw.epoch, 0);
        let behind = QueueNumber::base(draw.epoch);
        let values = [queue.id.into(), after.max(first).0.into(), limit.into(), behind.into()];
        self.looks(sql, values).await
    }

    async fn looks<const N: usize>(
        &self,
        sql: &str,
        values: [sea_orm::Value; N],
    ) -> Result<Vec<Look>, Error> {
        let statement = self.statement(sql, values);
        let rows = self.reader().query_all_raw(statement).await.map_err(from_db)?;
        let look = |row| Ok((UserId(get(row, "user_id")?), QueueNumber(get(row, "seq")?)));
        rows.iter().map(look).collect()
    }
}

/// `17,523`, as `queues.rs` reads it.
pub(super) fn listed(counts: impl Iterator<Item = i64>) -> String {
    counts.map(|count| count.to_string()).collect::<Vec<_>>().join(",")
}
