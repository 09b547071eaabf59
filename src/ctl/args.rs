//! What an operator may type after `usher ctl`, and the small grammars of its values.
//!
//! May not live here: requests and output. Bounds are left to the server: it knows them all.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{ArgGroup, Args, Subcommand};
use reqwest::Url;
use serde_json::{Number, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::concert::Tier;
use super::emergency::EmergencyPause;
use super::lead::LeadRate;
use super::schedule::Schedule;

/// `usher ctl …`: operate a running Usher.
#[derive(Debug, Args)]
pub struct Ctl {
    #[command(flatten)]
    pub(super) reach: Reach,
    /// Print the API's JSON instead of a table.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Where the operators' listener is, and what opens it.
#[derive(Debug, Args)]
pub struct Reach {
    /// The operators' listener; of several instances, with commas, the first that is there.
    #[arg(long = "url", global = true, env = "USHER_ADMIN_URL", value_name = "URL")]
    #[arg(value_parser = base_url, value_delimiter = ',', default_value = "http://127.0.0.1:8081")]
    pub urls: Vec<Url>,
    /// The operators' key. Better given in the environment, or left to the server's key file:
    /// other users of the machine can read a command line.
    #[arg(long, global = true, env = "USHER_ADMIN_KEY", hide_env_values = true)]
    pub key: Option<Key>,
    /// The server's data directory, whose admin.key serves when no key is given.
    #[arg(long, global = true, env = "USHER_DATA_DIR", default_value = "var", value_name = "DIR")]
    pub data_dir: PathBuf,
}

/// The operators' key; its `Debug` does not show it.
#[derive(Clone)]
pub struct Key(pub String);

/// What a command prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    Table,
    Json,
    Etag,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    #[command(flatten)]
    Ask(Ask),
    /// Lead the rate by latency and errors: up by a step while all is well, down by a share when it is not.
    HoldRate(LeadRate),
    /// Stop admission now, and look whether anybody is let in afterwards.
    EmergencyPause(EmergencyPause),
}

/// What is one request.
#[derive(Debug, Subcommand)]
pub enum Ask {
    /// Queues: what waits, what is active, how fast it moves.
    #[command(subcommand)]
    Queues(Queues),
    /// The policy of a queue: rate, capacity, mode, message.
    #[command(subcommand)]
    Policy(Policy),
    /// Changes of a policy at an instant: an opening, a ramp, a closing.
    #[command(subcommand)]
    Schedule(Schedule),
    /// The draw with which a queue may open: who joins before gets his place by it.
    #[command(subcommand)]
    Draw(Draw),
    /// Admit the next COUNT people now, whatever the rate and the mode; never above the cap.
    Admit {
        #[arg(value_parser = queue_name)]
        name: String,
        count: u64,
        /// Sent again with the same key, the same admission is not made twice.
        #[arg(long, value_name = "KEY", value_parser = header_text)]
        idempotency_key: Option<String>,
    },
    /// Stop admission; people may still join.
    Pause {
        #[arg(value_parser = queue_name)]
        name: String,
    },
    /// Open the queue again.
    Resume {
        #[arg(value_parser = queue_name)]
        name: String,
    },
    /// What became of a sale: people, turns, holds, money, and the rate by the minute. Exit code 1 when the books do not
    /// add up.
    Report {
        #[arg(value_parser = queue_name)]
        name: String,
        /// Write it as a page with charts, too.
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
    },
    /// Concerts: what is sold, and how much of it is left.
    #[command(subcommand)]
    Concerts(Concerts),
    /// Who changed what, newest first.
    Audit {
        #[arg(long, value_name = "NAME", value_parser = queue_name)]
        queue: Option<String>,
        #[arg(long)]
        limit: Option<u64>,
        /// Only entries older than this audit id: the `next` of the page before.
        #[arg(long, value_name = "AUDIT_ID")]
        before: Option<u64>,
    },
    /// Check the books: seats, money, turns. Exit code 1 when something does not add up.
    Check,
    /// How the instance is that answers: its machines, their clocks, its settings.
    Health,
}

#[derive(Debug, Subcommand)]
pub enum Queues {
    /// All queues.
    List,
    /// One queue and its policy.
    Show {
        #[arg(value_parser = queue_name)]
        name: String,
    },
    /// Open a new queue; what no flag names is the default.
    Create {
        #[arg(value_parser = queue_name)]
        name: String,
        #[command(flatten)]
        policy: Box<PolicyFlags>,
    },
}

#[derive(Debug, Subcommand)]
pub enum Draw {
    /// The commitment; once the queue is open, the seed.
    Show {
        #[arg(value_parser = queue_name)]
        name: String,
    },
    /// Commit to a seed, on a queue that is paused and that nobody has joined.
    Announce {
        #[arg(value_parser = queue_name)]
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum Policy {
    /// The whole policy and its ETag.
    Show {
        #[arg(value_parser = queue_name)]
        name: String,
        /// Print the ETag alone.
        #[arg(long)]
        etag: bool,
    },
    /// Change what the flags name, and nothing else.
    #[command(mut_group("PolicyFlags", |group| group.required(true)))]
    Set {
        #[arg(value_parser = queue_name)]
        name: String,
        #[command(flatten)]
        policy: Box<PolicyFlags>,
        /// Change it only while this is the policy's ETag.
        #[arg(long, value_name = "ETAG", value_parser = etag)]
        if_match: Option<String>,
        /// Print the new ETag alone.
        #[arg(long)]
        etag: bool,
    },
}

/// One flag for each field of a policy, in the order of the contract.
#[derive(Debug, Default, Args)]
#[group(id = "PolicyFlags", multiple = true)]
pub struct PolicyFlags {
    /// People admitted a second; fractions are allowed (0.0167 is one a minute).
    #[arg(long, value_name = "NUMBER", value_parser = number)]
    pub rate_per_second: Option<Value>,
    /// People admitted at once after a lull; `auto` follows the rate.
    #[arg(long, value_name = "NUMBER|auto", value_parser = number_or_auto)]
    pub burst: Option<Value>,
    /// Turns at once.
    #[arg(long, value_name = "COUNT")]
    pub active_max: Option<u64>,
    /// How long a turn lasts.
    #[arg(long, value_name = "SECONDS")]
    pub session_seconds: Option<u64>,
    /// How long an admitted person may take to turn up.
    #[arg(long, value_name = "SECONDS")]
    pub claim_seconds: Option<u64>,
    /// How long seats are held for payment.
    #[arg(long, value_name = "SECONDS")]
    pub hold_seconds: Option<u64>,
    /// Seats in one booking.
    #[arg(long, value_name = "COUNT")]
    pub seats_per_booking_max: Option<u64>,
    /// Seats a person may hold or buy per concert; `none` lifts the limit.
    #[arg(long, value_name = "COUNT|none", value_parser = count_or_none)]
    pub seats_per_user_max: Option<Value>,
    /// Who may join, and whether people are admitted.
    #[arg(long, value_parser = ["open", "paused", "draining", "closed", "passthrough"])]
    pub mode: Option<String>,
    /// Shown to everybody who waits; '' removes it.
    #[arg(long, value_name = "TEXT")]
    pub message: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Concerts {
    /// All concerts and their stock.
    List,
    /// One concert with its tiers.
    Show {
        #[arg(value_name = "ID")]
        id: u64,
    },
    /// Put a concert on sale, from a file in the API's form or from flags.
    #[command(group(ArgGroup::new("new").args(["file", "title"]).required(true)))]
    Create(NewConcert),
    /// Change what the flags name.
    #[command(group(ArgGroup::new("change").required(true).multiple(true)
        .args(["title", "place", "starts_at", "queue"])))]
    Change {
        #[arg(value_name = "ID")]
        id: u64,
        #[arg(long)]
        title: Option<String>,
        #[arg(long)]
        place: Option<String>,
        /// Unix seconds, or an instant such as 2031-05-01T20:00:00+09:00.
        #[arg(long, value_name = "INSTANT", value_parser = instant)]
        starts_at: Option<i64>,
        /// Refused once the concert has bookings.
        #[arg(long, value_name = "NAME", value_parser = queue_name)]
        queue: Option<String>,
    },
}

#[derive(Debug, Args)]
pub struct NewConcert {
    /// The body of POST /admin/concerts, sent as it is; `-` reads it from stdin.
    #[arg(value_name = "FILE.json", conflicts_with_all = ["place", "starts_at", "queue", "tiers"])]
    pub file: Option<PathBuf>,
    #[arg(long, requires_all = ["place", "starts_at", "tiers"])]
    pub title: Option<String>,
    #[arg(long)]
    pub place: Option<String>,
    /// Unix seconds, or an instant such as 2031-05-01T20:00:00+09:00.
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    pub starts_at: Option<i64>,
    /// The queue people wait in (default main).
    #[arg(long, value_name = "NAME", value_parser = queue_name)]
    pub queue: Option<String>,
    /// One for each price, e.g. Stalls:50000:A-J:50 (rows A to J, seats A-1 … J-50)
    /// or Box:90000:L,R:6.
    #[arg(long = "tier", id = "tiers", value_name = "NAME:PRICE:ROWS:PER_ROW")]
    pub tiers: Vec<Tier>,
}

impl Ctl {
    pub(super) fn output(&self) -> Output {
        match &self.command {
            Command::Ask(Ask::Policy(
                Policy::Show { etag: true, .. } | Policy::Set { etag: true, .. },
            )) => Output::Etag,
            _ if self.json => Output::Json,
            _ => Output::Table,
        }
    }
}

impl FromStr for Key {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

fn base_url(text: &str) -> Result<Url, String> {
    match Url::parse(text) {
        Ok(url) if url.scheme() == "http" && url.has_host() => Ok(url),
        Ok(_) => {
            Err("an address such as http://127.0.0.1:8081 is expected; TLS is not spoken"
                .to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Checked here because the name becomes part of a path.
pub(super) fn queue_name(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    match text.len() {
        1..=32 if text.bytes().all(allowed) => Ok(text.to_owned()),
        _ => Err("a queue's name is 1 to 32 of a-z, 0-9 and -".to_owned()),
    }
}

fn header_text(text: &str) -> Result<String, String> {
    match text.len() {
        1..=255 if text.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(text.to_owned()),
        _ => Err("1 to 255 visible ASCII characters without spaces are expected".to_owned()),
    }
}

/// A shell eats the quotes of `"7"`; they are part of an ETag, so they are put back.
fn etag(text: &str) -> Result<String, String> {
    let text = header_text(text)?;
    let complete = text == "*" || text.starts_with('"') || text.starts_with("W/");
    Ok(if complete { text } else { format!("\"{text}\"") })
}

/// The number as it was typed: JSON's grammar keeps out `NaN` and `inf`.
fn number(text: &str) -> Result<Value, String> {
    text.parse::<Number>().map(Value::Number).map_err(|_| "a number is expected".to_owned())
}

fn number_or_auto(text: &str) -> Result<Value, String> {
    if text == "auto" { Ok(Value::Null) } else { number(text) }
}

fn count_or_none(text: &str) -> Result<Value, String> {
    match text {
        "none" => Ok(Value::Null),
        _ => text
            .parse::<u64>()
            .map(Value::from)
            .map_err(|_| "a count or `none` is expected".to_owned()),
    }
}

fn instant(text: &str) -> Result<i64, String> {
    text.parse().or_else(|_| {
        OffsetDateTime::parse(text, &Rfc3339).map(OffsetDateTime::unix_timestamp).map_err(|_| {
            "Unix seconds or an instant such as 2031-05-01T20:00:00Z is expected".to_owned()
        })
    })
}
