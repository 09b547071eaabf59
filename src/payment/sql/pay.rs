//! Paying in SQL, many bookings in one transaction: for each of them the booking, the balance, the ledger and the seats
//! change together. What the rows say is read in `seen.rs`; here it is decided, and then written.

use std::collections::HashMap;
use std::sync::Arc;

use sea_orm::{ConnectionTrait, DatabaseTransaction};
use serde_json::json;

use super::seen::{BOOKING, Seen, see};
use super::{Recorded, following};
use crate::booking::{Booking, BookingStatus, missing};
use crate::clock::Clock;
use crate::crash_point;
use crate::error::{Code, Error};
use crate::ids::{IdempotencyKey, UserId};
use crate::payment::{Movement, PayBooking, Transfer, TransferKind};
use crate::sql::entity::turn;
use crate::sql::rows::list;
use crate::sql::writer::{Answers, Wish};
use crate::sql::{Sql, commit, from_db};

/// What paying came to.
#[derive(Clone, Debug)]
pub enum Paid {
    /// This request paid.
    Now { receipt: Transfer, booking: Booking, turn_ended: bool },
    /// An earlier one did; this is its receipt.
    Before { receipt: Transfer },
}

impl Wish for PayBooking {
    type Granted = Paid;
    /// Turn, booking, account and keys are one person's.
    type Thing = UserId;

    fn things(&self) -> Vec<UserId> {
        vec![self.user]
    }

    fn key(&self) -> Option<&IdempotencyKey> {
        self.key.as_ref()
    }

    async fn grant(wishes: &[Arc<Self>], sql: &Sql, clock: &Clock) -> Result<Answers<Self>, Error> {
        sql.pay(wishes, clock).await
    }

    fn again(granted: &Paid) -> Paid {
        let (Paid::Now { receipt, .. } | Paid::Before { receipt }) = granted;
        Paid::Before { receipt: receipt.clone() }
    }
}

/// A payment that nothing speaks against.
struct Payment<'a> {
    booking: &'a Booking,
    recorded: Recorded<'a>,
    turn: Option<&'a turn::Model>,
    held_until: i64,
}

impl Sql {
    async fn pay(
        &self,
        wishes: &[Arc<PayBooking>],
        clock: &Clock,
    ) -> Result<Answers<PayBooking>, Error> {
        let transaction = self.begin("payment.pay").await?;
        let seen = see((self, &transaction), wishes, clock).await?;
        let (mut answers, mut payments) = (Vec::with_capacity(wishes.len()), Vec::new());
        for wish in wishes {
            answers.push(seen.decide(wish).map(|decided| match decided {
                Decided::Before(receipt) => Some(Paid::Before { receipt }),
                Decided::Now(payment) => {
                    payments.push(*payment);
                    None
                }
            }));
        }
        let mut receipts = HashMap::new();
        if !payments.is_empty() {
            receipts = self.write(&transaction, &payments, seen.now).await?;
            crash_point!("pay.before_commit");
            commit(transaction).await?;
            crash_point!("pay.after_commit");
        }
        let mut payments = payments.into_iter();
        let answers = answers.into_iter().map(|answer| match answer? {
            Some(paid) => Ok(paid),
            None => payments
                .next()
                .and_then(|payment| payment.done(&mut receipts))
                .ok_or_else(|| Error::bug("a payment was not recorded")),
        });
        Ok(answers.collect())
    }

    /// Writes payments; their receipts, by person.
    async fn write(
        &self,
        transaction: &DatabaseTransaction,
        payments: &[Payment<'_>],
        now: i64,
    ) -> Result<HashMap<UserId, Transfer>, Error> {
        let recorded: Vec<&Recorded<'_>> =
            payments.iter().map(|payment| &payment.recorded).collect();
        let receipts = self.record(transaction, &recorded, now).await?;
        crash_point!("pay.after_debit");
        let ids = || list(payments.iter().map(|payment| json!({"booking_id": payment.booking.id})));
        let rows = self.rows(&BOOKING[..1]);
        // The seats are sold for ever.
        let sell = format!(
            "UPDATE seat_claim SET until = NULL FROM {rows} WHERE seat_claim.booking_id = v.booking_id"
        );
        transaction.execute_raw(self.statement(&sell, [ids()])).await.map_err(from_db)?;
        let pay = format!(
            "UPDATE booking SET status = 'paid', paid_at = $2 FROM {rows} WHERE booking.id = v.booking_id"
        );
        let statement = self.statement(&pay, [ids(), now.into()]);
        transaction.execute_raw(statement).await.map_err(from_db)?;
        self.end_turns_unless_held(transaction, payments, now).await?;
        Ok(receipts.into_iter().map(|receipt| (receipt.user, receipt)).collect())
    }

    /// A turn ends with the payment of its owner's last hold; before that it counts until the others are over.
    async fn end_turns_unless_held(
        &self,
        transaction: &DatabaseTransaction,
        payments: &[Payment<'_>],
        now: i64,
    ) -> Result<(), Error> {
        let rows = self.rows(&[
            ("queue_id", "BIGINT"),
            ("seq", "BIGINT"),
            ("closes_at", "BIGINT"),
            ("ended_at", "BIGINT"),
            ("end_reason", "TEXT"),
        ]);
        let end = format!(
            "UPDATE turn SET closes_at = v.closes_at, ended_at = v.ended_at, end_reason = v.end_reason
             FROM {rows} WHERE turn.queue_id = v.queue_id AND turn.seq = v.seq"
        );
        let turns = payments.iter().filter_map(|payment| {
            let turn = payment.turn?;
            let ends = payment.ends_turn();
            let held_until = turn.ends_at.max(payment.held_until);
            Some(json!({
                "queue_id": turn.queue_id,
                "seq": turn.seq,
                "closes_at": if ends { turn.closes_at } else { held_until },
                "ended_at": ends.then_some(now),
                "end_reason": ends.then_some("paid"),
            }))
        });
        let statement = self.statement(&end, [list(turns)]);
        transaction.execute_raw(statement).await.map(drop).map_err(from_db)
    }
}

enum Decided<'a> {
    Before(Transfer),
    Now(Box<Payment<'a>>),
}

impl Seen {
    fn decide<'a>(&'a self, wish: &'a PayBooking) -> Result<Decided<'a>, Error> {
        let booking = self.bookings.get(&wish.user).ok_or_else(missing)?;
        let reference = booking.id.to_string();
        let used = self.by_key.get(&wish.user);
        if used.is_some_and(|transfer| transfer.reference != reference) {
            return Err(Error::refused(
                Code::IdempotencyKeyReuse,
                "this key paid for another booking",
            ));
        }
        match booking.status {
            BookingStatus::Held => {}
            BookingStatus::Paid => {
                let receipt = self.receipts.get(&wish.user).cloned();
                let bug = || Error::bug("a paid booking has no transfer");
                return receipt.map(Decided::Before).ok_or_else(bug);
            }
            BookingStatus::Expired => return Err(expired()),
            BookingStatus::Cancelled => {
                return Err(Error::refused(Code::BookingNotHeld, "this booking was cancelled"));
            }
        }
        let claimed = self.claimed.get(&booking.id.0).copied().unwrap_or(0);
        if self.now >= booking.expires_at || claimed != booking.seats.len() {
            return Err(expired());
        }
        let account = self.accounts.get(&wish.user);
        let (balance, version) =
            account.map_or((0, 0), |account| (account.balance, account.version));
        let movement = Movement { kind: TransferKind::Purchase, amount: booking.amount };
        let recorded = Recorded {
            user: wish.user,
            version: following(version)?,
            movement,
            balance_after: movement.applied_to(balance)?,
            reference,
            key: wish.key.as_ref(),
        };
        let turn = self.turns.get(&wish.user).filter(|turn| turn.ended_at.is_none());
        let held_until = self.held_until.get(&wish.user).copied().unwrap_or(0);
        Ok(Decided::Now(Box::new(Payment { booking, recorded, turn, held_until })))
    }
}

impl Payment<'_> {
    fn ends_turn(&self) -> bool {
        self.turn.is_some() && self.held_until == 0
    }

    fn done(self, receipts: &mut HashMap<UserId, Transfer>) -> Option<Paid> {
        let receipt = receipts.remove(&self.booking.user)?;
        let (booking, turn_ended) = (self.booking.clone(), self.ends_turn());
        Some(Paid::Now { receipt, booking, turn_ended })
    }
}

fn expired() -> Error {
    Error::refused(
        Code::HoldExpired,
        "the hold ran out before it was paid; the seats are free again",
    )
}
