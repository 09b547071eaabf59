//! The private Redis: started in the data directory on a unix socket, with an append-only file, and looked after.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::{Error, Machine};

/// Names it goes by, in the order they are tried.
const PROGRAMS: [&str; 2] = ["redis-server", "valkey-server"];
/// Loading a million waiters takes a few seconds.
const START_TIMEOUT: Duration = Duration::from_secs(30);
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
const RESTART_PAUSE: Duration = Duration::from_secs(1);
const PROBE_PAUSE: Duration = Duration::from_millis(20);
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// A path of a unix socket has room for 108 bytes.
const SOCKET_BYTES_MAX: usize = 100;

/// A Redis of this process.
#[derive(Clone)]
pub struct PrivateRedis {
    dir: PathBuf,
    /// It was running already: a killed predecessor left it.
    found: bool,
    stopping: CancellationToken,
    /// The server that was started, or found, is gone.
    ended: CancellationToken,
    keeper: TaskTracker,
}

/// The process that serves: a child, or one that was found running and is nobody's child.
enum Server {
    Child(Child),
    Found,
}

impl PrivateRedis {
    /// Starts it, or takes over the one that a killed predecessor left running: it has the line, and with its old
    /// lineage nobody doubts it.
    pub async fn start(dir: &Path, program: Option<&Path>) -> Result<Self, Error> {
        std::fs::create_dir_all(dir).map_err(unavailable)?;
        let dir = dir.canonicalize().map_err(unavailable)?;
        let socket = socket(&dir);
        if socket.as_os_str().len() > SOCKET_BYTES_MAX {
            let what = format!(
                "{} is too long for a socket: set a shorter USHER_DATA_DIR",
                socket.display()
            );
            return Err(failed(what));
        }
        let found = UnixStream::connect(&socket).await.is_ok();
        let server = if found {
            tracing::info!("the private Redis is running already");
            Server::Found
        } else {
            Server::Child(spawn(&dir, program)?)
        };
        let private = Self {
            dir,
            found,
            stopping: CancellationToken::new(),
            ended: CancellationToken::new(),
            keeper: TaskTracker::new(),
        };
        let program = program.map(Path::to_path_buf);
        private.keeper.spawn(private.clone().keep(server, program));
        Ok(private)
    }

    /// Waits until it has loaded its file and serves.
    pub async fn ready(&self) -> Result<(), Error> {
        let socket = socket(&self.dir);
        let why = tokio::select! {
            () = serving(&socket) => return Ok(()),
            () = self.ended.cancelled() => "ended at once",
            () = sleep(START_TIMEOUT) => "did not start in time",
        };
        let log = self.dir.join("redis.log");
        Err(failed(format!("the private Redis {why}; see {}", log.display())))
    }

    pub fn url(&self) -> String {
        url(&self.dir)
    }

    /// Stops it, with everything on disk.
    pub async fn stop(&self) {
        self.stopping.cancel();
        self.keeper.close();
        if timeout(STOP_TIMEOUT, self.keeper.wait()).await.is_err() {
            tracing::error!("the private Redis did not stop in time");
        }
    }

    /// Undoes a start that came to nothing. One that was found running goes on: stopped without a seal, it would take
    /// the line with it.
    pub async fn leave_as_found(&self) {
        if !self.found {
            self.stop().await;
        }
    }

    /// Waits for its end, and starts it again unless the end was wanted. What the line makes of that is the line's
    /// affair.
    async fn keep(self, mut server: Server, program: Option<PathBuf>) {
        let socket = socket(&self.dir);
        let mut serves = true;
        loop {
            tokio::select! {
                () = self.stopping.cancelled() => return server.stop(&socket).await,
                () = server.end(&socket) => {}
                () = serving(&socket), if !serves => {
                    tracing::info!("the private Redis serves again");
                    serves = true;
                    continue;
                }
            }
            serves = false;
            self.ended.cancel();
            tracing::error!("the private Redis ended; starting it again");
            server = loop {
                if self.stopping.run_until_cancelled(sleep(RESTART_PAUSE)).await.is_none() {
                    return;
                }
                match spawn(&self.dir, program.as_deref()) {
                    Ok(child) => break Server::Child(child),
                    Err(error) => tracing::error!(%error, "the private Redis cannot be started"),
                }
            };
        }
    }
}

impl Server {
    async fn end(&mut self, socket: &Path) {
        match self {
            // How it ended stands in its own log.
            Self::Child(child) => drop(child.wait().await),
            // Redis says nothing unasked: the only thing there is to read is the end of the connection.
            Self::Found => {
                use std::io::ErrorKind::{ConnectionRefused, NotFound};
                loop {
                    match UnixStream::connect(socket).await {
                        Ok(connection) => drop(connection.readable().await),
                        Err(error) if matches!(error.kind(), ConnectionRefused | NotFound) => {
                            return;
                        }
                        // Ours is the fault, such as too many open files: it says nothing of the server.
                        Err(_) => {}
                    }
                    sleep(PROBE_PAUSE).await;
                }
            }
        }
    }

    /// Redis writes what it has and ends. A child without a socket has loaded nothing that could be lost.
    async fn stop(mut self, socket: &Path) {
        let told = say(socket, "SHUTDOWN").await.is_some();
        if let Self::Child(child) = &mut self
            && !told
        {
            // It may have ended by itself.
            let _ = child.start_kill();
        }
        self.end(socket).await;
    }
}

/// Where a private Redis in this directory listens.
pub fn socket(dir: &Path) -> PathBuf {
    dir.join("redis.sock")
}

/// How a private Redis in this directory is reached.
pub fn url(dir: &Path) -> String {
    format!("redis+unix://{}", socket(dir).display())
}

async fn serving(socket: &Path) {
    while say(socket, "PING").await.is_none_or(|answer| answer != "+PONG") {
        sleep(PROBE_PAUSE).await;
    }
}

/// Says one word over a connection of its own: the first line of the answer, empty when the server hung up, or `None`
/// when nobody listens.
async fn say(socket: &Path, word: &str) -> Option<String> {
    let answer = async {
        let mut connection = UnixStream::connect(socket).await.ok()?;
        connection.write_all(format!("{word}\r\n").as_bytes()).await.ok()?;
        let mut answer = [0; 64];
        let length = connection.read(&mut answer).await.unwrap_or(0);
        let answer = String::from_utf8_lossy(&answer[..length]);
        Some(answer.lines().next().unwrap_or_default().to_owned())
    };
    // Whoever does not answer in time listens all the same.
    timeout(PROBE_TIMEOUT, answer).await.unwrap_or_else(|_| Some(String::new()))
}

/// The programs to try: the one that is set, or the names it goes by.
fn programs(program: Option<&Path>) -> Vec<PathBuf> {
    let named = program.map(|program| vec![program.to_path_buf()]);
    named.unwrap_or_else(|| PROGRAMS.iter().map(PathBuf::from).collect())
}

fn spawn(dir: &Path, program: Option<&Path>) -> Result<Child, Error> {
    for program in programs(program) {
        let mut command = Command::new(program);
        command
            .args(["--port", "0", "--unixsocket", "redis.sock", "--unixsocketperm", "600"])
            .args(["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""])
            .args(["--maxmemory-policy", "noeviction", "--repl-backlog-ttl", "0"])
            .args(["--daemonize", "no", "--logfile", "redis.log", "--dir"])
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
    Err(missing(program))
}

/// What the program says of its version, such as `7.0.15`.
pub async fn version(program: Option<&Path>) -> Result<String, Error> {
    for program in programs(program) {
        match Command::new(program).arg("--version").stdin(Stdio::null()).output().await {
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stdout).into_owned();
                let version = said.split_whitespace().find_map(|word| word.strip_prefix("v="));
                return version
                    .map(str::to_owned)
                    .ok_or_else(|| failed(format!("`--version` says `{}`", said.trim())));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(unavailable(error)),
        }
    }
    Err(missing(program))
}

fn missing(program: Option<&Path>) -> Error {
    let names: Vec<_> =
        programs(program).iter().map(|program| program.display().to_string()).collect();
    failed(format!(
        "there is no {}: install redis-server, or set USHER_REDIS_SERVER or USHER_REDIS_URL",
        names.join(" nor ")
    ))
}

fn failed(what: String) -> Error {
    unavailable(std::io::Error::other(what))
}

fn unavailable(source: std::io::Error) -> Error {
    Error::Unavailable { machine: Machine::Redis, source: source.into() }
}
