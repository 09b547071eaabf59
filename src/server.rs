//! Listeners, connections and loops: how the process takes requests, and how it stops taking them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_cron_scheduler::JobScheduler;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::config::HttpConfig;
use crate::error::Error;
use crate::http::connection::{self, Patience};
use crate::queue::admission::TICK_MS;
use crate::{housekeeping, routes};

/// A connection is kept beyond the longest poll interval that is told by default, so that polls reuse it.
const PATIENCE: Patience = Patience {
    head: Duration::from_secs(5),
    idle: Duration::from_secs(75),
    stall: Duration::from_secs(30),
    leftover: Duration::from_secs(2),
};
/// In a crowd the idle make room: whoever waits for a connection would wait for them.
const PATIENCE_IN_A_CROWD: Patience = Patience { idle: PATIENCE.head, ..PATIENCE };
/// Open connections of one listener, as far as the limit of open files allows; half of them are a crowd.
const CONNECTIONS_MAX: usize = 16_384;
/// So many addresses at least share a listener, where addresses are limited: fewer cannot keep everybody else out.
const ADDRESSES_MIN: usize = 16;
/// Files that connections leave to the database, Redis and whatever else is opened.
const OTHER_FILES: usize = 128;
/// Requests that were accepted are answered within this when the process stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(25);
/// How long a connection that is kept may stay silent when the process stops. It closes in the very moment in which its
/// client asks again only if that client was silent for so long.
const FAREWELL: Duration = Duration::from_secs(3);
/// How often the queues' rows are read again.
const REFRESH: Duration = Duration::from_millis(500);
/// Accepting failed, most likely for want of file descriptors: time for some to come free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Whether the loops run by themselves, or are called by a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loops {
    Run,
    Called,
}

/// A server that serves.
pub struct Running {
    pub public: SocketAddr,
    pub admin: SocketAddr,
    app: App,
    tasks: TaskTracker,
    scheduler: Option<JobScheduler>,
}

/// Both listeners. They are bound before anything is started: an address in use costs nothing then.
pub struct Doors {
    public: TcpListener,
    admin: TcpListener,
}

impl Doors {
    pub async fn bind(config: &HttpConfig) -> Result<Self, Error> {
        let public = bind("USHER_LISTEN", config.listen).await?;
        Ok(Self { public, admin: bind("USHER_ADMIN_LISTEN", config.admin_listen).await? })
    }
}

/// Opens the doors and serves until it is stopped.
pub async fn start(app: App, doors: Doors, loops: Loops) -> Result<Running, Error> {
    // What came due while nobody served is in force before the first request.
    app.queue.carry_out_due().await?;
    app.refresh_keys().await;
    let (stopping, tasks) = (app.stopping.clone(), TaskTracker::new());
    let Doors { public, admin } = doors;
    let (public_at, admin_at) = (address(&public)?, address(&admin)?);
    let buyers = Door::new(routes::public(app.clone()), Some(app.clone()));
    tasks.spawn(accept(public, buyers, stopping.clone()));
    let operators = Door::new(routes::operators(app.clone()), None);
    tasks.spawn(accept(admin, operators, stopping.clone()));
    let scheduler = match loops {
        Loops::Called => None,
        Loops::Run => {
            tasks.spawn(admit(app.clone(), stopping.clone()));
            tasks.spawn(refresh(app.clone(), stopping.clone()));
            Some(housekeeping::start(&app).await?)
        }
    };
    Ok(Running { public: public_at, admin: admin_at, app, tasks, scheduler })
}

impl Running {
    /// Says that it is not ready, and serves on until that has got around. Then it takes no more connections, answers
    /// what was accepted, ends the loops, stops what it started.
    pub async fn stop(self) {
        // Readiness looks at this, and each answer: it is the last of its connection.
        self.app.work.close();
        tokio::time::sleep(self.app.config.http.stop_delay).await;
        self.app.stopping.cancel();
        self.tasks.close();
        let drained = async {
            self.tasks.wait().await;
            // Until then each request may begin some more.
            self.app.work.wait().await;
        };
        if tokio::time::timeout(DRAIN_TIMEOUT, drained).await.is_err() {
            tracing::error!("some requests did not end in time");
        }
        if let Some(mut scheduler) = self.scheduler
            && let Err(error) = scheduler.shutdown().await
        {
            tracing::warn!(%error, "the scheduler did not stop");
        }
        self.app.close().await;
    }
}

async fn bind(setting: &str, at: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(at).await.map_err(|error| Error::Internal {
        context: "an address cannot be listened on",
        source: format!("{setting}: {at}: {error}").into(),
    })
}

fn address(listener: &TcpListener) -> Result<SocketAddr, Error> {
    listener.local_addr().map_err(|error| Error::Internal {
        context: "a listener has no address",
        source: error.into(),
    })
}

async fn accept(listener: TcpListener, door: Door, stopping: CancellationToken) {
    loop {
        let next = async {
            let place = door.room.clone().acquire_owned().await.ok();
            (place, listener.accept().await)
        };
        match stopping.run_until_cancelled(next).await {
            Some((place, Ok((stream, peer)))) => door.let_in(stream, peer, place),
            Some((_, Err(_))) => tokio::time::sleep(ACCEPT_PAUSE).await,
            None => break,
        }
    }
    door.let_in_who_knocked(listener);
    door.close().await;
}

/// The connections of one listener.
struct Door {
    router: Router,
    room: Arc<Semaphore>,
    crowd: usize,
    /// Whose limits hold for an address, if any do here.
    host: Option<App>,
    of_an_address_max: usize,
    connections: TaskTracker,
    graceful: GracefulShutdown,
}

impl Door {
    fn new(router: Router, host: Option<App>) -> Self {
        let files = rlimit::Resource::NOFILE.get_soft().unwrap_or(u64::MAX);
        let room = usize::try_from(files).unwrap_or(usize::MAX).saturating_sub(OTHER_FILES);
        let room = room.clamp(1, CONNECTIONS_MAX);
        Self {
            router,
            room: Arc::new(Semaphore::new(room)),
            crowd: room / 2,
            host,
            of_an_address_max: room.div_ceil(ADDRESSES_MIN),
            connections: TaskTracker::new(),
            graceful: GracefulShutdown::new(),
        }
    }

    fn let_in(&self, stream: TcpStream, peer: SocketAddr, place: Option<OwnedSemaphorePermit>) {
        let counted = match &self.host {
            None => None,
            Some(app) => match app.limits.connection_from(peer, self.of_an_address_max) {
                // An answer would cost more than the connection that is refused.
                None => return refuse(app),
                counted => counted,
            },
        };
        // Answers are small and whole; without this each waits for an acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        let crowded = self.room.available_permits() < self.crowd;
        let patience = if crowded { PATIENCE_IN_A_CROWD } else { PATIENCE };
        let served = connection::serve(stream, peer, self.router.clone(), patience);
        let connection = self.graceful.watch(served);
        self.connections.spawn(async move {
            // A connection that breaks is its client's affair.
            let _ = connection.await;
            drop((place, counted));
        });
    }

    /// The system took their connections already, and they may have sent a request: a listener that closes before
    /// they are let in cuts them off.
    fn let_in_who_knocked(&self, listener: TcpListener) {
        let Ok(listener) = listener.into_std() else { return };
        while let Ok((stream, peer)) = listener.accept() {
            let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
            if let Ok(stream) = stream {
                self.let_in(stream, peer, None);
            }
        }
    }

    /// On a connection that is kept a request may be on its way: it is answered, and was the last. Whoever stays silent
    /// is hung up on.
    async fn close(self) {
        self.connections.close();
        let _ = tokio::time::timeout(FAREWELL, self.connections.wait()).await;
        self.graceful.shutdown().await;
    }
}

/// Whoever that was may have come for his place in line.
fn refuse(app: &App) {
    app.queue.refuse_unread();
    metrics::counter!("usher_connections_refused_total").increment(1);
}

/// Every instance ticks, each queue that somebody asks for; there is no leader.
async fn admit(app: App, stopping: CancellationToken) {
    let mut interval = tokio::time::interval(Duration::from_millis(TICK_MS));
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let ticks = TaskTracker::new();
    loop {
        tokio::select! {
            _ = interval.tick() => {}
            () = stopping.cancelled() => break,
        }
        for line in app.queue.lines_asked_for() {
            let app = app.clone();
            ticks.spawn(async move {
                if let Err(error) = app.tick(&line).await {
                    tracing::debug!(queue.name = %line.queue().name, %error, "a tick failed; the next one repeats it");
                }
            });
        }
    }
    ticks.close();
    ticks.wait().await;
}

/// Learns of changes that other instances made.
async fn refresh(app: App, stopping: CancellationToken) {
    let mut interval = tokio::time::interval(REFRESH);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = interval.tick() => {}
            () = stopping.cancelled() => return,
        }
        if let Err(error) = app.queue.refresh().await {
            tracing::debug!(%error, "the queues could not be read again");
        }
    }
}
