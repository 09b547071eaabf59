//! The Redis of a bench: what it says of itself, over a connection of its own. It reads no key and writes none.

use anyhow::Context;
use redis::aio::MultiplexedConnection;
use redis::{Client, FromRedisValue, InfoDict, Value};

/// Redis keeps what took longer than this: enough to tell 5 ms from less, and not every call.
const SLOW_MICROS: u64 = 1_000;
/// As many slow calls are kept; the slowest of them is asked for.
const SLOW_CALLS_MAX: u64 = 100_000;

/// A Redis that is looked at.
#[derive(Clone)]
pub struct Redis(MultiplexedConnection);

/// One look.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub pid: u32,
    pub used_bytes: u64,
    /// Commands since its start: what clients sent, and what scripts did for them.
    pub commands: u64,
}

/// The scripts that were called while they were watched.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scripts {
    pub calls: u64,
    pub seconds: f64,
    pub p99_ms: f64,
    /// `None`: none took a millisecond.
    pub slowest_ms: Option<f64>,
}

impl Redis {
    pub async fn at(url: &str) -> anyhow::Result<Self> {
        let connection = Client::open(url)?.get_multiplexed_async_connection().await;
        Ok(Self(connection.context("Redis does not answer")?))
    }

    pub async fn look(&mut self) -> anyhow::Result<Look> {
        let info: InfoDict = redis::cmd("INFO").query_async(&mut self.0).await?;
        Ok(Look {
            pid: field(&info, "process_id")?,
            used_bytes: field(&info, "used_memory")?,
            commands: field(&info, "total_commands_processed")?,
        })
    }

    /// From now on it notes how long scripts take.
    pub async fn watch_scripts(&mut self) -> anyhow::Result<()> {
        redis::pipe()
            .cmd("CONFIG")
            .arg(&["SET", "slowlog-log-slower-than"])
            .arg(SLOW_MICROS)
            .arg("slowlog-max-len")
            .arg(SLOW_CALLS_MAX)
            .cmd("SLOWLOG")
            .arg("RESET")
            .cmd("CONFIG")
            .arg("RESETSTAT")
            .exec_async(&mut self.0)
            .await
            .context("Redis does not let itself be watched")
    }

    /// What it noted.
    pub async fn scripts(&mut self) -> anyhow::Result<Scripts> {
        let info: InfoDict = redis::cmd("INFO").arg("everything").query_async(&mut self.0).await?;
        let slow: Vec<Vec<Value>> =
            redis::cmd("SLOWLOG").arg("GET").arg(-1).query_async(&mut self.0).await?;
        let slowest = slow.iter().filter_map(|call| script_micros(call)).max();
        // Redis of before 7.0 keeps no percentiles.
        let p99 = part(&info, "latency_percentiles_usec_evalsha", "p99").unwrap_or_default();
        Ok(Scripts {
            calls: part(&info, "cmdstat_evalsha", "calls").unwrap_or_default() as u64,
            seconds: part(&info, "cmdstat_evalsha", "usec").unwrap_or_default() / 1e6,
            p99_ms: p99 / 1e3,
            slowest_ms: slowest.map(|micros| micros as f64 / 1e3),
        })
    }

    /// Ends it, and what it holds with it.
    pub async fn end(mut self) {
        // It ends instead of answering.
        let _ = redis::cmd("SHUTDOWN").arg("NOSAVE").exec_async(&mut self.0).await;
    }
}

fn field<T: FromRedisValue>(info: &InfoDict, name: &str) -> anyhow::Result<T> {
    info.get(name).with_context(|| format!("Redis does not tell its {name}"))
}

/// `calls` of `calls=3,usec=12,…`.
fn part(info: &InfoDict, name: &str, part: &str) -> Option<f64> {
    let told: String = info.get(name)?;
    let parts = told.split(',').filter_map(|part| part.split_once('='));
    parts.into_iter().find(|(name, _)| *name == part)?.1.parse().ok()
}

/// How long it took, if it was a script: id, instant, microseconds, words, ….
fn script_micros(call: &[Value]) -> Option<u64> {
    let words: Vec<String> = redis::from_redis_value(call.get(3)?.clone()).ok()?;
    let is_script = words.first()?.eq_ignore_ascii_case("evalsha");
    is_script.then(|| redis::from_redis_value(call[2].clone()).ok()).flatten()
}
