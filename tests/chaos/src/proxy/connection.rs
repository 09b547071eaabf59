//! One connection: requests go one way, replies the other, and each reply meets the fate that was drawn for its request.
//! How long a request or a reply is, `resp.rs` and `postgres.rs` know.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use super::plan::{Act, Fate, Plan, Request};
use super::{Direction, Protocol, Upstream, postgres, resp};

/// What a read makes room for.
const READ_BYTES: usize = 64 * 1024;

/// A piece of what the server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    pub length: usize,
    /// A reply is complete with it.
    pub is_last: bool,
    /// It belongs to no reply.
    pub is_unasked: bool,
    /// It says that a transaction was committed.
    pub commits: bool,
}

/// Carries a connection until either side closes it, or a trick does.
pub async fn carry(
    kind: Protocol,
    client: TcpStream,
    upstream: Upstream,
    plan: Arc<Plan>,
) -> io::Result<()> {
    plan.pass(Direction::ToServer).await;
    let server = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // A fate is told before its request is forwarded, so it is known before the reply can be.
    let (tell, fates) = mpsc::unbounded_channel();
    let session = postgres::Session::default();
    let requests = Requests {
        kind,
        session,
        inbox: Inbox::new(from_client),
        to_server,
        tell,
        plan: plan.clone(),
    };
    let replies = Replies { kind, inbox: Inbox::new(from_server), to_client, fates, plan };
    tokio::try_join!(requests.forward(), replies.forward()).map(drop)
}

/// What has been read and not yet been used.
pub struct Inbox<R> {
    from: R,
    bytes: Vec<u8>,
    begin: usize,
}

impl<R: AsyncRead + Unpin> Inbox<R> {
    pub fn new(from: R) -> Self {
        Self { from, bytes: Vec::new(), begin: 0 }
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.begin..]
    }

    /// Reads until `measure` finds something whole; `None` when the peer has nothing more to say. May be cancelled.
    pub async fn next<T>(
        &mut self,
        mut measure: impl FnMut(&[u8]) -> io::Result<Option<T>>,
    ) -> io::Result<Option<T>> {
        loop {
            if let Some(found) = measure(self.rest())? {
                return Ok(Some(found));
            }
            self.bytes.drain(..self.begin);
            self.begin = 0;
            self.bytes.reserve(READ_BYTES);
            if self.from.read_buf(&mut self.bytes).await? == 0 {
                return Ok(None);
            }
        }
    }

    pub fn take(&mut self, length: usize) -> &[u8] {
        self.begin += length;
        &self.bytes[self.begin - length..self.begin]
    }
}

struct Requests {
    kind: Protocol,
    session: postgres::Session,
    inbox: Inbox<OwnedReadHalf>,
    to_server: OwnedWriteHalf,
    tell: UnboundedSender<Fate>,
    plan: Arc<Plan>,
}

impl Requests {
    async fn forward(mut self) -> io::Result<()> {
        while let Some(request) = self.next().await? {
            let bytes = self.inbox.take(request.length).to_vec();
            let fate = match request.answer {
                Some(answer) => Fate { act: Act::Forged(answer), ..Fate::PASS },
                None => self.plan.fate(&request, !self.inbox.rest().is_empty()),
            };
            if fate.act == Act::Unheard {
                self.plan.count(fate.trick);
                return Err(cut());
            }
            let times = match fate.act {
                Act::Forged(_) => 0,
                Act::Twice { .. } => 2,
                _ => 1,
            };
            let is_last = fate.act == Act::Last;
            if request.is_answered {
                self.tell.send(fate).map_err(io::Error::other)?;
            }
            let bytes = bytes.repeat(times);
            deliver(&self.plan, Direction::ToServer, &mut self.to_server, &bytes).await?;
            if is_last {
                // The reply ends the connection; until then nothing more is heard.
                return std::future::pending().await;
            }
        }
        self.to_server.shutdown().await
    }

    async fn next(&mut self) -> io::Result<Option<Request>> {
        let Self { kind, session, inbox, .. } = self;
        inbox
            .next(|bytes| match kind {
                Protocol::Redis => resp::request(bytes),
                Protocol::Postgres => session.request(bytes),
            })
            .await
    }
}

struct Replies {
    kind: Protocol,
    inbox: Inbox<OwnedReadHalf>,
    to_client: OwnedWriteHalf,
    fates: UnboundedReceiver<Fate>,
    plan: Arc<Plan>,
}

impl Replies {
    /// Ends well when the client will ask nothing more and was answered everything.
    async fn forward(mut self) -> io::Result<()> {
        loop {
            let kind = self.kind;
            let fate = tokio::select! {
                fate = self.fates.recv() => fate,
                part = self.inbox.next(|bytes| part(kind, bytes)) => {
                    let part = part?.ok_or_else(cut)?;
                    match self.fates.try_recv() {
                        Ok(fate) if !part.is_unasked => Some(fate),
                        Ok(fate) => {
                            self.pass(part).await?;
                            Some(fate)
                        }
                        Err(_) => {
                            self.pass(part).await?;
                            continue;
                        }
                    }
                }
            };
            let Some(fate) = fate else { return Ok(()) };
            self.meet(fate).await?;
        }
    }

    async fn meet(&mut self, Fate { trick, act }: Fate) -> io::Result<()> {
        match act {
            Act::Pass | Act::Unheard => loop {
                let part = self.next().await?;
                self.pass(part).await?;
                if part.is_last {
                    return Ok(());
                }
            },
            Act::Forged(answer) => {
                deliver(&self.plan, Direction::ToClient, &mut self.to_client, answer).await?;
            }
            Act::Late(delay) => {
                let (reply, _) = self.reply().await?;
                self.plan.linger(delay).await;
                self.deliver(&reply).await?;
            }
            Act::Twice { second } => {
                let (one, _) = self.reply().await?;
                let (other, _) = self.reply().await?;
                self.deliver(if second { &other } else { &one }).await?;
            }
            Act::Last => {
                let (reply, _) = self.reply().await?;
                self.deliver(&reply).await?;
                self.plan.count(trick);
                return Err(cut());
            }
            Act::Unanswered { if_committed } => {
                let (reply, committed) = self.reply().await?;
                if committed || !if_committed {
                    self.plan.count(trick);
                    return Err(cut());
                }
                return self.deliver(&reply).await;
            }
        }
        if !trick.is_empty() {
            self.plan.count(trick);
        }
        Ok(())
    }

    /// A whole reply, and whether it says that a transaction was committed.
    async fn reply(&mut self) -> io::Result<(Vec<u8>, bool)> {
        let (mut reply, mut committed) = (Vec::new(), false);
        loop {
            let part = self.next().await?;
            reply.extend_from_slice(self.inbox.take(part.length));
            committed |= part.commits;
            if part.is_last {
                return Ok((reply, committed));
            }
        }
    }

    async fn next(&mut self) -> io::Result<Part> {
        let kind = self.kind;
        self.inbox.next(|bytes| part(kind, bytes)).await?.ok_or_else(cut)
    }

    async fn pass(&mut self, part: Part) -> io::Result<()> {
        let bytes = self.inbox.take(part.length);
        deliver(&self.plan, Direction::ToClient, &mut self.to_client, bytes).await
    }

    async fn deliver(&mut self, bytes: &[u8]) -> io::Result<()> {
        deliver(&self.plan, Direction::ToClient, &mut self.to_client, bytes).await
    }
}

fn part(kind: Protocol, bytes: &[u8]) -> io::Result<Option<Part>> {
    match kind {
        Protocol::Redis => resp::part(bytes),
        Protocol::Postgres => postgres::part(bytes),
    }
}

async fn deliver(
    plan: &Plan,
    direction: Direction,
    to: &mut OwnedWriteHalf,
    bytes: &[u8],
) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    plan.pass(direction).await;
    match plan.tear(bytes.len()) {
        None => to.write_all(bytes).await,
        Some(length) => {
            to.write_all(&bytes[..length]).await?;
            Err(cut())
        }
    }
}

fn cut() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}
