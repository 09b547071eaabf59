//! What happened, one record a line: the run, each request with its outcome, each fault. Clients and faults write it, the
//! checker reads it; nothing is judged here.

use serde::{Deserialize, Serialize};

/// One line of a history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// The first line.
    Run(Run),
    Op(Op),
    Fault(Fault),
}

/// The run: its seed, and the settings that bound what may happen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub seed: u64,
    /// Unix milliseconds at which the run's clock showed zero.
    pub began_at_ms: i64,
    /// `sqlite` or `postgres`.
    pub database: String,
    pub instances: u32,
    pub queue: String,
    pub poll_ms_max: i64,
    pub claim_ms: i64,
    pub session_ms: i64,
    pub hold_ms: i64,
    pub grace_ms: i64,
    pub rate_per_second: f64,
    pub burst: f64,
    pub active_max: i64,
    pub seats_per_booking_max: i64,
    pub seats_per_user_max: Option<i64>,
    /// How far the clock of an instance may have been off: instants of rows are told by those who wrote them.
    #[serde(default)]
    pub skew_ms: i64,
}

/// A request and what became of it. Instants are microseconds of one monotonic clock, from the start of the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Op {
    pub id: u64,
    pub user: i64,
    pub instance: String,
    pub begun_us: i64,
    pub ended_us: i64,
    /// Who asks is up to no good: he presents what is over, or is not his.
    #[serde(default)]
    pub adversary: bool,
    /// The person that the body names, where it is not who asks: nobody may act for him.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<i64>,
    pub call: Call,
    pub outcome: Outcome,
}

/// What was asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case")]
pub enum Call {
    Join,
    /// `number`: the queue number in the token that was sent.
    Poll {
        number: i64,
    },
    Leave {
        number: i64,
    },
    Hold {
        number: i64,
        concert: i64,
        seats: Vec<String>,
        key: Option<String>,
    },
    Cancel {
        booking: i64,
    },
    Pay {
        booking: i64,
        key: Option<String>,
    },
    TopUp {
        amount: i64,
        key: Option<String>,
    },
    Balance,
    Booking {
        booking: i64,
    },
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// 2xx: it is done.
    Ok { answer: Answer, digest: u64 },
    /// 4xx: it had no effect.
    Refused { status: u16, code: String, digest: u64 },
    /// 5xx, 429, or no answer at all: it may have happened, at any later time.
    Unknown { status: Option<u16>, code: Option<String>, why: String },
}

/// The part of an answer that promises something.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// `number`: of the token that was returned, or that was sent.
    Waiting {
        number: i64,
        position: Option<i64>,
        reason: Option<String>,
        poll_after_ms: i64,
    },
    Active {
        number: i64,
        expires_at_ms: i64,
    },
    Held {
        booking: i64,
        seats: Vec<String>,
        amount: i64,
        expires_at_ms: i64,
    },
    Paid {
        booking: i64,
    },
    /// Left, or cancelled.
    Gone,
    Balance {
        balance: i64,
    },
    Booking {
        booking: i64,
        status: String,
        seats: Vec<String>,
    },
}

/// What was done to a machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// The fault's name, as the table counts it.
    pub kind: String,
    /// What it was done to: an instance, `redis`, `postgres`, a connection.
    pub target: String,
    pub begun_us: i64,
    /// When the machine was whole again.
    pub healed_us: i64,
    /// Anything that helps a reader: a crash point, an answer that was forged.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}
