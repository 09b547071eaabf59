//! How tests speak HTTP: requests as literal as curl's, and answers that say what they should have been.
//!
//! Nothing here knows a person or a feature, except the handful of words (`active`, `held`, `paid`) in which
//! stories read an answer.

use std::sync::{Arc, Mutex};

use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use serde_json::Value;

use super::{Listener, document};

/// A base address, and a record of every answer that no client should ever get.
#[derive(Clone)]
pub struct Http {
    client: reqwest::Client,
    base: String,
    blunders: Arc<Mutex<Vec<String>>>,
}

impl Http {
    pub fn to(address: std::net::SocketAddr) -> Http {
        let client =
            reqwest::Client::builder().no_proxy().redirect(Policy::none()).build().unwrap();
        Http { client, base: format!("http://{address}"), blunders: Arc::default() }
    }

    /// As the original specification has it, every request says `Content-Type: application/json`.
    pub fn request(&self, method: &str, path: &str) -> Request {
        let method: reqwest::Method = method.parse().unwrap();
        let line = format!("{method} {path}");
        let builder = self.client.request(method, format!("{}{path}", self.base));
        let builder = builder.header("content-type", "application/json");
        Request { builder, line, blunders: self.blunders.clone() }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.request("GET", path).send().await
    }

    pub fn address(&self) -> &str {
        &self.base
    }

    /// Answers with status 500, errors outside the contract's one shape, and what the OpenAPI document does not promise.
    pub fn blunders(&self) -> Vec<String> {
        self.blunders.lock().unwrap().clone()
    }
}

pub struct Request {
    builder: reqwest::RequestBuilder,
    line: String,
    blunders: Arc<Mutex<Vec<String>>>,
}

impl Request {
    pub fn header(mut self, name: &str, value: &str) -> Request {
        self.builder = self.builder.header(name, value);
        self
    }

    pub fn bearer(self, token: &str) -> Request {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub fn body(mut self, text: impl Into<String>) -> Request {
        let text = text.into();
        self.line = format!("{} {text}", self.line);
        self.builder = self.builder.body(text);
        self
    }

    pub fn json(self, body: &Value) -> Request {
        self.body(body.to_string())
    }

    pub async fn send(self) -> Answer {
        let blunders = self.blunders.clone();
        let answer = self.exchange().await;
        if answer.status == 500
            || (answer.status >= 400 && !answer.is_problem() && !answer.is_page())
        {
            blunders.lock().unwrap().push(answer.to_string());
        }
        if let Some(objection) = answer.objection() {
            blunders.lock().unwrap().push(format!("{objection}: {answer}"));
        }
        answer
    }

    /// Sends it and goes on listening to what comes.
    pub async fn listen(self) -> Listener {
        let response = self.builder.send().await.unwrap();
        assert_eq!(response.status(), 200, "{}", self.line);
        Listener::to(response)
    }

    async fn exchange(self) -> Answer {
        let Request { builder, line, .. } = self;
        let response = match builder.send().await {
            Ok(response) => response,
            Err(error) => panic!("{line}: no answer at all: {error:?}"),
        };
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        // A compressed body is nobody's text; the headers are what its story looks at.
        let text = String::from_utf8_lossy(&response.bytes().await.unwrap()).into_owned();
        Answer { line, status, headers, text }
    }
}

#[derive(Clone, Debug)]
pub struct Answer {
    line: String,
    pub status: u16,
    headers: HeaderMap,
    pub text: String,
}

impl Answer {
    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_str(&self.text) {
            Ok(value) => value,
            Err(error) => panic!("not JSON ({error}): {self}"),
        }
    }

    #[track_caller]
    pub fn status(self, status: u16) -> Answer {
        assert_eq!(self.status, status, "{self}");
        self
    }

    #[track_caller]
    pub fn ok(self) -> Value {
        self.status(200).json()
    }

    #[track_caller]
    pub fn created(self) -> Value {
        self.status(201).json()
    }

    #[track_caller]
    pub fn no_content(self) {
        let answer = self.status(204);
        assert!(answer.text.is_empty(), "{answer}");
    }

    /// A problem of the contract's one shape, with this status and code.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Value {
        let answer = self.status(status);
        assert!(answer.is_problem(), "not a problem document: {answer}");
        let problem = answer.json();
        assert_eq!(problem["code"], code, "{answer}");
        if matches!(status, 429 | 503) {
            assert!(answer.header("retry-after").is_some(), "no Retry-After: {answer}");
        }
        if status == 401 {
            assert!(answer.header("www-authenticate").is_some(), "no WWW-Authenticate: {answer}");
        }
        problem
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The place in line of somebody who waits.
    #[track_caller]
    pub fn waiting(self) -> i64 {
        let place = self.clone().ok();
        assert_eq!(place["status"], "waiting", "{self}");
        let position = place["position"].as_i64().unwrap_or_else(|| panic!("no position: {self}"));
        assert!(position >= 1, "{self}");
        position
    }

    /// Somebody whose turn it is; returns what the answer says about the turn.
    #[track_caller]
    pub fn active(self) -> Value {
        let place = self.clone().ok();
        assert_eq!(place["status"], "active", "{self}");
        assert!(place["expires_at"].is_string(), "a turn says when it ends: {self}");
        place
    }

    /// The number of a fresh booking.
    #[track_caller]
    pub fn held(self) -> i64 {
        let booking = self.clone().created();
        assert_eq!(booking["booking_result"], "HELD", "{self}");
        booking["booking_id"].as_i64().unwrap_or_else(|| panic!("no booking_id: {self}"))
    }

    /// The receipt.
    #[track_caller]
    pub fn paid(self) -> Value {
        let receipt = self.clone().ok();
        assert_eq!(receipt["payment_result"], "PAID", "{self}");
        receipt
    }

    /// What the OpenAPI document objects to, where it describes the request.
    fn objection(&self) -> Option<String> {
        if self.is_page() {
            return None;
        }
        let nowhere = self.status == 404 && self.json()["code"] == "not_found";
        let unseen = nowhere || self.header("content-encoding").is_some();
        let (method, rest) = self.line.split_once(' ')?;
        let path = rest.split(' ').next()?;
        if unseen { None } else { document::objection(method, path, (self.status, &self.text)) }
    }

    /// What people read, also when something is wrong.
    fn is_page(&self) -> bool {
        self.header("content-type").is_some_and(|kind| kind.starts_with("text/html"))
    }

    fn is_problem(&self) -> bool {
        if self.header("content-type") != Some("application/problem+json") {
            return false;
        }
        let problem = self.json();
        let texts = ["type", "title", "detail", "code", "request_id"];
        texts.iter().all(|name| problem[name].is_string())
            && problem["type"] == "about:blank"
            && problem["status"] == self.status
            && problem["retryable"].is_boolean()
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} → {} {}", self.line, self.status, self.text)
    }
}

/// The JSON types of an object's fields, to be compared with the contract's table literally.
pub fn kinds(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields.iter().map(|(k, v)| (k.clone(), kinds(v))).collect(),
        Value::Array(items) => items.first().map(kinds).into_iter().collect(),
        Value::String(_) => "string".into(),
        Value::Number(number) if number.is_i64() || number.is_u64() => "int".into(),
        Value::Number(_) => "float".into(),
        Value::Bool(_) => "bool".into(),
        Value::Null => "null".into(),
    }
}
