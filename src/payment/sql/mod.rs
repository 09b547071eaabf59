//! Money in SQL: charging an account, and what the ledger says. How a booking is paid stands in `pay.rs`.

#[cfg(feature = "broken")]
mod broken;
mod pay;
mod seen;

use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, FromQueryResult, QueryFilter,
    QueryOrder, QuerySelect,
};
use serde_json::json;

use super::{Movement, TopUp, Transfer, TransferKind};
use crate::chance;
use crate::clock::Clock;
use crate::crash_point;
use crate::error::{Code, Error};
use crate::ids::{IdempotencyKey, UserId};
use crate::sql::entity::{account, transfer};
use crate::sql::rows::list;
use crate::sql::{Sql, awaited, commit, from_db, retried};

pub use pay::Paid;

/// A movement with all that its row says.
struct Recorded<'a> {
    user: UserId,
    version: i64,
    movement: Movement,
    balance_after: i64,
    reference: String,
    key: Option<&'a IdempotencyKey>,
}

impl Sql {
    pub async fn top_up(&self, wish: &TopUp, clock: &Clock) -> Result<Transfer, Error> {
        let outcome = retried(|| self.top_up_once(wish, clock)).await;
        outcome.map_err(|error| awaited(error, wish.key.as_ref()))
    }

    async fn top_up_once(&self, wish: &TopUp, clock: &Clock) -> Result<Transfer, Error> {
        let transaction = self.begin("payment.top_up").await?;
        // The account's row is the lock under which a key is looked up: two requests with one key meet here.
        let make = "INSERT INTO account (user_id, balance, version) VALUES ($1, 0, 0) ON CONFLICT (user_id) DO NOTHING";
        let made = self.statement(make, [wish.user.0.into()]);
        transaction.execute_raw(made).await.map_err(from_db)?;
        let account = locked_account(&transaction, wish.user).await?;
        if let Some(key) = &wish.key
            && let Some(before) = by_key(&transaction, wish.user, TransferKind::TopUp, key).await?
        {
            return if before.amount == wish.amount {
                Ok(before)
            } else {
                Err(Error::refused(Code::IdempotencyKeyReuse, "this key added another amount"))
            };
        }
        let movement = Movement { kind: TransferKind::TopUp, amount: wish.amount };
        let recorded = Recorded {
            user: wish.user,
            version: following(account.as_ref().map_or(0, |account| account.version))?,
            movement,
            balance_after: movement.applied_to(account.map_or(0, |account| account.balance))?,
            reference: chance::name(),
            key: wish.key.as_ref(),
        };
        let transfer = self.record(&transaction, &[&recorded], clock.now_ms()).await?.pop();
        crash_point!("topup.before_commit");
        commit(transaction).await?;
        crash_point!("topup.after_commit");
        transfer.ok_or_else(|| Error::bug("a movement was not recorded"))
    }

    /// Writes movements, at most one of each person: the balances, and the ledger's rows that explain them.
    async fn record(
        &self,
        transaction: &DatabaseTransaction,
        movements: &[&Recorded<'_>],
        now: i64,
    ) -> Result<Vec<Transfer>, Error> {
        let rows = self.rows(&[
            ("user_id", "BIGINT"),
            ("version", "BIGINT"),
            ("kind", "TEXT"),
            ("amount", "BIGINT"),
            ("balance_after", "BIGINT"),
            ("reference", "TEXT"),
            ("idem_key", "TEXT"),
        ]);
        let values = list(movements.iter().map(|recorded| {
            json!({
                "user_id": recorded.user,
                "version": recorded.version,
                "kind": recorded.movement.kind.as_str(),
                "amount": recorded.movement.amount,
                "balance_after": recorded.balance_after,
                "reference": recorded.reference,
                "idem_key": recorded.key.map(IdempotencyKey::as_str),
            })
        }));
        let balances = format!(
            "UPDATE account SET balance = v.balance_after, version = v.version FROM {rows}
             WHERE account.user_id = v.user_id"
        );
        let statement = self.statement(&balances, [values.clone()]);
        transaction.execute_raw(statement).await.map_err(from_db)?;
        let ledger = format!(
            "INSERT INTO transfer (user_id, version, kind, amount, balance_after, ref, idem_key, at)
             SELECT user_id, version, kind, amount, balance_after, reference, idem_key, $2 FROM {rows}
             ORDER BY user_id RETURNING *"
        );
        let rows = self.insert(transaction, self.statement(&ledger, [values, now.into()])).await?;
        let read = |row| transfer::Model::from_query_result(row, "").map_err(from_db);
        rows.iter().map(|row| read(row).and_then(Transfer::read)).collect()
    }

    pub async fn balance(&self, user: UserId) -> Result<i64, Error> {
        let row = account::Entity::find_by_id(user.0).one(self.reader()).await.map_err(from_db)?;
        Ok(row.map_or(0, |row| row.balance))
    }

    pub async fn transfers_of(
        &self,
        user: UserId,
        limit: u64,
        before: Option<i64>,
    ) -> Result<Vec<Transfer>, Error> {
        let mut query = transfer::Entity::find().filter(transfer::Column::UserId.eq(user.0));
        if let Some(before) = before {
            query = query.filter(transfer::Column::Id.lt(before));
        }
        let rows = query
            .order_by_desc(transfer::Column::Id)
            .limit(limit)
            .all(self.reader())
            .await
            .map_err(from_db)?;
        rows.into_iter().map(Transfer::read).collect()
    }
}

impl Transfer {
    fn read(row: transfer::Model) -> Result<Self, Error> {
        Ok(Self {
            id: row.id,
            user: UserId(row.user_id),
            kind: TransferKind::stored(&row.kind)?,
            amount: row.amount,
            balance_after: row.balance_after,
            reference: row.reference,
            at: row.at,
        })
    }
}

/// The version of an account after its next movement.
fn following(version: i64) -> Result<i64, Error> {
    version.checked_add(1).ok_or_else(|| Error::bug("an account has no version left"))
}

async fn locked_account(
    transaction: &DatabaseTransaction,
    user: UserId,
) -> Result<Option<account::Model>, Error> {
    let account = account::Entity::find_by_id(user.0).lock_exclusive().one(transaction).await;
    account.map_err(from_db)
}

async fn by_key(
    transaction: &DatabaseTransaction,
    user: UserId,
    kind: TransferKind,
    key: &IdempotencyKey,
) -> Result<Option<Transfer>, Error> {
    let row = transfer::Entity::find()
        .filter(transfer::Column::UserId.eq(user.0))
        .filter(transfer::Column::Kind.eq(kind.as_str()))
        .filter(transfer::Column::IdemKey.eq(key.as_str()))
        .one(transaction)
        .await
        .map_err(from_db)?;
    row.map(Transfer::read).transpose()
}
