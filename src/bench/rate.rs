//! `usher bench rate`: whether the rate is kept, to the turn, by several servers of the same queues, also when an
//! operator changes it; and, at the end, whether the cap is.

use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{Args, value_parser};
use comfy_table::Table;
use futures_util::future::try_join_all;
use serde::Serialize;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::{Instant, sleep, sleep_until};

use super::crowd::join_all;
use super::people::Person;
use super::progress;
use super::report::{Report, rounded, table};
use super::server::{Shop, Site};

/// What an operator changes the rate to, in parts of it, when half of the time is over.
const CHANGED_TO: f64 = 0.5;
/// A change is in force everywhere within a second.
const SETTLED: Duration = Duration::from_millis(1_500);
const LOOK_PAUSE: Duration = Duration::from_millis(100);
/// Servers tick the queues that somebody asks for.
const AWAKE_PAUSE: Duration = Duration::from_secs(1);
/// Nobody comes for these turns, and none of them ends.
const CLAIM_SECONDS: u64 = 86_400;
const ACTIVE_MAX: u64 = 1_000_000;
/// At the end as many turns are free, and all servers rush for them.
const ROOM: u64 = 50;
const RUSH_RATE: u64 = 20_000;
const RUSH: Duration = Duration::from_secs(2);
/// A batch is as late as the tick that takes it, 200 ms at either end: over less than this that is more than one per cent.
const JUDGED_SECONDS_MIN: f64 = 20.0;
const ERROR_MAX: f64 = 0.01;

#[derive(Debug, Args)]
pub struct Rate {
    /// Admissions a second, each of them in a queue of its own.
    #[arg(long, value_name = "RATE,…", value_delimiter = ',', default_value = "0.5,50,2000")]
    #[arg(value_parser = rate)]
    rates: Vec<f64>,
    /// How long it is measured; half-way the rates are halved.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    #[arg(value_parser = value_parser!(u64).range(6..=3_600))]
    seconds: u64,
    /// Servers; three where they can share their stores.
    #[arg(long, value_name = "COUNT")]
    #[arg(value_parser = value_parser!(u64).range(1..=16))]
    instances: Option<u64>,
}

/// One rate in force for one stretch of time.
#[derive(Debug, Serialize)]
struct Stretch {
    rate_per_second: f64,
    measured_per_second: f64,
    turns: u64,
    seconds: f64,
    error: f64,
    /// Long enough to tell one per cent.
    judged: bool,
}

#[derive(Debug, Serialize)]
struct QueueFound {
    stretches: [Stretch; 2],
    active_max: u64,
    active_peak: u64,
}

#[derive(Debug, Serialize)]
struct Found {
    instances: usize,
    seconds: u64,
    queues: Vec<QueueFound>,
}

/// Turns opened by an instant: the instant of the last batch.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Look {
    at_ms: i64,
    turns: u64,
}

impl Rate {
    pub async fn measure(&self, site: &mut Site) -> anyhow::Result<Report> {
        let instances = self.instances.unwrap_or(if site.stores.are_shared() { 3 } else { 1 });
        let shops = site.open_all(instances, &[]).await?;
        let mut awake = Vec::new();
        for queue in 0..self.rates.len() {
            awake.extend(self.gather(&shops, queue).await?);
        }
        let whole = Duration::from_secs(self.seconds) + 2 * RUSH;
        let measuring = async {
            tokio::select! {
                found = self.watch_all(&shops) => found,
                failed = stay_awake(awake) => failed.map(|()| Vec::new()),
            }
        };
        let stretches = progress::timed("people are admitted", whole, measuring).await?;
        let check = shops[0].operator.check().await?;
        let mut broken = check.broken();
        let mut queues = Vec::new();
        for (queue, stretches) in stretches.into_iter().enumerate() {
            let peak = check.peak(&name(queue))?;
            broken.extend(peak.broken());
            broken.extend(stretches.iter().filter_map(Stretch::broken));
            let (active_max, active_peak) = (peak.active_max, peak.active_peak);
            ensure!(active_peak >= active_max, "the free turns of queue {queue} were not taken");
            queues.push(QueueFound { stretches, active_max, active_peak });
        }
        Found { instances: shops.len(), seconds: self.seconds, queues }.report(site, broken)
    }

    /// Enough people join one queue, spread over the servers; of each server one who keeps asking.
    async fn gather(&self, shops: &[Shop], queue: usize) -> anyhow::Result<Vec<Person>> {
        let (rate, name) = (self.rates[queue], name(queue));
        let policy = json!({
            "mode": "paused", "rate_per_second": rate, "burst": 1, "active_max": ACTIVE_MAX,
            "claim_seconds": CLAIM_SECONDS,
        });
        shops[0].operator.make_queue(&name, &policy).await?;
        let halves = self.seconds as f64 * (1.0 + CHANGED_TO) / 2.0;
        let turns = rate * (halves + 2.0 * SETTLED.as_secs_f64()) + 2.0 * ROOM as f64;
        let each = (turns / shops.len() as f64) as u64 + 1;
        let mut awake = Vec::new();
        for (shop, number) in shops.iter().zip(0..) {
            let first = 1 + number * (each + 1);
            join_all(shop.public, &name, first..first + each, |_| true).await?;
        }
        // They are the last in line, and never admitted.
        for (shop, number) in shops.iter().zip(1..) {
            awake.push(Person::join(shop, &name, number * (each + 1)).await?);
        }
        Ok(awake)
    }

    async fn watch_all(&self, shops: &[Shop]) -> anyhow::Result<Vec<[Stretch; 2]>> {
        // Each queue is tuned and looked at through another server.
        let watching =
            (0..self.rates.len()).map(|queue| self.watch(&shops[queue % shops.len()], queue));
        try_join_all(watching).await
    }

    async fn watch(&self, shop: &Shop, queue: usize) -> anyhow::Result<[Stretch; 2]> {
        let half = Duration::from_secs(self.seconds) / 2;
        let (rate, name) = (self.rates[queue], name(queue));
        shop.operator.tune(&name, &json!({ "mode": "open" })).await?;
        let first = Stretch::of(rate, &looks(shop, &name, half).await?);
        let rate = rate * CHANGED_TO;
        shop.operator.tune(&name, &json!({ "rate_per_second": rate })).await?;
        let second = Stretch::of(rate, &looks(shop, &name, half).await?);
        rush(shop, &name).await?;
        Ok([first?, second?])
    }
}

/// A rate that a policy takes, and that moves at all.
fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.01..=20_000.0).contains(rate));
    rate.ok_or_else(|| "is from 0.01 to 20000".to_owned())
}

fn name(queue: usize) -> String {
    format!("rate-{queue}")
}

/// Asks until something fails.
async fn stay_awake(mut people: Vec<Person>) -> anyhow::Result<()> {
    loop {
        for person in &mut people {
            person.poll().await?;
        }
        sleep(AWAKE_PAUSE).await;
    }
}

/// What was opened by and by, from when the policy has settled.
async fn looks(shop: &Shop, queue: &str, time: Duration) -> anyhow::Result<Vec<Look>> {
    let until = Instant::now() + time;
    sleep(SETTLED).await;
    let mut looks: Vec<Look> = Vec::new();
    while Instant::now() < until {
        let seen = shop.operator.queue(queue).await?;
        if let Some(at) = &seen.last_admitted_at {
            let at_ms =
                (OffsetDateTime::parse(at, &Rfc3339)?.unix_timestamp_nanos() / 1_000_000) as i64;
            let look = Look { at_ms, turns: seen.admitted_total };
            if looks.last() != Some(&look) {
                looks.push(look);
            }
        }
        sleep_until((Instant::now() + LOOK_PAUSE).min(until)).await;
    }
    Ok(looks)
}

/// Few turns are free, credit is plenty and everybody is after them.
async fn rush(shop: &Shop, queue: &str) -> anyhow::Result<()> {
    shop.operator.tune(queue, &json!({ "mode": "paused" })).await?;
    sleep(RUSH).await;
    let active_max = shop.operator.queue(queue).await?.admitted_total + ROOM;
    let policy = json!({
        "mode": "open", "rate_per_second": RUSH_RATE, "burst": RUSH_RATE, "active_max": active_max,
    });
    shop.operator.tune(queue, &policy).await?;
    sleep(RUSH).await;
    Ok(())
}

impl Stretch {
    /// Only instants of batches are compared, so the figure is exact to a turn. The first batch that was seen is left
    /// out: what it was paid from was earned before.
    fn of(rate: f64, looks: &[Look]) -> anyhow::Result<Self> {
        let first = looks.first().context("nobody was admitted")?;
        let base =
            looks.iter().find(|look| look.at_ms > first.at_ms).context("too few were admitted")?;
        let last =
            looks.last().filter(|last| last.at_ms > base.at_ms).context("too few were admitted")?;
        let (turns, seconds) = (last.turns - base.turns, (last.at_ms - base.at_ms) as f64 / 1e3);
        let measured = turns as f64 / seconds;
        Ok(Self {
            rate_per_second: rate,
            measured_per_second: rounded(measured),
            turns,
            seconds,
            error: measured / rate - 1.0,
            judged: seconds >= JUDGED_SECONDS_MIN,
        })
    }

    fn broken(&self) -> Option<String> {
        let Self { rate_per_second, measured_per_second, error, judged, .. } = self;
        (*judged && error.abs() > ERROR_MAX)
            .then(|| format!("{measured_per_second} turns a second at a rate of {rate_per_second}"))
    }
}

impl Found {
    fn report(self, site: &Site, broken: Vec<String>) -> anyhow::Result<Report> {
        let Self { instances, seconds, .. } = self;
        let how =
            format!("{instances} server(s), {seconds} s, {} queues at once", self.queues.len());
        Report::of(site, &how, &self, &[self.rates(), self.caps()], broken)
    }

    fn rates(&self) -> Table {
        let stretches = self.queues.iter().flat_map(|queue| &queue.stretches);
        let rows = stretches.map(|stretch| {
            [
                stretch.rate_per_second.to_string(),
                format!("{:.3}", stretch.measured_per_second),
                format!("{:+.2} %", stretch.error * 100.0),
                stretch.turns.to_string(),
                format!("{:.1}", stretch.seconds),
            ]
        });
        table(["Turns a second, set", "measured", "error", "turns", "seconds"], rows)
    }

    fn caps(&self) -> Table {
        let rows = self.queues.iter().map(|queue| {
            let rate = queue.stretches[0].rate_per_second;
            [
                format!("at {rate} a second"),
                queue.active_max.to_string(),
                queue.active_peak.to_string(),
            ]
        });
        table(["Turns at once", "allowed", "most"], rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_measured_between_batches() {
        let look = |at_ms, turns| Look { at_ms, turns };
        // The first batch holds what had gathered before anybody looked.
        let looks = [look(0, 70), look(1_000, 80), look(2_000, 90), look(31_000, 381)];
        let stretch = Stretch::of(10.0, &looks).unwrap();
        assert_eq!((stretch.turns, stretch.seconds), (301, 30.0));
        assert!(stretch.broken().is_none() && (stretch.error - 0.0033).abs() < 0.0001);
        assert!(Stretch::of(9.9, &looks).unwrap().broken().is_some());
        assert!(Stretch::of(10.0, &looks[..2]).is_err());
    }
}
