//! The audit trail: who changed what, from what, to what. Rows are only ever added.

use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter,
    QueryOrder, QuerySelect,
};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::entity::audit;
use super::{Sql, from_db};
use crate::clock::rfc3339;
use crate::error::Error;
use crate::ids::{IdempotencyKey, QueueName};

/// One thing an operator did.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditEntry {
    pub audit_id: i64,
    #[schema(format = DateTime)]
    pub at: String,
    pub operator: String,
    /// What was done, such as `policy.tune`.
    pub action: String,
    /// To what, such as `queue:main`.
    pub target: String,
    /// How it was; `null` for something new.
    #[schema(value_type = Option<Value>, required)]
    pub before: Option<Box<RawValue>>,
    /// How it is.
    #[schema(value_type = Option<Value>, required)]
    pub after: Option<Box<RawValue>>,
}

/// An audit row on its way into the transaction that changes the thing itself.
#[derive(Debug)]
pub struct NewAudit {
    pub at: i64,
    pub operator: String,
    pub action: &'static str,
    pub target: String,
    pub key: Option<IdempotencyKey>,
    before: Option<String>,
    after: Option<String>,
}

impl NewAudit {
    pub fn new(at: i64, operator: &str, action: &'static str, target: String) -> Self {
        Self {
            at,
            operator: operator.to_owned(),
            action,
            target,
            key: None,
            before: None,
            after: None,
        }
    }

    pub fn of_queue(at: i64, operator: &str, action: &'static str, queue: &QueueName) -> Self {
        Self::new(at, operator, action, format!("queue:{queue}"))
    }

    pub fn with_key(self, key: Option<IdempotencyKey>) -> Self {
        Self { key, ..self }
    }

    /// Says how the thing was and how it is.
    pub fn change<T: Serialize>(self, before: Option<&T>, after: Option<&T>) -> Self {
        let text = |value: Option<&T>| value.and_then(|value| serde_json::to_string(value).ok());
        Self { before: text(before), after: text(after), ..self }
    }

    pub async fn insert(self, transaction: &impl ConnectionTrait) -> Result<(), Error> {
        let row = audit::ActiveModel {
            at: Set(self.at),
            operator: Set(self.operator),
            action: Set(self.action.to_owned()),
            target: Set(self.target),
            before: Set(self.before),
            after: Set(self.after),
            idem_key: Set(self.key.map(|key| key.as_str().to_owned())),
            ..Default::default()
        };
        row.insert(transaction).await.map(drop).map_err(from_db)
    }

    /// The row that the same key wrote before, if it did.
    pub async fn same_key(
        &self,
        transaction: &impl ConnectionTrait,
    ) -> Result<Option<audit::Model>, Error> {
        let Some(key) = &self.key else { return Ok(None) };
        audit::Entity::find()
            .filter(audit::Column::Action.eq(self.action))
            .filter(audit::Column::Target.eq(&self.target))
            .filter(audit::Column::IdemKey.eq(key.as_str()))
            .one(transaction)
            .await
            .map_err(from_db)
    }
}

impl Sql {
    /// The trail, newest first, `limit` entries older than `before`.
    pub async fn audit(
        &self,
        queue: Option<&QueueName>,
        limit: u64,
        before: Option<i64>,
    ) -> Result<Vec<AuditEntry>, Error> {
        let mut query = audit::Entity::find();
        if let Some(queue) = queue {
            query = query.filter(audit::Column::Target.eq(format!("queue:{queue}")));
        }
        if let Some(before) = before {
            query = query.filter(audit::Column::Id.lt(before));
        }
        let rows = query
            .order_by_desc(audit::Column::Id)
            .limit(limit)
            .all(self.reader())
            .await
            .map_err(from_db)?;
        Ok(rows.into_iter().map(AuditEntry::from).collect())
    }
}

impl From<audit::Model> for AuditEntry {
    fn from(row: audit::Model) -> Self {
        let raw = |text: Option<String>| text.and_then(|text| RawValue::from_string(text).ok());
        Self {
            audit_id: row.id,
            at: rfc3339(row.at),
            operator: row.operator,
            action: row.action,
            target: row.target,
            before: raw(row.before),
            after: raw(row.after),
        }
    }
}
