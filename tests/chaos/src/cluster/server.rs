//! One server: it keeps its address, its keys and its log over every restart.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::process::Process;

/// It needs its machines to start, and one of them may be away for a minute.
const START_MAX: Duration = Duration::from_secs(150);
/// Readiness is told within two seconds, whatever is away.
const READY_MAX: Duration = Duration::from_millis(2_500);
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// How a server is started, each time.
pub struct Setup {
    pub name: String,
    pub program: PathBuf,
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub settings: Vec<(&'static str, String)>,
    /// Where the log is.
    pub dir: PathBuf,
    /// It reads the time through a library that a file controls.
    pub has_own_clock: bool,
}

pub struct Server {
    setup: Setup,
    http: reqwest::Client,
    process: Mutex<Process>,
}

impl Server {
    pub async fn start(setup: Setup) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(6)).build()?;
        let process = Mutex::new(launch(&setup, None)?);
        let server = Self { setup, http, process };
        server.until_it_answers().await?;
        Ok(server)
    }

    pub fn name(&self) -> &str {
        &self.setup.name
    }

    pub fn address(&self) -> SocketAddr {
        self.setup.address
    }

    pub fn admin(&self) -> SocketAddr {
        self.setup.admin
    }

    pub fn has_own_clock(&self) -> bool {
        self.setup.has_own_clock
    }

    pub fn log(&self) -> PathBuf {
        log(&self.setup)
    }

    pub async fn kill(&self) {
        self.process.lock().await.kill().await;
    }

    pub async fn signal(&self, signal: Signal) {
        self.process.lock().await.signal(signal);
    }

    /// Asks it to stop, and waits for the end; `None` when it took too long and was killed.
    pub async fn stop(&self, within: Duration) -> Option<ExitStatus> {
        let mut process = self.process.lock().await;
        process.signal(Signal::TERM);
        let ended = process.ended(within).await;
        if ended.is_none() {
            process.kill().await;
        }
        ended
    }

    /// How it ended, if it does within the time.
    pub async fn ended(&self, within: Duration) -> Option<ExitStatus> {
        self.process.lock().await.ended(within).await
    }

    pub async fn start_again(&self) -> anyhow::Result<()> {
        *self.process.lock().await = launch(&self.setup, None)?;
        self.until_it_answers().await
    }

    /// Starts it such that it dies at a crash point, whenever that comes.
    pub async fn start_to_crash(&self, point: &str) -> anyhow::Result<()> {
        *self.process.lock().await = launch(&self.setup, Some(point))?;
        Ok(())
    }

    /// Its clock goes wrong by so many seconds; zero is right.
    pub fn shift_clock(&self, seconds: f64) -> anyhow::Result<()> {
        Ok(std::fs::write(clock(&self.setup), format!("{seconds:+.3}\n"))?)
    }

    /// What `/readyz` says, if it answers at all.
    pub async fn readiness(&self) -> Option<(u16, Value)> {
        let url = format!("http://{}/readyz", self.setup.address);
        let answer = self.http.get(url).timeout(READY_MAX).send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.json().await.unwrap_or_default()))
    }

    /// Ready, and with no line in doubt.
    pub async fn serves_the_line(&self) -> bool {
        self.readiness().await.is_some_and(|(status, said)| status == 200 && said["queue"] == "ok")
    }

    /// A server that gives up at its start, because a machine is away, is started again, as a supervisor would.
    async fn until_it_answers(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        let url = format!("http://{}/livez", self.setup.address);
        while self.http.get(&url).send().await.is_err() {
            let mut process = self.process.lock().await;
            if process.has_ended() {
                *process = launch(&self.setup, None)?;
            }
            drop(process);
            let log = self.log();
            anyhow::ensure!(
                begun.elapsed() < START_MAX,
                "{} does not start; see {}",
                self.setup.name,
                log.display()
            );
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

/// Whether servers can be given a clock of their own here.
pub fn clocks_can_be_shifted() -> bool {
    Path::new(FAKETIME).exists()
}

fn launch(setup: &Setup, crash_at: Option<&str>) -> anyhow::Result<Process> {
    let mut command = Command::new(&setup.program);
    command
        .arg("serve")
        .current_dir(&setup.dir)
        .envs(setup.settings.iter().map(|(name, value)| (*name, value.as_str())))
        .env("USHER_LISTEN", setup.address.to_string())
        .env("USHER_ADMIN_LISTEN", setup.admin.to_string());
    if let Some(point) = crash_at {
        command.env("CRASH_AT", point);
    }
    if setup.has_own_clock {
        let clock = clock(setup);
        if !clock.exists() {
            std::fs::write(&clock, "+0\n")?;
        }
        command
            .env("LD_PRELOAD", FAKETIME)
            .env("FAKETIME_TIMESTAMP_FILE", clock)
            .env("FAKETIME_CACHE_DURATION", "1")
            .env("DONT_FAKE_MONOTONIC", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }
    Process::start(&mut command, &log(setup))
}

fn log(setup: &Setup) -> PathBuf {
    setup.dir.join(format!("{}.log", setup.name))
}

fn clock(setup: &Setup) -> PathBuf {
    setup.dir.join(format!("{}.clock", setup.name))
}
