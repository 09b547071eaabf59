//! Connections to Redis: one that all hot calls share, a few for those who want their own; deadlines, reconnecting,
//! and the translation of errors. What the keys mean stands in the features' `redis`.

pub mod keys;
pub mod script;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use deadpool_redis::{Manager, Pool, Runtime};
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisError,
    ServerErrorKind,
};
use tokio::sync::Mutex;

use crate::error::{Error, Machine};

/// How long one call may take: half of what a request has left after SQL took its share.
const CALL_TIMEOUT: Duration = Duration::from_millis(1_000);
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_000);
/// A peer that acknowledges nothing for this long is gone; the kernel's own patience is minutes.
const USER_TIMEOUT: Duration = Duration::from_secs(3);
/// Time-outs in a row after which the connection is thought dead.
const TIMEOUTS_MAX: u32 = 3;
const OWN_CONNECTIONS_MAX: usize = 4;

/// A live connection and the server it leads to.
#[derive(Clone)]
pub struct Connection {
    shared: MultiplexedConnection,
    /// `run_id:master_replid` of the server behind this very connection.
    pub lineage: Arc<str>,
}

/// Redis as the house sees it.
#[derive(Clone)]
pub struct Redis {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    own: Pool,
    current: ArcSwapOption<Connection>,
    connecting: Mutex<()>,
    /// Attempts to connect that failed.
    failures: AtomicU64,
    timeouts: AtomicU32,
}

impl Redis {
    /// Prepares connections to `url`; nothing is connected yet, so a Redis that is away does not stop a start.
    pub fn new(url: &str) -> Result<Self, Error> {
        let info = connection_info(url).map_err(bad_url)?;
        let client = Client::open(info.clone()).map_err(bad_url)?;
        let manager = Manager::new(info).map_err(bad_url)?;
        let own = Pool::builder(manager)
            .max_size(OWN_CONNECTIONS_MAX)
            .wait_timeout(Some(Duration::from_millis(250)))
            .create_timeout(Some(CONNECT_TIMEOUT))
            .recycle_timeout(Some(Duration::from_millis(250)))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| Error::Internal {
                context: "no pool for Redis",
                source: error.into(),
            })?;
        let inner = Inner {
            client,
            own,
            current: ArcSwapOption::empty(),
            connecting: Mutex::new(()),
            failures: AtomicU64::new(0),
            timeouts: AtomicU32::new(0),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The shared connection; connects when there is none. One at a time tries, and whoever waited for an attempt that
    /// failed does not try again: a crowd would wait for a server that hangs one after another.
    pub async fn connection(&self) -> Result<Arc<Connection>, Error> {
        if let Some(connection) = self.inner.current.load_full() {
            return Ok(connection);
        }
        let failures = self.inner.failures.load(Ordering::Relaxed);
        let _one_at_a_time = self.inner.connecting.lock().await;
        if let Some(connection) = self.inner.current.load_full() {
            return Ok(connection);
        }
        if self.inner.failures.load(Ordering::Relaxed) != failures {
            let source = "it could not be connected to a moment ago".into();
            return Err(Error::Unavailable { machine: Machine::Redis, source });
        }
        let connected = self.connect().await.inspect_err(|_| {
            self.inner.failures.fetch_add(1, Ordering::Relaxed);
        });
        let connection = Arc::new(connected.map_err(|error| self.translate(error))?);
        self.inner.timeouts.store(0, Ordering::Relaxed);
        self.inner.current.store(Some(connection.clone()));
        Ok(connection)
    }

    /// A new shared connection: the one there is may lead to a server that was replaced.
    pub async fn reconnect(&self) -> Result<Arc<Connection>, Error> {
        self.inner.current.store(None);
        self.connection().await
    }

    /// Runs one call under the deadline, and drops the connection when the answer says that it is of no use.
    pub async fn within_deadline<T>(
        &self,
        call: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(CALL_TIMEOUT, call).await {
            Ok(Ok(answer)) => {
                self.inner.timeouts.store(0, Ordering::Relaxed);
                Ok(answer)
            }
            Ok(Err(error)) => Err(self.translate(error)),
            Err(elapsed) => {
                self.count_timeout();
                Err(Error::Unavailable { machine: Machine::Redis, source: elapsed.into() })
            }
        }
    }

    /// The server's clock in milliseconds, over the connection of the hot calls: it is theirs that matters.
    pub async fn clock_ms(&self) -> Result<i64, Error> {
        let mut shared = self.connection().await?.shared.clone();
        let (seconds, micros): (i64, i64) = self
            .within_deadline(async { redis::cmd("TIME").query_async(&mut shared).await })
            .await?;
        Ok(seconds * 1_000 + micros / 1_000)
    }

    /// One line of `INFO`, for doctor: whoever may not ask for the configuration may ask for this.
    pub async fn info(&self, section: &str, line: &str) -> Result<String, Error> {
        let mut own = self.own().await?;
        let asked = async { redis::cmd("INFO").arg(section).query_async(&mut own).await };
        let info: redis::InfoDict = self.within_deadline(asked).await?;
        Ok(info.get(line).unwrap_or_default())
    }

    /// Reads a plain key, over a connection of its own.
    pub async fn read(&self, key: &str) -> Result<Option<String>, Error> {
        let mut own = self.own().await?;
        self.within_deadline(async { redis::cmd("GET").arg(key).query_async(&mut own).await }).await
    }

    /// Writes a plain key, over a connection of its own.
    pub async fn write(&self, key: &str, value: &str) -> Result<(), Error> {
        let mut own = self.own().await?;
        self.within_deadline(async {
            redis::cmd("SET").arg(key).arg(value).query_async(&mut own).await
        })
        .await
    }

    async fn own(&self) -> Result<deadpool_redis::Connection, Error> {
        self.inner
            .own
            .get()
            .await
            .map_err(|error| Error::Unavailable { machine: Machine::Redis, source: error.into() })
    }

    async fn connect(&self) -> Result<Connection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(CALL_TIMEOUT));
        let mut shared =
            self.inner.client.get_multiplexed_async_connection_with_config(&config).await?;
        // Read on this very connection, before its first script: another server behind the same address has another
        // lineage, and so has this one once it was restarted, promoted or forked.
        let server: redis::InfoDict =
            redis::cmd("INFO").arg("server").query_async(&mut shared).await?;
        let replication: redis::InfoDict =
            redis::cmd("INFO").arg("replication").query_async(&mut shared).await?;
        let part = |info: &redis::InfoDict, name| info.get::<String>(name).unwrap_or_default();
        if part(&replication, "role") != "master" {
            return Err(RedisError::from((ErrorKind::Client, "this Redis is a replica")));
        }
        let lineage =
            format!("{}:{}", part(&server, "run_id"), part(&replication, "master_replid"));
        script::preload(&mut shared).await?;
        Ok(Connection { shared, lineage: lineage.into() })
    }

    fn count_timeout(&self) {
        if self.inner.timeouts.fetch_add(1, Ordering::Relaxed) + 1 >= TIMEOUTS_MAX {
            self.inner.current.store(None);
        }
    }

    fn translate(&self, error: RedisError) -> Error {
        // A reply that was cut in half is the end of its connection.
        let is_torn = error.kind() == ErrorKind::Parse;
        let is_over = is_torn || error.is_io_error() || error.is_connection_dropped();
        if error.is_timeout() {
            self.count_timeout();
        } else if is_over || leads_astray(error.kind()) {
            self.inner.current.store(None);
        }
        // A script of ours that Redis cannot run is a bug; everything else is Redis being away, full or busy.
        let broken_script = error.kind() == ErrorKind::Server(ServerErrorKind::ResponseError)
            && error.detail().is_some_and(|detail| detail.contains("script"));
        let misread = error.kind() == ErrorKind::UnexpectedReturnType;
        if broken_script || misread {
            Error::Internal {
                context: "Redis did not understand us, or we not it",
                source: error.into(),
            }
        } else {
            Error::Unavailable { machine: Machine::Redis, source: error.into() }
        }
    }
}

/// A server that answers like this will go on doing so: look for the right one.
fn leads_astray(kind: ErrorKind) -> bool {
    use ServerErrorKind::{BusyLoading, MasterDown, ReadOnly};
    matches!(kind, ErrorKind::Server(ReadOnly | BusyLoading | MasterDown))
}

fn connection_info(url: &str) -> Result<ConnectionInfo, RedisError> {
    let tcp = TcpSettings::default().set_nodelay(true).set_user_timeout(USER_TIMEOUT);
    Ok(url.into_connection_info()?.set_tcp_settings(tcp))
}

fn bad_url(error: RedisError) -> Error {
    Error::Unavailable { machine: Machine::Redis, source: error.into() }
}
