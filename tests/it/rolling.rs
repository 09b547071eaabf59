//! Three processes that are stopped and started again one after the other, under people who go on: no request that was
//! accepted is lost. `scripts/rolling` does it as often as one likes.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tempfile::TempDir;
use usher::clock::Clock;

use crate::harness::*;

const PEOPLE: i64 = 24;

/// Three instances behind three addresses that stay.
struct Branches {
    shops: Vec<Shop>,
    directories: Vec<TempDir>,
    settings: Vec<(String, String)>,
}

impl Branches {
    async fn open(home: &TestApp) -> Branches {
        let settings = home.settings().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let directories = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
        let mut branches =
            Branches { shops: Vec::new(), directories, settings: settings.collect() };
        for at in 0..3 {
            let shop = branches.start(at, "127.0.0.1:0").await;
            branches.shops.push(shop);
        }
        branches
    }

    async fn start(&self, at: usize, listen: &str) -> Shop {
        let settings = self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let settings = settings.filter(|(name, _)| *name != "USHER_LISTEN");
        let settings = settings.chain([("USHER_LISTEN", listen)]);
        Shop::open(self.directories[at].path(), settings).await
    }

    /// Stops one, and starts it again where it was.
    async fn restart(&mut self, at: usize) {
        let address = self.shops[at].public.clone();
        let shop = self.shops.remove(at);
        shop.stop().await;
        let shop = self.start(at, &address).await;
        self.shops.insert(at, shop);
    }
}

/// Somebody who goes on, whichever instance is there. Only where nobody listens does he go to the next door; a
/// connection that ends without an answer is a request that was lost.
struct Visitor<'a> {
    user_id: i64,
    doors: &'a [String],
    client: reqwest::Client,
    token: String,
    answered: &'a AtomicU64,
}

impl Visitor<'_> {
    async fn ask(&mut self, method: &str, path: &str, body: Option<Value>) -> Value {
        for attempt in 0_u64.. {
            let turn = usize::try_from(self.answered.load(Ordering::Relaxed) + attempt).unwrap();
            let door = &self.doors[turn % self.doors.len()];
            let method: reqwest::Method = method.parse().unwrap();
            let request = self.client.request(method, format!("http://{door}{path}"));
            let request = request.header("token-auth", &self.token);
            let request = match &body {
                Some(body) => {
                    request.header("content-type", "application/json").body(body.to_string())
                }
                None => request,
            };
            match request.send().await {
                Err(error) if error.is_connect() => {}
                Err(error) => panic!("lost: {path} at {door}: {error:?}"),
                Ok(answer) => {
                    let status = answer.status();
                    let text = answer
                        .text()
                        .await
                        .unwrap_or_else(|error| panic!("half: {path}: {error:?}"));
                    assert!(status.is_success(), "{path}: {status} {text}");
                    self.answered.fetch_add(1, Ordering::Relaxed);
                    return serde_json::from_str(&text).unwrap_or_default();
                }
            }
        }
        unreachable!("somebody always listens")
    }

    async fn goes_on(mut self, concert: i64, enough: &AtomicBool) {
        let place = self.ask("GET", &format!("/token/{}", self.user_id), None).await;
        self.token = place["token_id"].as_str().unwrap().to_owned();
        while self.ask("GET", "/queue", None).await["status"] != "active" {}
        let seat = format!("A-{}", self.user_id);
        while !enough.load(Ordering::Relaxed) {
            let wish = json!({"user_id": self.user_id, "concert_id": concert, "seat_no": seat});
            let held = self.ask("POST", "/booking", Some(wish)).await;
            let booking = held["booking_id"].as_i64().unwrap();
            self.ask("GET", "/queue", None).await;
            self.ask("DELETE", &format!("/booking/{booking}"), None).await;
            self.ask("GET", "/concerts", None).await;
        }
    }
}

/// How often all three are restarted.
fn rounds() -> usize {
    std::env::var("USHER_TEST_ROUNDS").map_or(2, |rounds| rounds.parse().unwrap())
}

stories_on_postgres! {
    async fn rolling_restarts_of_three_instances_lose_nothing(on: &Database) {
        let home = TestApp::by_clock(Clock::system(), *on, []).await;
        let long = json!({"session_seconds": 86_400, "hold_seconds": 3_600, "rate_per_second": 1_000});
        home.operator.tune("main", long).await;
        let concert = home.hall().await;
        let mut branches = Branches::open(&home).await;
        let doors: Vec<_> = branches.shops.iter().map(|shop| shop.public.clone()).collect();
        let (enough, answered) = (AtomicBool::new(false), AtomicU64::new(0));
        let visitor = |user_id| {
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let token = String::new();
            Visitor { user_id, doors: &doors, client, token, answered: &answered }
        };
        let crowd = join_all((1..=PEOPLE).map(|user_id| visitor(user_id).goes_on(concert, &enough)));
        let restarts = async {
            for round in 0..rounds() * 3 {
                branches.restart(round % 3).await;
            }
            enough.store(true, Ordering::Relaxed);
        };
        tokio::join!(crowd, restarts);
        let (restarts, requests) = (rounds() * 3, answered.into_inner());
        let mut out = std::io::stdout();
        writeln!(out, "{restarts} restarts, {requests} requests, none lost").unwrap();
        for shop in branches.shops {
            shop.stop().await;
        }
        home.finish().await;
    }
}
