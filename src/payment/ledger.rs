//! The rules of money: what a movement does to a balance, and when it is refused. Integers only, every step checked.

use serde::Serialize;
use utoipa::ToSchema;

use crate::error::{Code, Error};
use crate::ids::UserId;

/// The most one movement may carry, in minor units.
pub const AMOUNT_MAX: i64 = 1_000_000_000;
/// The most a balance may hold, in minor units.
pub const BALANCE_MAX: i64 = 1_000_000_000_000;

/// Which way money moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TransferKind {
    /// From outside to the person.
    TopUp,
    /// From the person to the shop's sales.
    Purchase,
}

impl TransferKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TopUp => "topup",
            Self::Purchase => "purchase",
        }
    }

    /// Reads what the database holds; the constraint `transfer_kind_is_known` lets nothing else in.
    pub fn stored(text: &str) -> Result<Self, Error> {
        [Self::TopUp, Self::Purchase]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| Error::bug("the ledger holds an unknown kind"))
    }
}

/// A movement that is about to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Movement {
    pub kind: TransferKind,
    /// Always positive: the kind says the direction.
    pub amount: i64,
}

impl Movement {
    /// The balance after it, or why it cannot be.
    pub fn applied_to(self, balance: i64) -> Result<i64, Error> {
        let after = match self.kind {
            TransferKind::TopUp => balance.checked_add(self.amount),
            TransferKind::Purchase => balance.checked_sub(self.amount),
        };
        match (self.kind, after) {
            (_, Some(after)) if (0..=BALANCE_MAX).contains(&after) => Ok(after),
            (TransferKind::TopUp, _) => Err(Error::refused(
                Code::BalanceLimit,
                format!("a balance is at most {BALANCE_MAX}"),
            )),
            (TransferKind::Purchase, _) => {
                let detail = format!("the balance is {balance}, the booking costs {}", self.amount);
                Err(Error::refused(Code::InsufficientBalance, detail))
            }
        }
    }
}

/// A movement that happened: a row of the ledger, and the receipt for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    pub id: i64,
    pub user: UserId,
    pub kind: TransferKind,
    pub amount: i64,
    pub balance_after: i64,
    /// The booking of a purchase; the key, or a fresh name, of a top-up.
    pub reference: String,
    pub at: i64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_purchase_beyond_the_balance_is_refused_and_so_is_a_balance_beyond_its_limit() {
        let purchase = Movement { kind: TransferKind::Purchase, amount: 11 };
        assert_eq!(purchase.applied_to(10).unwrap_err().code(), Code::InsufficientBalance);
        assert_eq!(purchase.applied_to(11).unwrap(), 0);
        let top_up = Movement { kind: TransferKind::TopUp, amount: 1 };
        assert_eq!(top_up.applied_to(BALANCE_MAX).unwrap_err().code(), Code::BalanceLimit);
    }

    proptest! {
        #[test]
        fn no_sequence_of_movements_leaves_the_bounds_or_loses_a_unit(
            steps in prop::collection::vec((any::<bool>(), 1..=AMOUNT_MAX), 0..200),
        ) {
            let (mut balance, mut sum) = (0_i64, 0_i128);
            for (inward, amount) in steps {
                let kind = if inward { TransferKind::TopUp } else { TransferKind::Purchase };
                if let Ok(after) = (Movement { kind, amount }).applied_to(balance) {
                    balance = after;
                    sum += i128::from(amount) * if inward { 1 } else { -1 };
                }
                prop_assert!((0..=BALANCE_MAX).contains(&balance));
                prop_assert_eq!(i128::from(balance), sum);
            }
        }
    }
}
