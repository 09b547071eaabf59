//! The schedule. Whoever writes to it holds the row of the queue, so an entry is done once, and edits wait for what is
//! being carried out. A change of policy, its audit row and the mark on its entry are one transaction.

use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait,
    QueryFilter, QueryOrder, QuerySelect, Select,
};
use serde_json::value::RawValue;

use super::Queue;
use super::queues::{change_policy, locked};
use crate::error::{Code, Error};
use crate::ids::{EntryId, QueueName};
use crate::queue::schedule::{Entry, Outcome, PENDING_MAX, ScheduleTune};
use crate::sql::audit::NewAudit;
use crate::sql::entity::schedule;
use crate::sql::{Sql, commit, from_db, get};

/// Who does what was planned, in the audit.
const OPERATOR: &str = "schedule";

impl Sql {
    /// Queues with an entry whose instant has come.
    pub async fn queues_due(&self, now: i64) -> Result<Vec<QueueName>, Error> {
        let due = "SELECT DISTINCT queue.name AS name FROM schedule JOIN queue ON queue.id = schedule.queue_id
            WHERE schedule.done_at IS NULL AND schedule.at <= $1";
        let rows = self.reader().query_all_raw(self.statement(due, [now.into()])).await;
        let rows = rows.map_err(from_db)?;
        rows.iter().map(|row| QueueName::parse(&get::<String>(row, "name")?)).collect()
    }

    /// Carries out what is due of a queue; the queue as it is then.
    pub async fn carry_out_due(&self, name: &QueueName, now: i64) -> Result<Queue, Error> {
        let transaction = self.begin("queue.carry_out_due").await?;
        let queue = locked(&*transaction, name).await?;
        let queue = carry_out(&*transaction, queue, now).await?;
        commit(transaction).await?;
        Ok(queue)
    }

    /// What a queue has before it, in the order of its instants, and what it has behind it, newest entry first, `limit`
    /// of those older than `before`; all of one moment.
    pub async fn schedule(
        &self,
        queue_id: i64,
        limit: u64,
        before: Option<i64>,
    ) -> Result<(Vec<Entry>, Vec<Entry>), Error> {
        let moment = self.begin_snapshot("queue.schedule").await?;
        let pending = pending(queue_id).all(&*moment).await.map_err(from_db)?;
        let done = schedule::Entity::find()
            .filter(schedule::Column::QueueId.eq(queue_id))
            .filter(schedule::Column::DoneAt.is_not_null())
            .filter(schedule::Column::Id.lt(before.unwrap_or(i64::MAX)))
            .order_by_desc(schedule::Column::Id)
            .limit(limit)
            .all(&*moment)
            .await
            .map_err(from_db)?;
        let entries = |rows: Vec<schedule::Model>| -> Result<Vec<Entry>, Error> {
            rows.into_iter().map(Entry::try_from).collect()
        };
        Ok((entries(pending)?, entries(done)?))
    }

    pub async fn add_to_schedule(
        &self,
        name: &QueueName,
        plan: &ScheduleTune,
        audit: NewAudit,
    ) -> Result<Entry, Error> {
        let transaction = self.begin("queue.add_to_schedule").await?;
        let queue = locked(&*transaction, name).await?;
        if pending(queue.id).count(&*transaction).await.map_err(from_db)? >= PENDING_MAX {
            let detail = format!("a queue has at most {PENDING_MAX} entries before it");
            return Err(Error::refused(Code::ScheduleFull, detail));
        }
        let row = schedule::ActiveModel {
            queue_id: Set(queue.id),
            made_at: Set(audit.at),
            made_by: Set(audit.operator.clone()),
            ..row_of(plan)?
        };
        let entry = Entry::try_from(row.insert(&*transaction).await.map_err(from_db)?)?;
        audit.change(None, Some(&entry)).insert(&*transaction).await?;
        commit(transaction).await?;
        Ok(entry)
    }

    /// Puts another plan in the place of one that is open. The same one leaves no trace.
    pub async fn change_schedule(
        &self,
        (name, id): (&QueueName, EntryId),
        plan: &ScheduleTune,
        audit: NewAudit,
    ) -> Result<Entry, Error> {
        let transaction = self.begin("queue.change_schedule").await?;
        let old = locked_entry(&*transaction, name, id).await?;
        if !old.is_open(audit.at) {
            return Err(done());
        }
        if old.is(plan) {
            return Ok(old);
        }
        let row = schedule::ActiveModel { id: Set(id.0), ..row_of(plan)? };
        let new = Entry::try_from(row.update(&*transaction).await.map_err(from_db)?)?;
        audit.change(Some(&old), Some(&new)).insert(&*transaction).await?;
        commit(transaction).await?;
        Ok(new)
    }

    /// Cancels an entry that is open; cancelled twice is cancelled once.
    pub async fn cancel_schedule(
        &self,
        (name, id): (&QueueName, EntryId),
        audit: NewAudit,
    ) -> Result<(), Error> {
        let transaction = self.begin("queue.cancel_schedule").await?;
        let entry = locked_entry(&*transaction, name, id).await?;
        if entry.outcome == Some(Outcome::Cancelled) {
            return Ok(());
        }
        if !entry.is_open(audit.at) {
            return Err(done());
        }
        finish(&*transaction, id, Outcome::Cancelled, audit.at).await?;
        audit.change(Some(&entry), None).insert(&*transaction).await?;
        commit(transaction).await
    }
}

/// What a queue has before it, in the order of its instants.
fn pending(queue_id: i64) -> Select<schedule::Entity> {
    schedule::Entity::find()
        .filter(schedule::Column::QueueId.eq(queue_id))
        .filter(schedule::Column::DoneAt.is_null())
        .order_by_asc(schedule::Column::At)
        .order_by_asc(schedule::Column::Id)
}

/// Carries out what is due of a queue whose row is locked, in the order of its instants and as of them; the queue as it
/// is then.
pub async fn carry_out(
    transaction: &impl ConnectionTrait,
    mut queue: Queue,
    now: i64,
) -> Result<Queue, Error> {
    let due = pending(queue.id).filter(schedule::Column::At.lte(now)).all(transaction).await;
    for row in due.map_err(from_db)? {
        let id = EntryId(row.id);
        let Ok(entry) = Entry::try_from(row) else {
            tracing::warn!(queue.name = %queue.name, entry.id = %id, "skipped what cannot be read");
            finish(transaction, id, Outcome::Skipped, now).await?;
            continue;
        };
        let audit = |action| NewAudit::of_queue(now, OPERATOR, action, &queue.name);
        let tuned =
            entry.change().and_then(|change| queue.tuned(change, entry.ramp_seconds, entry.at));
        let outcome = match tuned {
            Ok(tuned) => {
                let audit = audit("policy.tune");
                queue = change_policy(transaction, queue, tuned, audit).await?;
                Outcome::Applied
            }
            Err(error) => {
                tracing::warn!(queue.name = %queue.name, entry.id = %entry.entry_id, %error, "skipped what was planned");
                let audit = audit("schedule.skip");
                audit.change(Some(&entry), None).insert(transaction).await?;
                Outcome::Skipped
            }
        };
        finish(transaction, entry.entry_id, outcome, now).await?;
    }
    Ok(queue)
}

/// The trigger `a_done_entry_stays_done` refuses a second time.
async fn finish(
    transaction: &impl ConnectionTrait,
    id: EntryId,
    outcome: Outcome,
    now: i64,
) -> Result<(), Error> {
    let row = schedule::ActiveModel {
        id: Set(id.0),
        done_at: Set(Some(now)),
        outcome: Set(Some(outcome.as_str().to_owned())),
        ..Default::default()
    };
    row.update(transaction).await.map(drop).map_err(from_db)
}

/// An entry of a queue whose row is locked by this.
async fn locked_entry(
    transaction: &impl ConnectionTrait,
    name: &QueueName,
    id: EntryId,
) -> Result<Entry, Error> {
    let queue = locked(transaction, name).await?;
    let row = schedule::Entity::find_by_id(id.0)
        .filter(schedule::Column::QueueId.eq(queue.id))
        .one(transaction)
        .await;
    let missing =
        || Error::refused(Code::ScheduleNotFound, format!("there is no entry {id} in this queue"));
    row.map_err(from_db)?.map(Entry::try_from).ok_or_else(missing)?
}

fn done() -> Error {
    Error::refused(Code::ScheduleDone, "this entry is cancelled, or its instant has come")
}

fn row_of(plan: &ScheduleTune) -> Result<schedule::ActiveModel, Error> {
    let patch = serde_json::to_string(&plan.policy).map_err(|error| Error::Internal {
        context: "a change of policy is not JSON",
        source: error.into(),
    })?;
    Ok(schedule::ActiveModel {
        at: Set(plan.at),
        patch: Set(patch),
        ramp_seconds: Set(plan.ramp_seconds),
        ..Default::default()
    })
}

impl TryFrom<schedule::Model> for Entry {
    type Error = Error;

    fn try_from(row: schedule::Model) -> Result<Self, Error> {
        let stored =
            |outcome: String| Outcome::ALL.into_iter().find(|known| known.as_str() == outcome);
        let policy = RawValue::from_string(row.patch).map_err(|error| Error::Internal {
            context: "the database holds a patch that is not JSON",
            source: error.into(),
        })?;
        Ok(Self {
            entry_id: EntryId(row.id),
            at: row.at,
            policy,
            ramp_seconds: row.ramp_seconds,
            made_at: row.made_at,
            made_by: row.made_by,
            done_at: row.done_at,
            outcome: row.outcome.and_then(stored),
        })
    }
}
