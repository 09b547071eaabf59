//! The load: a fixed number of connections, each with one request at a time (a closed loop). It shares the machine with
//! what it measures, so it is cheap: no pool, no redirects, one task a connection.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Full};
use hyper::Method;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, HeaderName};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::times::Times;

pub type Request = hyper::Request<Full<Bytes>>;
pub type Value = hyper::header::HeaderValue;

type Connection = http1::Connection<TokioIo<TcpStream>, Full<Bytes>>;
type Sender = http1::SendRequest<Full<Bytes>>;

const TOKEN_AUTH: HeaderName = HeaderName::from_static("token-auth");
/// As much of a wrong answer as fits a sentence.
const TOLD_CHARS_MAX: usize = 300;

/// A `GET`.
pub fn request(host: &Value, path: &str, token: Option<&Value>) -> Request {
    let mut request = Request::new(Full::default());
    *request.uri_mut() = path.parse().expect("a path is made of letters, digits and slashes");
    request.headers_mut().insert(HOST, host.clone());
    if let Some(token) = token {
        request.headers_mut().insert(TOKEN_AUTH, token.clone());
    }
    request
}

/// A `POST` of JSON.
pub fn post(host: &Value, path: &str, token: &Value, body: String) -> Request {
    let mut request = request(host, path, Some(token));
    *request.method_mut() = Method::POST;
    request.headers_mut().insert(CONTENT_TYPE, Value::from_static("application/json"));
    *request.body_mut() = Full::from(body);
    request
}

/// Open connections, not used yet.
pub struct Load {
    connections: Vec<(Sender, Connection)>,
}

/// What came of a load.
pub struct Tally {
    pub answered: u64,
    /// Answers other than a success, or without what a right one holds.
    pub wrong: u64,
    pub first_wrong: Option<String>,
    pub took: Duration,
    times: Times,
}

impl Load {
    pub async fn connect(to: SocketAddr, count: u64) -> anyhow::Result<Self> {
        let mut connections = Vec::new();
        for _ in 0..count {
            let stream = TcpStream::connect(to).await.with_context(|| format!("no way to {to}"))?;
            stream.set_nodelay(true)?;
            connections.push(http1::handshake(TokioIo::new(stream)).await?);
        }
        Ok(Self { connections })
    }

    /// Every connection asks what is `next` until there is nothing more; `hear` says whether an answer is right.
    pub async fn drive(
        self,
        next: impl Fn() -> Option<Request> + Clone + Send + 'static,
        hear: impl Fn(&[u8]) -> bool + Clone + Send + 'static,
    ) -> anyhow::Result<Tally> {
        let (began, mut asking, mut whole) = (Instant::now(), JoinSet::new(), Tally::new()?);
        for (sender, connection) in self.connections {
            let (next, hear) = (next.clone(), hear.clone());
            asking.spawn(async move {
                // One task for both halves: no other thread is woken for an answer.
                tokio::select! {
                    tally = ask(sender, next, hear) => tally,
                    ended = connection => match ended {
                        Ok(()) => bail!("the server closed a connection"),
                        Err(error) => Err(error).context("a connection broke"),
                    },
                }
            });
        }
        while let Some(tally) = asking.join_next().await {
            whole.add(tally??)?;
        }
        whole.took = began.elapsed();
        Ok(whole)
    }
}

async fn ask(
    mut sender: Sender,
    next: impl Fn() -> Option<Request>,
    hear: impl Fn(&[u8]) -> bool,
) -> anyhow::Result<Tally> {
    let mut tally = Tally::new()?;
    while let Some(request) = next() {
        let began = Instant::now();
        let answer = sender.send_request(request).await.context("a request was not answered")?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.context("an answer broke off")?.to_bytes();
        tally.count(began.elapsed(), status, &body, &hear);
    }
    Ok(tally)
}

impl Tally {
    pub fn new() -> anyhow::Result<Self> {
        let (took, times) = (Duration::ZERO, Times::new()?);
        Ok(Self { answered: 0, wrong: 0, first_wrong: None, took, times })
    }

    fn count(&mut self, took: Duration, status: u16, body: &[u8], hear: impl Fn(&[u8]) -> bool) {
        self.answered += 1;
        self.times.record(took);
        if !(200..300).contains(&status) || !hear(body) {
            self.wrong += 1;
            self.first_wrong.get_or_insert_with(|| {
                let body = String::from_utf8_lossy(body);
                let told: String = body.chars().take(TOLD_CHARS_MAX).collect();
                format!("answered {status}: {told}")
            });
        }
    }

    fn add(&mut self, other: Tally) -> anyhow::Result<()> {
        self.answered += other.answered;
        self.wrong += other.wrong;
        self.first_wrong = self.first_wrong.take().or(other.first_wrong);
        self.times.add(&other.times)
    }

    pub fn per_second(&self) -> f64 {
        self.answered as f64 / self.took.as_secs_f64()
    }

    pub fn quantile_ms(&self, quantile: f64) -> f64 {
        self.times.quantile_ms(quantile)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_wrong_by_its_status_or_by_what_it_lacks() {
        let mut tally = Tally::new().unwrap();
        let hear = |body: &[u8]| body == b"good";
        for (status, body) in [(200, "good"), (503, "good"), (200, "bad")] {
            tally.count(Duration::from_micros(250), status, body.as_bytes(), hear);
        }
        let mut whole = Tally::new().unwrap();
        whole.add(tally).unwrap();
        assert_eq!((whole.answered, whole.wrong), (3, 2));
        assert_eq!(whole.first_wrong.as_deref(), Some("answered 503: good"));
        assert_eq!(whole.quantile_ms(0.5), 0.25);
    }
}
