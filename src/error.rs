//! The one error of the house. It knows neither HTTP nor drivers: `redis/` and `sql/` translate into it,
//! `http/reply.rs` translates it out.

use std::time::Duration;

use serde::Serialize;

use crate::ids::{QueueName, SeatId};

/// What went wrong, in the order a reader asks: can the caller fix it, should he try again, or is it our bug?
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller can fix it; nothing was changed.
    #[error("{detail}")]
    Refused { code: Code, detail: String },
    /// A body with fields that are wrong; nothing was changed.
    #[error("{} field(s) of the body are wrong", problems.len())]
    InvalidFields { code: Code, problems: Vec<FieldProblem> },
    /// The person still waits.
    #[error("this token is still waiting in line")]
    NotAdmitted { position: Option<i64>, retry_after: Duration },
    /// The token belongs to another queue than what was asked for.
    #[error("this needs a token of the queue `{queue}`")]
    WrongQueue { queue: QueueName },
    /// Somebody else has these seats.
    #[error("somebody else has some of these seats")]
    SeatsTaken { taken: Vec<SeatId> },

    /// Not now: the same request may succeed later.
    #[error("{detail}")]
    Busy { code: Code, detail: String, retry_after: Duration },
    /// A machine that we need does not answer.
    #[error("{machine} is not available")]
    Unavailable { machine: Machine, source: Source },
    /// The change was sent and its answer was lost: it may have happened.
    #[error("the outcome is unknown; send the same request again")]
    OutcomeUnknown { source: Source },

    /// Our bug.
    #[error("{context}")]
    Internal { context: &'static str, source: Source },
}

/// What a driver said; printed once, by `http/reply.rs`.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// A machine that Usher stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    Redis,
    Sql,
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Redis => "Redis",
            Self::Sql => "the database",
        })
    }
}

/// One wrong place in a body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct FieldProblem {
    /// JSON pointer to the place (RFC 6901).
    #[schema(format = "json-pointer")]
    pub pointer: String,
    /// What is wrong there.
    pub reason: String,
}

/// The stable name of an error: the closed list of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    // The form of the request.
    InvalidJson,
    InvalidField,
    InvalidAmount,
    InvalidSeatList,
    DuplicateSeat,
    TooManySeats,
    InvalidUserId,
    InvalidId,
    InvalidQueue,
    InvalidQuery,
    InvalidHeader,
    DuplicateHeader,
    IdempotencyKeyMissing,
    InvalidIdempotencyKey,
    IdempotencyKeyReuse,
    UnsupportedMediaType,
    UnsupportedEncoding,
    PayloadTooLarge,
    UriTooLong,
    RequestTimeout,
    NotFound,
    MethodNotAllowed,
    // Who is asking.
    TokenMissing,
    TokenMalformed,
    TokenInvalid,
    TokenExpired,
    Unauthenticated,
    Forbidden,
    UserMismatch,
    // The line.
    NotAdmitted,
    TurnEnded,
    WrongQueue,
    QueueClosed,
    QueueNotFound,
    QueueExists,
    QueueFull,
    QueueRebuilding,
    // Seats and money.
    ConcertNotFound,
    ConcertHasBookings,
    SaleClosed,
    SeatNotFound,
    SeatTaken,
    PurchaseLimit,
    BookingNotFound,
    BookingNotHeld,
    HoldExpired,
    InsufficientBalance,
    BalanceLimit,
    // Operators.
    PolicyChanged,
    ScheduleNotFound,
    ScheduleDone,
    ScheduleFull,
    QueueInUse,
    DrawNotFound,
    DrawExists,
    DrawNotOpened,
    // Try again.
    RateLimited,
    Overloaded,
    Unavailable,
    OutcomeUnknown,
    // Our bug.
    Internal,
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.serialize(f)
    }
}

impl Error {
    /// The same for somebody else who waited for the same answer.
    pub fn shared(&self) -> Self {
        let said = |source: &Source| source.to_string().into();
        match self {
            Self::Busy { code, detail, retry_after } => {
                Self::Busy { code: *code, detail: detail.clone(), retry_after: *retry_after }
            }
            Self::Unavailable { machine, source } => {
                Self::Unavailable { machine: *machine, source: said(source) }
            }
            Self::OutcomeUnknown { source } => Self::OutcomeUnknown { source: said(source) },
            Self::Internal { context, source } => Self::Internal { context, source: said(source) },
            Self::WrongQueue { queue } => Self::WrongQueue { queue: queue.clone() },
            refused => Self::refused(refused.code(), refused.to_string()),
        }
    }

    /// A refusal that says nothing beyond its code and a sentence.
    pub fn refused(code: Code, detail: impl Into<String>) -> Self {
        Self::Refused { code, detail: detail.into() }
    }

    /// One wrong field.
    pub fn field(code: Code, pointer: &str, reason: impl Into<String>) -> Self {
        let problem = FieldProblem { pointer: pointer.to_owned(), reason: reason.into() };
        Self::InvalidFields { code, problems: vec![problem] }
    }

    /// The turn of this token is over, whatever ended it.
    pub fn turn_ended() -> Self {
        Self::refused(
            Code::TurnEnded,
            "the turn of this token is over; ask for a new token to line up again",
        )
    }

    /// The state of the queue in Redis is in doubt: nobody is admitted until it is certain again.
    pub fn queue_rebuilding() -> Self {
        Self::Busy {
            code: Code::QueueRebuilding,
            detail: "the line is not certain of its state; places are kept".to_owned(),
            retry_after: Duration::from_secs(2),
        }
    }

    /// A bug of ours that has no driver's error behind it.
    pub fn bug(context: &'static str) -> Self {
        Self::Internal { context, source: context.into() }
    }

    /// The name by which clients and logs know this error.
    pub fn code(&self) -> Code {
        match self {
            Self::Refused { code, .. }
            | Self::InvalidFields { code, .. }
            | Self::Busy { code, .. } => *code,
            Self::NotAdmitted { .. } => Code::NotAdmitted,
            Self::WrongQueue { .. } => Code::WrongQueue,
            Self::SeatsTaken { .. } => Code::SeatTaken,
            Self::Unavailable { .. } => Code::Unavailable,
            Self::OutcomeUnknown { .. } => Code::OutcomeUnknown,
            Self::Internal { .. } => Code::Internal,
        }
    }
}
