//! One running server and the world around it: its clock, its people, its concerts, and the audit at the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use usher::app::App;
use usher::clock::Clock;
use usher::config::Config;
use usher::server::{Doors, Loops, Running};

use super::identity::Identity;
use super::servers::{Home, redis_url, take_keys};
use super::{Answer, Buyer, Database, Http, Operator, Stage, Wire, join_all};

/// What every seat costs unless a story says otherwise.
pub const PRICE: i64 = 5_000;
/// Years away from the machine's own date, so that whatever reads the wrong clock is seen at once.
const START_MS: i64 = 1_900_000_000_000;
const TOKEN_KEY: &str = "dGhpcnR5LXR3byBieXRlcyBvZiBhIHRlc3RpbmcgISE=";
const ADMIN_KEY: &str = "the-key-of-the-operators-in-tests-0123456789";

pub struct TestApp {
    pub app: App,
    pub clock: Clock,
    pub public: Http,
    pub operator: Operator,
    pub identity: Option<Identity>,
    running: Running,
    settings: Vec<(String, String)>,
    home: Arc<Home>,
    people: Arc<AtomicI64>,
}

impl Stage for TestApp {
    async fn begin(on: Database) -> TestApp {
        TestApp::with(on, []).await
    }

    /// The audit. It looks at what is left in SQL, in Redis and in every answer that was given.
    async fn finish(self) {
        let installation = self.app.installation().to_owned();
        let check = self.operator.get("/admin/check").await.ok();
        for one in check["checks"].as_array().unwrap() {
            assert_eq!(one["violations"], 0, "the books are wrong: {one:#}");
        }
        assert_eq!(check["ok"], true, "the books are wrong: {check:#}");
        for queue in check["queues"].as_array().unwrap() {
            let cap = self.operator.highest_cap(queue["name"].as_str().unwrap());
            let peak = queue["active_peak"].as_i64().unwrap();
            assert!(peak <= cap, "over the cap of {cap}: {queue}");
        }
        let blunders = [self.public.blunders(), self.operator.http.blunders()].concat();
        assert!(blunders.is_empty(), "answers that nobody should get: {blunders:#?}");

        let redis = self.setting("USHER_REDIS_URL").to_owned();
        // Nobody keeps a connection on which he might still ask for something.
        drop((self.public, self.operator));
        self.running.stop().await;
        for key in take_keys(&redis, &installation).await {
            assert!(key.starts_with(&format!("usher:{installation}:")), "a stray key: {key}");
        }
        if let Some(home) = Arc::into_inner(self.home) {
            home.demolish().await;
        }
    }
}

impl TestApp {
    /// A server with these settings over the usual ones.
    pub async fn with<const N: usize>(on: Database, settings: [(&str, &str); N]) -> TestApp {
        TestApp::by_clock(Clock::manual(START_MS), on, settings).await
    }

    /// For stories about the grace: as far as this server knows, other instances go by other clocks.
    pub async fn among_several(on: Database) -> TestApp {
        TestApp::by_clock(Clock::manual_of_one(START_MS), on, []).await
    }

    /// For stories about clocks.
    pub async fn by_clock<const N: usize>(
        clock: Clock,
        on: Database,
        settings: [(&str, &str); N],
    ) -> TestApp {
        let home = Home::build(on).await;
        let data = home.directory.path().display().to_string();
        let (redis, sql) = (redis_url(), home.database_url());
        let mut usual = vec![
            ("USHER_LISTEN", "127.0.0.1:0"),
            ("USHER_ADMIN_LISTEN", "127.0.0.1:0"),
            ("USHER_ADMIN_KEY", ADMIN_KEY),
            ("USHER_TOKEN_KEY", TOKEN_KEY),
            ("USHER_AUTH", "open"),
            ("USHER_REDIS_URL", &redis),
            ("USHER_DATA_DIR", &data),
        ];
        usual.extend(sql.as_deref().map(|url| ("USHER_DATABASE_URL", url)));
        usual.retain(|(name, _)| settings.iter().all(|(other, _)| other != name));
        let settings = usual.into_iter().chain(settings);
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let people = Arc::new(AtomicI64::new(101));
        TestApp::start(settings, clock, Arc::new(home), people).await
    }

    /// One more server on the same PostgreSQL, Redis, keys and clock.
    pub async fn another_instance(&self) -> TestApp {
        self.another_instance_by(self.clock.clone()).await
    }

    pub async fn another_instance_by(&self, clock: Clock) -> TestApp {
        let settings = self.settings.clone();
        TestApp::start(settings, clock, self.home.clone(), self.people.clone()).await
    }

    /// One more server on the same database that cannot reach its Redis.
    pub async fn another_instance_without_redis(&self) -> TestApp {
        self.another_instance_with("USHER_REDIS_URL", "redis://127.0.0.1:1").await
    }

    /// One more server, whose way to PostgreSQL is this wire.
    pub async fn another_instance_over(&self, wire: &Wire) -> TestApp {
        self.another_instance_with("USHER_DATABASE_URL", wire.url()).await
    }

    async fn another_instance_with(&self, name: &str, value: &str) -> TestApp {
        let mut settings = self.settings.clone();
        settings.retain(|(other, _)| other != name);
        settings.push((name.to_owned(), value.to_owned()));
        TestApp::start(settings, self.clock.clone(), self.home.clone(), self.people.clone()).await
    }

    async fn start(
        settings: Vec<(String, String)>,
        clock: Clock,
        home: Arc<Home>,
        people: Arc<AtomicI64>,
    ) -> TestApp {
        let config = Config::from_settings(settings.clone()).unwrap();
        let doors = Doors::bind(&config.http).await.unwrap();
        let stop = CancellationToken::new();
        let app = App::build(config, clock.clone(), &stop).await.unwrap();
        let running = usher::server::start(app.clone(), doors, Loops::Called).await.unwrap();
        let public = Http::to(running.public);
        let operator = Operator::new(Http::to(running.admin), ADMIN_KEY);
        TestApp { app, clock, public, operator, identity: None, running, settings, home, people }
    }

    /// This server, stopped and started again so much later.
    pub async fn back_after(self, seconds: u64) -> TestApp {
        let blunders = [self.public.blunders(), self.operator.http.blunders()].concat();
        assert!(blunders.is_empty(), "answers that nobody should get: {blunders:#?}");
        drop((self.public, self.operator));
        self.running.stop().await;
        self.clock.advance(Duration::from_secs(seconds));
        TestApp::start(self.settings, self.clock, self.home, self.people).await
    }

    /// Stops this server alone; what it shares with others stays.
    pub async fn stop(self) {
        drop((self.public, self.operator));
        self.running.stop().await;
    }

    pub fn setting(&self, name: &str) -> &str {
        let found = self.settings.iter().find(|(other, _)| other == name);
        found.map_or("", |(_, value)| value)
    }

    /// All of them, as another process would be given them.
    pub fn settings(&self) -> impl Iterator<Item = (&str, &str)> {
        self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Somebody changes the database by hand.
    pub async fn run_sql(&self, statement: &str) {
        self.home.run(statement).await;
    }

    /// PostgreSQL goes away for this story, or comes back.
    pub async fn let_sql_connect(&self, allowed: bool) {
        self.home.let_connect(allowed).await;
    }

    /// Time passes, and the work that a running server does by itself is done.
    pub async fn pass(&self, seconds: u64) {
        self.pass_ms(seconds * 1_000).await;
    }

    pub async fn pass_ms(&self, milliseconds: u64) {
        self.clock.advance(Duration::from_millis(milliseconds));
        self.app.queue.carry_out_due().await.unwrap();
        self.app.admit_once().await.unwrap();
    }

    /// What a server still does behind its answers is done: Redis knows of the payment.
    pub async fn work_is_done(&self) {
        self.app.work.close();
        self.app.work.wait().await;
        self.app.work.reopen();
    }

    pub fn unix_seconds(&self) -> i64 {
        self.clock.now_ms() / 1_000
    }

    /// Somebody nobody has met before.
    pub fn buyer(&self) -> Buyer {
        self.buyer_named(self.people.fetch_add(1, Ordering::Relaxed))
    }

    pub fn buyer_named(&self, user_id: i64) -> Buyer {
        let now = self.unix_seconds();
        let bearer = self.identity.as_ref().map(|identity| identity.of(user_id, now));
        Buyer::new(user_id, self.public.clone(), bearer)
    }

    pub async fn active_buyer(&self) -> Buyer {
        let buyer = self.buyer();
        buyer.join().await.active();
        buyer
    }

    /// So many at once: the line is not what their story is about.
    pub async fn active_crowd(&self, people: usize) -> Vec<Buyer> {
        self.operator.tune("main", json!({"mode": "passthrough"})).await;
        let crowd: Vec<Buyer> = (0..people).map(|_| self.buyer()).collect();
        for answer in join_all(crowd.iter().map(Buyer::join)).await {
            answer.active();
        }
        crowd
    }

    pub async fn waiting_buyer(&self) -> Buyer {
        let buyer = self.buyer();
        buyer.join().await.waiting();
        buyer
    }

    /// A buyer with a turn and this much money.
    pub async fn rich_buyer(&self, money: i64) -> Buyer {
        let buyer = self.active_buyer().await;
        buyer.top_up_with_key(money, "pocket money").await.ok();
        buyer
    }

    /// `main` lets one person in at a time; returns whoever is in.
    pub async fn one_at_a_time(&self) -> Buyer {
        self.operator.tune("main", json!({"active_max": 1})).await;
        self.active_buyer().await
    }

    /// A concert of `main` in thirty days, with these seats at `PRICE` each, in one tier.
    pub async fn concert<const N: usize>(&self, seats: [&str; N]) -> i64 {
        self.concert_in("main", json!(seats.as_slice())).await
    }

    /// So many seats that nobody runs out of them: `A-1` to `J-100`.
    pub async fn hall(&self) -> i64 {
        let rows = ["A", "B", "C", "D", "E", "F", "G", "H", "I", "J"];
        self.concert_in("main", json!({"rows": rows, "per_row": 100})).await
    }

    pub async fn concert_in(&self, queue: &str, seats: Value) -> i64 {
        let starts_at = self.unix_seconds() + 30 * 86_400;
        let tier = json!({"name": "stalls", "price": PRICE, "seats": seats});
        let concert = json!({"title": "Nachtmusik", "place": "Town Hall", "starts_at": starts_at,
            "queue": queue, "tiers": [tier]});
        let made = self.operator.send("POST", "/admin/concerts", concert).await.created();
        made["concert_id"].as_i64().unwrap()
    }

    /// The seat map, one letter a seat. It is built at most once a second, so a second passes first.
    pub async fn seats(&self, concert_id: i64) -> String {
        self.pass(1).await;
        let map = self.get(&format!("/concerts/{concert_id}/seats")).await.ok();
        map["seats"].as_str().unwrap().to_owned()
    }

    /// A request by nobody in particular.
    pub async fn get(&self, path: &str) -> Answer {
        self.public.get(path).await
    }
}
