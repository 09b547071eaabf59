//! `usher bench no-shows`: people who are let in and never come. Their turns give their credit back, so that as many
//! arrive as the rate says.

use std::time::Duration;

use clap::{Args, value_parser};
use serde::Serialize;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::people::{Dice, Person, Status};
use super::progress;
use super::report::{Report, findings, rounded};
use super::server::Site;

/// Short, as is the longest poll interval: whoever was told to come back later than a turn waits would miss it.
const CLAIM_SECONDS: u64 = 2;
const POLL_SECONDS_MAX: u64 = 5;
/// After a policy was made, turns wait for those who were told a long interval under the one before it.
const CHANGED_SLACK_SECONDS: u64 = 15;
/// And then until the credit that was given back flows evenly.
const WARM_UP_SECONDS: u64 = POLL_SECONDS_MAX + CHANGED_SLACK_SECONDS + 5 * CLAIM_SECONDS;
const ACTIVE_MAX: u64 = 1_000_000;
/// More people than can be let in: the line does not run dry.
const SPARE: f64 = 1.3;

#[derive(Debug, Args)]
pub struct NoShows {
    /// Turns a second.
    #[arg(long, value_name = "RATE", default_value_t = 50)]
    #[arg(value_parser = value_parser!(u64).range(1..=1_000))]
    rate: u64,
    /// Which part of the people never ask again, in per cent.
    #[arg(long, value_name = "PER_CENT", default_value_t = 30)]
    #[arg(value_parser = value_parser!(u64).range(0..=50))]
    absent: u64,
    /// How long arrivals are counted, after a warm-up of half a minute.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    #[arg(value_parser = value_parser!(u64).range(1..=3_600))]
    seconds: u64,
}

#[derive(Debug, Serialize)]
struct Found {
    rate_per_second: u64,
    absent_per_cent: u64,
    seconds: u64,
    arrivals: usize,
    arrivals_to_rate: f64,
    /// Came, and were told that the turn was over.
    came_too_late: usize,
}

impl NoShows {
    pub async fn measure(&self, site: &mut Site) -> anyhow::Result<Report> {
        let poll_seconds_max = POLL_SECONDS_MAX.to_string();
        let shop = site.open(&[("USHER_POLL_SECONDS_MAX", &poll_seconds_max)]).await?;
        let policy = json!({
            "mode": "paused", "rate_per_second": self.rate, "burst": 1, "active_max": ACTIVE_MAX,
            "claim_seconds": CLAIM_SECONDS,
        });
        shop.operator.tune("main", &policy).await?;
        let whole = WARM_UP_SECONDS + self.seconds;
        let come = 1.0 - self.absent as f64 / 100.0;
        let people = (self.rate * whole) as f64 / come * SPARE;
        let bar = progress::steps("people join", people as u64)?;
        let mut coming = JoinSet::new();
        for user_id in 1..=people as u64 {
            let mut person = Person::join(&shop, "main", user_id).await?;
            bar.inc(1);
            if Dice::of(user_id).roll() < come {
                coming.spawn(async move { anyhow::Ok((person.wait().await?, Instant::now())) });
            }
        }
        bar.finish_and_clear();
        shop.operator.tune("main", &json!({ "mode": "open" })).await?;
        let from = Instant::now() + Duration::from_secs(WARM_UP_SECONDS);
        let until = from + Duration::from_secs(self.seconds);
        let counting = async {
            let (mut arrivals, mut came_too_late) = (0, 0);
            while let Ok(Some(came)) = tokio::time::timeout_at(until, coming.join_next()).await {
                match came?? {
                    (Status::Active, at) if at >= from => arrivals += 1,
                    (Status::Over, at) if at >= from => came_too_late += 1,
                    _ => {}
                }
            }
            anyhow::Ok((arrivals, came_too_late))
        };
        let about = Duration::from_secs(whole);
        let (arrivals, came_too_late) = progress::timed("people arrive", about, counting).await?;
        let found = Found {
            rate_per_second: self.rate,
            absent_per_cent: self.absent,
            seconds: self.seconds,
            arrivals,
            arrivals_to_rate: rounded(arrivals as f64 / (self.rate * self.seconds) as f64),
            came_too_late,
        };
        found.report(site, shop.operator.check().await?.broken())
    }
}

impl Found {
    fn report(self, site: &Site, broken: Vec<String>) -> anyhow::Result<Report> {
        let Self { rate_per_second, absent_per_cent, seconds, arrivals, .. } = self;
        let how = format!(
            "{rate_per_second} turns a second, {absent_per_cent} % of the people never come, {seconds} s"
        );
        let table = findings(
            "No-shows",
            [
                ("arrivals", arrivals.to_string()),
                ("arrivals ÷ rate", format!("{:.3}", self.arrivals_to_rate)),
                ("came too late", self.came_too_late.to_string()),
            ],
        );
        Report::of(site, &how, &self, &[table], broken)
    }
}
