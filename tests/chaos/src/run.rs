//! One run: a cluster, a crowd and a storm, calm before and after; then everybody is served, everything is read, and the
//! checker has the word.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::{Instant, sleep};

use crate::checker;
use crate::cluster::{Blueprint, Cluster, Database, server};
use crate::evidence;
use crate::history::{Record, Run};
use crate::nemesis::kind::{KINDS, Kind, Machine};
use crate::nemesis::{Deeds, Nemesis, Storm, points};
use crate::people::{Crowd, Progress};
use crate::recorder::{Recorder, Tally};
use crate::rows::Rows;
use crate::table::Line;

/// New work comes so soon after the last fault healed.
const NEW_WORK_MAX: Duration = Duration::from_secs(10);
/// Everybody is served so soon after nobody new comes: the line at its rate, a turn, a hold, and the way back.
const SERVED_MAX: Duration = Duration::from_secs(90);
/// A hold and the sweeps that end it.
const SETTLED: Duration = Duration::from_secs(10);
const STOP_MAX: Duration = Duration::from_secs(28);
const CROWD: usize = 60;
/// People admitted each second, and the most seats that each may buy.
const RATE: i64 = 20;
const SEATS_MAX: i64 = 4;

/// What was asked for.
pub struct Order {
    pub seed: u64,
    pub database: Database,
    pub time: Duration,
    /// None: the seed draws.
    pub faults: Option<Vec<&'static Kind>>,
    pub program: PathBuf,
    pub commit: String,
    pub keep: bool,
}

/// What it came to.
pub struct Report {
    pub line: Line,
    pub tally: Tally,
    /// Where logs and history are, if somebody is to look at them.
    pub kept: Option<PathBuf>,
}

pub async fn run(order: &Order) -> anyhow::Result<Report> {
    let kinds = draw(order);
    let cluster = Arc::new(build(order, &kinds).await?);
    let outcome = match storm(order, kinds, &cluster).await {
        Ok(ended) => judge(order, &cluster, ended).await,
        Err(error) => Err(error),
    };
    match outcome {
        Ok(report) if report.line.violations.is_empty() && !order.keep => Ok(report),
        Ok(report) => Ok(Report { kept: Some(cluster.keep()), ..report }),
        Err(error) => {
            let kept = cluster.keep();
            Err(error.context(format!("logs and history are in {}", kept.display())))
        }
    }
}

/// The faults of this run: those that were named, or about half of all, and something for each machine.
fn draw(order: &Order) -> Vec<&'static Kind> {
    let fits = |kind: &&'static Kind| kind.fits(order.database);
    if let Some(named) = &order.faults {
        return named.iter().copied().filter(fits).collect();
    }
    let mut rng = StdRng::seed_from_u64(order.seed);
    let mut kinds = Vec::new();
    for machine in [Machine::Server, Machine::Redis, Machine::Sql] {
        let all: Vec<_> =
            KINDS.iter().filter(|kind| kind.machine == machine).filter(fits).collect();
        let must = rng.random_range(0..all.len());
        let drawn = all.into_iter().enumerate().filter(|(place, _)| *place == must || rng.random());
        kinds.extend(drawn.map(|(_, kind)| kind).collect::<Vec<_>>());
    }
    kinds
}

async fn build(order: &Order, kinds: &[&'static Kind]) -> anyhow::Result<Cluster> {
    let steps = kinds.iter().any(|kind| kind.skew_ms() > 0);
    let plan = Blueprint {
        database: order.database,
        program: &order.program,
        seed: order.seed,
        has_own_clock: steps && server::clocks_can_be_shifted(),
        poll_seconds_max: 1,
    };
    Cluster::build(&plan).await
}

/// What was seen while it went on.
struct Ended {
    began: i64,
    deeds: Deeds,
    tally: Tally,
    wanted: Vec<&'static Kind>,
    points: Vec<String>,
    broken: Vec<(&'static str, String)>,
}

async fn storm(
    order: &Order,
    kinds: Vec<&'static Kind>,
    cluster: &Arc<Cluster>,
) -> anyhow::Result<Ended> {
    let run = settings(order);
    let operator = cluster.operators().next().context("there is no server")?;
    for operator in cluster.operators() {
        // The first one changes the policy. By their answers the others know it, which else they read each half second:
        // nobody is to be sold to by the one before.
        operator.tune(&run).await?;
    }
    let seconds = i64::try_from(order.time.as_secs())?;
    let sales = operator.announce(&run, 500 + RATE * SEATS_MAX * seconds).await?;
    // The recorder's clock begins here.
    let skew_ms = kinds.iter().map(|kind| kind.skew_ms()).max().unwrap_or_default();
    let run = Run { began_at_ms: now_ms(), skew_ms, ..run };
    let began = run.began_at_ms;
    let recorder = Recorder::create(&cluster.history(), run.clone()).await?;
    let crowd = Crowd::gather(cluster.doors(), sales, &run, recorder.clone(), CROWD)?;
    let crowd = Arc::new(crowd);
    let points = points::in_sources(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../src")))?;
    let calm = (order.time / 10).clamp(Duration::from_secs(4), Duration::from_secs(20));
    let stop_max = (order.time / 10).clamp(Duration::from_secs(1), Duration::from_secs(60));
    let storm = Storm { seed: order.seed, kinds: kinds.clone(), stop_max, points: points.clone() };
    let nemesis = Nemesis::new(cluster.clone(), crowd.clone(), recorder.clone(), storm, &run.queue);
    let bar = progress(order.time, crowd.clone(), nemesis.clone());
    sleep(calm).await;
    nemesis.rage(order.time.saturating_sub(2 * calm)).await?;
    let mut broken = Vec::new();
    if let Some(what) = no_new_work(crowd.progress(), &recorder).await {
        broken.push(("L1", what));
    }
    sleep(calm).await;
    bar.abort();
    let _ = bar.await;
    let deeds = nemesis.deeds();
    drop(nemesis);
    crowd.stop_arriving();
    let crowd = Arc::into_inner(crowd).context("somebody still looks at the crowd")?;
    for unserved in crowd.disperse(SERVED_MAX).await {
        broken.push(("L1", format!("nobody served {unserved:?} within {SERVED_MAX:?}")));
    }
    for server in &cluster.servers {
        if !server.serves_the_line().await {
            let said = server.readiness().await;
            broken.push(("O2", format!("{} is not ready at the end: {said:?}", server.name())));
        }
    }
    sleep(SETTLED).await;
    for server in &cluster.servers {
        if server.stop(STOP_MAX).await.is_none() {
            broken.push(("L4", format!("{} does not end after SIGTERM", server.name())));
        }
    }
    let tally = recorder.close().await?;
    Ok(Ended { began, deeds, tally, wanted: kinds, points, broken })
}

#[expect(clippy::disallowed_methods, reason = "the machines' clock is what the rows are in")]
fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

fn settings(order: &Order) -> Run {
    Run {
        seed: order.seed,
        began_at_ms: now_ms(),
        database: order.database.name().to_owned(),
        instances: order.database.instances() as u32,
        queue: "main".to_owned(),
        poll_ms_max: 1_000,
        claim_ms: 2_000,
        session_ms: 10_000,
        hold_ms: 5_000,
        grace_ms: match order.database {
            Database::Sqlite => 0,
            Database::Postgres => 2_000,
        },
        rate_per_second: RATE as f64,
        burst: RATE as f64,
        active_max: 30,
        seats_per_booking_max: SEATS_MAX,
        seats_per_user_max: Some(6),
        skew_ms: 0,
    }
}

/// Something new of each kind within the time, or what did not come.
async fn no_new_work(progress: &Progress, recorder: &Recorder) -> Option<String> {
    let (begun, healed_us) = (Instant::now(), recorder.now_us());
    let newest = [
        ("join", &progress.joined_us),
        ("admission", &progress.admitted_us),
        ("hold", &progress.held_us),
        ("payment", &progress.paid_us),
    ];
    let missing = || {
        let old = newest.iter().filter(|(_, at)| at.load(Ordering::Relaxed) <= healed_us);
        old.map(|(name, _)| *name).collect::<Vec<_>>()
    };
    while !missing().is_empty() {
        if begun.elapsed() > NEW_WORK_MAX {
            return Some(format!(
                "{NEW_WORK_MAX:?} after the last heal there is no new {missing:?}",
                missing = missing()
            ));
        }
        sleep(Duration::from_millis(50)).await;
    }
    None
}

fn progress(time: Duration, crowd: Arc<Crowd>, nemesis: Nemesis) -> tokio::task::JoinHandle<()> {
    let style = "{elapsed_precise} {wide_bar} {msg}";
    let bar = ProgressBar::new(time.as_secs());
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    tokio::spawn(async move {
        loop {
            let faults: u64 = nemesis.deeds().faults.values().sum();
            let served = crowd.progress().served.load(Ordering::Relaxed);
            bar.set_message(format!("{served} served, {faults} faults"));
            sleep(Duration::from_secs(1)).await;
            bar.inc(1);
        }
    })
}

/// The last look at everything.
async fn judge(order: &Order, cluster: &Cluster, ended: Ended) -> anyhow::Result<Report> {
    let Ended { began, deeds, tally, wanted, points, broken } = ended;
    let text = std::fs::read_to_string(cluster.history())?;
    let history = text.lines().map(serde_json::from_str).collect::<Result<Vec<Record>, _>>()?;
    let rows = Rows::read(&cluster.database_url()).await?;
    let verdict = checker::verdict(&history, &rows);
    let told = |(invariant, what): (&str, String)| format!("{invariant}: {what}");
    let mut violations: Vec<_> = broken.into_iter().map(told).collect();
    violations.extend(deeds.broken.iter().map(|what| format!("L1: {what}")));
    violations.extend(
        verdict.violations.iter().map(|found| format!("{}: {}", found.invariant, found.what)),
    );
    violations.extend(evidence::of_history(&history));
    for server in &cluster.servers {
        violations.extend(evidence::of_log(server.name(), &server.log())?);
    }
    if !verdict.counts_as_run() {
        violations.push(format!(
            "O3: {:.0} % of all outcomes are unknown",
            100.0 * verdict.unknown_ratio
        ));
    }
    let named = order.faults.is_some();
    let missing = wanted.iter().filter(|kind| named && !deeds.faults.contains_key(kind.name));
    violations.extend(missing.map(|kind| format!("O3: {} never happened", kind.name)));
    let line = Line {
        seed: order.seed,
        commit: order.commit.clone(),
        began_at_ms: began,
        database: order.database.name().to_owned(),
        minutes: order.time.as_secs_f64() / 60.0,
        faults: deeds.faults,
        points: deeds.points,
        points_known: points.len() as u64,
        operations: tally.ok + tally.refused + tally.unknown,
        unknown_ratio: verdict.unknown_ratio,
        looked: verdict.counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect(),
        violations: evidence::few_of_each(violations),
    };
    Ok(Report { line, tally, kept: None })
}
