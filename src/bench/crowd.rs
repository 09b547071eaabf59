//! The people of a bench, and what they send. May not live here: when they send it, and what comes of it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::load::{Request, Value, request};

/// What is asked, in the order of a round. Liveness is the yardstick: an answer that costs nothing but HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Livez,
    Poll,
    Join,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Livez, Kind::Poll, Kind::Join];

    pub fn request(self) -> &'static str {
        match self {
            Self::Livez => "GET /livez",
            Self::Poll => "GET /queue",
            Self::Join => "GET /token/{userId}",
        }
    }

    /// A turn, or a place in doubt, would be another thing to measure: only a place with its position is right.
    pub fn is_right(self, body: &[u8]) -> bool {
        let expected = match self {
            Self::Livez => "ok",
            Self::Poll | Self::Join => "\"position\":",
        };
        std::str::from_utf8(body).is_ok_and(|text| text.contains(expected))
    }
}

/// The people of one server.
pub struct Crowd {
    pub public: SocketAddr,
    host: Value,
    /// Of those who poll.
    tokens: Mutex<Vec<Value>>,
    joined: AtomicU64,
    polled: AtomicU64,
}

/// The answer to a join, as far as it matters here.
#[derive(Deserialize)]
struct Joined {
    token_id: String,
    position: u64,
}

impl Crowd {
    pub fn at(public: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self {
            public,
            host: Value::from_str(&public.to_string())?,
            tokens: Mutex::default(),
            joined: AtomicU64::new(0),
            polled: AtomicU64::new(0),
        })
    }

    /// The join of one more person, until `people` have asked.
    pub fn newcomer(&self, people: u64) -> Option<Request> {
        let user_id = self.joined.fetch_add(1, Ordering::Relaxed) + 1;
        (user_id <= people).then(|| request(&self.host, &format!("/token/{user_id}"), None))
    }

    /// Takes the token of one person in `every` so many. Whether the answer was a place in line.
    pub fn remember(&self, answer: &[u8], every: u64) -> bool {
        let Ok(Joined { token_id, position }) = serde_json::from_slice(answer) else {
            return false;
        };
        let Ok(token) = Value::from_str(&token_id) else { return false };
        if position.is_multiple_of(every) {
            self.tokens.lock().unwrap_or_else(PoisonError::into_inner).push(token);
        }
        true
    }

    /// One request: of somebody else each time, as far as the people go.
    pub fn request(&self, kind: Kind) -> Request {
        match kind {
            Kind::Livez => request(&self.host, "/livez", None),
            Kind::Poll => request(&self.host, "/queue", Some(&self.next_token())),
            Kind::Join => {
                let user_id = self.joined.fetch_add(1, Ordering::Relaxed) + 1;
                request(&self.host, &format!("/token/{user_id}"), None)
            }
        }
    }

    fn next_token(&self) -> Value {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = self.polled.fetch_add(1, Ordering::Relaxed) as usize;
        tokens[turn % tokens.len()].clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_place_with_its_position_is_a_right_answer() {
        let waiting = br#"{"status":"waiting","queue":"main","position":7,"poll_after_ms":1000}"#;
        let doubted = br#"{"status":"waiting","queue":"main","reason":"rebuilding"}"#;
        for kind in [Kind::Poll, Kind::Join] {
            assert!(kind.is_right(waiting));
            assert!(!kind.is_right(doubted));
        }
        assert!(Kind::Livez.is_right(b"ok"));
        assert!(!Kind::Livez.is_right(b""));
    }

    #[test]
    fn everybody_joins_once_and_all_who_are_remembered_poll() {
        let crowd = Crowd::at(SocketAddr::from(([127, 0, 0, 1], 1))).unwrap();
        let paths: Vec<String> = std::iter::from_fn(|| crowd.newcomer(3))
            .map(|request| request.uri().to_string())
            .collect();
        assert_eq!(paths, ["/token/1", "/token/2", "/token/3"]);

        for position in 1..=4 {
            let answer = format!(r#"{{"token_id":"t{position}","position":{position}}}"#);
            assert!(crowd.remember(answer.as_bytes(), 2));
        }
        let polls = [(); 3].map(|()| crowd.request(Kind::Poll).headers()["token-auth"].clone());
        assert_eq!(polls, ["t2", "t4", "t2"]);
    }
}
