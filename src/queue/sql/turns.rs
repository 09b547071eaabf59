//! Turns: granted here and nowhere else. A row is opened at most once, closed once, never reopened.

use std::collections::HashMap;

use sea_orm::{ConnectionTrait, EntityTrait, QueryResult, Value};

use crate::clock::Clock;
use crate::error::Error;
use crate::ids::{Epoch, QueueNumber, UserId};
use crate::sql::entity::turn;
use crate::sql::{Sql, commit, from_db, get, placeholders, retried};

/// An admitted person's right to hold seats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    pub number: QueueNumber,
    pub user: UserId,
    pub claimed_at: Option<i64>,
    /// The last moment to hold seats.
    pub ends_at: i64,
    /// When the turn stops counting against the cap: later than `ends_at` while a hold lives.
    pub closes_at: i64,
    pub ended_at: Option<i64>,
}

/// What SQL knows of a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing: it never left the line.
    Unknown,
    Open(Turn),
    /// It is over, for ever.
    Dead,
}

/// A batch that Redis has taken out of the line, in order.
#[derive(Debug)]
pub struct Batch {
    pub at_ms: i64,
    /// The highest number issued when the batch was taken.
    pub issued: QueueNumber,
    /// The highest number issued when the policy last changed: up to it, people were told intervals by the old one.
    pub tuned: QueueNumber,
    /// The last number that the rate paid for; those behind it came `otherwise`.
    pub paid: QueueNumber,
    pub otherwise: &'static str,
    pub numbers: Vec<(UserId, QueueNumber)>,
}

/// A turn that Redis asks about.
pub type Look = (UserId, QueueNumber);

/// What a tick asks of SQL.
#[derive(Debug)]
pub struct Grant<'a> {
    pub queue_id: i64,
    pub epoch: Epoch,
    pub batch: &'a Batch,
    pub looks: &'a [Look],
    /// Until when a turn must be claimed: by those who knew the policy, and by those who were told by the one before.
    pub claim_by: i64,
    pub told_by: i64,
}

/// How the numbers of a batch and of the looks stand after the transaction.
#[derive(Debug, Default)]
pub struct Admitted {
    pub opened: Vec<Turn>,
    pub dropped: Vec<(UserId, QueueNumber)>,
    pub gone: Vec<(UserId, QueueNumber)>,
    pub unclaimed: i64,
    pub looked: Vec<Turn>,
}

/// Sums over a queue's turns, read in one statement.
#[derive(Debug, PartialEq, Eq)]
pub struct Totals {
    pub admitted: i64,
    pub unclaimed: i64,
    pub recent: i64,
    pub last_admitted_at: Option<i64>,
}

impl Sql {
    /// Gives a batch its turns and ends those whose time is over, in one transaction. `None`: the queue has another
    /// epoch by now, and nothing was done.
    pub async fn admit(&self, grant: &Grant<'_>, clock: &Clock) -> Result<Option<Admitted>, Error> {
        retried(|| self.admit_once(grant, clock)).await
    }

    async fn admit_once(
        &self,
        grant: &Grant<'_>,
        clock: &Clock,
    ) -> Result<Option<Admitted>, Error> {
        let transaction = self.begin().await?;
        // FOR SHARE, not KEY SHARE: only this stops a change of the epoch until we have committed.
        let fence =
            format!("SELECT id FROM queue WHERE id = $1 AND epoch = $2 {}", self.lock("FOR SHARE"));
        let statement = self.statement(&fence, [grant.queue_id.into(), grant.epoch.into()]);
        if transaction.query_one_raw(statement).await.map_err(from_db)?.is_none() {
            return Ok(None);
        }
        let now = clock.now_ms();
        if !grant.looks.is_empty() {
            self.close_over(&transaction, grant, now).await?;
        }
        if !grant.batch.numbers.is_empty() {
            self.open(&transaction, grant).await?;
            self.void(&transaction, grant, now).await?;
        }
        let rows = self.read_back(&transaction, grant).await?;
        commit(transaction).await?;
        Ok(Some(sort_out(grant, &rows)))
    }

    /// Ends the turns among `looks` whose time is over; another instance's locks are left alone.
    async fn close_over(
        &self,
        transaction: &impl ConnectionTrait,
        grant: &Grant<'_>,
        now: i64,
    ) -> Result<(), Error> {
        let over = format!(
            "UPDATE turn SET ended_at = $2, end_reason = CASE WHEN claimed_at IS NULL THEN 'unclaimed' ELSE 'time' END
             WHERE queue_id = $1 AND seq IN (SELECT seq FROM turn WHERE queue_id = $1 AND seq IN {} AND ended_at IS NULL
                 AND closes_at <= $2 {})",
            placeholders(3, grant.looks.len(), 1),
            self.lock("FOR UPDATE SKIP LOCKED")
        );
        let numbers = grant.looks.iter().map(|(_, number)| number.0.into());
        let values: Vec<Value> =
            [grant.queue_id.into(), now.into()].into_iter().chain(numbers).collect();
        transaction.execute_raw(self.statement(&over, values)).await.map(drop).map_err(from_db)
    }

    /// The numbers of a batch that may have a turn: not those whose owner was admitted with a later one.
    async fn entitled(
        &self,
        transaction: &impl ConnectionTrait,
        grant: &Grant<'_>,
    ) -> Result<Vec<usize>, Error> {
        let batch = grant.batch;
        let admitted = format!(
            "SELECT user_id, seq, issued FROM turn WHERE queue_id = $1 AND user_id IN {} AND admitted_at IS NOT NULL",
            placeholders(2, batch.numbers.len(), 1)
        );
        let users = batch.numbers.iter().map(|(user, _)| user.0.into());
        let values: Vec<Value> = std::iter::once(grant.queue_id.into()).chain(users).collect();
        let rows =
            transaction.query_all_raw(self.statement(&admitted, values)).await.map_err(from_db)?;
        let mut earlier: HashMap<i64, Vec<(i64, i64)>> = HashMap::new();
        for row in rows {
            earlier
                .entry(get(&row, "user_id")?)
                .or_default()
                .push((get(&row, "seq")?, get(&row, "issued")?));
        }
        let outlived = |user: &UserId, number: &QueueNumber| {
            earlier.get(&user.0).is_some_and(|turns| {
                turns.iter().any(|(seq, issued)| *seq != number.0 && *issued >= number.0)
            })
        };
        Ok((0..batch.numbers.len())
            .filter(|index| !outlived(&batch.numbers[*index].0, &batch.numbers[*index].1))
            .collect())
    }

    async fn open(
        &self,
        transaction: &impl ConnectionTrait,
        grant: &Grant<'_>,
    ) -> Result<(), Error> {
        let batch = grant.batch;
        let entitled = self.entitled(transaction, grant).await?;
        if entitled.is_empty() {
            return Ok(());
        }
        let open = format!(
            "INSERT INTO turn (queue_id, seq, user_id, kind, admitted_at, issued, ends_at, closes_at) VALUES {}
             ON CONFLICT DO NOTHING",
            placeholders(1, 8, entitled.len())
        );
        let values = entitled.iter().flat_map(|index| {
            let (user, number) = batch.numbers[*index];
            let kind = if number <= batch.paid { "rate" } else { batch.otherwise };
            let ends_at = if number > batch.tuned {
                grant.claim_by
            } else {
                grant.claim_by.max(grant.told_by)
            };
            let row: [Value; 8] = [
                grant.queue_id.into(),
                number.0.into(),
                user.0.into(),
                kind.into(),
                batch.at_ms.into(),
                batch.issued.0.into(),
                ends_at.into(),
                ends_at.into(),
            ];
            row
        });
        transaction.execute_raw(self.statement(&open, values)).await.map(drop).map_err(from_db)
    }

    /// Gives every number of the batch that has no row one that is closed: whatever the reason, nothing can stick at
    /// the head of the line.
    async fn void(
        &self,
        transaction: &impl ConnectionTrait,
        grant: &Grant<'_>,
        now: i64,
    ) -> Result<(), Error> {
        let void = format!(
            "INSERT INTO turn (queue_id, seq, user_id, kind, issued, ends_at, closes_at, ended_at, end_reason) VALUES {}
             ON CONFLICT DO NOTHING",
            placeholders(1, 9, grant.batch.numbers.len())
        );
        let values = grant.batch.numbers.iter().flat_map(|(user, number)| {
            let row: [Value; 9] = [
                grant.queue_id.into(),
                number.0.into(),
                user.0.into(),
                "none".into(),
                grant.batch.issued.0.into(),
                now.into(),
                now.into(),
                now.into(),
                "void".into(),
            ];
            row
        });
        transaction.execute_raw(self.statement(&void, values)).await.map(drop).map_err(from_db)
    }

    async fn read_back(
        &self,
        transaction: &impl ConnectionTrait,
        grant: &Grant<'_>,
    ) -> Result<HashMap<i64, Row>, Error> {
        let wanted = grant.batch.numbers.len() + grant.looks.len();
        let read = format!(
            "SELECT * FROM turn WHERE queue_id = $1 AND seq IN {}",
            placeholders(2, wanted, 1)
        );
        let numbers =
            grant.batch.numbers.iter().chain(grant.looks).map(|(_, number)| number.0.into());
        let values: Vec<Value> = std::iter::once(grant.queue_id.into()).chain(numbers).collect();
        let rows =
            transaction.query_all_raw(self.statement(&read, values)).await.map_err(from_db)?;
        rows.iter().map(|row| Row::read(row).map(|row| (row.turn.number.0, row))).collect()
    }

    /// What became of a person's number. No clock is compared: only rows decide.
    pub async fn fate(
        &self,
        queue_id: i64,
        user: UserId,
        number: QueueNumber,
    ) -> Result<Fate, Error> {
        // One statement sees one moment. Two arms, because for an OR SQLite reads every turn of the queue.
        let sql = "SELECT turn.*, 1 AS choice FROM turn WHERE queue_id = $1 AND seq = $2
                   UNION ALL SELECT turn.*, 2 AS choice FROM turn
                   WHERE queue_id = $1 AND user_id = $3 AND admitted_at IS NOT NULL AND issued >= $2
                   ORDER BY choice LIMIT 1";
        let statement = self.statement(sql, [queue_id.into(), number.0.into(), user.0.into()]);
        match self.reader().query_one_raw(statement).await.map_err(from_db)? {
            None => Ok(Fate::Unknown),
            Some(row) => {
                let Row { turn, .. } = Row::read(&row)?;
                let own_and_open = turn.number == number && turn.ended_at.is_none();
                Ok(if own_and_open { Fate::Open(turn) } else { Fate::Dead })
            }
        }
    }

    /// Claims an open turn: from now on it lasts until `ends_at`. A turn that was claimed before, or is over, stays.
    pub async fn claim(
        &self,
        queue_id: i64,
        number: QueueNumber,
        now: i64,
        ends_at: i64,
    ) -> Result<Option<Turn>, Error> {
        let transaction = self.begin().await?;
        let claim = "UPDATE turn SET claimed_at = $3, ends_at = $4, closes_at = $4
                     WHERE queue_id = $1 AND seq = $2 AND ended_at IS NULL AND claimed_at IS NULL";
        let values = [queue_id.into(), number.0.into(), now.into(), ends_at.into()];
        transaction.execute_raw(self.statement(claim, values)).await.map_err(from_db)?;
        let row = turn::Entity::find_by_id((queue_id, number.0))
            .one(&transaction)
            .await
            .map_err(from_db)?;
        commit(transaction).await?;
        Ok(row.map(Turn::from))
    }

    /// Ends one claimed turn that may hold no seats any more.
    pub async fn end_overdue(
        &self,
        queue_id: i64,
        number: QueueNumber,
        now: i64,
    ) -> Result<(), Error> {
        let transaction = self.begin().await?;
        let end =
            "UPDATE turn SET ended_at = $3, end_reason = 'time' WHERE queue_id = $1 AND seq = $2
                   AND ended_at IS NULL AND claimed_at IS NOT NULL AND ends_at <= $3";
        let statement = self.statement(end, [queue_id.into(), number.0.into(), now.into()]);
        transaction.execute_raw(statement).await.map_err(from_db)?;
        commit(transaction).await
    }

    /// Figures for operators.
    pub async fn totals(&self, queue_id: i64, recent_since: i64) -> Result<Totals, Error> {
        let sql = "SELECT count(*) AS admitted, count(*) FILTER (WHERE end_reason = 'unclaimed') AS unclaimed,
                          count(*) FILTER (WHERE admitted_at > $2) AS recent, max(admitted_at) AS last_admitted_at
                   FROM turn WHERE queue_id = $1 AND admitted_at IS NOT NULL";
        let statement = self.statement(sql, [queue_id.into(), recent_since.into()]);
        let row = self.reader().query_one_raw(statement).await.map_err(from_db)?;
        let row = row.ok_or_else(|| Error::bug("a count gave no row"))?;
        Ok(Totals {
            admitted: get(&row, "admitted")?,
            unclaimed: get(&row, "unclaimed")?,
            recent: get(&row, "recent")?,
            last_admitted_at: get(&row, "last_admitted_at")?,
        })
    }

    /// Ends turns that nobody's tick looks at any more. A repair, never needed for an invariant.
    pub async fn end_forgotten_turns(&self, closed_before: i64, now: i64) -> Result<u64, Error> {
        let transaction = self.begin().await?;
        let end = "UPDATE turn SET ended_at = $2, end_reason = CASE WHEN claimed_at IS NULL THEN 'unclaimed' ELSE 'time' END
                   WHERE ended_at IS NULL AND closes_at < $1";
        let statement = self.statement(end, [closed_before.into(), now.into()]);
        let ended = transaction.execute_raw(statement).await.map_err(from_db)?.rows_affected();
        commit(transaction).await?;
        Ok(ended)
    }
}

/// A row of `turn` with what the batch needs of it.
struct Row {
    turn: Turn,
    unclaimed: bool,
}

impl Row {
    fn read(row: &QueryResult) -> Result<Self, Error> {
        let turn = Turn {
            number: QueueNumber(get(row, "seq")?),
            user: UserId(get(row, "user_id")?),
            claimed_at: get(row, "claimed_at")?,
            ends_at: get(row, "ends_at")?,
            closes_at: get(row, "closes_at")?,
            ended_at: get(row, "ended_at")?,
        };
        let reason: Option<String> = get(row, "end_reason")?;
        Ok(Self { turn, unclaimed: reason.as_deref() == Some("unclaimed") })
    }
}

impl From<turn::Model> for Turn {
    fn from(row: turn::Model) -> Self {
        Self {
            number: QueueNumber(row.seq),
            user: UserId(row.user_id),
            claimed_at: row.claimed_at,
            ends_at: row.ends_at,
            closes_at: row.closes_at,
            ended_at: row.ended_at,
        }
    }
}

fn sort_out(grant: &Grant<'_>, rows: &HashMap<i64, Row>) -> Admitted {
    let mut admitted = Admitted::default();
    for (user, number) in &grant.batch.numbers {
        match rows.get(&number.0) {
            Some(row) if row.turn.ended_at.is_none() && row.turn.user == *user => {
                admitted.opened.push(row.turn.clone());
            }
            _ => admitted.dropped.push((*user, *number)),
        }
    }
    for (user, number) in grant.looks {
        match rows.get(&number.0) {
            Some(row) if row.turn.ended_at.is_none() => admitted.looked.push(row.turn.clone()),
            row => {
                admitted.unclaimed += i64::from(row.is_some_and(|row| row.unclaimed));
                admitted.gone.push((*user, *number));
            }
        }
    }
    admitted
}
