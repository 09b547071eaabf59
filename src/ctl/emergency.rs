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
    let orders = names.iter().map(|name| async move {
        let outcome = if wish.resume { resume(api, name).await } else { stop(api, name).await };
        outcome.with_context(|| name.clone())
    });
    let (mut stopped, mut said, mut faults) = (Vec::new(), String::new(), Vec::new());
    for outcome in join_all(orders).await {
        match outcome {
            Ok((line, order)) => {
                let _ = writeln!(said, "{line}");
                stopped.extend(order);
            }
            Err(error) => faults.push(format!("{error:#}")),
        }
    }
    print(&said)?;
    if !stopped.is_empty() {
        faults.extend(watch(api, &stopped).await?);
    }
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

async fn resume<'a>(api: &Api, name: &str) -> anyhow::Result<(String, Option<Stopped<'a>>)> {
    api.send(&mode(name, "open")).await?;
    Ok((format!("{name} is open"), None))
}

/// A queue that nobody may join stays so: `paused` would let people join.
async fn stop<'a>(api: &Api, name: &'a str) -> anyhow::Result<(String, Option<Stopped<'a>>)> {
    let policy = json(&api.send(&read(format!("/admin/queues/{name}/policy"))).await?)?;
    let was = policy["mode"].as_str().unwrap_or_default();
    let to = match was {
        "paused" | "closed" => return Ok((format!("{name} was {was} already"), None)),
        "draining" => "closed",
        _ => "paused",
    };
    let ordered_at = Clock::system().now_ms();
    api.send(&mode(name, to)).await?;
    let took = Clock::system().now_ms() - ordered_at;
    let line = format!("{name} is {to}, within {took} ms; it was {was}");
    Ok((line, Some(Stopped { name, ordered_at })))
}

/// Says how long it took, and what is wrong: whoever was let in when nobody should have been.
async fn watch(api: &Api, stopped: &[Stopped<'_>]) -> anyhow::Result<Vec<String>> {
    tokio::time::sleep(EFFECT).await;
    let before = join_all(stopped.iter().map(|one| figures(api, one.name))).await;
    tokio::time::sleep(EFFECT).await;
    let after = join_all(stopped.iter().map(|one| figures(api, one.name))).await;
    let (mut said, mut faults) = (String::new(), Vec::new());
    for (one, figures) in stopped.iter().zip(before.into_iter().zip(after)) {
        let (Ok(before), Ok(after)) = figures else {
            faults.push(format!("{} does not say whether anybody was let in", one.name));
            continue;
        };
        said.push_str(&one.judged(&before, &after));
        let late = after.admitted - before.admitted;
        if late > 0 {
            faults.push(format!("{}: {late} were let in all the same", one.name));
        }
    }
    print(&said)?;
    Ok(faults)
}

impl Stopped<'_> {
    /// By what was known a second after the order, and after another one.
    fn judged(&self, before: &Figures, after: &Figures) -> String {
        let (name, late) = (self.name, after.admitted - before.admitted);
        let took = after.last_at.map_or(0, |last| (last - self.ordered_at).max(0));
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
}
