//! Draws: announced here, each in one transaction with its audit row. They open with a change of policy, in `queues.rs`.

use sea_orm::{ActiveModelTrait, ActiveValue::Set, ConnectionTrait};
use serde::Serialize;

use super::Queue;
use super::epochs::listed;
use super::queues::locked;
use crate::error::{Code, Error};
use crate::ids::{Epoch, QueueName, QueueNumber};
use crate::queue::draw::Seed;
use crate::queue::policy::Mode;
use crate::sql::audit::NewAudit;
use crate::sql::entity::queue;
use crate::sql::{Sql, commit, from_db};

/// A draw as the audit keeps it: without its secret.
#[derive(Serialize)]
struct Audited {
    commitment: String,
    epoch: Epoch,
}

impl Queue {
    /// Whether a draw is announced and not opened.
    pub fn has_draw_on(&self) -> bool {
        self.draw.as_ref().is_some_and(|draw| draw.opened_at.is_none())
    }

    /// As which the owner of a number came to the draw, if it is a number of it.
    pub fn draw_number(&self, number: QueueNumber) -> Option<i64> {
        self.draw.as_ref()?.draw_number(number)
    }

    /// What was drawn in the epochs that are lost, and in this one if it is lost before that is known for good.
    pub(super) fn draw_lost_with(&self, drawn: i64) -> String {
        let Some(draw) = &self.draw else { return String::new() };
        let this = draw.size.is_none().then_some(drawn);
        let counts = draw.lost.iter().copied().chain(this);
        listed(counts)
    }

    fn audited_draw(&self) -> Option<Audited> {
        let draw = self.draw.as_ref()?;
        Some(Audited { commitment: draw.seed.commitment(), epoch: draw.epoch })
    }
}

impl Sql {
    /// Announces the draw of a queue that is paused and has none.
    pub async fn announce_draw(
        &self,
        name: &QueueName,
        seed: &Seed,
        audit: NewAudit,
    ) -> Result<Queue, Error> {
        let transaction = self.begin("queue.announce_draw").await?;
        let old = locked(&*transaction, name).await?;
        if old.draw.is_some() {
            let detail = "this queue has its draw already; another draw needs another queue";
            return Err(Error::refused(Code::DrawExists, detail));
        }
        if old.policy.mode != Mode::Paused {
            let detail = "a draw is announced while the queue is paused";
            return Err(Error::refused(Code::QueueInUse, detail));
        }
        let row = queue::ActiveModel {
            id: Set(old.id),
            version: Set(old.version + 1),
            changed_at: Set(audit.at),
            draw_seed: Set(Some(seed.hex())),
            draw_epoch: Set(Some(old.epoch)),
            draw_announced_at: Set(Some(audit.at)),
            ..Default::default()
        };
        let queue = Queue::try_from(row.update(&*transaction).await.map_err(from_db)?)?;
        audit.change(None, queue.audited_draw().as_ref()).insert(&*transaction).await?;
        commit(transaction).await?;
        Ok(queue)
    }

    /// Takes back a draw that somebody in the line has come before. One that is opened stays.
    pub async fn withdraw_draw(&self, name: &QueueName, audit: NewAudit) -> Result<Queue, Error> {
        let transaction = self.begin("queue.withdraw_draw").await?;
        let old = locked(&*transaction, name).await?;
        if !old.has_draw_on() {
            return Ok(old);
        }
        let row = queue::ActiveModel {
            id: Set(old.id),
            version: Set(old.version + 1),
            changed_at: Set(audit.at),
            draw_seed: Set(None),
            draw_epoch: Set(None),
            draw_announced_at: Set(None),
            ..Default::default()
        };
        let queue = Queue::try_from(row.update(&*transaction).await.map_err(from_db)?)?;
        audit.change(old.audited_draw().as_ref(), None).insert(&*transaction).await?;
        commit(transaction).await?;
        Ok(queue)
    }

    /// Notes how many were drawn: Redis says it once the draw is over, and it never changes.
    pub async fn note_draw_size(&self, queue_id: i64, size: i64) -> Result<(), Error> {
        let transaction = self.begin("queue.note_draw_size").await?;
        let note = "UPDATE queue SET draw_size = $2
                    WHERE id = $1 AND draw_opened_at IS NOT NULL AND draw_size IS NULL";
        let statement = self.statement(note, [queue_id.into(), size.into()]);
        transaction.execute_raw(statement).await.map_err(from_db)?;
        commit(transaction).await
    }
}
