//! The machines of a run: real processes on loopback, in a directory that goes with them unless something was found.

pub mod ground;
pub mod operator;
pub mod postgres;
pub mod process;
pub mod redis;
pub mod server;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rand::SeedableRng;
use rand::rngs::StdRng;
use tempfile::TempDir;

use crate::people::Door;
use crate::proxy::{Protocol, Proxy};
use ground::{Disk, free_address};
use operator::Operator;
use postgres::Postgres;
use redis::Redis;
use server::{Server, Setup};

/// Of one run on loopback: who reads them here can do nothing with them.
const ADMIN_KEY: &str = "the-operators-of-a-run-on-loopback";
const TOKEN_KEY: &str = "Y2hhb3MgY2hhb3MgY2hhb3MgY2hhb3MgY2hhb3MuLi4=";

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Database {
    /// One server.
    Sqlite,
    /// Three servers.
    Postgres,
}

impl Database {
    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }

    pub fn instances(self) -> usize {
        match self {
            Self::Sqlite => 1,
            Self::Postgres => 3,
        }
    }
}

/// The way of one server to its machines, which can be cut off alone.
pub struct Ways {
    pub redis: Proxy,
    pub postgres: Option<Proxy>,
}

/// Fields are dropped in this order: nobody writes where nothing is any more.
pub struct Cluster {
    pub servers: Vec<Server>,
    pub ways: Vec<Ways>,
    pub redis: Redis,
    pub postgres: Option<Postgres>,
    /// Where SQLite is.
    disk: Option<Disk>,
    dir: TempDir,
    is_kept: AtomicBool,
}

/// What a cluster is to be.
pub struct Blueprint<'a> {
    pub database: Database,
    pub program: &'a Path,
    pub seed: u64,
    /// The last server reads its time from a file.
    pub has_own_clock: bool,
    pub poll_seconds_max: i64,
}

impl Cluster {
    pub async fn build(plan: &Blueprint<'_>) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("usher-chaos.").tempdir()?;
        // PostgreSQL is another user, who has to pass.
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711))?;
        // Addresses are no part of what a seed repeats: another process may have taken them.
        let mut rng = StdRng::seed_from_u64(plan.seed ^ u64::from(std::process::id()) << 32);
        let redis = Redis::start(dir.path().join("redis"), free_address(&mut rng)).await?;
        let (mut postgres, mut disk) = (None, None);
        let data = dir.path().join("data");
        match plan.database {
            Database::Postgres => {
                postgres = Some(Postgres::start(&data, free_address(&mut rng)).await?);
            }
            Database::Sqlite => disk = Some(Disk::prepare(&data, None)?),
        }
        let (servers, ways, is_kept) = (Vec::new(), Vec::new(), AtomicBool::new(false));
        let mut cluster = Self { servers, ways, redis, postgres, disk, dir, is_kept };
        for place in 0..plan.database.instances() {
            cluster.add_server(plan, place, &mut rng).await?;
        }
        Ok(cluster)
    }

    async fn add_server(
        &mut self,
        plan: &Blueprint<'_>,
        place: usize,
        rng: &mut StdRng,
    ) -> anyhow::Result<()> {
        let seed = plan.seed.wrapping_add(place as u64);
        let redis = Proxy::start(Protocol::Redis, self.redis.address(), seed).await?;
        let postgres = match &self.postgres {
            Some(sql) => Some(Proxy::start(Protocol::Postgres, sql.address(), seed).await?),
            None => None,
        };
        let data = match &self.disk {
            Some(disk) => disk.path().to_owned(),
            None => self.dir.path().join(format!("server{place}")),
        };
        let mut settings = vec![
            ("USHER_AUTH", "open".to_owned()),
            ("USHER_ADMIN_KEY", ADMIN_KEY.to_owned()),
            ("USHER_TOKEN_KEY", TOKEN_KEY.to_owned()),
            ("USHER_POLL_SECONDS_MAX", plan.poll_seconds_max.to_string()),
            ("USHER_REDIS_URL", format!("redis://{}", redis.address())),
            ("USHER_DATA_DIR", data.display().to_string()),
        ];
        if let Some(proxy) = &postgres {
            settings.push(("USHER_DATABASE_URL", Postgres::url(proxy.address())));
        }
        self.ways.push(Ways { redis, postgres });
        let setup = Setup {
            name: format!("server{place}"),
            program: plan.program.to_owned(),
            address: free_address(rng),
            admin: free_address(rng),
            settings,
            dir: self.dir.path().to_owned(),
            has_own_clock: plan.has_own_clock && place + 1 == plan.database.instances(),
        };
        self.servers.push(Server::start(setup).await?);
        Ok(())
    }

    pub fn doors(&self) -> Vec<Door> {
        let door =
            |server: &Server| Door { name: server.name().to_owned(), address: server.address() };
        self.servers.iter().map(door).collect()
    }

    /// One at each server.
    pub fn operators(&self) -> impl Iterator<Item = Operator<'_>> {
        self.servers.iter().map(|server| Operator { server, key: ADMIN_KEY })
    }

    /// The disk below the database.
    pub fn disk(&self) -> &Disk {
        let postgres = self.postgres.as_ref().map(Postgres::disk);
        postgres.or(self.disk.as_ref()).unwrap_or_else(|| unreachable!("a cluster has a database"))
    }

    /// The database as it is, past every proxy.
    pub fn database_url(&self) -> String {
        match &self.postgres {
            Some(postgres) => Postgres::url(postgres.address()),
            None => format!("sqlite://{}", self.disk().path().join("usher.db").display()),
        }
    }

    pub fn history(&self) -> PathBuf {
        self.dir.path().join("history.jsonl")
    }

    pub fn database_name(&self) -> &'static str {
        if self.postgres.is_some() { "postgres" } else { "sqlite" }
    }

    /// Logs and history stay when the machines are gone: somebody is to look at them.
    pub fn keep(&self) -> PathBuf {
        self.is_kept.store(true, Ordering::Relaxed);
        self.dir.path().to_owned()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.is_kept.load(Ordering::Relaxed) {
            self.dir.disable_cleanup(true);
        }
    }
}
