//! What is done to servers.

use std::process::ExitStatus;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::kind::Deed;
use super::{Effect, Nemesis, points};
use crate::cluster::process::aborted;
use crate::cluster::server::Server;

/// A crash point that nobody passes for so long is not on the way of this crowd.
const CRASH_MAX: Duration = Duration::from_secs(12);
/// What a server promises to need for its stop, and a little.
const STOP_MAX: Duration = Duration::from_secs(28);

impl Nemesis {
    pub(super) async fn to_a_server(
        &self,
        deed: Deed,
        rng: &mut StdRng,
    ) -> anyhow::Result<(String, Effect)> {
        let servers = &self.0.cluster.servers;
        let drawn = &servers[rng.random_range(0..servers.len())];
        let (server, effect) = match deed {
            Deed::Kill => (drawn, kill(drawn).await?),
            Deed::Crash => (drawn, self.crash(drawn, rng).await?),
            Deed::ServerStop => (drawn, self.freeze(drawn, rng).await),
            Deed::ClockStep | Deed::ClockJump => {
                let server = servers.iter().find(|server| server.has_own_clock());
                let Some(server) = server else {
                    return Ok((
                        String::new(),
                        Effect::Unfelt("no server has a clock of its own".to_owned()),
                    ));
                };
                (server, step_clock(server, deed, rng).await?)
            }
            _ => return self.roll().await,
        };
        Ok((server.name().to_owned(), effect))
    }

    async fn crash(&self, server: &Server, rng: &mut StdRng) -> anyhow::Result<Effect> {
        let Some(point) = self.next_point() else {
            return Ok(Effect::Unfelt("there are no crash points".to_owned()));
        };
        let wipes = points::needs_wipe(&point);
        // A rebuild is rare, and so is each of its steps.
        let times = if wipes { 1 } else { rng.random_range(1..=5) };
        server.kill().await;
        server.start_to_crash(&format!("{point}:{times}")).await?;
        let begun = Instant::now();
        let mut died = None;
        while died.is_none() && begun.elapsed() < CRASH_MAX {
            if wipes && server.serves_the_line().await {
                died = self.wipe_before(server).await;
            } else {
                died = server.ended(Duration::from_millis(500)).await;
            }
        }
        if died.is_none() {
            server.kill().await;
        }
        server.start_again().await?;
        Ok(match died {
            Some(status) if aborted(status) => Effect::Felt(point),
            Some(status) => Effect::Unfelt(format!("{point}: ended with {status}")),
            None => Effect::Unfelt(format!("{point}: nobody came by")),
        })
    }

    /// The line is lost while nobody else looks, so that this server is the one that rebuilds it.
    async fn wipe_before(&self, server: &Server) -> Option<ExitStatus> {
        // Somebody else is losing the line already.
        let Ok(_turn) = self.0.redis.try_lock() else {
            return server.ended(Duration::from_millis(1_500)).await;
        };
        let others = || self.0.cluster.servers.iter().filter(|other| other.name() != server.name());
        for other in others() {
            other.signal(Signal::STOP).await;
        }
        // Redis may be behind a trick, or just be starting: then it is tried again.
        let _ = self.0.cluster.redis.wipe().await;
        let died = server.ended(Duration::from_millis(1_500)).await;
        for other in others() {
            other.signal(Signal::CONT).await;
        }
        died
    }

    /// The point that was passed least often by those who crashed, or that nobody has tried yet.
    fn next_point(&self) -> Option<String> {
        let mut tried = self.0.tried.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let least = |point: &&String| tried.get(*point).copied().unwrap_or_default();
        let point = self.0.storm.points.iter().min_by_key(least)?.clone();
        *tried.entry(point.clone()).or_default() += 1;
        Some(point)
    }

    async fn freeze(&self, server: &Server, rng: &mut StdRng) -> Effect {
        let pause = self.pause(rng);
        server.signal(Signal::STOP).await;
        sleep(pause).await;
        server.signal(Signal::CONT).await;
        Effect::Felt(format!("{} ms", pause.as_millis()))
    }

    /// One after the other is told to stop, ends in its own time and comes back; each stop is a record of its own.
    async fn roll(&self) -> anyhow::Result<(String, Effect)> {
        for server in &self.0.cluster.servers {
            let begun_us = self.0.recorder.now_us();
            if server.stop(STOP_MAX).await.is_none() {
                self.broken(format!("{} did not end in {STOP_MAX:?} after SIGTERM", server.name()));
            }
            let healed_us = self.0.recorder.now_us();
            server.start_again().await?;
            self.0.recorder.fault(crate::history::Fault {
                kind: "stop".to_owned(),
                target: server.name().to_owned(),
                begun_us,
                healed_us,
                detail: "rolling".to_owned(),
            });
        }
        Ok(("every server".to_owned(), Effect::Felt(String::new())))
    }
}

async fn kill(server: &Server) -> anyhow::Result<Effect> {
    server.kill().await;
    server.start_again().await?;
    Ok(Effect::Felt(String::new()))
}

/// Within what nobody may notice, or far beyond.
async fn step_clock(server: &Server, deed: Deed, rng: &mut StdRng) -> anyhow::Result<Effect> {
    let most = if deed == Deed::ClockStep { 0.5 } else { 60.0 };
    let seconds: f64 = rng.random_range(-most..most);
    server.shift_clock(seconds)?;
    sleep(Duration::from_secs_f64(rng.random_range(2.0..6.0))).await;
    server.shift_clock(0.0)?;
    // The file is read once a second.
    sleep(Duration::from_millis(1_100)).await;
    Ok(Effect::Felt(format!("{seconds:+.3} s")))
}
