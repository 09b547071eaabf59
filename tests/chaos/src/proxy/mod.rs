//! A proxy in front of Redis or PostgreSQL that understands what is said: it executes and loses the reply, answers in the
//! server's place, cuts around a COMMIT. Here are its tricks and its listener; what is played when is drawn in `plan.rs`.

mod connection;
mod plan;
mod postgres;
mod resp;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use plan::Plan;

/// The server behind the proxy; it may be down, and come back there.
pub type Upstream = SocketAddr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// RESP2 and RESP3.
    Redis,
    /// Version 3, without TLS.
    Postgres,
}

/// How often a trick is played among the requests that it fits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Often {
    /// With the next so many, and then no more.
    Next(u64),
    /// With this share of them, until the heal.
    Share(f64),
}

/// Which requests, and how often.
#[derive(Clone, Debug, PartialEq)]
pub struct Aim {
    /// A command of Redis, the hash of a script, or the first word of a statement; `None` is every request.
    pub word: Option<String>,
    pub often: Often,
}

impl Aim {
    pub fn any(often: Often) -> Self {
        Self { word: None, often }
    }

    pub fn at(word: &str, often: Often) -> Self {
        Self { word: Some(word.to_ascii_uppercase()), often }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    ToServer,
    ToClient,
}

/// What Redis says instead of doing what it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    ReadOnly,
    Busy,
    Oom,
    NoScript,
    Loading,
    Misconf,
    MasterDown,
}

/// What the proxy can do to a conversation.
#[derive(Clone, Debug, PartialEq)]
pub enum Trick {
    /// Executed; the reply is lost, and the connection with it.
    DropReply(Aim),
    /// Executed; the reply comes so many milliseconds late.
    Delay(u64, Aim),
    /// Redis: executed twice; either the first or the second reply is returned.
    Duplicate(Aim),
    /// Redis: answered in its place, and not executed.
    Answer(Refusal, Aim),
    /// Redis: of a pipeline's commands one is executed and answered, and those behind it are not.
    CutBetween(Often),
    /// PostgreSQL: it has committed, and the client does not learn it.
    CutAfterCommit(Often),
    /// PostgreSQL: it never hears of the COMMIT.
    CutBeforeCommit(Often),
    /// Cut in the midst of a message, whichever way it was going.
    CutAnywhere(Often),
    /// Nothing gets through in one direction, and no connection is closed.
    Stall(Direction),
    /// Who connects is accepted, and nobody is ever answered.
    BlackHole,
    /// Every connection, once.
    Cut,
    /// Nobody new gets in.
    Refuse,
}

/// One listener, one server, one protocol.
pub struct Proxy {
    address: SocketAddr,
    plan: Arc<Plan>,
    listening: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a free loopback port; every draw comes from `seed`.
    pub async fn start(kind: Protocol, upstream: Upstream, seed: u64) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let plan = Arc::new(Plan::new(seed));
        let listening = tokio::spawn(listen(listener, kind, upstream, plan.clone()));
        Ok(Self { address, plan, listening })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Begins a trick; it is played beside those that are being played.
    pub fn play(&self, trick: Trick) {
        self.plan.begin(trick);
    }

    /// Ends every trick: what was held up flows on.
    pub fn heal(&self) {
        self.plan.heal();
    }

    /// How often each trick has taken effect: requests, or connections.
    pub fn played(&self) -> BTreeMap<&'static str, u64> {
        self.plan.played()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
        self.plan.begin(Trick::Cut);
    }
}

async fn listen(listener: TcpListener, kind: Protocol, upstream: Upstream, plan: Arc<Plan>) {
    loop {
        // Accepting fails when files run out: the next one may find room.
        let Ok((client, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        if plan.refuses() {
            continue;
        }
        let until_cut = plan.until_cut();
        let plan = plan.clone();
        tokio::spawn(async move {
            tokio::select! {
                // However it ends, both sockets are closed, which is all that a peer can be told.
                _ = connection::carry(kind, client, upstream, plan) => {}
                () = until_cut => {}
            }
        });
    }
}
