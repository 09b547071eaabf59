//! The command line.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use usher::app::App;
use usher::clock::Clock;
use usher::config::{Config, Identity};
use usher::server::{self, Loops, Running};
use usher::{bench, ctl, doctor, telemetry};

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
    #[command(subcommand)]
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
            Command::Bench(bench) => bench::run(bench, told_to_stop()?).await,
            Command::Doctor { config, json } => doctor::run(config, json).await,
        }
    });
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
    let config = Config::load(file.as_deref())?;
    telemetry::log(&config.log);
    // Heard from here on: a stop that comes while things start must not leave the private Redis behind.
    let told_to_stop = told_to_stop()?;
    if matches!(config.auth.identity, Identity::Open) {
        tracing::warn!(
            "USHER_AUTH=open: every caller is believed to be who he says; this is for loopback only"
        );
    }
    let app = App::build(config, Clock::system()).await?;
    match open_doors(&app, demo).await {
        Ok(running) => {
            told_to_stop.await;
            tracing::info!("stopping");
            running.stop().await;
        }
        Err(error) => {
            app.close().await;
            return Err(error);
        }
    }
    Ok(())
}

/// SIGTERM, or Ctrl-C in the terminal; both are heard from the call on.
fn told_to_stop() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("no signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("no signals")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Serves, and says where.
async fn open_doors(app: &App, demo: bool) -> anyhow::Result<Running> {
    if demo {
        app.make_demo_concert().await?;
    }
    let running = server::start(app.clone(), Loops::Run).await?;
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
