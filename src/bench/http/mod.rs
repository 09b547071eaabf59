//! HTTP as the people and the operators of a bench speak it: one request, one answer, over connections that are kept.
//! May not live here: a load whose cost is measured by the microsecond, which is `load.rs`.

pub mod noop;
mod stream;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Semaphore;

pub use stream::Events;

const TOKEN_AUTH: HeaderName = HeaderName::from_static("token-auth");
/// Above any deadline of the server's, and time for a check of a million rows.
const DEADLINE: Duration = Duration::from_secs(120);
/// A crowd that asks at once is heard in turn: its connections are files, on both ends.
const AT_ONCE_MAX: usize = 512;
/// As much of an unexpected answer as fits a sentence.
const TOLD_CHARS_MAX: usize = 300;

/// One listener, and who asks there.
#[derive(Clone)]
pub struct Door {
    client: Client<HttpConnector, Full<Bytes>>,
    address: SocketAddr,
    bearer: Option<HeaderValue>,
    at_once: Arc<Semaphore>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    asked: String,
    pub status: u16,
    body: Bytes,
}

impl Door {
    /// Where people come in.
    pub fn public(address: SocketAddr) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Self { client, address, bearer: None, at_once: Arc::new(Semaphore::new(AT_ONCE_MAX)) }
    }

    /// Where operators come in, with their key.
    pub fn of_operators(address: SocketAddr, key: &str) -> anyhow::Result<Self> {
        let bearer = Some(HeaderValue::from_str(&format!("Bearer {key}"))?);
        Ok(Self { bearer, ..Self::public(address) })
    }

    /// Asks `GET /queue` or the like, with a token, a body, both or neither.
    pub async fn ask(
        &self,
        asked: &str,
        token: Option<&str>,
        body: Option<&Value>,
    ) -> anyhow::Result<Answer> {
        let _one_of_many = self.at_once.acquire().await?;
        let answered = async {
            let response = self.send(asked, token, body).await?;
            let status = response.status().as_u16();
            let body = response.into_body().collect().await?.to_bytes();
            anyhow::Ok(Answer { asked: asked.to_owned(), status, body })
        };
        let answer = tokio::time::timeout(DEADLINE, answered).await;
        answer.context("no answer came in time").flatten().with_context(|| asked.to_owned())
    }

    /// Opens a stream of events.
    pub async fn events(&self, path: &str, token: &str) -> anyhow::Result<Events> {
        let asked = format!("GET {path}");
        let response = self.send(&asked, Some(token), None).await.context(asked.clone())?;
        let status = response.status().as_u16();
        if status != 200 {
            let body = response.into_body().collect().await?.to_bytes();
            return Err(Answer { asked, status, body }.unexpected());
        }
        Ok(Events::of(response.into_body()))
    }

    async fn send(
        &self,
        asked: &str,
        token: Option<&str>,
        body: Option<&Value>,
    ) -> anyhow::Result<Response<Incoming>> {
        let Some((method, path)) = asked.split_once(' ') else { bail!("what to ask?") };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address))
            .header(CONTENT_TYPE, "application/json");
        if let Some(token) = token {
            request = request.header(TOKEN_AUTH, token);
        }
        if let Some(bearer) = &self.bearer {
            request = request.header(AUTHORIZATION, bearer);
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        Ok(self.client.request(request.body(Full::from(body))?).await?)
    }
}

impl Answer {
    /// What a success says; anything else is an error.
    pub fn json<T: DeserializeOwned>(self) -> anyhow::Result<T> {
        match self.status {
            200..=299 => serde_json::from_slice(&self.body).map_err(|_| self.unexpected()),
            _ => Err(self.unexpected()),
        }
    }

    /// The member of a refusal.
    pub fn member<T: DeserializeOwned>(&self, name: &str) -> anyhow::Result<T> {
        let mut problem: Value =
            serde_json::from_slice(&self.body).map_err(|_| self.unexpected())?;
        serde_json::from_value(problem[name].take()).map_err(|_| self.unexpected())
    }

    /// What to say of an answer that nobody foresaw.
    pub fn unexpected(&self) -> anyhow::Error {
        let told: String =
            String::from_utf8_lossy(&self.body).chars().take(TOLD_CHARS_MAX).collect();
        anyhow::anyhow!("{} answered {}: {told}", self.asked, self.status)
    }
}
