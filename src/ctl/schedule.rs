//! `usher ctl schedule …`: what may be typed, and the request that each command is.
//!
//! May not live here: judging a plan; the server does.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::args::{PolicyFlags, queue_name};
use super::request::{Request, object, paged, patch, read, write};
use crate::clock::{Clock, rfc3339};

#[derive(Debug, Subcommand)]
pub enum Schedule {
    /// What is planned, then what became of earlier plans, newest first.
    List {
        #[arg(value_parser = queue_name)]
        name: String,
        /// Entries that are done.
        #[arg(long)]
        limit: Option<u64>,
        /// Only done entries older than this: the `next` of the page before.
        #[arg(long, value_name = "ENTRY")]
        before: Option<u64>,
    },
    /// Change what the flags name, at an instant.
    #[command(mut_group("PolicyFlags", |group| group.required(true)))]
    Add {
        #[arg(value_parser = queue_name)]
        name: String,
        #[command(flatten)]
        plan: Box<Plan>,
    },
    /// Put another plan in the place of a pending entry.
    #[command(mut_group("PolicyFlags", |group| group.required(true)))]
    Change {
        #[arg(value_parser = queue_name)]
        name: String,
        entry: u64,
        #[command(flatten)]
        plan: Box<Plan>,
    },
    /// Take a pending entry back.
    Cancel {
        #[arg(value_parser = queue_name)]
        name: String,
        entry: u64,
    },
}

/// When, what, and how gently.
#[derive(Debug, Args)]
pub struct Plan {
    /// An instant such as 2031-05-01T20:00:00+09:00, or so long from now: +90s, +10m, +2h, +1d.
    #[arg(long, value_name = "INSTANT", value_parser = instant, allow_hyphen_values = true)]
    at: String,
    #[command(flatten)]
    policy: PolicyFlags,
    /// How long the rate takes to reach --rate-per-second, from that instant on.
    #[arg(long, value_name = "SECONDS", requires = "rate_per_second")]
    ramp: Option<u64>,
}

pub fn request(command: &Schedule) -> Request {
    let path = |name: &str| format!("/admin/queues/{name}/schedule");
    match command {
        Schedule::List { name, limit, before } => paged(path(name), None, *limit, *before),
        Schedule::Add { name, plan } => write(Method::POST, path(name), &body(plan)),
        Schedule::Change { name, entry, plan } => {
            write(Method::PUT, format!("{}/{entry}", path(name)), &body(plan))
        }
        Schedule::Cancel { name, entry } => {
            Request { method: Method::DELETE, ..read(format!("{}/{entry}", path(name))) }
        }
    }
}

fn body(plan: &Plan) -> Value {
    object([
        ("at", Some(json!(plan.at))),
        ("policy", Some(patch(&plan.policy))),
        ("ramp_seconds", plan.ramp.map(Value::from)),
    ])
}

fn instant(text: &str) -> Result<String, String> {
    let later = text.strip_prefix('+').and_then(offset_ms);
    let named = || OffsetDateTime::parse(text, &Rfc3339).ok().map(|_| text.to_owned());
    later.map(|ms| rfc3339(Clock::system().now_ms() + ms)).or_else(named).ok_or_else(|| {
        "an instant such as 2031-05-01T20:00:00Z, or one from now such as +10m, is expected"
            .to_owned()
    })
}

/// `90s`, `10m`, `2h`, `1d`, at most a few years.
fn offset_ms(text: &str) -> Option<i64> {
    let (count, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    Some(i64::from(count.parse::<u16>().ok()?) * seconds * 1_000)
}

#[cfg(test)]
mod tests {
    use super::{instant, offset_ms};

    #[test]
    fn an_instant_is_named_or_so_long_from_now() {
        for (text, ms) in [("90s", 90_000), ("10m", 600_000), ("2h", 7_200_000), ("1d", 86_400_000)]
        {
            assert_eq!(offset_ms(text), Some(ms), "{text}");
        }
        let named = "2031-05-01T20:00:00+09:00";
        assert_eq!(instant(named).as_deref(), Ok(named));
        assert!(instant("+10m").unwrap().ends_with('Z'));
        for text in ["", "+", "+m", "+10", "10m", "+-1m", "+70000d", "+1ä", "tomorrow", "20:00"] {
            assert!(instant(text).is_err(), "{text}");
        }
    }
}
