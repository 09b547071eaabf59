//! What is done to the database, and between it and the servers.

use std::time::Duration;

use anyhow::Context;
use rand::RngExt;
use rand::rngs::StdRng;
use rustix::process::Signal;
use tokio::time::sleep;

use super::kind::Deed;
use super::redis::{direction, play};
use super::{Effect, Nemesis};
use crate::proxy::{Often, Trick};

impl Nemesis {
    pub(super) async fn to_sql(&self, deed: Deed, rng: &mut StdRng) -> anyhow::Result<Effect> {
        let cut = Often::Next(rng.random_range(1..=3));
        let trick = match deed {
            Deed::CommitCut => Trick::CutAfterCommit(cut),
            Deed::CommitCutBefore => Trick::CutBeforeCommit(cut),
            Deed::PostgresCut => Trick::CutAnywhere(Often::Share(0.02)),
            Deed::PostgresStall => Trick::Stall(direction(rng)),
            Deed::DiskFull => return self.fill_disk(rng).await,
            _ => return self.break_postgres(deed, rng).await,
        };
        let ways: Vec<_> =
            self.0.cluster.ways.iter().filter_map(|ways| ways.postgres.as_ref()).collect();
        Ok(play(&ways, &trick, rng).await)
    }

    async fn break_postgres(&self, deed: Deed, rng: &mut StdRng) -> anyhow::Result<Effect> {
        let postgres = self.0.cluster.postgres.as_ref().context("there is no PostgreSQL")?;
        if deed == Deed::PostgresStop {
            let pause = self.pause(rng);
            postgres.signal(Signal::STOP).await?;
            sleep(pause).await;
            postgres.signal(Signal::CONT).await?;
            return Ok(Effect::Felt(format!("{} ms", pause.as_millis())));
        }
        let stopped = rng.random_bool(0.5);
        if stopped {
            postgres.stop_at_once().await;
        } else {
            postgres.kill().await;
        }
        sleep(Duration::from_secs_f64(rng.random_range(0.0..1.5))).await;
        postgres.start_again().await?;
        Ok(Effect::Felt(if stopped { "immediate stop" } else { "kill -9" }.to_owned()))
    }

    /// PostgreSQL may give up on a full disk: it is started when there is room again.
    async fn fill_disk(&self, rng: &mut StdRng) -> anyhow::Result<Effect> {
        let disk = self.0.cluster.disk();
        if !disk.can_be_filled() {
            return Ok(Effect::Unfelt("no file system of its own can be mounted here".to_owned()));
        }
        disk.fill()?;
        sleep(Duration::from_secs_f64(rng.random_range(1.0..5.0))).await;
        disk.free();
        if let Some(postgres) = &self.0.cluster.postgres {
            postgres.start_again().await?;
        }
        Ok(Effect::Felt(String::new()))
    }
}
