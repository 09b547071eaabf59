//! A crowd that is only counted: what it sends, over the connections of a load. May not live here: people who wait for
//! something (`people.rs`), and what comes of a load.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{bail, ensure};
use serde::{Deserialize, Serialize};

use super::load::{Load, Request, Tally, Value, request};
use super::progress;

/// Enough different people for polls; the tokens of a million would only fill this process.
const POLLING_MAX: u64 = 100_000;
/// A crowd joins over so many connections.
const CONNECTIONS: u64 = 32;
/// Prime, and larger than any crowd that polls: everybody gets a turn, and who is next stands elsewhere in the line.
const STRIDE: u64 = 1_299_709;

/// What is asked, in the order of a round. Liveness is the yardstick: an answer that costs nothing but HTTP and what
/// stands around every answer.
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

/// The people of one line.
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

/// Everybody of `users` joins. Of each answer `hear` says whether it is right.
pub async fn join_all(
    public: SocketAddr,
    queue: &str,
    users: Range<u64>,
    hear: impl Fn(&[u8]) -> bool + Clone + Send + 'static,
) -> anyhow::Result<Tally> {
    let people = users.end - users.start;
    let bar = progress::steps("people join", people)?;
    let host = Value::from_str(&public.to_string())?;
    let (joined, queue) = (Arc::new(AtomicU64::new(users.start)), queue.to_owned());
    let next = move || {
        let user_id = joined.fetch_add(1, Ordering::Relaxed);
        let path = format!("/token/{user_id}?queue={queue}");
        (user_id < users.end).then(|| request(&host, &path, None))
    };
    let hear_one = {
        let bar = bar.clone();
        move |body: &[u8]| {
            bar.inc(1);
            hear(body)
        }
    };
    let tally = Load::connect(public, CONNECTIONS).await?.drive(next, hear_one).await?;
    bar.finish_and_clear();
    if let Some(wrong) = tally.first_wrong {
        bail!("the line could not be filled: {} {wrong}", Kind::Join.request());
    }
    ensure!(tally.answered == people, "{} of {people} people joined", tally.answered);
    Ok(tally)
}

impl Crowd {
    /// So many people who have joined the main queue, and how that went.
    pub async fn gather(public: SocketAddr, people: u64) -> anyhow::Result<(Arc<Self>, Tally)> {
        let crowd = Arc::new(Self::of(public, people)?);
        let (hearing, every) = (crowd.clone(), people.div_ceil(POLLING_MAX));
        let hear = move |body: &[u8]| hearing.remember(body, every);
        let tally = join_all(public, "main", 1..people + 1, hear).await?;
        Ok((crowd, tally))
    }

    fn of(public: SocketAddr, people: u64) -> anyhow::Result<Self> {
        Ok(Self {
            public,
            host: Value::from_str(&public.to_string())?,
            tokens: Mutex::default(),
            joined: AtomicU64::new(people),
            polled: AtomicU64::new(0),
        })
    }

    /// Takes the token of one person in `every` so many. Whether the answer was a place in line.
    fn remember(&self, answer: &[u8], every: u64) -> bool {
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

    pub fn next_token(&self) -> Value {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = self.polled.fetch_add(STRIDE, Ordering::Relaxed) as usize;
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
    fn newcomers_are_new_and_all_who_are_remembered_poll() {
        let crowd = Crowd::of(SocketAddr::from(([127, 0, 0, 1], 1)), 4).unwrap();
        assert_eq!(crowd.request(Kind::Join).uri(), "/token/5");
        for position in 1..=4 {
            let answer = format!(r#"{{"token_id":"t{position}","position":{position}}}"#);
            assert!(crowd.remember(answer.as_bytes(), 2));
        }
        let polls = [(); 3].map(|()| crowd.request(Kind::Poll).headers()["token-auth"].clone());
        assert_eq!(polls, ["t2", "t4", "t2"]);
    }
}
