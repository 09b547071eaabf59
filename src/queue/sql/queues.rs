//! Queues and their policies. A change of policy and its audit row are one transaction.

use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait,
    ActiveValue::{NotSet, Set},
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};

use serde::Serialize;

use super::schedule::carry_out;
use crate::error::{Code, Error};
use crate::ids::{Epoch, QueueName};
use crate::queue::draw::{Draw, Seed};
use crate::queue::policy::{Mode, Policy, PolicyView, TunePolicy};
use crate::queue::ramp::{Ramp, RampView};
use crate::sql::audit::NewAudit;
use crate::sql::entity::queue;
use crate::sql::{Sql, commit, from_db, violated};

/// A queue as SQL knows it.
#[derive(Clone, Debug)]
pub struct Queue {
    pub id: i64,
    pub name: QueueName,
    pub epoch: Epoch,
    /// The Redis server that holds this epoch's state; `None` until the queue was first opened there.
    pub lineage: Option<String>,
    /// When the epoch began.
    pub epoch_at: i64,
    /// How many had arrived in each of the latest epochs that are over, newest first.
    pub arrived: Vec<i64>,
    pub version: i64,
    pub changed_at: i64,
    /// Turns ever granted by hand.
    pub manual_total: i64,
    pub policy: Policy,
    /// How the rate came, or comes, to the policy's.
    pub ramp: Option<Ramp>,
    /// The draw that it opens with.
    pub draw: Option<Draw>,
}

/// A policy as the audit keeps it.
#[derive(Serialize)]
struct Audited {
    #[serde(flatten)]
    policy: PolicyView,
    #[serde(skip_serializing_if = "Option::is_none")]
    ramp: Option<RampView>,
}

/// Which version of a policy the operator believes to be changing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    Any,
    Version(i64),
}

impl Sql {
    pub async fn create_queue(
        &self,
        name: &QueueName,
        policy: &Policy,
        audit: NewAudit,
    ) -> Result<Queue, Error> {
        let transaction = self.begin("queue.create_queue").await?;
        let row = queue::ActiveModel {
            name: Set(name.to_string()),
            epoch: Set(1),
            version: Set(1),
            changed_at: Set(audit.at),
            manual_total: Set(0),
            ..row_of(policy)
        };
        let model = row.insert(&*transaction).await.map_err(|error| {
            if violated(&error, "queue_name_is_unique") || violated(&error, "queue.name") {
                Error::refused(Code::QueueExists, format!("there is a queue `{name}` already"))
            } else {
                from_db(error)
            }
        })?;
        audit.change(None, Some(&PolicyView::from(policy))).insert(&*transaction).await?;
        commit(transaction).await?;
        Queue::try_from(model)
    }

    /// Queues that changed since `since`, an instant of any instance's clock: ask with some overlap.
    pub async fn queues_changed(&self, since: i64) -> Result<Vec<Queue>, Error> {
        let rows = queue::Entity::find()
            .filter(queue::Column::ChangedAt.gte(since))
            .order_by_asc(queue::Column::Id)
            .all(self.reader())
            .await
            .map_err(from_db)?;
        rows.into_iter().map(Queue::try_from).collect()
    }

    pub async fn queue_named(&self, name: &QueueName) -> Result<Option<Queue>, Error> {
        let row = queue::Entity::find()
            .filter(queue::Column::Name.eq(name.as_str()))
            .one(self.reader())
            .await;
        row.map_err(from_db)?.map(Queue::try_from).transpose()
    }

    /// Changes a policy if it still has the expected version; the row is the truth from then on. What the schedule has
    /// due comes before it: by hand is later, so it has the last word.
    pub async fn tune(
        &self,
        name: &QueueName,
        (change, expected): (TunePolicy, Expected),
        due_by: i64,
        audit: NewAudit,
    ) -> Result<Queue, Error> {
        let transaction = self.begin("queue.tune").await?;
        let old = locked(&*transaction, name).await?;
        let old = carry_out(&*transaction, old, due_by).await?;
        // What is wrong by itself is said first: a precondition is for what would be done otherwise (RFC 9110, 13.2.1).
        let tuned = old.tuned(change, None, audit.at)?;
        if let Expected::Version(version) = expected
            && version != old.version
        {
            return Err(Error::refused(
                Code::PolicyChanged,
                "somebody else changed this policy since it was read",
            ));
        }
        let queue = change_policy(&*transaction, old, tuned, audit).await?;
        commit(transaction).await?;
        Ok(queue)
    }

    /// Grants `count` turns by hand. The same key grants once.
    pub async fn grant_by_hand(
        &self,
        name: &QueueName,
        count: i64,
        audit: NewAudit,
    ) -> Result<Queue, Error> {
        let transaction = self.begin("queue.grant_by_hand").await?;
        let old = locked(&*transaction, name).await?;
        if let Some(earlier) = audit.same_key(&*transaction).await? {
            return if earlier.after.as_deref() == Some(count.to_string().as_str()) {
                Ok(old)
            } else {
                Err(Error::refused(
                    Code::IdempotencyKeyReuse,
                    "this key granted another number of turns",
                ))
            };
        }
        if old.has_draw_on() {
            let detail = "nobody is admitted before the draw is opened";
            return Err(Error::refused(Code::DrawNotOpened, detail));
        }
        let row = queue::ActiveModel {
            id: Set(old.id),
            manual_total: Set(old.manual_total + count),
            version: Set(old.version + 1),
            changed_at: Set(audit.at),
            ..Default::default()
        };
        let model = row.update(&*transaction).await.map_err(from_db)?;
        audit.change::<i64>(None, Some(&count)).insert(&*transaction).await?;
        commit(transaction).await?;
        Queue::try_from(model)
    }

    /// Notes which Redis server holds a queue's state, if nobody noted one before. Says whether it did.
    pub async fn adopt(&self, id: i64, lineage: &str, now: i64) -> Result<bool, Error> {
        self.change_lineage(
            Condition::all().add(queue::Column::Id.eq(id)).add(queue::Column::Lineage.is_null()),
            lineage,
            now,
        )
        .await
    }

    /// Replaces one lineage by another on every queue that has it: a private Redis that was stopped cleanly.
    pub async fn replace_lineage(&self, old: &str, new: &str, now: i64) -> Result<bool, Error> {
        self.change_lineage(Condition::all().add(queue::Column::Lineage.eq(old)), new, now).await
    }

    async fn change_lineage(
        &self,
        which: Condition,
        lineage: &str,
        now: i64,
    ) -> Result<bool, Error> {
        let transaction = self.begin("queue.change_lineage").await?;
        let changed = queue::Entity::update_many()
            .col_expr(queue::Column::Lineage, Expr::value(lineage))
            .col_expr(queue::Column::ChangedAt, Expr::value(now))
            .filter(which)
            .exec(&*transaction)
            .await
            .map_err(from_db)?;
        commit(transaction).await?;
        Ok(changed.rows_affected > 0)
    }
}

/// Writes a changed policy of a queue whose row is locked, with its audit row. A change that changes nothing leaves no
/// trace.
pub async fn change_policy(
    transaction: &impl ConnectionTrait,
    old: Queue,
    new: Queue,
    audit: NewAudit,
) -> Result<Queue, Error> {
    let now = audit.at;
    let opens = new.policy.mode.admits() && old.has_draw_on();
    if new.policy == old.policy && new.ramp_at(now) == old.ramp_at(now) {
        return Ok(old);
    }
    let row = queue::ActiveModel {
        id: Set(old.id),
        version: Set(old.version + 1),
        changed_at: Set(now),
        ramp_from: Set(new.ramp.map(|ramp| ramp.from)),
        ramp_began_at: Set(new.ramp.map(|ramp| ramp.began_at)),
        ramp_ends_at: Set(new.ramp.map(|ramp| ramp.ends_at)),
        // This is the whole of an opening.
        draw_opened_at: if opens { Set(Some(now)) } else { NotSet },
        ..row_of(&new.policy)
    };
    let model = row.update(transaction).await.map_err(from_db)?;
    let [before, after] = [&old, &new].map(|queue| Audited {
        policy: PolicyView::from(&queue.policy),
        ramp: queue.ramp_view(now),
    });
    audit.change(Some(&before), Some(&after)).insert(transaction).await?;
    Queue::try_from(model)
}

/// The row of a queue, locked until the transaction ends.
pub async fn locked(transaction: &impl ConnectionTrait, name: &QueueName) -> Result<Queue, Error> {
    queue::Entity::find()
        .filter(queue::Column::Name.eq(name.as_str()))
        .lock_exclusive()
        .one(transaction)
        .await
        .map_err(from_db)?
        .map(Queue::try_from)
        .ok_or_else(|| Error::refused(Code::QueueNotFound, format!("there is no queue `{name}`")))?
}

fn row_of(policy: &Policy) -> queue::ActiveModel {
    queue::ActiveModel {
        rate_per_second: Set(policy.rate_per_second),
        burst: Set(policy.burst),
        active_max: Set(policy.active_max),
        session_seconds: Set(policy.session_seconds),
        claim_seconds: Set(policy.claim_seconds),
        hold_seconds: Set(policy.hold_seconds),
        seats_per_booking_max: Set(policy.seats_per_booking_max),
        seats_per_user_max: Set(policy.seats_per_user_max),
        mode: Set(policy.mode.as_str().to_owned()),
        message: Set(policy.message.clone()),
        ..Default::default()
    }
}

impl TryFrom<queue::Model> for Queue {
    type Error = Error;

    fn try_from(row: queue::Model) -> Result<Self, Error> {
        let ramp = (row.ramp_from, row.ramp_began_at, row.ramp_ends_at);
        let draw = (row.draw_seed.as_deref(), row.draw_epoch, row.draw_announced_at);
        Ok(Self {
            id: row.id,
            name: QueueName::parse(&row.name)?,
            epoch: row.epoch,
            lineage: row.lineage,
            epoch_at: row.epoch_at,
            arrived: counts(&row.arrived)?,
            version: row.version,
            changed_at: row.changed_at,
            manual_total: row.manual_total,
            policy: Policy {
                rate_per_second: row.rate_per_second,
                burst: row.burst,
                active_max: row.active_max,
                session_seconds: row.session_seconds,
                claim_seconds: row.claim_seconds,
                hold_seconds: row.hold_seconds,
                seats_per_booking_max: row.seats_per_booking_max,
                seats_per_user_max: row.seats_per_user_max,
                mode: Mode::stored(&row.mode)?,
                message: row.message,
            },
            // The constraint `a_ramp_is_whole` lets no part of one in.
            ramp: match ramp {
                (Some(from), Some(began_at), Some(ends_at)) => {
                    Some(Ramp { from, began_at, ends_at })
                }
                _ => None,
            },
            // Nor `a_draw_is_whole` of one.
            draw: match draw {
                (Some(seed), Some(epoch), Some(announced_at)) => Some(Draw {
                    seed: Seed::read(seed)
                        .ok_or_else(|| Error::bug("the database holds no seed"))?,
                    epoch,
                    announced_at,
                    opened_at: row.draw_opened_at,
                    lost: counts(&row.draw_lost)?,
                    size: row.draw_size,
                }),
                _ => None,
            },
        })
    }
}

/// `500,20`, as this house wrote it.
fn counts(text: &str) -> Result<Vec<i64>, Error> {
    let counts = text.split(',').filter(|count| !count.is_empty()).map(str::parse);
    counts.collect::<Result<_, _>>().map_err(|_| Error::bug("the database holds no counts"))
}
