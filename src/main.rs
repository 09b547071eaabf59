//! The command line.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};
use mimalloc::MiMalloc;
use rustix::fs::Mode;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use usher::app::App;
use usher::clock::Clock;
use usher::config::{Config, Identity};
use usher::server::{self, Doors, Loops, Running};
use usher::{bench, ctl, doctor, telemetry};

/// A request is a few dozen small allocations, on whichever thread is free.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// How long tasks that nobody waits for may hold up the end of the process.
const LINGER_MAX: Duration = Duration::from_secs(1);

/// A virtual waiting room and box office in one binary.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve buyers and operators until stopped.
    Serve {
        /// A TOML file of settings; the environment goes over it.
        #[arg(long)]
        config: Option<PathBuf>,
        /// Make a demo concert when there is none yet.
        #[arg(long)]
        demo: bool,
    },
    /// Operate a running server.
    Ctl(Box<ctl::Ctl>),
    /// Measure what requests cost on this machine, against a server of its own.
    Bench(bench::Bench),
    /// Check settings, Redis, the database and their clocks, and say what is wrong.
    Doctor {
        /// A TOML file of settings; the environment goes over it.
        #[arg(long)]
        config: Option<PathBuf>,
        /// Print JSON for scripts.
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&anyhow::Error::new(error)),
    };
    let done = runtime.block_on(async {
        match Arguments::parse().command {
            Command::Serve { config, demo } => serve(config, demo).await,
            Command::Ctl(ctl) => ctl::run(*ctl).await,
            Command::Bench(bench) => {
                bench::run(bench, listen_for_signals()?.cancelled_owned()).await
            }
            Command::Doctor { config, json } => doctor::run(config, json).await,
        }
    });
    // What was accepted is done. A task that is left, such as a name that nobody resolves, keeps no process alive.
    runtime.shutdown_timeout(LINGER_MAX);
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error),
    }
}

/// One clear sentence, on standard error.
fn complain(error: &anyhow::Error) -> ExitCode {
    // Nobody is left to tell when standard error is gone.
    let _ = writeln!(std::io::stderr(), "{error:#}");
    ExitCode::FAILURE
}

async fn serve(file: Option<PathBuf>, demo: bool) -> anyhow::Result<()> {
    // Before anything is started: whatever is started is stopped, whenever the signal comes.
    let stop = listen_for_signals()?;
    // Whatever is made in the data directory, by this process or its Redis, is for the owner alone.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let config = Config::load(file.as_deref())?;
    let collector = telemetry::start(&config.log, config.traces.as_ref())?;
    for stray in &config.strays {
        tracing::warn!("{stray}");
    }
    if matches!(config.auth.identity, Identity::Open) {
        tracing::warn!(
            "USHER_AUTH=open: every caller is believed to be who he says; this is for loopback only"
        );
    }
    #[cfg(feature = "broken")]
    {
        let promise = usher::broken::promise();
        let promise = promise.context(
            "this build breaks a promise, and USHER_BROKEN says which: line, payment or cap",
        )?;
        tracing::error!(
            "this server breaks a promise on purpose, {promise:?}: it is for load tests, and for nobody else"
        );
    }
    // Every connection is an open file, and the usual soft limit of 1,024 turns a crowd away. A refusal is no reason
    // not to serve: the doctor tells of the limit.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let served = until_stopped(config, demo, stop).await;
    if let Some(collector) = collector {
        collector.flush().await;
    }
    served
}

async fn until_stopped(config: Config, demo: bool, stop: CancellationToken) -> anyhow::Result<()> {
    let doors = Doors::bind(&config.http).await?;
    doctor::preflight(&config).await?;
    let app = match App::build(config, Clock::system(), &stop).await {
        Err(_) if stop.is_cancelled() => return Ok(()),
        built => built?,
    };
    match open_doors(&app, doors, demo).await {
        Ok(running) => {
            stop.cancelled().await;
            tracing::info!("stopping");
            running.stop().await;
            Ok(())
        }
        Err(error) => {
            app.close().await;
            Err(error)
        }
    }
}

/// The first SIGTERM, SIGINT or SIGHUP (a terminal that was closed) asks to stop. A second one ends the process where it stands: a private Redis goes on,
/// and the next start finds it with its line.
fn listen_for_signals() -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("no signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("no signals")?;
    let mut hangup = signal(SignalKind::hangup()).context("no signals")?;
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = hangup.recv() => {}
            }
            if told.is_cancelled() {
                std::process::exit(1);
            }
            told.cancel();
        }
    });
    Ok(stop)
}

async fn open_doors(app: &App, doors: Doors, demo: bool) -> anyhow::Result<Running> {
    if demo {
        app.make_demo_concert().await?;
    }
    let running = server::start(app.clone(), doors, Loops::Run).await?;
    let mut out = std::io::stdout();
    // A closed standard output is no reason to close the shop.
    let _ = writeln!(
        out,
        "public API  http://{}\noperators   http://{}",
        running.public, running.admin
    );
    let _ = out.flush();
    Ok(running)
}
