//! Bad input: what people send by mistake and on purpose, the status and code it gets, and that it changes nothing.
//!
//! The files are tables with a story around each. Here is what they share: somebody with something to lose, and
//! requests as raw bytes, for much of what is wrong never leaves a well-behaved client.

mod grammars;
mod ids;
mod json;
mod limits;
mod parsers;
mod people;
mod protocol;
mod rows;
mod slow;
mod sockets;
mod tokens;
mod wire;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::*;

/// The seats of the concert in `Stake`; seat 1 is held.
const SEATS: [&str; 12] = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "A-1", "A-2"];

/// User 7 at concert 1, with a turn, money, and booking 1 of seat 1: tables name them literally.
struct Stake<'a> {
    app: &'a TestApp,
    ann: Buyer,
    before: Value,
}

impl Stake<'_> {
    async fn of(app: &TestApp) -> Stake<'_> {
        let concert = app.concert(SEATS).await;
        let ann = app.buyer_named(7);
        ann.join().await.active();
        ann.top_up_with_key(PRICE, "pocket-money").await.ok();
        let booking = ann.hold(concert, ["1"]).await.held();
        assert_eq!((concert, booking), (1, 1), "the first of an empty shop");
        let mut stake = Stake { app, ann, before: Value::Null };
        stake.before = stake.now().await;
        stake
    }

    /// All that a request of this person might change.
    async fn now(&self) -> Value {
        let concert = self.app.operator.get("/admin/concerts/1").await.ok();
        let queue = self.app.operator.queue("main").await;
        json!({
            "balance": self.ann.balance().await,
            "history": self.ann.history("").await,
            "bookings": self.ann.bookings().await,
            "seats": [concert["seats_free"], concert["seats_held"], concert["seats_sold"]],
            "line": [queue["waiting"], queue["active"], queue["admitted_total"]],
            "policy": queue["policy"],
        })
    }

    async fn is_unchanged(&self, by: &dyn std::fmt::Display) {
        assert_eq!(self.now().await, self.before, "changed by {by}");
    }

    /// The answer is this refusal, and nothing has changed.
    async fn refused(&self, answer: Answer, status: u16, code: &str) -> Value {
        let by = answer.to_string();
        let problem = answer.refused(status, code);
        self.is_unchanged(&by).await;
        problem
    }

    async fn post(&self, path: &str, body: &str) -> Answer {
        self.ann.request("POST", path).body(body).send().await
    }
}

/// An answer as it came over the wire, up to the end of the connection.
pub struct Reply(Vec<u8>);

impl Reply {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }

    /// How many answers came: smuggled requests are seen by theirs.
    fn count(&self) -> usize {
        self.text().matches("HTTP/1.1 ").count()
    }

    #[track_caller]
    pub fn status(&self) -> u16 {
        let text = self.text();
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
        status.unwrap_or_else(|| panic!("no answer: {text:?}"))
    }

    fn header(&self, name: &str) -> Option<String> {
        let text = self.text();
        let (head, _) = text.split_once("\r\n\r\n")?;
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| *known == name).map(|(_, value)| value.to_owned())
    }

    #[track_caller]
    fn refused(&self, status: u16, code: &str) -> Value {
        let text = self.text();
        assert_eq!((self.status(), self.count()), (status, 1), "{text}");
        let kind = self.header("content-type");
        assert_eq!(kind.as_deref(), Some("application/problem+json"), "{text}");
        let (_, body) = text.split_once("\r\n\r\n").unwrap();
        let problem: Value = serde_json::from_str(body).unwrap();
        assert_eq!(
            (&problem["code"], &problem["status"]),
            (&json!(code), &json!(status)),
            "{text}"
        );
        problem
    }
}

pub async fn connect(http: &Http) -> TcpStream {
    let address = http.address().strip_prefix("http://").unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Whether the server answers on this connection, which is kept.
pub async fn is_served(stream: &mut TcpStream) -> bool {
    let asked = stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await;
    asked.is_ok() && stream.read(&mut [0; 1_024]).await.is_ok_and(|read| read > 0)
}

/// Reads until the server closes. A reset is a close, too: the server did not want to read what was left.
async fn read_to_end(stream: &mut TcpStream) -> Reply {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    Reply(answer)
}

/// Sends these bytes on a connection of their own; they ask for the connection to be closed, or provoke it.
async fn raw(app: &TestApp, bytes: impl AsRef<[u8]>) -> Reply {
    raw_to(&app.public, bytes).await
}

/// The same, to any listener.
pub async fn raw_to(http: &Http, bytes: impl AsRef<[u8]>) -> Reply {
    let mut stream = connect(http).await;
    let _ = stream.write_all(bytes.as_ref()).await;
    read_to_end(&mut stream).await
}

/// A request without a body, as it stands on the wire; each header ends its line.
pub fn request(method: &str, path: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: usher.test\r\nConnection: close\r\n{headers}\r\n")
}

/// A POST with these headers and the length of its body.
fn post(path: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let length = body.as_ref().len();
    let head = request("POST", path, &format!("{headers}Content-Length: {length}\r\n"));
    [head.as_bytes(), body.as_ref()].concat()
}

const JSON: &str = "Content-Type: application/json\r\n";
const TOP_UP: &str = r#"{"user_id": 7, "balance": 100}"#;
