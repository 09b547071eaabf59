//! Faults against real servers: people buy, machines fail, and a checker reads what happened.

pub mod checker;
pub mod cluster;
pub mod evidence;
pub mod history;
pub mod nemesis;
pub mod people;
pub mod proxy;
pub mod recorder;
pub mod rows;
pub mod run;
pub mod table;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;

use cluster::Database;
use nemesis::kind::Kind;
use run::{Order, Report};

/// Buys tickets while machines fail, and checks what happened.
#[derive(Parser)]
#[command(name = "chaos")]
struct Args {
    /// How long, with the calm before and after.
    #[arg(long, default_value_t = 3.0)]
    minutes: f64,
    /// What is drawn is drawn from it; the same seed draws the same faults.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Faults by name, with commas between; without it the seed draws some.
    #[arg(long, value_delimiter = ',', value_parser = Kind::by_name)]
    faults: Option<Vec<&'static Kind>>,
    /// Three servers on PostgreSQL, or one on SQLite.
    #[arg(long, value_enum, default_value = "postgres")]
    database: Database,
    /// The server's program.
    #[arg(long, env = "USHER_BIN", default_value = "target/ci/usher")]
    program: PathBuf,
    /// Adds the run to docs/reliability.jsonl and the table in docs/RELIABILITY.md.
    #[arg(long)]
    record: bool,
    /// Keeps logs and history also when nothing is found.
    #[arg(long)]
    keep: bool,
    /// One line of JSON.
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let program = args.program.canonicalize();
    let order = Order {
        seed: args.seed,
        database: args.database,
        time: Duration::from_secs_f64(args.minutes * 60.0),
        faults: args.faults,
        program: program.with_context(|| format!("{} is not built", args.program.display()))?,
        commit: commit().await,
        keep: args.keep,
    };
    let report = tokio::select! {
        report = run::run(&order) => report?,
        _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
    };
    // A run that proves nothing is none; what it found is told all the same.
    if args.record && !report.line.violations.iter().any(|what| what.starts_with("O3")) {
        table::record(&report.line, std::path::Path::new("docs"))?;
    }
    show(&report, args.json)?;
    Ok(if report.line.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is being tested, for the table.
async fn commit() -> String {
    let git =
        tokio::process::Command::new("git").args(["rev-parse", "--short", "HEAD"]).output().await;
    let text = git.map(|git| String::from_utf8_lossy(&git.stdout).trim().to_owned());
    text.ok().filter(|text| !text.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}

fn show(report: &Report, json: bool) -> anyhow::Result<()> {
    use std::io::Write;

    let (line, mut out) = (&report.line, std::io::stdout());
    if json {
        return Ok(writeln!(out, "{}", serde_json::to_string(line)?)?);
    }
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING).set_header(["what", "times"]);
    for (name, times) in line.faults.iter().chain(&line.points).chain(&line.looked) {
        table.add_row([name.clone(), times.to_string()]);
    }
    for (word, times) in &report.tally.by_word {
        table.add_row([format!("answer {word}"), times.to_string()]);
    }
    writeln!(out, "{table}")?;
    let (seed, percent) = (line.seed, 100.0 * line.unknown_ratio);
    let (operations, found) = (line.operations, line.violations.len());
    writeln!(
        out,
        "seed {seed}: {operations} requests, {percent:.1} % unknown, {found} violations"
    )?;
    for violation in &line.violations {
        writeln!(out, "VIOLATION {violation}")?;
    }
    if let Some(kept) = &report.kept {
        writeln!(out, "logs and history are in {}", kept.display())?;
    }
    Ok(())
}
