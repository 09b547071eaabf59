//! The Redis of a run, with its append-only file: killed, emptied, brought back from an old file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use rustix::process::Signal;
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::process::Process;

const START_MAX: Duration = Duration::from_secs(30);
const FILES: &str = "appendonlydir";

pub struct Redis {
    dir: PathBuf,
    address: SocketAddr,
    process: Mutex<Process>,
}

impl Redis {
    pub async fn start(dir: PathBuf, address: SocketAddr) -> anyhow::Result<Self> {
        std::fs::create_dir(&dir)?;
        let process = Mutex::new(launch(&dir, address)?);
        let redis = Self { dir, address, process };
        redis.until_ready().await?;
        Ok(redis)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn log(&self) -> PathBuf {
        self.dir.with_extension("log")
    }

    pub async fn wipe(&self) -> anyhow::Result<()> {
        let mut redis = self.connect().await?;
        Ok(redis::cmd("FLUSHALL").query_async(&mut redis).await?)
    }

    pub async fn kill(&self) {
        self.process.lock().await.kill().await;
    }

    pub async fn start_again(&self) -> anyhow::Result<()> {
        *self.process.lock().await = launch(&self.dir, self.address)?;
        self.until_ready().await
    }

    pub async fn signal(&self, signal: Signal) {
        self.process.lock().await.signal(signal);
    }

    /// Between a kill and a start: nothing is left.
    pub fn lose_files(&self) -> anyhow::Result<()> {
        Ok(std::fs::remove_dir_all(self.dir.join(FILES))?)
    }

    /// Keeps a copy of the append-only files as they are at this moment.
    pub fn keep_files(&self) -> anyhow::Result<()> {
        let old = self.dir.join("old");
        let _ = std::fs::remove_dir_all(&old);
        copy(&self.dir.join(FILES), &old)
    }

    /// Between a kill and a start: back to the copy.
    pub fn restore_files(&self) -> anyhow::Result<()> {
        self.lose_files()?;
        copy(&self.dir.join("old"), &self.dir.join(FILES))
    }

    /// How many keys there are.
    pub async fn size(&self) -> anyhow::Result<u64> {
        let mut redis = self.connect().await?;
        Ok(redis::cmd("DBSIZE").query_async(&mut redis).await?)
    }

    async fn connect(&self) -> anyhow::Result<redis::aio::MultiplexedConnection> {
        let client = redis::Client::open(format!("redis://{}", self.address))?;
        Ok(client.get_multiplexed_async_connection().await?)
    }

    async fn until_ready(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        while self.size().await.is_err() {
            let ended = self.process.lock().await.has_ended();
            anyhow::ensure!(
                !ended && begun.elapsed() < START_MAX,
                "Redis does not start; see {}",
                self.log().display()
            );
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

fn launch(dir: &Path, address: SocketAddr) -> anyhow::Result<Process> {
    let mut command = Command::new("redis-server");
    let port = address.port().to_string();
    let settings = [
        ["--bind", "127.0.0.1"],
        ["--port", &port],
        ["--save", ""],
        ["--appendonly", "yes"],
        ["--appendfsync", "everysec"],
        ["--maxmemory-policy", "noeviction"],
        ["--repl-backlog-ttl", "0"],
    ];
    command.args(settings.as_flattened()).current_dir(dir);
    Process::start(&mut command, &dir.with_extension("log"))
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let copied = std::fs::copy(entry.path(), to.join(entry.file_name()));
        // A rewrite removes the file before last while we look: it is not named in the new manifest.
        if copied.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
            continue;
        }
        copied.with_context(|| format!("{} is not copied", entry.path().display()))?;
    }
    Ok(())
}
