//! A payment without its transaction, broken on purpose; `crate::broken` says when.

use sea_orm::ConnectionTrait;

use crate::broken::{Promise, is_broken};
use crate::error::Error;
use crate::payment::Transfer;
use crate::sql::{Sql, commit, from_db};

impl Sql {
    /// Takes the money of a payment that was made before, by itself: no look at the booking, no row of the ledger.
    pub async fn debit_apart(&self, receipt: &Transfer) -> Result<(), Error> {
        if !is_broken(Promise::Payment) {
            return Ok(());
        }
        let debit =
            "UPDATE account SET balance = balance - $2 WHERE user_id = $1 AND balance >= $2";
        let debit = self.statement(debit, [receipt.user.0.into(), receipt.amount.into()]);
        let transaction = self.begin("payment.debit_apart").await?;
        transaction.execute_raw(debit).await.map_err(from_db)?;
        commit(transaction).await
    }
}
