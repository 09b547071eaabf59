//! A PostgreSQL of a bench: started empty, with `fsync` on, on a free loopback port, and removed afterwards; and its own
//! yardstick, `pgbench`.

use std::fs::Permissions;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use procfs::process::{Process, all_processes};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::sleep;

/// Where Debian has it; elsewhere it is looked for on `PATH`.
const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";
/// Nobody's database but this bench's, on loopback.
const PASSWORD: &str = "a-bench-of-usher";
const READY_TIMEOUT: Duration = Duration::from_secs(30);
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// As many as the issue of a sale compares with.
const CLIENTS: &str = "32";
const THREADS: &str = "2";

/// One that was started.
pub struct Postgres {
    home: TempDir,
    child: Child,
    url: String,
}

impl Postgres {
    pub async fn start() -> anyhow::Result<Self> {
        let home = TempDir::with_prefix("usher-bench-").context("no temporary directory")?;
        // PostgreSQL does not run as root: another user makes his directory in here.
        std::fs::set_permissions(home.path(), Permissions::from_mode(0o1777))?;
        let (data, password) = (home.path().join("data"), home.path().join("password"));
        std::fs::write(&password, PASSWORD)?;
        let made = unprivileged("initdb")
            .arg("-D")
            .arg(&data)
            .arg(format!("--pwfile={}", password.display()))
            .args(["-U", "usher", "-A", "password", "-E", "UTF8", "--locale=C", "--no-sync"])
            .output()
            .await
            .context("initdb cannot be started")?;
        ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().to_string();
        let log = std::fs::File::create(home.path().join("log"))?;
        let child = unprivileged("postgres")
            .arg("-D")
            .arg(&data)
            .args(["-h", "127.0.0.1", "-k", "", "-p", &port])
            .args(["-c", "fsync=on", "-c", "synchronous_commit=on", "-c", "max_connections=200"])
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("PostgreSQL cannot be started")?;
        let url = format!("postgres://usher:{PASSWORD}@127.0.0.1:{port}/postgres");
        let started = Self { home, child, url };
        started.ready(&data).await?;
        Ok(started)
    }

    pub fn url(&self) -> String {
        self.url.clone()
    }

    async fn ready(&self, data: &Path) -> anyhow::Result<()> {
        let told = data.join("postmaster.pid");
        let ready = async {
            while !std::fs::read_to_string(&told).is_ok_and(|pid| pid.contains("\nready")) {
                sleep(LOOK_PAUSE).await;
            }
        };
        let started = tokio::time::timeout(READY_TIMEOUT, ready).await;
        started.with_context(|| {
            let log = std::fs::read_to_string(self.home.path().join("log")).unwrap_or_default();
            format!("PostgreSQL did not start: {log}")
        })
    }

    /// Processor time of all its processes so far.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        let parent = i32::try_from(self.child.id().context("PostgreSQL has ended")?)?;
        let stats = all_processes()?.flatten().filter_map(|process: Process| process.stat().ok());
        let own = stats.filter(|stat| stat.pid == parent || stat.ppid == parent);
        let ticks: u64 = own.map(|stat| stat.utime + stat.stime).sum();
        Ok(Duration::from_secs_f64(ticks as f64 / procfs::ticks_per_second() as f64))
    }

    pub async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(pid) = self.child.id() {
            Command::new("kill").arg("-INT").arg(pid.to_string()).status().await?;
        }
        self.child.wait().await?;
        Ok(())
    }
}

/// Runs statements; what they answer is nobody's business.
pub async fn run(url: &str, statements: &str) -> anyhow::Result<()> {
    let arguments = ["-q", "-v", "ON_ERROR_STOP=1", "-c", statements, url];
    let done = Command::new(program("psql")).args(arguments).output().await;
    let done = done.context("psql cannot be started")?;
    ensure!(done.status.success(), "psql: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

/// Transactions a second of `pgbench` with 32 clients, prepared statements, for so many seconds.
pub async fn pgbench(url: &str, seconds: u64, what: &[&str]) -> anyhow::Result<f64> {
    let seconds = seconds.to_string();
    let how = ["-n", "-M", "prepared", "-c", CLIENTS, "-j", THREADS, "-T", &seconds];
    let said = said_by_pgbench(how.iter().chain(what).chain([&url])).await?;
    let rate = said.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next());
    let Some(rate) = rate else { bail!("pgbench told no rate: {said}") };
    Ok(rate.parse()?)
}

/// Makes the tables that `pgbench` itself works on.
pub async fn pgbench_tables(url: &str, scale: &str) -> anyhow::Result<()> {
    said_by_pgbench(["-i", "-q", "-s", scale, url].iter()).await.map(drop)
}

async fn said_by_pgbench<'a>(
    arguments: impl Iterator<Item = &'a &'a str>,
) -> anyhow::Result<String> {
    let done = Command::new(program("pgbench")).args(arguments).kill_on_drop(true).output().await;
    let done = done.context("pgbench cannot be started")?;
    ensure!(done.status.success(), "pgbench: {}", String::from_utf8_lossy(&done.stderr));
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

fn program(name: &str) -> PathBuf {
    let installed = Path::new(PROGRAMS).join(name);
    if installed.exists() { installed } else { PathBuf::from(name) }
}

/// This program by somebody who is not root.
fn unprivileged(name: &str) -> Command {
    let is_root = Process::myself().and_then(|me| me.uid()).is_ok_and(|user| user == 0);
    if !is_root {
        return Command::new(program(name));
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]);
    command.arg(program(name)).current_dir("/");
    command
}
