//! Requests: sent to some door, answered or not, recorded. An answer is read here for what it promises.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Door;
use crate::history::{Answer, Call, Op, Outcome};
use crate::recorder::Recorder;

/// A server answers within five seconds, whatever happens to it.
const TIMEOUT: Duration = Duration::from_millis(6_500);

/// A queue token, and the number that it says.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    pub text: String,
    pub number: i64,
}

impl Token {
    /// Reads what a token says, without believing it.
    pub fn read(text: &str) -> Option<Self> {
        let payload = URL_SAFE_NO_PAD.decode(text.split('.').nth(1)?).ok()?;
        let claims: Value = serde_json::from_slice(&payload).ok()?;
        Some(Self { text: text.to_owned(), number: claims["seq"].as_i64()? })
    }
}

/// Who asks, and with what.
#[derive(Clone, Debug)]
pub struct Who {
    pub user: i64,
    pub token: Option<Token>,
    pub adversary: bool,
    /// Whom he names in his body, where it is not himself.
    pub on_behalf_of: Option<i64>,
}

impl Who {
    /// Somebody who asks for himself.
    pub fn honest(user: i64) -> Self {
        Self { user, token: None, adversary: false, on_behalf_of: None }
    }

    /// Somebody who is up to no good.
    pub fn adversary(user: i64, token: Token) -> Self {
        Self { user, token: Some(token), adversary: true, on_behalf_of: None }
    }
}

/// What somebody was answered.
#[derive(Clone, Debug)]
pub struct Told {
    pub outcome: Outcome,
    /// The token that came with it.
    pub token: Option<Token>,
}

pub struct Shop {
    http: reqwest::Client,
    doors: Vec<Door>,
    queue: String,
    recorder: Recorder,
    ids: AtomicU64,
}

impl Shop {
    pub fn new(doors: Vec<Door>, queue: String, recorder: Recorder) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build()?;
        Ok(Self { http, doors, queue, recorder, ids: AtomicU64::new(1) })
    }

    pub fn now_us(&self) -> i64 {
        self.recorder.now_us()
    }

    /// Asks at some door.
    pub async fn ask(&self, who: &Who, call: Call, dice: &mut StdRng) -> Told {
        self.ask_for(who, call, dice, TIMEOUT).await
    }

    /// Asks at some door, and hangs up after so long.
    pub async fn ask_for(
        &self,
        who: &Who,
        call: Call,
        dice: &mut StdRng,
        patience: Duration,
    ) -> Told {
        let door = &self.doors[dice.random_range(0..self.doors.len())];
        let mut asked = Asked { shop: self, op: Some(self.begin(door, who, &call)) };
        let sent = tokio::time::timeout(patience, self.send(door, who, &call)).await;
        let answered = sent.unwrap_or_else(|_| {
            Err(if patience < TIMEOUT { "hung up" } else { "hang" }.to_owned())
        });
        let (outcome, token) = match answered {
            Ok((status, body)) => read(&call, who, status, &body),
            Err(why) => (Outcome::Unknown { status: None, code: None, why }, None),
        };
        asked.ends(outcome.clone());
        Told { outcome, token }
    }

    fn begin(&self, door: &Door, who: &Who, call: &Call) -> Op {
        let begun_us = self.recorder.now_us();
        Op {
            id: self.ids.fetch_add(1, Ordering::Relaxed),
            user: who.user,
            instance: door.name.clone(),
            begun_us,
            ended_us: begun_us,
            adversary: who.adversary,
            on_behalf_of: who.on_behalf_of,
            call: call.clone(),
            outcome: Outcome::Unknown { status: None, code: None, why: "abandoned".to_owned() },
        }
    }

    async fn send(&self, door: &Door, who: &Who, call: &Call) -> Result<(u16, Value), String> {
        let user = who.on_behalf_of.unwrap_or(who.user);
        let (method, path, body, key) = match call {
            Call::Join => ("GET", format!("/token/{user}?queue={}", self.queue), None, None),
            Call::Poll { .. } => ("GET", "/queue".to_owned(), None, None),
            Call::Leave { .. } => ("DELETE", "/queue".to_owned(), None, None),
            Call::Hold { concert, seats, key, .. } => {
                let seat_no = seats.join(",");
                let body = json!({"user_id": user, "concert_id": concert, "seat_no": seat_no});
                ("POST", "/booking".to_owned(), Some(body), key.as_ref())
            }
            Call::Cancel { booking } => ("DELETE", format!("/booking/{booking}"), None, None),
            Call::Pay { booking, key } => {
                let body = json!({"user_id": user, "booking_id": booking});
                ("POST", "/payment".to_owned(), Some(body), key.as_ref())
            }
            Call::TopUp { amount, key } => {
                let body = json!({"user_id": user, "balance": amount});
                ("POST", "/balance".to_owned(), Some(body), key.as_ref())
            }
            Call::Balance => ("GET", format!("/balance/{user}"), None, None),
            Call::Booking { booking } => ("GET", format!("/booking/{booking}"), None, None),
        };
        let method = reqwest::Method::from_bytes(method.as_bytes()).map_err(|e| e.to_string())?;
        let mut request = self.http.request(method, format!("http://{}{path}", door.address));
        if let Some(token) = &who.token {
            request = request.header("token-auth", &token.text);
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.map_err(|error| why(&error))?;
        let status = answer.status().as_u16();
        let bytes = answer.bytes().await.map_err(|error| why(&error))?;
        Ok((status, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
    }
}

/// A request under way. Whoever stops waiting for it leaves it in the history all the same: it may happen.
struct Asked<'a> {
    shop: &'a Shop,
    op: Option<Op>,
}

impl Asked<'_> {
    fn ends(&mut self, outcome: Outcome) {
        if let Some(op) = self.op.take() {
            let ended_us = self.shop.recorder.now_us();
            self.shop.recorder.op(Op { ended_us, outcome, ..op });
        }
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if let Some(op) = self.op.take() {
            let ended_us = self.shop.recorder.now_us();
            self.shop.recorder.op(Op { ended_us, ..op });
        }
    }
}

fn why(error: &reqwest::Error) -> String {
    let why = if error.is_timeout() {
        "hang"
    } else if error.is_connect() {
        "refused"
    } else {
        "broken off"
    };
    why.to_owned()
}

/// What an answer means, and the token in it.
fn read(call: &Call, who: &Who, status: u16, body: &Value) -> (Outcome, Option<Token>) {
    let code = body["code"].as_str().map(str::to_owned);
    let digest = digest(status, body);
    let token = body["token_id"].as_str().and_then(Token::read);
    let outcome = match (status, answer(call, who, token.as_ref(), body)) {
        (200..=299, Some(answer)) => Outcome::Ok { answer, digest },
        (400..=499, _) if ![408, 429].contains(&status) => {
            Outcome::Refused { status, code: code.unwrap_or_default(), digest }
        }
        (200..=299, None) => {
            let why = format!("an answer that promises nothing: {body}");
            Outcome::Unknown { status: Some(status), code, why }
        }
        _ => Outcome::Unknown { status: Some(status), code, why: "refused for now".to_owned() },
    };
    (outcome, token)
}

fn answer(call: &Call, who: &Who, token: Option<&Token>, body: &Value) -> Option<Answer> {
    let number = token.or(who.token.as_ref()).map_or(0, |token| token.number);
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let seats = || body["seats"].as_array()?.iter().map(text).collect::<Option<Vec<_>>>();
    Some(match call {
        Call::Join | Call::Poll { .. } => match body["status"].as_str()? {
            "waiting" => Answer::Waiting {
                number,
                position: body["position"].as_i64(),
                reason: text(&body["reason"]),
                poll_after_ms: body["poll_after_ms"].as_i64()?,
            },
            "active" => Answer::Active { number, expires_at_ms: instant(&body["expires_at"])? },
            _ => return None,
        },
        Call::Leave { .. } | Call::Cancel { .. } => Answer::Gone,
        Call::Hold { .. } => Answer::Held {
            booking: body["booking_id"].as_i64()?,
            seats: seats()?,
            amount: body["amount"].as_i64()?,
            expires_at_ms: instant(&body["expires_at"])?,
        },
        Call::Pay { booking, .. } => Answer::Paid { booking: *booking },
        Call::TopUp { .. } | Call::Balance => {
            Answer::Balance { balance: body["balance"].as_i64()? }
        }
        Call::Booking { booking } => {
            Answer::Booking { booking: *booking, status: text(&body["status"])?, seats: seats()? }
        }
    })
}

fn instant(value: &Value) -> Option<i64> {
    let at = OffsetDateTime::parse(value.as_str()?, &Rfc3339).ok()?;
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()
}

/// The same for the same answer, but for the name of the request.
fn digest(status: u16, body: &Value) -> u64 {
    let mut body = body.clone();
    if let Some(fields) = body.as_object_mut() {
        fields.remove("request_id");
    }
    let mut hasher = DefaultHasher::new();
    (status, body.to_string()).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_as(call: &Call, status: u16, body: &Value) -> Outcome {
        read(call, &Who::honest(1), status, body).0
    }

    #[test]
    fn an_answer_is_done_refused_or_nobody_knows() {
        let pay = Call::Pay { booking: 7, key: None };
        assert!(matches!(read_as(&pay, 200, &json!({})), Outcome::Ok { .. }));
        let refused = read_as(&pay, 402, &json!({"code": "insufficient_balance"}));
        assert!(matches!(refused, Outcome::Refused { status: 402, .. }));
        for status in [408, 429, 500, 503] {
            assert!(matches!(read_as(&pay, status, &json!({})), Outcome::Unknown { .. }));
        }
        assert!(matches!(read_as(&Call::Balance, 200, &json!({})), Outcome::Unknown { .. }));
    }

    #[test]
    fn the_name_of_a_request_makes_no_other_answer() {
        let one = json!({"request_id": "a", "code": "x"});
        let two = json!({"request_id": "b", "code": "x"});
        assert_eq!(digest(409, &one), digest(409, &two));
        assert_ne!(digest(409, &one), digest(410, &one));
    }
}
