//! What goes wrong, and when: each machine has its faults one after the other, drawn from the seed. What a fault does is
//! in `servers.rs`, `redis.rs` and `sql.rs`; nothing is judged here but whether a fault took effect.

pub mod kind;
pub mod points;
mod redis;
mod servers;
mod sql;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::cluster::Cluster;
use crate::cluster::server::Server;
use crate::history::Fault;
use crate::people::Crowd;
use crate::recorder::Recorder;
use kind::{Deed, Kind, Machine};

/// A line is served again so soon after its loss, however much else fails; who waits longer has found something.
const SERVED_AGAIN_MAX: Duration = Duration::from_secs(180);

/// What was done so far.
#[derive(Clone, Debug, Default)]
pub struct Deeds {
    pub faults: BTreeMap<String, u64>,
    pub points: BTreeMap<String, u64>,
    /// What went wrong that no fault explains.
    pub broken: Vec<String>,
}

/// What a run wants to go wrong.
pub struct Storm {
    pub seed: u64,
    pub kinds: Vec<&'static Kind>,
    /// The longest stop of a process.
    pub stop_max: Duration,
    pub points: Vec<String>,
}

#[derive(Clone)]
pub struct Nemesis(Arc<Inner>);

struct Inner {
    cluster: Arc<Cluster>,
    crowd: Arc<Crowd>,
    recorder: Recorder,
    storm: Storm,
    queue: String,
    deeds: Mutex<Deeds>,
    /// How often each crash point was tried.
    tried: Mutex<BTreeMap<String, u64>>,
    /// Faults of Redis that come from the lane of the servers wait for those of its own.
    redis: tokio::sync::Mutex<()>,
    over: watch::Sender<bool>,
}

/// What a fault came to.
enum Effect {
    /// It happened, with words for a reader.
    Felt(String),
    /// Nobody noticed: it does not count.
    Unfelt(String),
}

impl Nemesis {
    pub fn new(
        cluster: Arc<Cluster>,
        crowd: Arc<Crowd>,
        recorder: Recorder,
        storm: Storm,
        queue: &str,
    ) -> Self {
        let (deeds, tried) = (Mutex::default(), Mutex::default());
        let (redis, over) = (tokio::sync::Mutex::default(), watch::Sender::new(false));
        let queue = queue.to_owned();
        Self(Arc::new(Inner { cluster, crowd, recorder, storm, queue, deeds, tried, redis, over }))
    }

    /// Rages until the time is over and the last fault healed.
    pub async fn rage(&self, time: Duration) -> anyhow::Result<()> {
        let mut lanes = JoinSet::new();
        for machine in [Machine::Server, Machine::Redis, Machine::Sql] {
            let kinds: Vec<_> =
                self.0.storm.kinds.iter().copied().filter(|kind| kind.machine == machine).collect();
            if !kinds.is_empty() {
                lanes.spawn(self.clone().lane(machine, kinds));
            }
        }
        let mut ended = None;
        tokio::select! {
            () = sleep(time) => {}
            first = lanes.join_next() => ended = first,
        }
        self.0.over.send_replace(true);
        let mut outcome = ended.map_or(Ok(()), |first| first?);
        while let Some(lane) = lanes.join_next().await {
            outcome = outcome.and(lane?);
        }
        for ways in &self.0.cluster.ways {
            ways.redis.heal();
            ways.postgres.iter().for_each(crate::proxy::Proxy::heal);
        }
        outcome
    }

    pub fn deeds(&self) -> Deeds {
        self.locked().clone()
    }

    /// The faults of one machine, until the storm is over.
    async fn lane(self, machine: Machine, kinds: Vec<&'static Kind>) -> anyhow::Result<()> {
        let mut rng = StdRng::seed_from_u64(self.0.storm.seed.rotate_left(machine as u32 + 1));
        let mean_seconds = rng.random_range(0.1..1.5);
        let mut over = self.0.over.subscribe();
        let total: u32 = kinds.iter().map(|kind| kind.weight).sum();
        // Each kind once, so that none that was asked for is missing; then by weight.
        let mut first = kinds.clone().into_iter();
        let mut rest = Duration::ZERO;
        loop {
            let gap = Duration::from_secs_f64(-mean_seconds * rng.random_range(0.01_f64..1.0).ln());
            let gap = gap.max(rest);
            if timeout(gap, over.wait_for(|over| *over)).await.is_ok() {
                return Ok(());
            }
            let kind = first.next().unwrap_or_else(|| {
                let mut draw = rng.random_range(0..total);
                kinds
                    .iter()
                    .find(|kind| {
                        let hit = draw < kind.weight;
                        draw = draw.saturating_sub(kind.weight);
                        hit
                    })
                    .unwrap_or(&kinds[0])
            });
            let mut own = StdRng::seed_from_u64(rng.random());
            let begun = Instant::now();
            self.one(kind, &mut own).await?;
            // A machine that stands still most of the time proves little.
            rest = if kind.deed.stops() { begun.elapsed() } else { Duration::ZERO };
        }
    }

    async fn one(&self, kind: &'static Kind, rng: &mut StdRng) -> anyhow::Result<()> {
        let begun_us = self.0.recorder.now_us();
        let (target, effect) = match kind.machine {
            Machine::Server => self.to_a_server(kind.deed, rng).await?,
            Machine::Redis => {
                let _turn = self.0.redis.lock().await;
                ("redis".to_owned(), self.to_redis(kind.deed, rng).await?)
            }
            Machine::Sql => {
                (self.0.cluster.database_name().to_owned(), self.to_sql(kind.deed, rng).await?)
            }
        };
        let (felt, detail) = match effect {
            Effect::Felt(detail) => (true, detail),
            Effect::Unfelt(detail) => (false, format!("unfelt: {detail}")),
        };
        if felt {
            let mut deeds = self.locked();
            *deeds.faults.entry(kind.name.to_owned()).or_default() += 1;
            if kind.deed == Deed::Crash {
                *deeds.points.entry(detail.clone()).or_default() += 1;
            }
        }
        let healed_us = self.0.recorder.now_us();
        let kind = kind.name.to_owned();
        self.0.recorder.fault(Fault { kind, target, begun_us, healed_us, detail });
        Ok(())
    }

    /// Waits until everybody who answers serves the line, and somebody does.
    async fn until_served(&self) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < SERVED_AGAIN_MAX {
            let asked = self.0.cluster.servers.iter().map(Server::readiness);
            let said: Vec<_> = join_all(asked).await.into_iter().flatten().collect();
            if !said.is_empty()
                && said.iter().all(|(status, said)| *status == 200 && said["queue"] == "ok")
            {
                return true;
            }
            sleep(Duration::from_millis(100)).await;
        }
        let seconds = begun.elapsed().as_secs();
        self.broken(format!("the line is not served {seconds} s after it was lost"));
        false
    }

    /// People in the line, as far as anybody can tell.
    async fn waiting(&self) -> i64 {
        let asked = self
            .0
            .cluster
            .operators()
            .map(|operator| async move { operator.waiting(&self.0.queue).await.unwrap_or(-1) });
        join_all(asked).await.into_iter().max().unwrap_or(-1)
    }

    fn broken(&self, what: String) {
        self.locked().broken.push(what);
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Deeds> {
        self.0.deeds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Mostly short, now and then as long as may be.
    fn pause(&self, rng: &mut StdRng) -> Duration {
        let most = self.0.storm.stop_max.as_secs_f64();
        let share: f64 = rng.random_range(0.0..1.0);
        Duration::from_secs_f64(0.2 + most * share.powi(4))
    }
}
