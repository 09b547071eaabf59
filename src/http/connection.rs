//! One connection: how long it waits for its client, how much of a head it takes, and how it ends. What is asked on it
//! is the router's affair.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::rt::Timer;
use hyper::server::conn::http1;
use hyper::service::HttpService;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};
use tower::ServiceExt;

const HEADERS_MAX: usize = 100;
const HEAD_BYTES_MAX: usize = 16 * 1_024;
/// What a client may still have been sending when it was answered; more is not waited for.
const LEFTOVER_BYTES_MAX: usize = 2 * 1_024 * 1_024;
const LEFTOVER_BYTES_AT_ONCE: usize = 8 * 1_024;

/// How long a connection waits for its client.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For the whole head of a request, from its first byte; for the first one, from the beginning.
    pub head: Duration,
    /// For the first byte of a further request.
    pub idle: Duration,
    /// For the client to take anything at all of an answer.
    pub stall: Duration,
    /// After the last answer, for the client to stop sending.
    pub leftover: Duration,
}

/// The address of the peer, as the accept loop saw it.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Serves requests until one of the two has had enough.
pub fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    peer: SocketAddr,
    router: Router,
    patience: Patience,
) -> http1::Connection<
    TokioIo<Wire<S>>,
    impl HttpService<Incoming, ResBody = Body, Error = Infallible, Future: Send>,
> {
    let service = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        request.map(Body::new)
    });
    let ear = Arc::new(Ear {
        heard: AtomicU64::new(0),
        alarm: Mutex::new(Box::pin(tokio::time::sleep(patience.head))),
    });
    let wire = Wire {
        stream,
        ear: ear.clone(),
        leftover: LEFTOVER_BYTES_MAX,
        patience,
        stalled: None,
        closing: None,
    };
    http1::Builder::new()
        .timer(HeadTimer { ear, patience })
        .header_read_timeout(patience.head)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(wire), TowerToHyperService::new(service))
}

/// The two ways of a connection. It counts what it hears, and hangs up only when the client has stopped talking.
pub struct Wire<S> {
    stream: S,
    ear: Arc<Ear>,
    /// Bytes that may still come before it hangs up.
    leftover: usize,
    patience: Patience,
    /// Until when the client may take something of the answer.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Until when it listens after the last answer.
    closing: Option<Pin<Box<Sleep>>>,
}

impl<S> Wire<S> {
    /// What became of a write; a client that takes nothing for too long has gone, whatever it says.
    fn written(
        &mut self,
        context: &mut Context<'_>,
        wrote: Poll<std::io::Result<usize>>,
    ) -> Poll<std::io::Result<usize>> {
        if wrote.is_ready() {
            self.stalled = None;
            return wrote;
        }
        let stall = self.patience.stall;
        let alarm = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(stall)));
        alarm.as_mut().poll(context).map(|()| Err(std::io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        self.ear.heard.fetch_add((buffer.filled().len() - before) as u64, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(context, wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.written(context, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    /// A socket that is closed over unread bytes is reset, and the reset may overtake the answer: a client that sends
    /// too much would never learn so. Therefore what still comes is read for a while, and forgotten.
    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        let Self { stream, leftover, patience, closing, .. } = &mut *self;
        if closing.is_none() {
            ready!(Pin::new(&mut *stream).poll_shutdown(context))?;
        }
        let until = closing.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience.leftover)));
        while *leftover > 0 && until.as_mut().poll(context).is_pending() {
            let mut scrap = [0; LEFTOVER_BYTES_AT_ONCE];
            let mut buffer = ReadBuf::new(&mut scrap);
            let read = ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer));
            match buffer.filled().len() {
                0 => break,
                _ if read.is_err() => break,
                length => *leftover = leftover.saturating_sub(length),
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// How much a connection has heard, and when its patience ends.
struct Ear {
    /// Bytes that came so far.
    heard: AtomicU64,
    /// One for all heads: an alarm that is put off costs nothing, one that is made anew costs every request.
    alarm: Mutex<Pin<Box<Sleep>>>,
}

impl Ear {
    fn alarm(&self) -> MutexGuard<'_, Pin<Box<Sleep>>> {
        self.alarm.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hyper's timeout of a head counts from the end of the request before it, which would close a connection that is
/// kept for the next poll. It asks this timer when a head is due, and the timer knows whether one has begun.
struct HeadTimer {
    ear: Arc<Ear>,
    patience: Patience,
}

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        self.sleep_until((Instant::now() + duration).into_std())
    }

    fn sleep_until(&self, head_due: std::time::Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        let heard_before = self.ear.heard.load(Ordering::Relaxed);
        let first = heard_before == 0;
        let until = if first { head_due.into() } else { Instant::now() + self.patience.idle };
        self.ear.alarm().as_mut().reset(until);
        Box::pin(HeadSleep {
            ear: self.ear.clone(),
            idle_since: (!first).then_some(heard_before),
            head: self.patience.head,
        })
    }
}

/// Ends when the client has been silent, or has taken too long for a head.
struct HeadSleep {
    ear: Arc<Ear>,
    /// How much had been heard when the silence began; nothing once a head has begun.
    idle_since: Option<u64>,
    head: Duration,
}

impl hyper::rt::Sleep for HeadSleep {}

impl Future for HeadSleep {
    type Output = ();

    /// Hyper polls it after every read that did not complete the head.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let heard = self.ear.heard.load(Ordering::Relaxed);
        let begun = self.idle_since.take_if(|before| *before != heard).is_some();
        let mut alarm = self.ear.alarm();
        if begun {
            alarm.as_mut().reset(Instant::now() + self.head);
        }
        alarm.as_mut().poll(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    const AGES: Duration = Duration::from_secs(3_600);
    const A_MOMENT: Duration = Duration::from_millis(1);
    const AGES_OF_IT: Patience = Patience { head: AGES, idle: AGES, stall: AGES, leftover: AGES };

    /// A client that has sent this, before anybody listened to it.
    async fn client(patience: Patience, sent: &[u8]) -> DuplexStream {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        client.write_all(sent).await.unwrap();
        let router = Router::new().fallback(|| async { "answer" });
        tokio::spawn(async move {
            let _ = serve(server, ([127, 0, 0, 1], 1).into(), router, patience).await;
        });
        client
    }

    async fn answers(client: &mut DuplexStream) -> usize {
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        text.matches("answer").count()
    }

    const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

    #[tokio::test]
    async fn nobody_is_waited_for_who_never_asks() {
        let patience = Patience { head: A_MOMENT, ..AGES_OF_IT };
        assert_eq!(answers(&mut client(patience, b"").await).await, 0);
        assert_eq!(answers(&mut client(patience, b"GET / HT").await).await, 0);
    }

    #[tokio::test]
    async fn silence_between_requests_has_its_own_end() {
        let patience = Patience { idle: A_MOMENT, leftover: A_MOMENT, ..AGES_OF_IT };
        assert_eq!(answers(&mut client(patience, GET).await).await, 1);
        assert_eq!(answers(&mut client(patience, &GET.repeat(3)).await).await, 3);
    }

    #[tokio::test]
    async fn a_further_head_is_due_from_its_first_byte() {
        let patience = Patience { head: A_MOMENT, leftover: A_MOMENT, ..AGES_OF_IT };
        let mut client = client(patience, GET).await;
        let mut first = [0; 1];
        client.read_exact(&mut first).await.unwrap();
        client.write_all(b"G").await.unwrap();
        assert_eq!(answers(&mut client).await, 1);
    }

    #[tokio::test]
    async fn whoever_takes_nothing_of_an_answer_is_left() {
        let (mut client, server) = tokio::io::duplex(64);
        client.write_all(GET).await.unwrap();
        let router = Router::new().fallback(|| async { "answer".repeat(1_000) });
        let patience = Patience { stall: A_MOMENT, ..AGES_OF_IT };
        serve(server, ([127, 0, 0, 1], 1).into(), router, patience).await.unwrap_err();
    }

    #[tokio::test]
    async fn what_is_left_over_is_read_up_to_a_bound() {
        let patience = AGES_OF_IT;
        let post = b"POST / HTTP/1.1\r\nConnection: close\r\nContent-Length: 99999999\r\n\r\n";
        let mut client = client(patience, post).await;
        let chunk = vec![0; 64 * 1_024];
        let mut sent = 0;
        while client.write_all(&chunk).await.is_ok() {
            sent += chunk.len();
        }
        assert!((LEFTOVER_BYTES_MAX..3 * LEFTOVER_BYTES_MAX).contains(&sent), "{sent}");
        assert_eq!(answers(&mut client).await, 1);
    }
}
