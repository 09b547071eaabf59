//! `usher ctl emergency-pause`: stops admission, in bad moments too, and looks whether it stopped.
//!
//! May not live here: who may be let in; the mode says that, and the server.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{ArgGroup, Args};
use futures_util::future::join_all;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::args::queue_name;
use super::client::Api;
use super::request::{mode, read};
use super::{json, print};
use crate::clock::Clock;

/// Whoever is silent for so long is passed over.
pub const DEADLINE: Duration = Duration::from_secs(3);
/// A change of policy is visible to admission on every instance by then.
const EFFECT: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").required(true).args(["names", "all"])))]
pub struct EmergencyPause {
    #[arg(value_name = "QUEUE", value_parser = queue_name)]
    names: Vec<String>,
    /// Every queue.
    #[arg(long)]
    all: bool,
    /// Open these queues again. Not with --all, which would open those that were paused before.
    #[arg(long, conflicts_with = "all")]
    resume: bool,
}

/// A queue that was told to stop.
struct Stopped<'a> {
    name: &'a str,
    ordered_at: i64,
}

pub async fn run(api: &Api, wish: &EmergencyPause) -> anyhow::Result<()> {
    let names = if wish.all { all(api).await? } else { wish.names.clone() };
    let orders = names.iter().map(async |name| {
        if wish.resume { resume(api, name).await } else { pause(api, name).await }
    });
    let faults = join_all(orders).await.into_iter().zip(&names);
    let faults: Vec<_> = faults
        .filter_map(|(outcome, name)| Some(format!("{name}: {:#}", outcome.err()?)))
        .collect();
    if !faults.is_empty() {
        bail!("{}", faults.join("; "));
    }
    Ok(())
}

async fn all(api: &Api) -> anyhow::Result<Vec<String>> {
    let list = json(&api.send(&read("/admin/queues")).await?)?;
    let queues = list["queues"].as_array().context("no list of queues")?;
    Ok(queues.iter().filter_map(|queue| Some(queue["name"].as_str()?.to_owned())).collect())
}

async fn resume(api: &Api, name: &str) -> anyhow::Result<()> {
    api.send(&mode(name, "open")).await?;
    print(&format!("{name} is open"))
}

async fn pause(api: &Api, name: &str) -> anyhow::Result<()> {
    match stop(api, name).await? {
        Some(stopped) => stopped.watch(api).await,
        None => Ok(()),
    }
}

/// A queue that nobody may join stays so: `paused` would let people join.
async fn stop<'a>(api: &Api, name: &'a str) -> anyhow::Result<Option<Stopped<'a>>> {
    let policy = json(&api.send(&read(format!("/admin/queues/{name}/policy"))).await?)?;
    let was = policy["mode"].as_str().unwrap_or_default();
    let to = match was {
        "paused" | "closed" => {
            print(&format!("{name} was {was} already"))?;
            return Ok(None);
        }
        "draining" => "closed",
        _ => "paused",
    };
    let ordered_at = Clock::system().now_ms();
    api.send(&mode(name, to)).await?;
    let took = Clock::system().now_ms() - ordered_at;
    print(&format!("{name} is {to}, within {took} ms; it was {was}"))?;
    Ok(Some(Stopped { name, ordered_at }))
}

impl Stopped<'_> {
    /// Says how long it took. The error is that somebody was let in when nobody should have been.
    async fn watch(&self, api: &Api) -> anyhow::Result<()> {
        let look = async || {
            tokio::time::sleep(EFFECT).await;
            let figures = figures(api, self.name).await;
            figures.context("it does not say whether anybody was let in")
        };
        let (before, after) = (look().await?, look().await?);
        print(&self.judged(&before, &after))?;
        if self.failed(&before, &after) {
            bail!("somebody was let in later than a second after the order");
        }
        Ok(())
    }

    fn failed(&self, before: &Figures, after: &Figures) -> bool {
        after.admitted > before.admitted || self.took(after) > EFFECT.as_millis()
    }

    /// From the order to the last admission.
    fn took(&self, after: &Figures) -> u128 {
        let took = after.last_at.map_or(0, |last| last - self.ordered_at);
        u128::try_from(took).unwrap_or(0)
    }

    /// By what was known a second after the order, and after another one.
    fn judged(&self, before: &Figures, after: &Figures) -> String {
        let (name, late, took) = (self.name, after.admitted - before.admitted, self.took(after));
        let mut said = format!(
            "{name}: the last was let in {took} ms after the order; {late} later than a second after it\n"
        );
        if after.planned > 0 {
            let _ = writeln!(
                said,
                "{name}: what is planned still happens: usher ctl schedule list {name}"
            );
        }
        said
    }
}

struct Figures {
    admitted: i64,
    last_at: Option<i64>,
    planned: usize,
}

async fn figures(api: &Api, name: &str) -> anyhow::Result<Figures> {
    let queue = json(&api.send(&read(format!("/admin/queues/{name}"))).await?)?;
    let plan = json(&api.send(&read(format!("/admin/queues/{name}/schedule"))).await?)?;
    Ok(Figures {
        admitted: queue["admitted_total"].as_i64().context("no admitted_total")?,
        last_at: instant(&queue["last_admitted_at"]),
        planned: plan["pending"].as_array().map_or(0, Vec::len),
    })
}

fn instant(text: &Value) -> Option<i64> {
    let at = OffsetDateTime::parse(text.as_str()?, &Rfc3339).ok()?;
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()
}

#[cfg(test)]
mod tests {
    use super::{Figures, Stopped};

    #[test]
    fn whoever_is_let_in_afterwards_is_told_of_and_so_is_the_schedule() {
        let stopped = Stopped { name: "main", ordered_at: 10_000 };
        let figures = |admitted, last_at, planned| Figures { admitted, last_at, planned };
        let judged = |before, after| stopped.judged(&before, &after);
        assert_eq!(
            judged(figures(7, Some(10_040), 0), figures(7, Some(10_040), 0)),
            "main: the last was let in 40 ms after the order; 0 later than a second after it\n"
        );
        let late = judged(figures(7, Some(9_000), 0), figures(9, Some(11_900), 1));
        assert!(late.starts_with("main: the last was let in 1900 ms after the order; 2 later"));
        assert!(late.contains("usher ctl schedule list main"), "{late}");
        let nobody = judged(figures(0, None, 0), figures(0, None, 0));
        assert!(nobody.contains(" 0 ms after the order; 0 later"), "{nobody}");
    }

    #[test]
    fn a_second_after_the_order_is_late_whenever_it_was_looked_at() {
        let stopped = Stopped { name: "main", ordered_at: 10_000 };
        let figures = |admitted, last_at| Figures { admitted, last_at: Some(last_at), planned: 0 };
        assert!(!stopped.failed(&figures(7, 11_000), &figures(7, 11_000)));
        assert!(stopped.failed(&figures(7, 11_001), &figures(7, 11_001)));
        assert!(stopped.failed(&figures(7, 10_900), &figures(8, 10_900)));
    }
}
