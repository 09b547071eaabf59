//! `usher bench line`: what a request costs. Lines of several lengths stand side by side, each at a server of its own,
//! and a bare axum beside them; every load gets a turn in each round.

mod costs;
mod found;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::{Args, value_parser};
use serde_json::json;

use super::crowd::{Crowd, Kind};
use super::http::Door;
use super::load::{Load, Request, Value, request};
use super::meter::Meter;
use super::people::Place;
use super::progress;
use super::report::{Report, rounded};
use super::server::Site;
use costs::Stretch;
use found::{Filled, Found, Gentle, Round};

/// Machines are noisy: every load gets a turn in each round, and the middle one counts.
const ROUNDS: u64 = 3;
/// Between the polls of somebody who only keeps the line awake.
const GENTLE_PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug, Args)]
pub struct Line {
    /// People waiting before anything is measured; of several lengths each has a server of its own.
    #[arg(long, value_name = "COUNT,…", value_delimiter = ',', default_value = "10000")]
    #[arg(value_parser = value_parser!(u64).range(1..=10_000_000))]
    waiting: Vec<u64>,
    /// How long each load lasts, in each of three rounds.
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    #[arg(value_parser = value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// Connections, each with one request at a time.
    #[arg(long, value_name = "COUNT", default_value_t = 64)]
    #[arg(value_parser = value_parser!(u64).range(1..=4_096))]
    connections: u64,
}

/// One line, its server, and how it came to be.
struct Stand {
    crowd: Arc<Crowd>,
    meter: Meter,
    filled: Filled,
}

/// The bare axum.
struct Bare {
    address: SocketAddr,
    host: Value,
    meter: Meter,
}

impl Line {
    pub async fn measure(&self, site: &mut Site) -> anyhow::Result<Report> {
        let mut stands = Vec::new();
        for people in &self.waiting {
            stands.push(Stand::fill(site, *people).await?);
        }
        let mut bare = Bare::open(site, &stands[0].meter).await?;
        let bar = progress::steps("measuring", ROUNDS)?;
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            rounds.push(self.round(&mut bare, &mut stands).await?);
            bar.inc(1);
        }
        bar.finish_and_clear();
        let mut found = Found::of(self, &rounds);
        for stand in &mut stands {
            let gentle = self.poll_gently(stand).await?;
            found.add_line(&rounds, stand.filled, gentle);
        }
        found.report(site)
    }

    async fn round(&self, bare: &mut Bare, stands: &mut [Stand]) -> anyhow::Result<Round> {
        let host = bare.host.clone();
        let next = move || request(&host, "/", None);
        let load = Load::connect(bare.address, self.connections).await?;
        let bare = self.stretch(load, &mut bare.meter, next, |body| body == b"ok").await?;
        let mut lines = Vec::new();
        for Stand { crowd, meter, .. } in stands {
            let mut loads = BTreeMap::new();
            for kind in Kind::ALL {
                let crowd = crowd.clone();
                let load = Load::connect(crowd.public, self.connections).await?;
                let next = move || crowd.request(kind);
                let right = move |body: &[u8]| kind.is_right(body);
                loads.insert(kind, self.stretch(load, meter, next, right).await?);
            }
            lines.push(loads);
        }
        Ok(Round { bare, lines })
    }

    /// One load for its time, metered from just before to just after.
    async fn stretch(
        &self,
        load: Load,
        meter: &mut Meter,
        next: impl Fn() -> Request + Clone + Send + 'static,
        right: impl Fn(&[u8]) -> bool + Clone + Send + 'static,
    ) -> anyhow::Result<Stretch> {
        let before = meter.read().await?;
        let until = Instant::now() + Duration::from_secs(self.seconds);
        let tally = load.drive(move || (Instant::now() < until).then(&next), right).await?;
        let spent = meter.read().await?.since(before);
        ensure!(tally.answered > 0, "a load was not answered once");
        Ok(Stretch { tally, spent })
    }

    /// Somebody only keeps the line awake: what Redis is asked for then, and how long people are told to stay away.
    async fn poll_gently(&self, Stand { crowd, meter, .. }: &mut Stand) -> anyhow::Result<Gentle> {
        let (door, mut told) = (Door::public(crowd.public), Vec::new());
        let (before, began) = (meter.read().await?, Instant::now());
        while began.elapsed() < Duration::from_secs(self.seconds) {
            let token = crowd.next_token();
            let place: Place = door.ask("GET /queue", token.to_str().ok(), None).await?.json()?;
            told.push(place.poll_after().as_secs_f64());
            tokio::time::sleep(GENTLE_PAUSE).await;
        }
        let (took, spent) = (began.elapsed(), meter.read().await?.since(before));
        Ok(Gentle {
            redis_commands_per_second: spent.redis_commands as f64 / took.as_secs_f64(),
            poll_after_seconds: told.iter().sum::<f64>() / told.len() as f64,
        })
    }
}

impl Stand {
    /// Everybody joins, and nobody is admitted: what waits is what was asked for.
    async fn fill(site: &mut Site, people: u64) -> anyhow::Result<Self> {
        let shop = site.open(&[]).await?;
        shop.operator.tune("main", &json!({ "mode": "paused" })).await?;
        let mut meter = Meter::new(shop.process()?, shop.redis().await?).await?;
        let empty = meter.redis.look().await?.used_bytes;
        let (crowd, joins) = Crowd::gather(shop.public, people).await?;
        let full = meter.redis.look().await?.used_bytes;
        let filled = Filled {
            people_waiting: people,
            seconds: rounded(joins.took.as_secs_f64()),
            joins_per_second: rounded(joins.per_second()),
            server_rss_bytes: meter.server.rss_bytes()?,
            redis_used_bytes: full,
            redis_bytes_per_person: rounded((full as f64 - empty as f64) / people as f64),
        };
        Ok(Self { crowd, meter, filled })
    }
}

impl Bare {
    /// Its Redis is somebody else's: that it asks none is seen there.
    async fn open(site: &mut Site, of: &Meter) -> anyhow::Result<Self> {
        let (address, process) = site.open_noop().await?;
        let meter = Meter::new(process, of.redis.clone()).await?;
        Ok(Self { address, host: Value::from_str(&address.to_string())?, meter })
    }
}
