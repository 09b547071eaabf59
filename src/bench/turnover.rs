//! `usher bench turnover`: how long a turn stays empty. Somebody leaves; the next in line asks all the time and notes
//! when the turn is his.

use std::time::Duration;

use anyhow::ensure;
use clap::{Args, value_parser};
use serde::Serialize;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::people::{Person, Status};
use super::progress;
use super::report::{Report, findings};
use super::server::Site;
use super::times::{Quantiles, Times};

/// How often the next in line asks.
const POLL_PAUSE: Duration = Duration::from_millis(10);
/// A turn that is not given to anybody for so long is lost.
const PATIENCE: Duration = Duration::from_secs(30);
/// The rate never holds anybody up here: it is the turn that is scarce.
const RATE: u64 = 1_000;

#[derive(Debug, Args)]
pub struct Turnover {
    /// How many people come and go.
    #[arg(long, value_name = "COUNT", default_value_t = 300)]
    #[arg(value_parser = value_parser!(u64).range(1..=100_000))]
    turns: u64,
    /// Servers; people leave at one and ask at the next.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    #[arg(value_parser = value_parser!(u64).range(1..=16))]
    instances: u64,
}

#[derive(Debug, Serialize)]
struct Found {
    instances: u64,
    active_max: u64,
    /// From the answer to whoever left until the next in line was told that it is his turn.
    empty: Quantiles,
}

impl Turnover {
    pub async fn measure(&self, site: &mut Site) -> anyhow::Result<Report> {
        let shops = site.open_all(self.instances, &[]).await?;
        let policy = json!({ "active_max": 1, "rate_per_second": RATE, "burst": RATE });
        shops[0].operator.tune("main", &policy).await?;
        let bar = progress::steps("people come and go", self.turns)?;
        let mut inside = Person::join(&shops[0], "main", 1).await?;
        until_active(&mut inside).await?;
        let mut times = Times::new()?;
        for turn in 1..=self.turns {
            let shop = &shops[turn as usize % shops.len()];
            let mut next = Person::join(shop, "main", turn + 1).await?;
            ensure!(next.place.status == Status::Waiting, "two people have the only turn");
            // He asks before the turn is free, too: his server knows that somebody waits.
            sleep(POLL_PAUSE).await;
            next.poll().await?;
            inside.leave().await?;
            let left_at = Instant::now();
            until_active(&mut next).await?;
            times.record(left_at.elapsed());
            inside = next;
            bar.inc(1);
        }
        bar.finish_and_clear();
        let check = shops[0].operator.check().await?;
        let mut broken = check.broken();
        broken.extend(check.peak("main")?.broken());
        let found = Found { instances: self.instances, active_max: 1, empty: times.quantiles() };
        found.report(site, broken)
    }
}

async fn until_active(person: &mut Person) -> anyhow::Result<()> {
    let began = Instant::now();
    while person.place.status != Status::Active {
        ensure!(person.place.status == Status::Waiting, "a turn ended before it was claimed");
        ensure!(began.elapsed() < PATIENCE, "a free turn was given to nobody");
        sleep(POLL_PAUSE).await;
        person.poll().await?;
    }
    Ok(())
}

impl Found {
    fn report(self, site: &Site, broken: Vec<String>) -> anyhow::Result<Report> {
        let Quantiles { count, p50_ms, p99_ms, max_ms } = self.empty;
        let how = format!("{} server(s), one turn at once, {count} people", self.instances);
        let millis = |ms: f64| format!("{ms:.1}");
        let table = findings(
            "A turn stays empty for",
            [("p50 ms", millis(p50_ms)), ("p99 ms", millis(p99_ms)), ("max ms", millis(max_ms))],
        );
        Report::of(site, &how, &self, &[table], broken)
    }
}
