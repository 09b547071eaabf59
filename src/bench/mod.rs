//! `usher bench`: what a request costs, measured on this machine against a server of its own.
//!
//! Lives here: what is asked, in which order, and what is read before and after. May not live here: a judgement of the
//! figures. It is a client like any other: what it knows of the server is its command line, its listeners, and what
//! the operating system and Redis say of the two processes.
//!
//! `server` starts and stops, `crowd` says what is asked and `load` asks it, `meter` and `redis` read what it took,
//! `report` sums up and prints.

mod crowd;
mod load;
mod meter;
mod redis;
mod report;
mod server;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use clap::{Args, Subcommand, value_parser};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::clock::{Clock, rfc3339};
use crowd::{Crowd, Kind};
use load::{Load, Tally};
use meter::{Meter, Process};
use redis::Redis;
use report::{Memory, Report, Stretch};
use server::Server;

/// Machines are noisy: every load gets a turn in each round, and the middle one counts.
const ROUNDS: u64 = 3;
/// Enough different people for polls; the tokens of a million would only fill this process.
const POLLING_MAX: u64 = 100_000;

/// `usher bench …`: measure this machine.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// The line: fill it, then measure liveness, polls and joins side by side.
    Line(Line),
}

#[derive(Debug, Args)]
pub struct Line {
    /// People waiting before anything is measured.
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    #[arg(value_parser = value_parser!(u64).range(1..=10_000_000))]
    waiting: u64,
    /// How long each of the three loads lasts, in each of three rounds.
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    #[arg(value_parser = value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// Connections, each with one request at a time.
    #[arg(long, value_name = "COUNT", default_value_t = 16)]
    #[arg(value_parser = value_parser!(u64).range(1..=4_096))]
    connections: u64,
    /// Print one JSON object instead of tables.
    #[arg(long)]
    json: bool,
    /// An empty database, e.g. postgres://…; SQLite beside the private Redis when not given.
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
}

/// Measures until done, or until `told_to_stop`; either way nothing is left running.
pub async fn run(bench: Bench, told_to_stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let Bench::Line(wanted) = bench;
    let mut server = Server::spawn(wanted.database_url.as_deref())?;
    let measured = tokio::select! {
        measured = measure(&mut server, &wanted) => measured,
        () = told_to_stop => Err(anyhow::anyhow!("interrupted before there was anything to report")),
    };
    let stopped = server.stop().await;
    let report = measured?;
    stopped?;
    report.print(wanted.json)?;
    report.verdict()
}

async fn measure(server: &mut Server, wanted: &Line) -> anyhow::Result<Report> {
    let public = server.ready().await?;
    server.pause().await?;
    let redis = Redis::at(&server.redis_socket()).await?;
    let mut meter = Meter::new(Process::of(server.pid()?)?, redis).await?;
    let empty = meter.redis.look().await?.used_bytes;
    let (crowd, filled) = fill(public, wanted).await?;
    let full = meter.redis.look().await?.used_bytes;
    let memory = Memory {
        server_rss_bytes: meter.server.rss_bytes()?,
        redis_used_bytes: full,
        redis_bytes_per_person: (full as f64 - empty as f64) / wanted.waiting as f64,
    };
    let progress = progress(wanted, "measuring", ROUNDS * Kind::ALL.len() as u64)?;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let mut round = BTreeMap::new();
        for kind in Kind::ALL {
            round.insert(kind, stretch(kind, &crowd, &mut meter, wanted).await?);
            progress.inc(1);
        }
        rounds.push(round);
    }
    progress.finish_and_clear();
    let measured_at = rfc3339(Clock::system().now_ms());
    Report::of(wanted, measured_at, &filled, memory, &rounds)
}

/// Everybody joins, and nobody is admitted: what waits is what was asked for.
async fn fill(public: SocketAddr, wanted: &Line) -> anyhow::Result<(Arc<Crowd>, Tally)> {
    let crowd = Arc::new(Crowd::at(public)?);
    let (waiting, every) = (wanted.waiting, wanted.waiting.div_ceil(POLLING_MAX));
    let bar = progress(wanted, "people join", waiting)?;
    let next = {
        let crowd = crowd.clone();
        move || crowd.newcomer(waiting)
    };
    let hear = {
        let (crowd, bar) = (crowd.clone(), bar.clone());
        move |body: &[u8]| {
            bar.inc(1);
            crowd.remember(body, every)
        }
    };
    let load = Load::connect(public, wanted.connections).await?;
    let filled = load.drive(next, hear).await?;
    bar.finish_and_clear();
    if let Some(wrong) = filled.first_wrong {
        bail!("the line could not be filled: {} {wrong}", Kind::Join.request());
    }
    ensure!(filled.answered == waiting, "{} of {waiting} people joined", filled.answered);
    Ok((crowd, filled))
}

/// One load for its time, metered from just before to just after.
async fn stretch(
    kind: Kind,
    crowd: &Arc<Crowd>,
    meter: &mut Meter,
    wanted: &Line,
) -> anyhow::Result<Stretch> {
    let load = Load::connect(crowd.public, wanted.connections).await?;
    let before = meter.read().await?;
    let until = Instant::now() + Duration::from_secs(wanted.seconds);
    let next = {
        let crowd = crowd.clone();
        move || (Instant::now() < until).then(|| crowd.request(kind))
    };
    let tally = load.drive(next, move |body: &[u8]| kind.is_right(body)).await?;
    let spent = meter.read().await?.since(before);
    ensure!(tally.answered > 0, "{} was not answered once", kind.request());
    Ok(Stretch { tally, spent })
}

fn progress(wanted: &Line, what: &'static str, length: u64) -> anyhow::Result<ProgressBar> {
    // Hidden by itself where standard error is no terminal.
    let target =
        if wanted.json { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let style = ProgressStyle::with_template("{msg} {bar:40} {pos}/{len}, {eta} left")?;
    let bar = ProgressBar::with_draw_target(Some(length), target);
    Ok(bar.with_style(style).with_message(what))
}
