//! `usher bench events`: many people who do not ask but listen, each on a stream of events: what a stream holds in
//! memory, and how old what it tells is.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{Args, value_parser};
use futures_util::future::try_join_all;
use serde::Serialize;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::http::Events as Stream;
use super::meter::Meter;
use super::people::{Person, Place};
use super::progress;
use super::report::{Report, findings, rounded};
use super::server::Site;
use super::times::{Quantiles, Times};

/// How often the place of somebody who asks is noted.
const LOOK_PAUSE: Duration = Duration::from_millis(20);
/// A server takes so many connections; this bench asks over a few others.
const STREAMS_MAX: u64 = 16_000;
/// What was allocated to open the streams has come to rest.
const SETTLING: Duration = Duration::from_secs(3);
const ACTIVE_MAX: u64 = 1_000_000;
const CLAIM_SECONDS: u64 = 86_400;
const KIB: f64 = 1_024.0;

#[derive(Debug, Args)]
pub struct Events {
    /// Open streams.
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    #[arg(value_parser = value_parser!(u64).range(1..=STREAMS_MAX))]
    streams: u64,
    /// Admissions a second, of people in front of them.
    #[arg(long, value_name = "RATE", default_value_t = 50)]
    #[arg(value_parser = value_parser!(u64).range(1..=1_000))]
    rate: u64,
    /// How long the line moves.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    #[arg(value_parser = value_parser!(u64).range(2..=3_600))]
    seconds: u64,
}

#[derive(Debug, Serialize)]
struct Found {
    streams: u64,
    rate_per_second: u64,
    seconds: u64,
    server_rss_bytes_per_stream: u64,
    events: u64,
    events_per_second: f64,
    server_cpu_us_per_event: f64,
    /// How long what a stream had told was no longer true when it told something new.
    age: Quantiles,
    /// Streams that told nothing while the line moved.
    silent: u64,
}

/// How far the line had moved, and when that was first seen by somebody who asks.
#[derive(Default)]
struct Moves(Mutex<Vec<(u64, Instant)>>);

/// What one listener heard.
struct Heard {
    events: u64,
    ages: Times,
}

impl Events {
    pub async fn measure(&self, site: &mut Site) -> anyhow::Result<Report> {
        // Each stream is an open file, and the usual soft limit is 1,024.
        let files = rlimit::increase_nofile_limit(u64::MAX).unwrap_or_default();
        ensure!(files > self.streams + 1_000, "only {files} open files are allowed: ulimit -n");
        let shop = site.open(&[]).await?;
        let policy = json!({
            "mode": "paused", "rate_per_second": self.rate, "burst": 1, "active_max": ACTIVE_MAX,
            "claim_seconds": CLAIM_SECONDS,
        });
        shop.operator.tune("main", &policy).await?;
        let mut meter = Meter::new(shop.process()?, shop.redis().await?).await?;
        // Before anybody came: what the joins leave in memory counts as the streams', rather than hiding them.
        let before = meter.server.rss_bytes()?;
        // Nobody who listens is admitted.
        let in_front = self.rate * (self.seconds + 10);
        let users = 1..=in_front + self.streams + 1;
        let bar = progress::steps("people join", *users.end())?;
        let joining = users.map(async |user| {
            let person = Person::join(&shop, "main", user).await;
            bar.inc(1);
            person
        });
        let mut people = try_join_all(joining).await?;
        bar.finish_and_clear();
        people.sort_by_key(|person| person.place.position);
        let mut asking = people.pop().context("somebody asks")?;
        let listeners = people.split_off(in_front as usize);
        let streams = open(listeners).await?;
        sleep(SETTLING).await;
        let held = meter.server.rss_bytes()?.saturating_sub(before);
        let spent = meter.read().await?;
        shop.operator.tune("main", &json!({ "mode": "open" })).await?;
        let about = Duration::from_secs(self.seconds);
        let heard = self.listen(streams, &mut asking);
        let heard = progress::timed("the line moves", about, heard).await?;
        let spent = meter.read().await?.since(spent);
        let mut ages = Times::new()?;
        for heard in &heard {
            ages.add(&heard.ages)?;
        }
        let events: u64 = heard.iter().map(|heard| heard.events).sum();
        ensure!(events > 0, "no stream told anything while the line moved");
        let cpu = spent.server_cpu.as_secs_f64();
        let found = Found {
            streams: self.streams,
            rate_per_second: self.rate,
            seconds: self.seconds,
            server_rss_bytes_per_stream: held / self.streams,
            events,
            events_per_second: rounded(events as f64 / self.seconds as f64),
            server_cpu_us_per_event: rounded(cpu * 1e6 / events as f64),
            age: ages.quantiles(),
            silent: heard.iter().filter(|heard| heard.events == 0).count() as u64,
        };
        found.report(site, shop.operator.check().await?.broken())
    }

    /// Everybody listens, one asks, and what they are told is compared.
    async fn listen(
        &self,
        streams: Vec<(u64, Stream)>,
        asking: &mut Person,
    ) -> anyhow::Result<Vec<Heard>> {
        let until = Instant::now() + Duration::from_secs(self.seconds);
        let (moves, mut listening) = (Arc::new(Moves::default()), JoinSet::new());
        for (position, stream) in streams {
            listening.spawn(listen(position, stream, moves.clone(), until));
        }
        let began_at = asking.place.position.context("the place of who asks is in doubt")?;
        while Instant::now() < until {
            let position = asking.poll().await?.position;
            let position = position.context("the place of who asks is in doubt")?;
            moves.note(began_at.saturating_sub(position));
            sleep(LOOK_PAUSE).await;
        }
        listening.join_all().await.into_iter().collect()
    }
}

/// A stream of each, with the position that it tells first.
async fn open(listeners: Vec<Person>) -> anyhow::Result<Vec<(u64, Stream)>> {
    let bar = progress::steps("streams open", listeners.len() as u64)?;
    let mut streams = Vec::new();
    for person in listeners {
        let mut stream = person.door.events("/queue/events", &person.token).await?;
        let first: Place = stream.next().await?.context("a stream ended at once")?;
        streams.push((first.position.context("a place is in doubt")?, stream));
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(streams)
}

async fn listen(
    began_at: u64,
    mut stream: Stream,
    moves: Arc<Moves>,
    until: Instant,
) -> anyhow::Result<Heard> {
    let (mut events, mut ages, mut told) = (0, Times::new()?, 0);
    while let Ok(event) = tokio::time::timeout_at(until, stream.next::<Place>()).await {
        let place = event?.context("a stream ended")?;
        events += 1;
        if let Some(since) = moves.first_beyond(told) {
            ages.record(since.elapsed());
        }
        told = began_at.saturating_sub(place.position.context("a place is in doubt")?);
    }
    Ok(Heard { events, ages })
}

impl Moves {
    fn note(&self, moved: u64) {
        let mut moves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if moves.last().is_none_or(|(before, _)| moved > *before) {
            moves.push((moved, Instant::now()));
        }
    }

    /// Since when the line had moved further than this.
    fn first_beyond(&self, told: u64) -> Option<Instant> {
        let moves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = moves.partition_point(|(moved, _)| *moved <= told);
        moves.get(first).map(|(_, at)| *at)
    }
}

impl Found {
    fn report(self, site: &Site, broken: Vec<String>) -> anyhow::Result<Report> {
        let Self { streams, rate_per_second, seconds, age, .. } = self;
        let how = format!("{streams} streams, {rate_per_second} admissions a second, {seconds} s");
        let millis = |ms: f64| format!("{ms:.0}");
        let table = findings(
            "Event streams",
            [
                (
                    "server RSS KiB a stream",
                    format!("{:.1}", self.server_rss_bytes_per_stream as f64 / KIB),
                ),
                ("events a second", format!("{:.0}", self.events_per_second)),
                ("server CPU µs an event", format!("{:.1}", self.server_cpu_us_per_event)),
                ("age when told anew, p50 ms", millis(age.p50_ms)),
                ("age when told anew, p99 ms", millis(age.p99_ms)),
                ("age when told anew, max ms", millis(age.max_ms)),
                ("silent streams", self.silent.to_string()),
            ],
        );
        Report::of(site, &how, &self, &[table], broken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_old_from_the_first_move_beyond_it() {
        let moves = Moves::default();
        for moved in [0, 3, 3, 7] {
            moves.note(moved);
        }
        let noted = moves.0.lock().unwrap().clone();
        assert_eq!(noted.len(), 3);
        assert_eq!(moves.first_beyond(0), Some(noted[1].1));
        assert_eq!(moves.first_beyond(4), Some(noted[2].1));
        assert_eq!(moves.first_beyond(7), None);
    }
}
