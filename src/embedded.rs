//! The private Redis: started in the data directory on a unix socket, with an append-only file, and looked after.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::{Error, Machine};

/// Names it goes by, in the order they are tried.
const PROGRAMS: [&str; 2] = ["redis-server", "valkey-server"];
const PID_FILE: &str = "redis.pid";
/// Loading a million waiters takes a few seconds.
const START_TIMEOUT: Duration = Duration::from_secs(30);
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
const RESTART_PAUSE: Duration = Duration::from_secs(1);
const PROBE_PAUSE: Duration = Duration::from_millis(20);
/// A path of a unix socket has room for 108 bytes.
const SOCKET_BYTES_MAX: usize = 100;

/// A Redis of this process.
pub struct PrivateRedis {
    socket: PathBuf,
    stopping: CancellationToken,
    keeper: TaskTracker,
}

impl PrivateRedis {
    /// Starts it, or finds the one that a killed predecessor left running.
    pub async fn start(dir: &Path, program: Option<&Path>) -> Result<Self, Error> {
        std::fs::create_dir_all(dir).map_err(unavailable)?;
        let dir = dir.canonicalize().map_err(unavailable)?;
        let socket = dir.join("redis.sock");
        if socket.as_os_str().len() > SOCKET_BYTES_MAX {
            let what = format!(
                "{} is too long for a socket: set a shorter USHER_DATA_DIR",
                socket.display()
            );
            return Err(unavailable(std::io::Error::other(what)));
        }
        let private =
            Self { socket, stopping: CancellationToken::new(), keeper: TaskTracker::new() };
        if private.answers().await {
            tracing::info!("the private Redis is running already");
            return Ok(private);
        }
        let child = spawn(&dir, program)?;
        private.await_start(child, &dir, program.map(Path::to_path_buf)).await?;
        Ok(private)
    }

    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.socket.display())
    }

    /// Stops it, with everything on disk.
    pub async fn stop(&self) {
        self.stopping.cancel();
        self.keeper.close();
        let stopped = async {
            if self.keeper.is_empty() {
                self.stop_found().await;
            }
            self.keeper.wait().await;
        };
        if tokio::time::timeout(STOP_TIMEOUT, stopped).await.is_err() {
            tracing::error!("the private Redis did not stop in time");
        }
    }

    /// Stops one that was found running: it is nobody's child.
    async fn stop_found(&self) {
        let pid = std::fs::read_to_string(self.socket.with_file_name(PID_FILE)).unwrap_or_default();
        if let Ok(pid) = pid.trim().parse() {
            tell_to_stop(pid).await;
            while self.answers().await {
                tokio::time::sleep(PROBE_PAUSE).await;
            }
        }
    }

    async fn await_start(
        &self,
        mut child: Child,
        dir: &Path,
        program: Option<PathBuf>,
    ) -> Result<(), Error> {
        let deadline = tokio::time::Instant::now() + START_TIMEOUT;
        while !self.answers().await {
            if let Ok(Some(status)) = child.try_wait() {
                let what = format!(
                    "the private Redis ended at once ({status}); see {}",
                    dir.join("redis.log").display()
                );
                return Err(unavailable(std::io::Error::other(what)));
            }
            if tokio::time::Instant::now() > deadline {
                return Err(unavailable(std::io::Error::other(
                    "the private Redis did not start in time",
                )));
            }
            tokio::time::sleep(PROBE_PAUSE).await;
        }
        let (stopping, dir) = (self.stopping.clone(), Arc::from(dir));
        self.keeper.spawn(keep(child, stopping, dir, program));
        Ok(())
    }

    async fn answers(&self) -> bool {
        UnixStream::connect(&self.socket).await.is_ok()
    }
}

/// Waits for its end, and starts it again unless the end was wanted. What the line makes of that is the line's affair.
async fn keep(
    mut child: Child,
    stopping: CancellationToken,
    dir: Arc<Path>,
    program: Option<PathBuf>,
) {
    loop {
        tokio::select! {
            () = stopping.cancelled() => return terminate(child).await,
            status = child.wait() => tracing::error!(?status, "the private Redis ended; starting it again"),
        }
        tokio::time::sleep(RESTART_PAUSE).await;
        match spawn(&dir, program.as_deref()) {
            Ok(next) => child = next,
            Err(error) => return tracing::error!(%error, "the private Redis cannot be started"),
        }
    }
}

/// SIGTERM: Redis saves and ends.
async fn terminate(mut child: Child) {
    if let Some(pid) = child.id() {
        tell_to_stop(pid).await;
    }
    // Its end is all that matters; how it ended stands in its own log.
    let _ = child.wait().await;
}

async fn tell_to_stop(pid: u32) {
    let sent = Command::new("kill").arg("-TERM").arg(pid.to_string()).status().await;
    if !sent.is_ok_and(|status| status.success()) {
        tracing::error!(pid, "the private Redis could not be told to stop");
    }
}

fn spawn(dir: &Path, program: Option<&Path>) -> Result<Child, Error> {
    let named = program.map(|program| vec![program.to_path_buf()]);
    let programs = named.unwrap_or_else(|| PROGRAMS.iter().map(PathBuf::from).collect());
    for program in &programs {
        let mut command = Command::new(program);
        command
            .args(["--port", "0", "--unixsocket", "redis.sock", "--unixsocketperm", "600"])
            .args(["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""])
            .args(["--maxmemory-policy", "noeviction", "--repl-backlog-ttl", "0"])
            .args(["--daemonize", "no", "--logfile", "redis.log", "--pidfile", PID_FILE])
            .arg("--dir")
            .arg(dir)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            // A Ctrl-C in the terminal is for Usher, which stops Redis last.
            .process_group(0);
        match command.spawn() {
            Ok(child) => return Ok(child),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(unavailable(error)),
        }
    }
    let names = programs
        .iter()
        .map(|program| program.display().to_string())
        .collect::<Vec<_>>()
        .join(" nor ");
    let what = format!(
        "there is no {names}: install redis-server, or set USHER_REDIS_SERVER or USHER_REDIS_URL"
    );
    Err(unavailable(std::io::Error::other(what)))
}

fn unavailable(source: std::io::Error) -> Error {
    Error::Unavailable { machine: Machine::Redis, source: source.into() }
}
