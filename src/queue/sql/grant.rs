//! Turns are granted here and nowhere else: the one transaction of a tick. A row is opened at most once; what becomes of
//! it afterwards stands in `turns.rs`.

use std::collections::{HashMap, HashSet};

use sea_orm::{ConnectionTrait, DatabaseTransaction, Value};

use super::turns::{Row, Turn};
use crate::clock::Clock;
use crate::crash_point;
use crate::error::Error;
use crate::ids::{Epoch, QueueNumber, UserId};
use crate::sql::{Sql, commit, from_db, get, placeholders, retried};

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

impl Grant<'_> {
    /// The turn that a number of the batch gets.
    fn turn(&self, user: UserId, number: QueueNumber) -> Turn {
        let ends_at =
            if number > self.batch.tuned { self.claim_by } else { self.claim_by.max(self.told_by) };
        Turn { number, user, claimed_at: None, ends_at, closes_at: ends_at, ended_at: None }
    }
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
        let transaction = self.begin("queue.admit").await?;
        // FOR SHARE, not KEY SHARE: only this stops a change of the epoch until we have committed.
        let fence =
            format!("SELECT id FROM queue WHERE id = $1 AND epoch = $2 {}", self.lock("FOR SHARE"));
        let statement = self.statement(&fence, [grant.queue_id.into(), grant.epoch.into()]);
        if transaction.query_one_raw(statement).await.map_err(from_db)?.is_none() {
            return Ok(None);
        }
        let now = clock.now_ms();
        if !grant.looks.is_empty() {
            self.close_over(&*transaction, grant, now).await?;
        }
        let opened = self.open(&transaction, grant, now).await?;
        // Numbers that got no turn now: they had one, or may have none. Each has a row afterwards, whatever the
        // reason, so nothing can stick at the head of the line.
        let rest: Vec<Look> = numbers_without(grant, &opened);
        self.void(&*transaction, grant, (&rest, now)).await?;
        let rows = self.read(&*transaction, grant.queue_id, &rest, grant.looks).await?;
        crash_point!("tick.before_commit");
        commit(transaction).await?;
        Ok(Some(sort_out(grant, opened, &rest, &rows)))
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

    /// The turns of a batch: none for numbers whose owner was admitted with a later one.
    async fn entitled(
        &self,
        transaction: &impl ConnectionTrait,
        grant: &Grant<'_>,
    ) -> Result<Vec<Turn>, Error> {
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
        let entitled = batch.numbers.iter().filter(|(user, number)| !outlived(user, number));
        Ok(entitled.map(|(user, number)| grant.turn(*user, *number)).collect())
    }

    /// Opens a turn for every number of the batch that may have one and has no row yet.
    async fn open(
        &self,
        transaction: &DatabaseTransaction,
        grant: &Grant<'_>,
        now: i64,
    ) -> Result<Vec<Turn>, Error> {
        if grant.batch.numbers.is_empty() {
            return Ok(Vec::new());
        }
        let turns = self.entitled(transaction, grant).await?;
        if turns.is_empty() {
            return Ok(turns);
        }
        let open = format!(
            "INSERT INTO turn (queue_id, seq, user_id, kind, admitted_at, issued, ends_at, closes_at) VALUES {}
             ON CONFLICT DO NOTHING RETURNING seq",
            placeholders(1, 8, turns.len())
        );
        let batch = grant.batch;
        // Not before now: Redis may have carried the call out long after the tick looked at its clock, and by then have counted
        // a turn as free that ended meanwhile.
        let admitted_at = batch.at_ms.max(now);
        let values = turns.iter().flat_map(|turn| {
            let kind = if turn.number <= batch.paid { "rate" } else { batch.otherwise };
            let row: [Value; 8] = [
                grant.queue_id.into(),
                turn.number.0.into(),
                turn.user.0.into(),
                kind.into(),
                admitted_at.into(),
                batch.issued.0.into(),
                turn.ends_at.into(),
                turn.closes_at.into(),
            ];
            row
        });
        let rows = self.insert(transaction, self.statement(&open, values)).await?;
        let opened: HashSet<i64> =
            rows.iter().map(|row| get(row, "seq")).collect::<Result<_, _>>()?;
        Ok(turns.into_iter().filter(|turn| opened.contains(&turn.number.0)).collect())
    }

    /// Gives numbers a row that is closed, unless they have one.
    async fn void(
        &self,
        transaction: &impl ConnectionTrait,
        grant: &Grant<'_>,
        (numbers, now): (&[Look], i64),
    ) -> Result<(), Error> {
        if numbers.is_empty() {
            return Ok(());
        }
        let void = format!(
            "INSERT INTO turn (queue_id, seq, user_id, kind, issued, ends_at, closes_at, ended_at, end_reason) VALUES {}
             ON CONFLICT DO NOTHING",
            placeholders(1, 9, numbers.len())
        );
        let values = numbers.iter().flat_map(|(user, number)| {
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

    async fn read(
        &self,
        transaction: &impl ConnectionTrait,
        queue_id: i64,
        some: &[Look],
        others: &[Look],
    ) -> Result<HashMap<i64, Row>, Error> {
        let wanted = some.len() + others.len();
        if wanted == 0 {
            return Ok(HashMap::new());
        }
        let read = format!(
            "SELECT * FROM turn WHERE queue_id = $1 AND seq IN {}",
            placeholders(2, wanted, 1)
        );
        let numbers = some.iter().chain(others).map(|(_, number)| number.0.into());
        let values: Vec<Value> = std::iter::once(queue_id.into()).chain(numbers).collect();
        let rows =
            transaction.query_all_raw(self.statement(&read, values)).await.map_err(from_db)?;
        rows.iter().map(|row| Row::read(row).map(|row| (row.turn.number.0, row))).collect()
    }
}

fn numbers_without(grant: &Grant<'_>, opened: &[Turn]) -> Vec<Look> {
    let opened: HashSet<QueueNumber> = opened.iter().map(|turn| turn.number).collect();
    grant.batch.numbers.iter().filter(|(_, number)| !opened.contains(number)).copied().collect()
}

fn sort_out(
    grant: &Grant<'_>,
    opened: Vec<Turn>,
    rest: &[Look],
    rows: &HashMap<i64, Row>,
) -> Admitted {
    let mut admitted = Admitted { opened, ..Admitted::default() };
    for (user, number) in rest {
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
