//! Money: balances, top-ups and payments. In SQL alone, where payments of many people share
//! transactions; Redis never sees money.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, clippy::as_conversions))]

pub mod http;
pub mod ledger;
pub mod sql;

use std::sync::Arc;

use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::booking::Bookings;
use crate::clock::Clock;
use crate::crash_point;
use crate::error::{Code, Error};
use crate::ids::{BookingId, IdempotencyKey, UserId};
use crate::sql::Sql;
use crate::sql::writer::Writer;
pub use ledger::{AMOUNT_MAX, BALANCE_MAX, Movement, Transfer, TransferKind};
pub use sql::Paid;

/// Balances and payments.
#[derive(Clone)]
pub struct Payments {
    inner: Arc<Inner>,
}

struct Inner {
    sql: Sql,
    clock: Clock,
    bookings: Bookings,
    payments: Writer<PayBooking>,
    /// What is told to Redis after the answer is told before the process stops.
    work: TaskTracker,
}

/// A wish to pay for a booking.
#[derive(Debug, PartialEq, Eq)]
pub struct PayBooking {
    pub user: UserId,
    pub booking: BookingId,
    pub key: Option<IdempotencyKey>,
}

/// A wish to add money to a balance.
#[derive(Debug)]
pub struct TopUp {
    pub user: UserId,
    pub amount: i64,
    pub key: Option<IdempotencyKey>,
}

impl Payments {
    pub fn new(sql: Sql, clock: Clock, bookings: Bookings, work: TaskTracker) -> Self {
        let payments = Writer::new(sql.clone(), clock.clone());
        Self { inner: Arc::new(Inner { sql, clock, bookings, payments, work }) }
    }

    /// Pays once, however often it is asked; every repetition gets the same receipt.
    pub async fn pay(&self, wish: PayBooking) -> Result<Transfer, Error> {
        match self.inner.payments.grant(Arc::new(wish)).await? {
            Paid::Before { receipt } => {
                #[cfg(feature = "broken")]
                self.inner.sql.debit_apart(&receipt).await?;
                Ok(receipt)
            }
            Paid::Now { receipt, booking, turn_ended } => {
                metrics::counter!("usher_payments_total").increment(1);
                metrics::counter!("usher_seats_sold_total")
                    .increment(u64::try_from(booking.seats.len()).unwrap_or_default());
                tracing::info!(booking.id = booking.id.0, amount = booking.amount, "booking paid");
                self.tell_redis(booking, turn_ended);
                Ok(receipt)
            }
        }
    }

    /// Redis hears of it after the answer: a seat it forgets to mark is refused by SQL, a turn it keeps is looked up.
    fn tell_redis(&self, booking: crate::booking::Booking, turn_ended: bool) {
        let bookings = self.inner.bookings.clone();
        let told = async move {
            bookings.sold(&booking).await;
            if let Some(line) =
                bookings.queues().line_of_id(booking.queue_id).filter(|_| turn_ended)
            {
                bookings.turn_ended(&line, booking.user, booking.number).await;
            }
            crash_point!("pay.after_redis");
        };
        self.inner.work.spawn(told.in_current_span());
    }

    /// Adds money; with a key, once.
    pub async fn top_up(&self, wish: &TopUp) -> Result<Transfer, Error> {
        if !(1..=AMOUNT_MAX).contains(&wish.amount) {
            let reason = format!("is a whole number of minor units from 1 to {AMOUNT_MAX}");
            return Err(Error::field(Code::InvalidAmount, "/balance", reason));
        }
        let transfer = self.inner.sql.top_up(wish, &self.inner.clock).await?;
        metrics::counter!("usher_top_ups_total").increment(1);
        Ok(transfer)
    }

    /// The balance; somebody without an account has 0.
    pub async fn balance(&self, user: UserId) -> Result<i64, Error> {
        self.inner.sql.balance(user).await
    }

    /// Every movement of a person's money, newest first.
    pub async fn history(
        &self,
        user: UserId,
        limit: u64,
        before: Option<i64>,
    ) -> Result<Vec<Transfer>, Error> {
        self.inner.sql.transfers_of(user, limit, before).await
    }
}
