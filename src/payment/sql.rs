//! Money in SQL. A payment is one transaction: the booking, the balance, the ledger and the seats change together.

use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseTransaction,
    EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};

use super::{Movement, PayBooking, TopUp, Transfer, TransferKind};
use crate::booking::sql::{held_until, locked};
use crate::booking::{Booking, BookingStatus};
use crate::chance;
use crate::clock::Clock;
use crate::error::{Code, Error};
use crate::ids::{IdempotencyKey, UserId};
use crate::sql::entity::{account, booking, seat_claim, transfer, turn};
use crate::sql::{Sql, awaited, commit, from_db, retried};

/// What paying came to.
#[derive(Debug)]
pub enum Paid {
    /// This request paid.
    Now { receipt: Transfer, booking: Booking, turn_ended: bool },
    /// An earlier one did; this is its receipt.
    Before { receipt: Transfer },
}

impl Sql {
    pub async fn pay(&self, wish: &PayBooking, clock: &Clock) -> Result<Paid, Error> {
        let outcome = retried(|| self.pay_once(wish, clock)).await;
        outcome.map_err(|error| awaited(error, wish.key.as_ref()))
    }

    async fn pay_once(&self, wish: &PayBooking, clock: &Clock) -> Result<Paid, Error> {
        let transaction = self.begin().await?;
        let (turn, row) = locked(&transaction, wish.booking, wish.user).await?;
        let booking = Booking::try_from(row)?;
        let claimed = self.lock_claims(&transaction, &booking).await?;
        let account = locked_account(&transaction, wish.user).await?;
        // Judged after every lock is held: two requests with one key meet at the account, whatever they pay for, and
        // whoever gives the seats away looks at a later clock than we do.
        let now = clock.now_ms();
        if let Some(key) = &wish.key {
            let used = by_key(&transaction, wish.user, TransferKind::Purchase, key).await?;
            if used.is_some_and(|transfer| transfer.reference != booking.id.to_string()) {
                return Err(Error::refused(
                    Code::IdempotencyKeyReuse,
                    "this key paid for another booking",
                ));
            }
        }
        match booking.status {
            BookingStatus::Held => {}
            BookingStatus::Paid => {
                return Ok(Paid::Before { receipt: receipt(&transaction, &booking).await? });
            }
            BookingStatus::Expired => return Err(expired()),
            BookingStatus::Cancelled => {
                return Err(Error::refused(Code::BookingNotHeld, "this booking was cancelled"));
            }
        }
        if now >= booking.expires_at || claimed != booking.seats.len() {
            return Err(expired());
        }
        let movement = Movement { kind: TransferKind::Purchase, amount: booking.amount };
        let reference = booking.id.to_string();
        let receipt = record(
            &transaction,
            (wish.user, account),
            movement,
            (reference, wish.key.as_ref()),
            now,
        )
        .await?;
        sell(&transaction, &booking, now).await?;
        let turn_ended = match turn.filter(|turn| turn.ended_at.is_none()) {
            Some(turn) => end_turn_unless_held(&transaction, turn, &booking, now).await?,
            None => false,
        };
        commit(transaction).await?;
        Ok(Paid::Now { receipt, booking, turn_ended })
    }

    /// Locks the seats that a booking has, by their bytes whatever the database sorts by; says how many they are.
    async fn lock_claims(
        &self,
        transaction: &DatabaseTransaction,
        booking: &Booking,
    ) -> Result<usize, Error> {
        let claims = format!(
            "SELECT seat_id FROM seat_claim WHERE booking_id = $1 {}",
            self.lock("ORDER BY seat_id COLLATE \"C\" FOR UPDATE")
        );
        let statement = self.statement(&claims, [booking.id.0.into()]);
        Ok(transaction.query_all_raw(statement).await.map_err(from_db)?.len())
    }

    pub async fn top_up(&self, wish: &TopUp, clock: &Clock) -> Result<Transfer, Error> {
        let outcome = retried(|| self.top_up_once(wish, clock)).await;
        outcome.map_err(|error| awaited(error, wish.key.as_ref()))
    }

    async fn top_up_once(&self, wish: &TopUp, clock: &Clock) -> Result<Transfer, Error> {
        let transaction = self.begin().await?;
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
        let names = (chance::name(), wish.key.as_ref());
        let transfer =
            record(&transaction, (wish.user, account), movement, names, clock.now_ms()).await?;
        commit(transaction).await?;
        Ok(transfer)
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

fn expired() -> Error {
    Error::refused(
        Code::HoldExpired,
        "the hold ran out before it was paid; the seats are free again",
    )
}

async fn locked_account(
    transaction: &DatabaseTransaction,
    user: UserId,
) -> Result<Option<account::Model>, Error> {
    let account = account::Entity::find_by_id(user.0).lock_exclusive().one(transaction).await;
    account.map_err(from_db)
}

/// Writes one movement: the balance and the ledger row that explains it.
async fn record(
    transaction: &DatabaseTransaction,
    (user, account): (UserId, Option<account::Model>),
    movement: Movement,
    (reference, key): (String, Option<&IdempotencyKey>),
    now: i64,
) -> Result<Transfer, Error> {
    let (balance, version) = account.map_or((0, 0), |account| (account.balance, account.version));
    let balance_after = movement.applied_to(balance)?;
    let changed = account::ActiveModel {
        user_id: Set(user.0),
        balance: Set(balance_after),
        version: Set(version + 1),
    };
    changed.update(transaction).await.map_err(from_db)?;
    let row = transfer::ActiveModel {
        user_id: Set(user.0),
        version: Set(version + 1),
        kind: Set(movement.kind.as_str().to_owned()),
        amount: Set(movement.amount),
        balance_after: Set(balance_after),
        reference: Set(reference),
        idem_key: Set(key.map(|key| key.as_str().to_owned())),
        at: Set(now),
        ..Default::default()
    };
    Transfer::read(row.insert(transaction).await.map_err(from_db)?)
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

async fn receipt(transaction: &DatabaseTransaction, booking: &Booking) -> Result<Transfer, Error> {
    let row = transfer::Entity::find()
        .filter(transfer::Column::Kind.eq(TransferKind::Purchase.as_str()))
        .filter(transfer::Column::Reference.eq(booking.id.to_string()))
        .one(transaction)
        .await
        .map_err(from_db)?;
    Transfer::read(row.ok_or_else(|| Error::bug("a paid booking has no transfer"))?)
}

/// The seats are sold for ever, the booking is paid.
async fn sell(transaction: &DatabaseTransaction, booking: &Booking, now: i64) -> Result<(), Error> {
    seat_claim::Entity::update_many()
        .col_expr(seat_claim::Column::Until, Expr::value(None::<i64>))
        .filter(seat_claim::Column::BookingId.eq(booking.id.0))
        .exec(transaction)
        .await
        .map_err(from_db)?;
    let row = booking::ActiveModel {
        id: Set(booking.id.0),
        status: Set(BookingStatus::Paid.as_str().to_owned()),
        paid_at: Set(Some(now)),
        ..Default::default()
    };
    row.update(transaction).await.map(drop).map_err(from_db)
}

/// A turn ends with the payment of its owner's last hold.
async fn end_turn_unless_held(
    transaction: &DatabaseTransaction,
    turn: turn::Model,
    booking: &Booking,
    now: i64,
) -> Result<bool, Error> {
    let others = held_until(transaction, booking, now).await?;
    let mut row = turn::ActiveModel {
        queue_id: Set(turn.queue_id),
        seq: Set(turn.seq),
        ..Default::default()
    };
    if others > 0 {
        row.closes_at = Set(turn.ends_at.max(others));
    } else {
        row.ended_at = Set(Some(now));
        row.end_reason = Set(Some("paid".to_owned()));
    }
    row.update(transaction).await.map_err(from_db)?;
    Ok(others == 0)
}
