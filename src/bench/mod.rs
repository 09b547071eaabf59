//! `usher bench`: what the line costs and whether it keeps its promises, measured on this machine against servers of its
//! own.
//!
//! Lives here: the list of benches, and how one is run. May not live here: a judgement of speed. A bench is a client like
//! any other: what it knows of a server is its command line, its listeners, and what the operating system and Redis say
//! of the processes.
//!
//! One file a bench says what is asked and in which order. They share `server`, which starts and stops; `load` and
//! `crowd`, who are counted, and `people`, who wait and buy; `operator`, who tunes; `postgres`, which is started beside;
//! `meter` and `redis`, which read what it took; `progress` and `report`, which tell.

mod admission;
mod crowd;
mod draw;
mod events;
mod http;
mod idle;
mod line;
mod load;
mod meter;
mod no_shows;
mod operator;
mod people;
mod postgres;
mod progress;
mod rate;
mod redis;
mod report;
mod sale;
mod seats;
mod server;
mod times;
mod turnover;

use anyhow::bail;
use clap::{Args, Subcommand};

use report::Report;
use server::{Site, Stores};

/// `usher bench …`: measure this machine.
#[derive(Debug, Args)]
pub struct Bench {
    #[command(subcommand)]
    what: What,
    /// Print one JSON object instead of tables.
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    stores: Stores,
}

#[derive(Debug, Subcommand)]
enum What {
    /// What a request costs: a bare axum, liveness, polls and joins side by side, with so many people waiting.
    Line(line::Line),
    /// How quickly a line moves that was let go, and how long scripts take meanwhile.
    Admission(admission::Admission),
    /// Whether several servers keep the rate, also when it is changed, and the cap.
    Rate(rate::Rate),
    /// How many arrive when some of those who are let in never come.
    NoShows(no_shows::NoShows),
    /// How long a turn stays empty when somebody leaves.
    Turnover(turnover::Turnover),
    /// What an event stream holds in memory, and how old what it tells is.
    Events(events::Events),
    /// A rush on a small hall, and who is let in for nothing.
    Seats(seats::Seats),
    /// Durable bookings and payments a second, beside the database's own tool.
    Sale(sale::Sale),
    /// How long a draw of many people takes to open, and their places.
    Draw(draw::Draw),
    /// What queues cost that nobody asks for.
    Idle(idle::Idle),
    /// A bare axum, for the line to be held against.
    #[command(hide = true)]
    Noop,
}

/// Measures until done, or until `told_to_stop`; either way nothing is left running.
pub async fn run(bench: Bench, told_to_stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let mut site = Site::of(bench.stores);
    let measured = tokio::select! {
        measured = measure(&bench.what, &mut site) => measured,
        () = told_to_stop => Err(anyhow::anyhow!("interrupted before there was anything to report")),
    };
    let stopped = site.stop().await;
    let report = measured?;
    stopped?;
    report.print(bench.json)?;
    report.verdict()
}

async fn measure(what: &What, site: &mut Site) -> anyhow::Result<Report> {
    match what {
        What::Line(wanted) => wanted.measure(site).await,
        What::Admission(wanted) => wanted.measure(site).await,
        What::Rate(wanted) => wanted.measure(site).await,
        What::NoShows(wanted) => wanted.measure(site).await,
        What::Turnover(wanted) => wanted.measure(site).await,
        What::Events(wanted) => wanted.measure(site).await,
        What::Seats(wanted) => wanted.measure(site).await,
        What::Sale(wanted) => wanted.measure(site).await,
        What::Draw(wanted) => wanted.measure(site).await,
        What::Idle(wanted) => wanted.measure(site).await,
        What::Noop => {
            http::noop::serve().await?;
            bail!("it serves until it is ended")
        }
    }
}
