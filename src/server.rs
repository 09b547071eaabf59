//! Listeners, connections and loops: how the process takes requests, and how it stops taking them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
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
/// Open connections of one listener: below the usual limit of file descriptors; and where the crowd begins.
const CONNECTIONS_MAX: usize = 16_384;
const CROWD: usize = CONNECTIONS_MAX / 2;
/// Requests that were accepted are answered within this when the process stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(25);
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
    let (stopping, tasks) = (app.stopping.clone(), TaskTracker::new());
    let Doors { public, admin } = doors;
    let (public_at, admin_at) = (address(&public)?, address(&admin)?);
    tasks.spawn(accept(public, routes::public(app.clone()), stopping.clone()));
    tasks.spawn(accept(admin, routes::operators(app.clone()), stopping.clone()));
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
    /// Says that it is not ready, takes no more connections, answers what was accepted, ends the loops, stops what it
    /// started.
    pub async fn stop(self) {
        // Readiness looks at this, so it is off before a connection is refused.
        self.app.work.close();
        self.app.stopping.cancel();
        self.tasks.close();
        if tokio::time::timeout(DRAIN_TIMEOUT, async {
            tokio::join!(self.tasks.wait(), self.app.work.wait())
        })
        .await
        .is_err()
        {
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

async fn accept(listener: TcpListener, router: Router, stopping: CancellationToken) {
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let next = async {
            let place = room.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        let Some((Ok(place), accepted)) = stopping.run_until_cancelled(next).await else { break };
        let Ok((stream, peer)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // Answers are small and whole; without this each waits for an acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        let crowded = room.available_permits() < CONNECTIONS_MAX - CROWD;
        let patience = if crowded { PATIENCE_IN_A_CROWD } else { PATIENCE };
        let served = connection::serve(stream, peer, router.clone(), patience);
        let connection = graceful.watch(served);
        tokio::spawn(async move {
            // A connection that breaks is its client's affair.
            let _ = connection.await;
            drop(place);
        });
    }
    drop(listener);
    graceful.shutdown().await;
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
