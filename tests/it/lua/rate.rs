//! The arithmetic of admission over a whole evening: whatever comes in whatever order, never faster than the rate, never
//! slower while somebody waits, never over the cap, and strictly in order. What one tick does stands in
//! `admit_reserve.rs`.
//!
//! A tick may be late, so what a window allows is counted from the tick before it: credit that nobody had asked for yet.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use usher::queue::redis::Reserved;
use usher::queue::sql::Admitted;

use super::stage::{NOW, Stage, Tuned, tuned, turn, user};

/// Beyond doubt for sums of this many doubles.
const ROUNDING: f64 = 1e-3;

/// What happens before a tick, in this order.
#[derive(Clone, Debug)]
struct Step {
    /// Passes first if nobody waits.
    lull_ms: i64,
    joins: i64,
    /// Then this much passes: ticks are at most a second apart while somebody waits.
    pass_ms: i64,
    /// So many turns end.
    ends: usize,
    /// Of the numbers that come up, one in so many turns out to be dead; 0: none.
    dead_every: i64,
}

#[derive(Clone, Debug)]
struct Evening {
    rate: f64,
    burst: f64,
    cap: i64,
    steps: Vec<Step>,
}

fn evenings() -> impl Strategy<Value = Evening> {
    let lull = prop_oneof![Just(0), 1..20_000_i64];
    let pass = prop_oneof![Just(0), Just(200), 1..=1_000_i64, Just(1_000)];
    let dead = prop_oneof![Just(0), 1..5_i64];
    let step = (lull, 0..25_i64, pass, 0..20_usize, dead).prop_map(
        |(lull_ms, joins, pass_ms, ends, dead_every)| Step {
            lull_ms,
            joins,
            pass_ms,
            ends,
            dead_every,
        },
    );
    let rate = prop_oneof![0.05..2.0, 2.0..40.0, 40.0..400.0_f64];
    let burst = prop_oneof![Just(1.0), 1.0..30.0_f64];
    let cap = prop_oneof![1..30_i64, Just(1_000_000)];
    (rate, burst, cap, prop::collection::vec(step, 5..40))
        .prop_map(|(rate, burst, cap, steps)| Evening { rate, burst, cap, steps })
}

/// What one tick came to.
struct Tick {
    at: i64,
    /// From when on credit was earned for it alone.
    since: i64,
    opened: f64,
    /// Nothing but the rate kept it from opening one more.
    rate_was_the_bound: bool,
}

/// The evening as it went.
struct Live<'a> {
    stage: &'a Stage,
    tuned: Tuned,
    now: i64,
    arrivals: i64,
    waiting: i64,
    /// Arrivals that have a turn, in the order in which it began.
    active: Vec<i64>,
    last_opened: i64,
}

impl Live<'_> {
    async fn joins(&mut self, count: i64) {
        for _ in 0..count {
            self.arrivals += 1;
            self.waiting += 1;
            self.stage.join(self.arrivals, 1_000_000, self.now).await;
        }
    }

    async fn ends(&mut self, count: usize) {
        for n in self.active.drain(..count.min(self.active.len())) {
            self.stage.line().leave(user(n), self.stage.nth(n)).await.unwrap();
        }
    }

    /// Ticks until there is nothing more to do at this instant, as the server does; says how many turns began.
    async fn tick(&mut self, dead_every: i64) -> Result<f64, TestCaseError> {
        let (mut began, line) = (0.0, self.stage.line());
        loop {
            let reserved = line.admit_reserve(&self.tuned.allowance(), self.now).await.unwrap();
            let Reserved::Batch { batch, full, .. } = reserved else {
                panic!("no batch: {reserved:?}")
            };
            let taken: Vec<i64> =
                batch.numbers.iter().map(|(_, number)| number.arrival()).collect();
            prop_assert!(
                taken.len() + self.active.len() <= self.tuned.cap as usize,
                "over the cap"
            );
            for n in &taken {
                prop_assert_eq!(*n, self.last_opened + 1, "out of order, twice, or passed over");
                self.last_opened = *n;
            }
            // Another instance ticks meanwhile: the batch is out, so there is nothing for it.
            prop_assert!(
                taken.is_empty() || self.stage.takes(&self.tuned, self.now).await.is_empty()
            );
            self.waiting -= taken.len() as i64;
            let (dead, live): (Vec<i64>, Vec<i64>) =
                taken.iter().partition(|n| dead_every > 0 && *n % dead_every == 0);
            let opened =
                live.iter().map(|n| turn(*n, self.stage.nth(*n), self.now + 600_000)).collect();
            let dropped = dead.iter().map(|n| (user(*n), self.stage.nth(*n))).collect();
            let admitted = Admitted { opened, dropped, ..Admitted::default() };
            line.admit_commit(&admitted, 0.0, self.now).await.unwrap();
            began += live.len() as f64;
            self.active.extend(live);
            if !full && dead.is_empty() {
                return Ok(began);
            }
        }
    }
}

async fn spend(stage: &Stage, evening: &Evening) -> Result<(), TestCaseError> {
    let tuned = Tuned { cap: evening.cap, ..tuned(evening.rate, evening.burst) };
    let (now, active) = (NOW, Vec::new());
    let mut live = Live { stage, tuned, now, arrivals: 0, waiting: 0, active, last_opened: 0 };
    let mut ticks: Vec<Tick> = Vec::new();
    for step in &evening.steps {
        let nobody_waits = live.waiting == 0;
        if nobody_waits {
            live.now += step.lull_ms;
        }
        let began = live.now;
        live.joins(step.joins).await;
        live.now += step.pass_ms;
        live.ends(step.ends).await;
        let opened = live.tick(step.dead_every).await?;
        let since = match ticks.last() {
            None => live.now,
            Some(_) if nobody_waits => began,
            Some(last) => last.at,
        };
        let rate_was_the_bound = live.waiting > 0 && (live.active.len() as i64) < evening.cap;
        ticks.push(Tick { at: live.now, since, opened, rate_was_the_bound });
    }
    let figures = stage.line().watch().await.unwrap().unwrap();
    prop_assert_eq!((figures.waiting, figures.active), (live.waiting, live.active.len() as i64));
    never_faster(evening, &ticks)?;
    never_slower(evening, &ticks)
}

fn never_faster(evening: &Evening, ticks: &[Tick]) -> Result<(), TestCaseError> {
    for (i, first) in ticks.iter().enumerate() {
        let mut opened = 0.0;
        for last in &ticks[i..] {
            opened += last.opened;
            let allowed = evening.burst + evening.rate * (last.at - first.since) as f64 / 1_000.0;
            prop_assert!(
                opened <= allowed + ROUNDING,
                "{opened} turns where {allowed} were allowed"
            );
        }
    }
    Ok(())
}

/// While the rate is what holds people back, every bit of it is used: less than one credit is left over.
fn never_slower(evening: &Evening, ticks: &[Tick]) -> Result<(), TestCaseError> {
    for run in ticks.split(|tick| !tick.rate_was_the_bound).filter(|run| run.len() > 1) {
        let (first, last) = (&run[0], &run[run.len() - 1]);
        let opened: f64 = run[1..].iter().map(|tick| tick.opened).sum();
        let earned = evening.rate * (last.at - first.at) as f64 / 1_000.0;
        prop_assert!(opened > earned - 1.0 - ROUNDING, "{opened} turns of {earned} earned");
    }
    Ok(())
}

#[test]
fn neither_faster_nor_slower_than_the_rate_never_over_the_cap_and_in_order() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = Config { cases: 32, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&evenings(), |evening| {
        runtime.block_on(async {
            let stage = Stage::at(8_000).await;
            stage.open().await;
            let spent = spend(&stage, &evening).await;
            stage.strike().await;
            spent
        })
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

/// The rate of a long evening, to the turn: ticks that come late, early and twice are the same one rate.
#[tokio::test]
async fn ticks_of_several_instances_add_up_to_one_rate() {
    let stage = Stage::at(1).await;
    stage.open().await;
    for id in 1..=200 {
        stage.joins(id).await;
    }
    let policy = tuned(7.5, 1.0);
    let mut opened = stage.admits(&policy, NOW).await.len();
    // Three instances, each every 200 ms, out of step by a third, every fourth tick of all missed.
    for tick in (1..=300).filter(|tick| tick % 4 != 0) {
        opened += stage.admits(&policy, NOW + tick * 67).await.len();
    }
    let seconds = (299 * 67) as f64 / 1_000.0;
    assert_eq!(opened, 1 + (7.5 * seconds) as usize);
    stage.strike().await;
}
