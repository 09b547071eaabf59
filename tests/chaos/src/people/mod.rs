//! People: they line up, hold seats, pay, give up, come back, and some mean no good. What they are answered is recorded;
//! whether it was right is not for them to say.

mod adversary;
mod archive;
mod buyer;
mod shop;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::history::Run;
use crate::recorder::Recorder;
use archive::Archive;
use shop::Shop;

/// Until the end of a turn is written down where machines fail.
const SETTLED: Duration = Duration::from_secs(2);

/// Where an instance is reached; it stays there over restarts.
#[derive(Clone, Debug)]
pub struct Door {
    pub name: String,
    pub address: SocketAddr,
}

/// What is for sale.
#[derive(Clone, Debug)]
pub struct Sale {
    pub concert: i64,
    pub seats: Vec<String>,
    pub price: i64,
}

/// How far people have come: the newest instants on the recorder's clock, and counts.
#[derive(Debug, Default)]
pub struct Progress {
    pub served: AtomicU64,
    pub joined_us: AtomicI64,
    pub admitted_us: AtomicI64,
    pub held_us: AtomicI64,
    pub paid_us: AtomicI64,
}

/// Somebody who waited to the end and was not admitted.
#[derive(Clone, Debug)]
pub struct Unserved {
    pub user: i64,
    pub number: i64,
}

/// Everybody.
pub struct Crowd {
    world: Arc<World>,
    buyers: JoinSet<()>,
    others: JoinSet<()>,
}

/// What everybody shares.
pub(crate) struct World {
    shop: Shop,
    sales: Vec<Sale>,
    archive: Archive,
    progress: Progress,
    /// Nobody new comes.
    closing: AtomicBool,
    next_user: AtomicI64,
    /// How long seats are held.
    hold: Duration,
    seed: u64,
}

impl Crowd {
    /// `size` people at a time, as long as anybody arrives; and those who look on.
    pub fn gather(
        doors: Vec<Door>,
        sales: Vec<Sale>,
        run: &Run,
        recorder: Recorder,
        size: usize,
    ) -> anyhow::Result<Self> {
        let ms = |ms: i64| Duration::from_millis(ms.unsigned_abs());
        let world = Arc::new(World {
            shop: Shop::new(doors, run.queue.clone(), recorder)?,
            sales,
            archive: Archive::new(ms(run.session_ms + run.hold_ms) + SETTLED, run.seed),
            progress: Progress::default(),
            closing: AtomicBool::new(false),
            next_user: AtomicI64::new(1),
            hold: ms(run.hold_ms),
            seed: run.seed,
        });
        let (mut buyers, mut others) = (JoinSet::new(), JoinSet::new());
        for slot in 0..size {
            buyers.spawn(buyer::one_after_the_other(world.clone(), slot as u64));
        }
        others.spawn(adversary::present_what_is_over(world.clone()));
        others.spawn(adversary::forge(world.clone()));
        others.spawn(adversary::meddle(world.clone()));
        others.spawn(adversary::read(world.clone()));
        Ok(Self { world, buyers, others })
    }

    pub fn progress(&self) -> &Progress {
        &self.world.progress
    }

    /// Presents every token of a turn that is over, at once; how many there were.
    pub async fn present_everything(&self) -> usize {
        adversary::present_everything(&self.world).await
    }

    /// Nobody new comes; who is there goes on until he is served.
    pub fn stop_arriving(&self) {
        self.world.closing.store(true, Ordering::Relaxed);
    }

    /// Waits until everybody was served, and at most so long. Who was not is told.
    pub async fn disperse(mut self, within: Duration) -> Vec<Unserved> {
        self.stop_arriving();
        let until = Instant::now() + within;
        while let Ok(Some(_)) = timeout_at(until, self.buyers.join_next()).await {}
        self.buyers.shutdown().await;
        self.others.shutdown().await;
        self.world.archive.waiting()
    }
}

impl World {
    fn new_user(&self) -> i64 {
        self.next_user.fetch_add(1, Ordering::Relaxed)
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// A generator of one's own: the same for the same seed.
    fn dice(&self, of: u64) -> StdRng {
        StdRng::seed_from_u64(self.seed.rotate_left(17) ^ of.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}
