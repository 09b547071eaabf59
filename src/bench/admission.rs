//! `usher bench admission`: a line that has gathered is let go, and how quickly it moves is what SQL, Redis and the
//! tick between them can do.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::{Args, value_parser};
use serde::Serialize;
use serde_json::json;
use tokio::time::sleep;

use super::crowd::join_all;
use super::meter::{Meter, Spent};
use super::people::{Person, Status};
use super::progress;
use super::redis::Scripts;
use super::report::{Report, findings, rounded};
use super::server::{Shop, Site};

/// Measured until this part of the line is in: the rest is what a full line stands on.
const ADMITTED_PART: f64 = 0.9;
/// How often the last in line asks; the answer is at most 200 ms old.
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// A line that does not move for so long does not move at all.
const STILL_MAX: Duration = Duration::from_secs(60);
/// The longest that a turn can wait to be claimed: nobody comes for these.
const CLAIM_SECONDS: u64 = 86_400;
const ACTIVE_MAX: u64 = 1_000_000;

#[derive(Debug, Args)]
pub struct Admission {
    /// People waiting when the doors open.
    #[arg(long, value_name = "COUNT", default_value_t = 100_000)]
    #[arg(value_parser = value_parser!(u64).range(100..=1_000_000))]
    waiting: u64,
    /// Admissions a second that the policy allows.
    #[arg(long, value_name = "RATE", default_value_t = 20_000)]
    #[arg(value_parser = value_parser!(u64).range(1..=20_000))]
    rate: u64,
}

#[derive(Debug, Serialize)]
struct Found {
    people_waiting: u64,
    rate_per_second: u64,
    admitted: u64,
    seconds: f64,
    admitted_per_second: f64,
    /// Of whole seconds in which the line moved from their first moment to their last.
    slowest_second: u64,
    server_cpu_us_per_admission: f64,
    redis_cpu_us_per_admission: f64,
    redis_commands_per_admission: f64,
    script_calls: u64,
    script_seconds: f64,
    script_p99_ms: f64,
    script_slowest_ms: Option<f64>,
}

/// Where the line stood, and when.
#[derive(Clone, Copy)]
struct Look {
    after: Duration,
    admitted: u64,
}

impl Admission {
    pub async fn measure(&self, site: &mut Site) -> anyhow::Result<Report> {
        let shop = site.open(&[]).await?;
        let policy = json!({
            "mode": "paused", "rate_per_second": self.rate, "burst": 1, "active_max": ACTIVE_MAX,
            "claim_seconds": CLAIM_SECONDS,
        });
        shop.operator.tune("main", &policy).await?;
        join_all(shop.public, "main", 1..self.waiting, |_| true).await?;
        let mut last = Person::join(&shop, "main", self.waiting).await?;
        let mut meter = Meter::new(shop.process()?, shop.redis().await?).await?;
        meter.redis.watch_scripts().await?;
        let before = meter.read().await?;
        let looks = self.open(&shop, &mut last).await?;
        let spent = meter.read().await?.since(before);
        let scripts = meter.redis.scripts().await?;
        // Nobody is admitted while the rows are looked at.
        shop.operator.tune("main", &json!({ "mode": "paused" })).await?;
        let check = shop.operator.check().await?;
        let mut broken = check.broken();
        broken.extend(check.peak("main")?.broken());
        let found = self.found(&looks, spent, scripts)?;
        found.report(site, broken)
    }

    /// From the opening of the doors until the last in line is far enough in front.
    async fn open(&self, shop: &Shop, last: &mut Person) -> anyhow::Result<Vec<Look>> {
        let enough = (self.waiting as f64 * ADMITTED_PART) as u64;
        let bar = progress::steps("people are admitted", enough)?;
        let began = Instant::now();
        shop.operator.tune("main", &json!({ "mode": "open" })).await?;
        let mut looks = vec![Look { after: Duration::ZERO, admitted: 0 }];
        let mut moved = began;
        loop {
            let before = looks.last().context("there is a first look")?.admitted;
            let place = last.poll().await?;
            let admitted = match place.status {
                Status::Active => self.waiting,
                Status::Over => bail!("the last in line lost the turn"),
                Status::Waiting => {
                    let position = place.position.context("the last place is in doubt")?;
                    self.waiting.saturating_sub(position)
                }
            };
            if admitted > before {
                moved = Instant::now();
                looks.push(Look { after: began.elapsed(), admitted });
                bar.set_position(admitted);
            }
            if admitted >= enough {
                bar.finish_and_clear();
                return Ok(looks);
            }
            if moved.elapsed() > STILL_MAX {
                bail!("the line stopped moving after {admitted} admissions");
            }
            sleep(LOOK_PAUSE).await;
        }
    }

    fn found(&self, looks: &[Look], spent: Spent, scripts: Scripts) -> anyhow::Result<Found> {
        let Look { after, admitted } = *looks.last().context("nobody looked")?;
        let micros = |cpu: Duration| rounded(cpu.as_secs_f64() * 1e6 / admitted as f64);
        Ok(Found {
            people_waiting: self.waiting,
            rate_per_second: self.rate,
            admitted,
            seconds: rounded(after.as_secs_f64()),
            admitted_per_second: rounded(admitted as f64 / after.as_secs_f64()),
            slowest_second: slowest_second(looks),
            server_cpu_us_per_admission: micros(spent.server_cpu),
            redis_cpu_us_per_admission: micros(spent.redis_cpu),
            redis_commands_per_admission: rounded(spent.redis_commands as f64 / admitted as f64),
            script_calls: scripts.calls,
            script_seconds: rounded(scripts.seconds),
            script_p99_ms: rounded(scripts.p99_ms),
            script_slowest_ms: scripts.slowest_ms,
        })
    }
}

impl Found {
    fn report(self, site: &Site, broken: Vec<String>) -> anyhow::Result<Report> {
        let Self { people_waiting, rate_per_second, .. } = self;
        let how = format!("{people_waiting} people waiting, {rate_per_second} a second allowed");
        let slowest = self.script_slowest_ms;
        let table = findings(
            "Admission",
            [
                ("admitted", format!("{} in {:.1} s", self.admitted, self.seconds)),
                ("admitted a second", format!("{:.0}", self.admitted_per_second)),
                ("in the slowest second", self.slowest_second.to_string()),
                ("server CPU µs each", format!("{:.1}", self.server_cpu_us_per_admission)),
                ("Redis CPU µs each", format!("{:.1}", self.redis_cpu_us_per_admission)),
                ("Redis commands each", format!("{:.2}", self.redis_commands_per_admission)),
                ("script calls", format!("{}, {:.2} s", self.script_calls, self.script_seconds)),
                ("script call, p99 ms", format!("{:.2}", self.script_p99_ms)),
                (
                    "script call, slowest ms",
                    slowest.map_or("< 1".to_owned(), |ms| format!("{ms:.2}")),
                ),
                ("promises broken", broken.len().to_string()),
            ],
        );
        Report::of(site, &how, &self, &[table], broken)
    }
}

/// The fewest that were admitted in any second of the clock, the first and the last left out: they are not whole.
fn slowest_second(looks: &[Look]) -> u64 {
    let by = |second: u64| {
        looks
            .iter()
            .take_while(|look| look.after.as_secs() < second)
            .last()
            .map_or(0, |look| look.admitted)
    };
    let seconds = looks.last().map_or(0, |look| look.after.as_secs());
    (1..seconds).map(|second| by(second + 1) - by(second)).min().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_second_is_a_whole_one() {
        let look = |millis, admitted| Look { after: Duration::from_millis(millis), admitted };
        let looks =
            [look(0, 0), look(900, 10), look(1_900, 110), look(2_900, 160), look(3_100, 161)];
        assert_eq!(slowest_second(&looks), 50);
    }
}
