//! What is done to Redis, and said in its name.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::kind::Deed;
use super::{Effect, Nemesis};
use crate::proxy::{Aim, Direction, Often, Proxy, Trick};

/// A trick that met nobody for so long is given up.
const FELT_MAX: Duration = Duration::from_secs(10);
/// A lost line is noticed by the next who asks; people ask each second.
const NOTICED: Duration = Duration::from_millis(1_200);

impl Nemesis {
    pub(super) async fn to_redis(&self, deed: Deed, rng: &mut StdRng) -> anyhow::Result<Effect> {
        let share = Often::Share(rng.random_range(0.05..1.0));
        let trick = match deed {
            Deed::RedisSays(refusal) => Trick::Answer(refusal, Aim::any(share)),
            Deed::RedisDropsReply => Trick::DropReply(Aim::any(Often::Share(0.2))),
            Deed::RedisDuplicates => Trick::Duplicate(Aim::at("EVALSHA", share)),
            Deed::RedisCut => Trick::CutAnywhere(Often::Share(0.05)),
            Deed::RedisStall => Trick::Stall(direction(rng)),
            Deed::RedisStop => return Ok(self.freeze_redis(rng).await),
            _ => return self.lose_the_line(deed, rng).await,
        };
        let ways: Vec<_> = self.0.cluster.ways.iter().map(|ways| &ways.redis).collect();
        Ok(play(&ways, &trick, rng).await)
    }

    async fn freeze_redis(&self, rng: &mut StdRng) -> Effect {
        let pause = self.pause(rng);
        self.0.cluster.redis.signal(Signal::STOP).await;
        sleep(pause).await;
        self.0.cluster.redis.signal(Signal::CONT).await;
        Effect::Felt(format!("{} ms", pause.as_millis()))
    }

    /// The line is lost, wholly or in part; those whose turn is over come at once, and all wait until it is served.
    async fn lose_the_line(&self, deed: Deed, rng: &mut StdRng) -> anyhow::Result<Effect> {
        // One loss after the other: each is to meet a line that lives.
        let lived = self.until_served().await;
        let waiting = self.waiting().await;
        let redis = &self.0.cluster.redis;
        if deed == Deed::OldFile {
            redis.keep_files()?;
            sleep(Duration::from_secs_f64(rng.random_range(0.5..4.0))).await;
        }
        if deed == Deed::Wipe {
            redis.wipe().await?;
        } else {
            redis.kill().await;
            match deed {
                Deed::Empty => redis.lose_files()?,
                Deed::OldFile => redis.restore_files()?,
                _ => {}
            }
            redis.start_again().await?;
        }
        let presented = self.0.crowd.present_everything().await;
        sleep(NOTICED).await;
        let served = lived && self.until_served().await;
        let detail = format!("{waiting} waited, {presented} finished tokens were presented");
        // A line in which nobody waits loses nothing.
        Ok(if served && waiting > 0 { Effect::Felt(detail) } else { Effect::Unfelt(detail) })
    }
}

pub(super) fn direction(rng: &mut StdRng) -> Direction {
    if rng.random() { Direction::ToServer } else { Direction::ToClient }
}

/// Plays a trick to one server or to all, for a while, and at least until somebody felt it.
pub(super) async fn play(ways: &[&Proxy], trick: &Trick, rng: &mut StdRng) -> Effect {
    let only = rng.random_bool(0.5).then(|| rng.random_range(0..ways.len()));
    let chosen: Vec<_> = match only {
        Some(place) => vec![ways[place]],
        None => ways.to_vec(),
    };
    let felt = || chosen.iter().map(|way| way.played().values().sum::<u64>()).sum::<u64>();
    let before = felt();
    chosen.iter().for_each(|way| way.play(trick.clone()));
    sleep(Duration::from_secs_f64(rng.random_range(0.2..2.5))).await;
    let begun = Instant::now();
    while felt() == before && begun.elapsed() < FELT_MAX {
        sleep(Duration::from_millis(50)).await;
    }
    chosen.iter().for_each(|way| way.heal());
    let times = felt() - before;
    let on = only.map_or_else(|| "every server".to_owned(), |place| format!("server{place}"));
    let detail = format!("{trick:?} on {on}, {times} times");
    if times > 0 { Effect::Felt(detail) } else { Effect::Unfelt(detail) }
}
