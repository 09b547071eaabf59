//! The PostgreSQL of a run, on a small disk of its own: stopped at once, killed, its disk filled.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use rustix::process::Signal;
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::ground::Disk;
use super::process::Process;

const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";
/// Recovery after a kill, on a machine that others use too.
const START_MAX: Duration = Duration::from_secs(90);
const PASSWORD: &str = "of-one-run-on-loopback";

pub struct Postgres {
    /// Before the disk, so that nobody writes there when it goes.
    process: Mutex<Process>,
    disk: Disk,
    address: SocketAddr,
    owner: Option<(u32, u32)>,
}

impl Postgres {
    pub async fn start(dir: &Path, address: SocketAddr) -> anyhow::Result<Self> {
        let owner = owner()?;
        let disk = Disk::prepare(dir, owner)?;
        let password = disk.path().join("password");
        std::fs::write(&password, PASSWORD)?;
        let data = disk.path().join("data");
        let made = command("initdb", owner)
            .arg("-D")
            .arg(&data)
            .arg("--pwfile")
            .arg(&password)
            .args(["-U", "usher", "-A", "password", "-E", "UTF8", "--locale=C", "--no-sync"])
            .output()
            .await
            .context("initdb does not run")?;
        anyhow::ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let process = Mutex::new(launch(disk.path(), address, owner)?);
        let postgres = Self { process, disk, address, owner };
        postgres.until_ready().await?;
        Ok(postgres)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// The database as seen at an address: its own, or a proxy's.
    pub fn url(address: SocketAddr) -> String {
        format!("postgres://usher:{PASSWORD}@{address}/postgres")
    }

    pub async fn kill(&self) {
        self.process.lock().await.kill().await;
    }

    /// As `pg_ctl stop -m immediate`: no checkpoint, recovery at the next start.
    pub async fn stop_at_once(&self) {
        let mut process = self.process.lock().await;
        process.signal(Signal::QUIT);
        if process.ended(Duration::from_secs(10)).await.is_none() {
            process.kill().await;
        }
    }

    /// The server and everybody who serves a connection.
    pub async fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        self.process.lock().await.signal_family(signal)
    }

    /// Runs again, if it does not run any more: after a kill, or after it gave up on a full disk.
    pub async fn start_again(&self) -> anyhow::Result<()> {
        self.until_ready().await
    }

    /// A server that was killed leaves its children for a moment, and none starts beside them: it is tried again.
    async fn until_ready(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let mut process = self.process.lock().await;
            if process.has_ended() {
                *process = launch(self.disk.path(), self.address, self.owner)?;
            }
            drop(process);
            if self.answers().await {
                return Ok(());
            }
            anyhow::ensure!(
                begun.elapsed() < START_MAX,
                "PostgreSQL does not start; see {}",
                self.disk.path().with_extension("log").display()
            );
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn answers(&self) -> bool {
        let mut options = sea_orm::ConnectOptions::new(Self::url(self.address));
        options.max_connections(1).sqlx_logging(false).acquire_timeout(Duration::from_secs(2));
        options.idle_timeout(None).max_lifetime(None);
        match sea_orm::Database::connect(options).await {
            Ok(sql) => {
                let answers = sql.ping().await.is_ok();
                let _ = sql.close().await;
                answers
            }
            Err(_) => false,
        }
    }
}

/// PostgreSQL refuses to run as root.
fn owner() -> anyhow::Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let accounts = std::fs::read_to_string("/etc/passwd")?;
    let account = |name: &str| {
        let line = accounts.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut ids = line.split(':').skip(2).map(|id| id.parse().ok());
        Some((ids.next()??, ids.next()??))
    };
    let owner = account("postgres").or_else(|| account("nobody"));
    Ok(Some(owner.context("there is neither `postgres` nor `nobody`")?))
}

fn command(program: &str, owner: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(format!("{PROGRAMS}/{program}"));
    command.current_dir("/");
    if let Some((uid, gid)) = owner {
        command.uid(uid).gid(gid);
    }
    command
}

fn launch(dir: &Path, address: SocketAddr, owner: Option<(u32, u32)>) -> anyhow::Result<Process> {
    let mut postgres = command("postgres", owner);
    let port = address.port().to_string();
    postgres.arg("-D").arg(dir.join("data")).args(["-h", "127.0.0.1", "-k", "", "-p", &port]);
    for setting in
        ["max_connections=200", "fsync=on", "synchronous_commit=on", "max_wal_size=256MB"]
    {
        postgres.args(["-c", setting]);
    }
    Process::start(&mut postgres, &dir.with_extension("log"))
}
