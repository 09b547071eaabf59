//! The rules of selling that can be left out one at a time, and the promises that they keep.

/// What selling promises. The letters are those of the list of promises; S3 cannot be broken here, where only a request to pay
/// pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Promise {
    /// S1.
    SoldOnce,
    /// S2, S6: every seat of a paid booking is its own, for ever.
    Owned,
    /// S4.
    Definite,
    /// S5, for as long as any instance's clock says that the hold lasts.
    Exclusive,
    /// S8.
    InTime,
    /// R5: who pays by a clock that says he may does not find his seats given away.
    Lasts,
    /// M1, M6.
    Ledger,
    /// M3.
    PaidOnce,
    /// M5.
    Solvent,
    /// M4, I2, I3; with it I1, since answers are read from what the key has made.
    KeyOnce,
}

impl Promise {
    pub const ALL: [Self; 10] = [
        Self::SoldOnce,
        Self::Owned,
        Self::Definite,
        Self::Exclusive,
        Self::InTime,
        Self::Lasts,
        Self::Ledger,
        Self::PaidOnce,
        Self::Solvent,
        Self::KeyOnce,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::SoldOnce => "no seat is sold twice",
            Self::Owned => "a paid booking has its seats",
            Self::Definite => "what was told to have failed had no effect",
            Self::Exclusive => "no two people are told that they have a seat",
            Self::InTime => "nobody pays after the end of his hold",
            Self::Lasts => "a hold lasts as long as its owner may pay",
            Self::Ledger => "every balance is explained by its ledger",
            Self::PaidOnce => "a booking is paid if, and only if, it was charged once",
            Self::Solvent => "no balance is below zero",
            Self::KeyOnce => "a key has one effect",
        }
    }
}

/// A rule of holding, paying, cancelling or adding money.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Only SQL grants: what Redis marked is no answer.
    SqlGrants,
    /// No instance serves whose clock differs by more than GRACE from another's.
    ClocksAgree,
    /// A lapsed hold is taken over when GRACE has passed as well.
    TakeOverGrace,
    /// A lapsed hold is marked as expired when GRACE has passed as well.
    SweepGrace,
    /// A seat has one row, which is looked at again as it is written: `ON CONFLICT … WHERE`.
    SeatKey,
    /// Paying and cancelling lock the booking before they judge it.
    BookingLock,
    /// Paying locks the booking's seats before it counts them.
    SeatLock,
    /// Paying counts the seats that the booking still has.
    SeatsCounted,
    /// An account is locked before its balance is read; behind the lock, its versions are unique.
    AccountLock,
    /// Instants are judged by a clock that was read when every lock was held.
    ClockAfterLocks,
    /// A purchase beyond the balance is refused.
    BalanceGuard,
    /// Debit and sale are one commit.
    OneCommit,
    /// The key of a hold is looked up, and unique.
    HoldKey,
    /// The key of a payment is looked up, and unique.
    PayKey,
    /// The key of a top-up is looked up, and unique.
    TopUpKey,
    /// A commit of which nothing was heard is not told to have failed.
    UnknownIsUnknown,
}
