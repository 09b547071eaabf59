//! The server of a bench: this very program as a process of its own, with an empty data directory, a private Redis and
//! free ports. What was started is stopped, whatever happened in between.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::redis::Redis;
use crate::config::SETTINGS;

/// Longer than a server drains and its Redis saves.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// The one setting of the machine that a bench respects: which Redis is measured.
const KEPT: &str = "USHER_REDIS_SERVER";
/// What the server says on standard error.
const LOG: &str = "server.log";
/// Nobody is refused for being one too many.
const WAITING_MAX: &str = "100000000";

/// A server of this process.
pub struct Server {
    program: PathBuf,
    data: TempDir,
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
    operators: String,
}

/// What the operators' API says of a queue, as far as it matters here.
#[derive(Deserialize)]
struct Queue {
    state: String,
    waiting: u64,
    admitted_total: u64,
}

impl Server {
    pub fn spawn(database_url: Option<&str>) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("this program does not know where it is")?;
        let data = TempDir::with_prefix("usher-bench-").context("no temporary directory")?;
        let mut command = bare(&program, &data);
        command
            .arg("serve")
            .env("USHER_DATA_DIR", data.path())
            .env("USHER_LISTEN", "127.0.0.1:0")
            .env("USHER_ADMIN_LISTEN", "127.0.0.1:0")
            .env("USHER_AUTH", "open")
            .env("USHER_RATE_LIMITS", "off")
            .env("USHER_WAITING_MAX", WAITING_MAX)
            .env("USHER_LOG", "warn")
            .envs(database_url.map(|url| ("USHER_DATABASE_URL", url)))
            .stdout(Stdio::piped())
            .stderr(File::create(data.path().join(LOG))?)
            // A Ctrl-C in the terminal is for the bench, which stops the server itself.
            .process_group(0);
        let mut child =
            command.spawn().with_context(|| format!("{} cannot be started", program.display()))?;
        let out = child.stdout.take().context("the server has no standard output")?;
        let said = BufReader::new(out).lines();
        Ok(Self { program, data, child, said, operators: String::new() })
    }

    /// Waits until it serves. Where buyers reach it.
    pub async fn ready(&mut self) -> anyhow::Result<SocketAddr> {
        let mut public = None;
        while let Some(line) = self.said.next_line().await? {
            let address = line.rsplit(' ').next().unwrap_or_default();
            match (line.starts_with("operators"), public) {
                (false, _) => public = address.trim_start_matches("http://").parse().ok(),
                (true, Some(public)) => {
                    address.clone_into(&mut self.operators);
                    return Ok(public);
                }
                (true, None) => break,
            }
        }
        bail!("the server did not start: {}", self.last_words());
    }

    /// Stops admission, as an operator does; but never in a shop that people have been to.
    pub async fn pause(&self) -> anyhow::Result<()> {
        let queue: Queue = serde_json::from_str(&self.ctl(["queues", "show", "main"]).await?)?;
        ensure!(
            queue.state == "ok" && queue.waiting == 0 && queue.admitted_total == 0,
            "the database has been in use: --database-url takes an empty one"
        );
        self.ctl(["pause", "main"]).await?;
        Ok(())
    }

    async fn ctl<const N: usize>(&self, words: [&str; N]) -> anyhow::Result<String> {
        let said = bare(&self.program, &self.data)
            .arg("ctl")
            .args(words)
            .args(["--json", "--url", &self.operators, "--data-dir"])
            .arg(self.data.path())
            .output()
            .await?;
        if !said.status.success() {
            bail!("the queue cannot be paused: {}", String::from_utf8_lossy(&said.stderr).trim());
        }
        Ok(String::from_utf8(said.stdout)?)
    }

    pub fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().with_context(|| format!("the server ended: {}", self.last_words()))
    }

    pub fn redis_socket(&self) -> PathBuf {
        self.data.path().join("redis/redis.sock")
    }

    /// Stops it and its Redis, and removes what they wrote.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let stopped = tokio::time::timeout(STOP_TIMEOUT, self.terminate()).await;
        if stopped.is_err() {
            self.child.kill().await?;
        }
        // A server that was killed leaves its Redis behind.
        if let Ok(redis) = Redis::at(&self.redis_socket()).await {
            redis.end().await;
        }
        stopped.context("the server did not stop in time and was killed")?
    }

    async fn terminate(&mut self) -> anyhow::Result<()> {
        if let Some(pid) = self.child.id() {
            Command::new("kill").arg("-TERM").arg(pid.to_string()).status().await?;
        }
        self.child.wait().await?;
        Ok(())
    }

    /// Why it ended, as far as it said so.
    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.data.path().join(LOG)).unwrap_or_default();
        log.lines().last().unwrap_or("it said nothing").to_owned()
    }
}

/// This program without the settings of whoever runs it.
fn bare(program: &Path, data: &TempDir) -> Command {
    let mut command = Command::new(program);
    for setting in SETTINGS.iter().filter(|setting| setting.name != KEPT) {
        command.env_remove(setting.name);
    }
    command.current_dir(data.path()).stdin(Stdio::null()).kill_on_drop(true);
    command
}
