//! The servers of a bench: this very program as processes of their own, on free ports, each with an empty data
//! directory and, unless they share other stores, a private Redis. What was started is stopped, whatever happened in
//! between.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Args;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::http::Door;
use super::meter::Process;
use super::operator::Operator;
use super::postgres::Postgres;
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
/// No secret: what it opens listens on loopback and is gone when the bench ends. Servers that share a Redis share it.
const KEY: &str = "YSBiZW5jaCBvZiB1c2hlciwgb24gbG9vcGJhY2sgOi0=";

/// Where the people of a bench wait, and where the rows are.
#[derive(Clone, Debug, Default, Args)]
pub struct Stores {
    /// An empty database, e.g. postgres://…; SQLite in a data directory when not given.
    #[arg(long, global = true, value_name = "URL")]
    database_url: Option<String>,
    /// An empty Redis, e.g. redis://…; a private one when not given.
    #[arg(long, global = true, value_name = "URL")]
    redis_url: Option<String>,
}

/// Where a bench takes place: everything that it has started.
pub struct Site {
    pub stores: Stores,
    processes: Vec<Served>,
    postgres: Option<Postgres>,
}

/// One process that was started.
struct Served {
    data: TempDir,
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
    has_private_redis: bool,
}

/// A server that is open.
#[derive(Clone)]
pub struct Shop {
    pub public: SocketAddr,
    pub people: Door,
    pub operator: Operator,
    pub pid: u32,
    redis_url: String,
}

impl Stores {
    /// Several servers may open there.
    pub fn are_shared(&self) -> bool {
        self.redis_url.is_some()
            && self.database_url.as_ref().is_some_and(|url| url.starts_with("postgres"))
    }

    pub fn use_sqlite(&mut self) {
        self.database_url = None;
    }

    pub fn database(&self) -> &'static str {
        let url = self.database_url.as_deref().unwrap_or_default();
        if url.starts_with("postgres") { "PostgreSQL" } else { "SQLite" }
    }
}

impl Site {
    pub fn of(stores: Stores) -> Self {
        Self { stores, processes: Vec::new(), postgres: None }
    }

    /// One server of stores that nobody has been to.
    pub async fn open(&mut self, settings: &[(&str, &str)]) -> anyhow::Result<Shop> {
        let shop = self.open_another(settings).await?;
        let queue = shop.operator.queue("main").await?;
        ensure!(
            queue.state == "ok" && queue.waiting == 0 && queue.admitted_total == 0,
            "the database has been in use: --database-url takes an empty one"
        );
        Ok(shop)
    }

    /// So many servers, all of the same stores.
    pub async fn open_all(
        &mut self,
        count: u64,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Vec<Shop>> {
        ensure!(
            count == 1 || self.stores.are_shared(),
            "several servers share a PostgreSQL and a Redis: --database-url and --redis-url, or one server"
        );
        let mut shops = vec![self.open(settings).await?];
        for _ in 1..count {
            shops.push(self.open_another(settings).await?);
        }
        Ok(shops)
    }

    async fn open_another(&mut self, settings: &[(&str, &str)]) -> anyhow::Result<Shop> {
        let stores = self.stores.clone();
        let served = self.start(|command, data| {
            command
                .arg("serve")
                .env("USHER_DATA_DIR", data)
                .env("USHER_LISTEN", "127.0.0.1:0")
                .env("USHER_ADMIN_LISTEN", "127.0.0.1:0")
                .env("USHER_ADMIN_KEY", KEY)
                .env("USHER_TOKEN_KEY", KEY)
                .env("USHER_AUTH", "open")
                .env("USHER_RATE_LIMITS", "off")
                .env("USHER_WAITING_MAX", WAITING_MAX)
                .env("USHER_LOG", "warn")
                .envs(stores.database_url.as_ref().map(|url| ("USHER_DATABASE_URL", url)))
                .envs(stores.redis_url.as_ref().map(|url| ("USHER_REDIS_URL", url)))
                .envs(settings.iter().copied());
        })?;
        served.has_private_redis = stores.redis_url.is_none();
        let public = served.hear("public API").await?;
        let operators = served.hear("operators").await?;
        Ok(Shop {
            public,
            people: Door::public(public),
            operator: Operator::at(operators, KEY)?,
            pid: served.pid()?,
            redis_url: stores.redis_url.clone().unwrap_or_else(|| served.private_redis_url()),
        })
    }

    /// A process that answers and does nothing else: where, and which.
    pub async fn open_noop(&mut self) -> anyhow::Result<(SocketAddr, Process)> {
        let served = self.start(|command, _| {
            command.args(["bench", "noop"]);
        })?;
        Ok((served.hear("bare answer").await?, Process::of(served.pid()?)?))
    }

    fn start(&mut self, what: impl FnOnce(&mut Command, &Path)) -> anyhow::Result<&mut Served> {
        let program = std::env::current_exe().context("this program does not know where it is")?;
        let data = TempDir::with_prefix("usher-bench-").context("no temporary directory")?;
        let mut command = bare(&program, data.path());
        what(&mut command, data.path());
        command
            .stdout(Stdio::piped())
            .stderr(File::create(data.path().join(LOG))?)
            // A Ctrl-C in the terminal is for the bench, which stops the server itself.
            .process_group(0);
        let mut child =
            command.spawn().with_context(|| format!("{} cannot be started", program.display()))?;
        let out = child.stdout.take().context("the server has no standard output")?;
        let said = BufReader::new(out).lines();
        self.processes.push(Served { data, child, said, has_private_redis: false });
        self.processes.last_mut().context("it was pushed just now")
    }

    /// The PostgreSQL of the servers to come: the given one, or one that is started now.
    pub async fn postgres(&mut self) -> anyhow::Result<String> {
        if let Some(url) = &self.stores.database_url {
            ensure!(self.stores.database() == "PostgreSQL", "this bench wants a PostgreSQL");
            return Ok(url.clone());
        }
        let postgres = self.postgres.insert(Postgres::start().await?);
        self.stores.database_url = Some(postgres.url());
        Ok(postgres.url())
    }

    /// What it has spent, if it was started here.
    pub fn postgres_cpu(&self) -> anyhow::Result<Option<Duration>> {
        self.postgres.as_ref().map(Postgres::cpu).transpose()
    }

    /// Stops everything, and removes what it wrote.
    pub async fn stop(self) -> anyhow::Result<()> {
        let stopping = self.processes.into_iter().map(Served::stop);
        let stopped = futures_util::future::join_all(stopping).await.into_iter().collect();
        match self.postgres {
            Some(postgres) => postgres.stop().await.and(stopped),
            None => stopped,
        }
    }
}

impl Shop {
    pub fn process(&self) -> anyhow::Result<Process> {
        Process::of(self.pid)
    }

    pub async fn redis(&self) -> anyhow::Result<Redis> {
        Redis::at(&self.redis_url).await
    }
}

impl Served {
    /// The address that it tells under this name, when it serves there.
    async fn hear(&mut self, name: &str) -> anyhow::Result<SocketAddr> {
        while let Some(line) = self.said.next_line().await? {
            if let Some(address) = line.strip_prefix(name) {
                return Ok(address.trim().trim_start_matches("http://").parse()?);
            }
        }
        bail!("the server did not start: {}", self.last_words());
    }

    fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().with_context(|| format!("the server ended: {}", self.last_words()))
    }

    fn private_redis_url(&self) -> String {
        let socket: PathBuf = self.data.path().join("redis/redis.sock");
        format!("redis+unix://{}", socket.display())
    }

    async fn stop(mut self) -> anyhow::Result<()> {
        let stopped = tokio::time::timeout(STOP_TIMEOUT, self.terminate()).await;
        if stopped.is_err() {
            self.child.kill().await?;
        }
        // A server that was killed leaves its Redis behind.
        if self.has_private_redis
            && let Ok(redis) = Redis::at(&self.private_redis_url()).await
        {
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
fn bare(program: &Path, data: &Path) -> Command {
    let mut command = Command::new(program);
    for setting in SETTINGS.iter().filter(|setting| setting.name != KEPT) {
        command.env_remove(setting.name);
    }
    command.current_dir(data).stdin(Stdio::null()).kill_on_drop(true);
    command
}
