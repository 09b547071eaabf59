//! The machines under a story: a database of its own, the shared Redis, and a private Redis that may be killed.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use migrations::MigratorTrait;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::{Mutex, OnceCell};

#[derive(Clone, Copy, Debug)]
pub enum Database {
    Sqlite,
    Postgres,
}

/// Where one story keeps its rows. A SQLite file goes with its directory; a PostgreSQL database is dropped.
pub struct Home {
    pub directory: TempDir,
    postgres: Option<String>,
}

impl Home {
    pub async fn build(on: Database) -> Home {
        let postgres = match on {
            Database::Sqlite => None,
            Database::Postgres => Some(fresh_postgres().await),
        };
        Home { directory: tempfile::tempdir().unwrap(), postgres }
    }

    /// Nothing on SQLite: the server then keeps its file in its data directory.
    pub fn database_url(&self) -> Option<String> {
        self.postgres.as_deref().map(postgres_url)
    }

    /// Cuts every connection and refuses new ones, or lets them in again.
    pub async fn let_connect(&self, allowed: bool) {
        let name = self.postgres.as_deref().expect("only PostgreSQL has connections to cut");
        let sql = postgres().await;
        run(&sql, &format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {allowed}")).await;
        if !allowed {
            let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname";
            run(&sql, &format!("{cut} = '{name}'")).await;
        }
    }

    pub async fn run(&self, statement: &str) {
        let file = self.directory.path().join("usher.db");
        let url = self.database_url().unwrap_or_else(|| format!("sqlite://{}", file.display()));
        let sql = connect(&url).await;
        run(&sql, statement).await;
        sql.close().await.unwrap();
    }

    pub async fn demolish(self) {
        if let Some(name) = &self.postgres {
            run(&postgres().await, &format!("DROP DATABASE {name} WITH (FORCE)")).await;
        }
    }
}

fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run scripts/test, which starts the servers that the tests need")
    })
}

pub fn redis_url() -> String {
    setting("USHER_TEST_REDIS_URL")
}

fn postgres_url(database: &str) -> String {
    let url = setting("USHER_TEST_POSTGRES_URL");
    let (address, options) = url.split_once('?').unwrap_or((&url, ""));
    let (server, _) = address.rsplit_once('/').expect("a URL names its database");
    format!("{server}/{database}?{options}").trim_end_matches('?').to_owned()
}

async fn postgres() -> DatabaseConnection {
    connect(&setting("USHER_TEST_POSTGRES_URL")).await
}

/// Whoever closes old connections may turn for ever: see `sql/mod.rs`.
pub async fn connect(url: &str) -> DatabaseConnection {
    let mut options = sea_orm::ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false).idle_timeout(None).max_lifetime(None);
    sea_orm::Database::connect(options).await.unwrap()
}

async fn run(sql: &DatabaseConnection, statement: &str) {
    if let Err(error) = sql.execute_unprepared(statement).await {
        panic!("{statement}: {error}");
    }
}

/// Copying a migrated database is many times faster than migrating an empty one.
async fn fresh_postgres() -> String {
    static TEMPLATE: OnceCell<String> = OnceCell::const_new();
    static COUNT: AtomicU32 = AtomicU32::new(1);
    let template = TEMPLATE.get_or_init(migrated_template).await;
    let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let name = format!("usher_test_{process}_{count}");
    run(&postgres().await, &format!("CREATE DATABASE {name} TEMPLATE {template}")).await;
    name
}

/// A test binary has no last moment in which to drop its template, so each run sweeps what dead ones left.
async fn migrated_template() -> String {
    let sql = postgres().await;
    let left = "SELECT datname FROM pg_database WHERE datname LIKE 'usher_test_%'";
    let rows = sql.query_all_raw(Statement::from_string(DbBackend::Postgres, left)).await.unwrap();
    for row in rows {
        let name: String = row.try_get("", "datname").unwrap();
        let process = name.split('_').nth(2).unwrap_or_default();
        if !std::path::Path::new("/proc").join(process).exists() {
            run(&sql, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
        }
    }
    let name = format!("usher_test_{}_template", std::process::id());
    run(&sql, &format!("CREATE DATABASE {name}")).await;
    let template = connect(&postgres_url(&name)).await;
    migrations::Migrator::up(&template, None).await.unwrap();
    template.close().await.unwrap();
    name
}

/// A Redis of one story, on a socket in its own directory: it may be killed, emptied and started again.
pub struct PrivateRedis {
    directory: TempDir,
    running: Mutex<Option<(Child, BufReader<ChildStdout>)>>,
}

impl PrivateRedis {
    pub async fn start() -> PrivateRedis {
        let redis =
            PrivateRedis { directory: tempfile::tempdir().unwrap(), running: Mutex::new(None) };
        redis.start_again().await;
        redis
    }

    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.directory.path().join("redis.sock").display())
    }

    /// Starts empty, for it saves nothing; returns when it says that it is ready.
    pub async fn start_again(&self) {
        let mut server = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--unixsocket", "redis.sock"])
            .current_dir(self.directory.path())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut log = BufReader::new(server.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("ready to accept connections") {
            line.clear();
            let read = log.read_line(&mut line).await.unwrap();
            assert_ne!(read, 0, "redis-server ended at its start");
        }
        *self.running.lock().await = Some((server, log));
    }

    pub async fn kill(&self) {
        if let Some((mut server, _)) = self.running.lock().await.take() {
            server.kill().await.unwrap();
        }
    }

    /// It keeps every connection and answers nothing, until it thaws.
    pub async fn freeze(&self) {
        self.signal("-STOP").await;
    }

    pub async fn thaw(&self) {
        self.signal("-CONT").await;
    }

    async fn signal(&self, signal: &str) {
        let running = self.running.lock().await;
        let id = running.as_ref().and_then(|(server, _)| server.id()).expect("it runs");
        let sent = Command::new("kill").args([signal, &id.to_string()]).status().await.unwrap();
        assert!(sent.success());
    }

    /// How many scripts it was asked to run so far.
    pub async fn scripts_run(&self) -> u64 {
        self.figure("commandstats", "cmdstat_evalsha:calls=").await
    }

    /// How often it told its time so far: readiness asks for it.
    pub async fn times_told(&self) -> u64 {
        self.figure("commandstats", "cmdstat_time:calls=").await
    }

    /// How many connections were made to it so far, this one among them.
    pub async fn connections_made(&self) -> u64 {
        self.figure("stats", "total_connections_received:").await
    }

    async fn figure(&self, section: &str, name: &str) -> u64 {
        let mut redis = redis_at(&self.url()).await;
        let mut info = redis::cmd("INFO");
        let text: String = info.arg(section).query_async(&mut redis).await.unwrap();
        let figure = text.split(name).nth(1).unwrap_or("0");
        figure.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
    }

    pub async fn set(&self, name: &str, value: &str) {
        let mut redis = redis_at(&self.url()).await;
        let () =
            redis::cmd("CONFIG").arg(&["SET", name, value]).query_async(&mut redis).await.unwrap();
    }

    /// Makes a user who may do this.
    pub async fn allow(&self, words: &[&str]) {
        let mut redis = redis_at(&self.url()).await;
        let mut acl = redis::cmd("ACL");
        let () = acl.arg("SETUSER").arg(words).query_async(&mut redis).await.unwrap();
    }

    pub async fn flush_all(&self) {
        let mut redis = redis_at(&self.url()).await;
        let () = redis::cmd("FLUSHALL").query_async(&mut redis).await.unwrap();
    }

    /// Everything that is in it.
    pub async fn copy(&self) -> Vec<(String, Vec<u8>)> {
        let mut redis = redis_at(&self.url()).await;
        let mut copy = Vec::new();
        for key in self.keys().await {
            let value = redis::cmd("DUMP").arg(&key).query_async(&mut redis).await.unwrap();
            copy.push((key, value));
        }
        copy
    }

    /// Puts it back to what it was, while it runs: it is the same server, of the same history.
    pub async fn put_back(&self, copy: Vec<(String, Vec<u8>)>) {
        self.flush_all().await;
        let mut redis = redis_at(&self.url()).await;
        for (key, value) in copy {
            let mut restore = redis::cmd("RESTORE");
            let () = restore.arg(key).arg(0).arg(value).query_async(&mut redis).await.unwrap();
        }
    }

    /// The fields of the one hash whose name ends like this.
    pub async fn hash(&self, ending: &str) -> BTreeMap<String, String> {
        let key = self.keys().await.into_iter().find(|key| key.ends_with(ending));
        let mut redis = redis_at(&self.url()).await;
        redis::cmd("HGETALL").arg(key).query_async(&mut redis).await.unwrap()
    }

    pub async fn keys(&self) -> Vec<String> {
        let mut redis = redis_at(&self.url()).await;
        redis::cmd("KEYS").arg("*").query_async(&mut redis).await.unwrap()
    }
}

async fn redis_at(url: &str) -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(url).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

/// Takes every key that carries the mark of one installation out of Redis, and returns their names.
pub async fn take_keys(url: &str, installation: &str) -> Vec<String> {
    let mut redis = redis_at(url).await;
    let marked = format!("*{installation}*");
    let keys: Vec<String> = redis::cmd("KEYS").arg(marked).query_async(&mut redis).await.unwrap();
    if !keys.is_empty() {
        let () = redis::cmd("DEL").arg(&keys).query_async(&mut redis).await.unwrap();
    }
    keys
}
