//! What the tests of scripts stand on: one queue in Redis under a prefix of its own, and its keyspace as readable lines.
//! Calls go through the bindings that the server uses; nothing is decided here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use redis::aio::MultiplexedConnection;
use usher::booking::redis::RedisSeats;
use usher::ids::{ConcertId, Epoch, QueueName, QueueNumber, SeatId, UserId};
use usher::queue::policy::Policy;
use usher::queue::redis::rebuild::{Entering, Instead, Published};
use usher::queue::redis::{Allowance, Asked, Drawn, Joined, RedisLine, Reserved};
use usher::queue::sql::{Admitted, Turn};
use usher::redis::keys::QueueKeys;
use usher::redis::{Connection, Redis};

/// An early epoch, and one whose numbers have every digit that a double holds.
const EPOCHS: [Epoch; 2] = [1, 8_000];
pub const NOW: i64 = 1_900_000_000_000;
const CONCERT: ConcertId = ConcertId(9);

/// Tells the same story in an early and in a late epoch, each on a queue that nobody has opened yet.
pub async fn in_each_epoch(story: impl AsyncFn(&Stage)) {
    for epoch in EPOCHS {
        let stage = Stage::at(epoch).await;
        story(&stage).await;
        stage.strike().await;
    }
}

/// The same, on a queue that is open and empty.
pub async fn on_an_open_queue(story: impl AsyncFn(&Stage)) {
    in_each_epoch(async |stage| {
        stage.open().await;
        story(stage).await;
    })
    .await;
}

pub fn user(id: i64) -> UserId {
    UserId(id)
}

pub fn seat(name: &str) -> SeatId {
    SeatId::parse(name).unwrap()
}

/// Somebody who comes back with this number; a higher one of his gives way to it.
pub fn back(id: i64, number: QueueNumber) -> Entering {
    Entering { user: user(id), number, instead: Instead::Higher }
}

/// The first state of an epoch in which this number came up last, with a pause of a second.
pub fn published(serving: QueueNumber) -> Published {
    Published { serving, manual_total: 3, pause_until: NOW + 1_000, drawing: None }
}

/// A turn as SQL would have opened it.
pub fn turn(id: i64, number: QueueNumber, closes_at: i64) -> Turn {
    Turn { number, user: user(id), claimed_at: None, ends_at: closes_at, closes_at, ended_at: None }
}

/// A policy with what else a tick is allowed by.
#[derive(Clone)]
pub struct Tuned {
    pub version: i64,
    pub policy: Policy,
    pub cap: i64,
    pub manual_total: i64,
}

impl Tuned {
    pub fn allowance(&self) -> Allowance<'_> {
        let Tuned { version, policy, cap, manual_total } = self;
        Allowance { version: *version, policy, cap: *cap, manual_total: *manual_total }
    }
}

pub fn tuned(rate_per_second: f64, burst: f64) -> Tuned {
    let policy = Policy { rate_per_second, burst: Some(burst), ..Policy::default() };
    Tuned { version: 1, policy, cap: 1_000_000, manual_total: 0 }
}

/// One queue in Redis.
pub struct Stage {
    pub epoch: Epoch,
    pub keys: QueueKeys,
    installation: String,
    redis: Redis,
    connection: Arc<Connection>,
    raw: MultiplexedConnection,
}

impl Stage {
    /// In the shared Redis, which `scripts/test` starts.
    pub async fn at(epoch: Epoch) -> Stage {
        let url = std::env::var("USHER_TEST_REDIS_URL");
        Stage::on(&url.expect("scripts/test starts the Redis that these tests need"), epoch).await
    }

    pub async fn on(url: &str, epoch: Epoch) -> Stage {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let installation = format!("lua-{}-{count}", std::process::id());
        let redis = Redis::new(url).unwrap();
        let connection = redis.connection().await.unwrap();
        let client = redis::Client::open(url).unwrap();
        let raw = client.get_multiplexed_async_connection().await.unwrap();
        let keys = QueueKeys::new(&installation, &QueueName::main());
        Stage { epoch, keys, installation, redis, connection, raw }
    }

    /// Takes everything down that this queue has in Redis.
    pub async fn strike(&self) {
        for key in self.names().await {
            self.run(&["DEL", &key]).await;
        }
    }

    pub fn line(&self) -> RedisLine<'_> {
        self.line_of(self.epoch)
    }

    /// As an instance sees it that believes in another epoch.
    pub fn line_of(&self, epoch: Epoch) -> RedisLine<'_> {
        let (redis, connection) = (&self.redis, self.connection.clone());
        RedisLine { redis, connection, keys: &self.keys, epoch }
    }

    pub fn seats(&self) -> RedisSeats<'_> {
        RedisSeats::new(&self.redis, &self.line(), CONCERT)
    }

    pub fn seats_of(&self, epoch: Epoch) -> RedisSeats<'_> {
        RedisSeats::new(&self.redis, &self.line_of(epoch), CONCERT)
    }

    /// The number of this epoch's n-th arrival.
    pub fn nth(&self, n: i64) -> QueueNumber {
        QueueNumber(QueueNumber::base(self.epoch) + n)
    }

    /// A number of this epoch's draw.
    pub fn of_draw(&self, place: i64) -> QueueNumber {
        QueueNumber::of_draw(self.epoch, place)
    }

    /// The next numbers of the draw, after so many.
    pub fn drawn<const N: usize>(&self, known: i64, places: [i64; N]) -> Drawn {
        Drawn { known, numbers: places.map(|place| self.of_draw(place)).to_vec() }
    }

    pub async fn open(&self) {
        assert!(self.line().open().await.unwrap());
    }

    /// Rebuilds the line with nobody inside; people come back until a second from now.
    pub async fn is_rebuilt(&self, serving: QueueNumber) {
        self.run(&["DEL", &self.keys.generation]).await;
        assert!(self.line().rebuild_begin().await.unwrap());
        assert!(self.line().rebuild_publish(&published(serving), NOW).await.unwrap());
    }

    /// What joining comes to for one person.
    pub async fn join(&self, id: i64, waiting_max: i64, now: i64) -> Joined {
        let joined = self.line().join(&[user(id)], waiting_max, now).await.unwrap();
        let Asked::Joined(mut joined) = joined else { panic!("the queue is open: {joined:?}") };
        joined.remove(0)
    }

    /// Joins somebody new.
    pub async fn joins(&self, id: i64) -> QueueNumber {
        match self.join(id, 1_000_000, NOW).await {
            Joined::New(number) => number,
            other => panic!("user {id} is not new: {other:?}"),
        }
    }

    /// Moves a waiting person into `pend`, as a tick does between its two halves.
    pub async fn is_pending(&self, user: UserId, number: QueueNumber) {
        self.run(&["ZREM", &self.keys.wait, &user.to_string()]).await;
        self.run(&["ZADD", &self.keys.pend, &number.0.to_string(), &user.to_string()]).await;
    }

    /// Moves a waiting person into a turn, at which SQL is asked to look in ten seconds.
    pub async fn is_admitted(&self, user: UserId, number: QueueNumber) {
        self.is_pending(user, number).await;
        let opened = vec![turn(user.0, number, NOW + 10_000)];
        self.commits(Admitted { opened, ..Admitted::default() }).await;
    }

    /// Writes a mark on a seat, as `hold` does.
    pub async fn marks(&self, name: &str, user: UserId, until: i64) {
        let mark = format!("{user}|{until}");
        self.run(&["HSET", &self.keys.seats(CONCERT), name, &mark]).await;
    }

    pub async fn commits(&self, admitted: Admitted) {
        assert!(self.line().admit_commit(&admitted, 60.0, NOW).await.unwrap());
    }

    /// What a tick takes out of the line, as arrivals of this epoch.
    pub async fn takes(&self, tuned: &Tuned, now: i64) -> Vec<i64> {
        match self.line().admit_reserve(&tuned.allowance(), now).await.unwrap() {
            Reserved::Batch { batch, .. } => {
                batch.numbers.iter().map(|(_, number)| number.arrival()).collect()
            }
            other => panic!("no batch: {other:?}"),
        }
    }

    /// A whole tick in which SQL opens every turn for ten seconds.
    pub async fn admits(&self, tuned: &Tuned, now: i64) -> Vec<i64> {
        let Reserved::Batch { batch, .. } =
            self.line().admit_reserve(&tuned.allowance(), now).await.unwrap()
        else {
            panic!("no batch")
        };
        let opened = batch.numbers.iter();
        let opened = opened.map(|(user, number)| turn(user.0, *number, now + 10_000)).collect();
        let admitted = Admitted { opened, ..Admitted::default() };
        assert!(self.line().admit_commit(&admitted, 60.0, now).await.unwrap());
        batch.numbers.iter().map(|(_, number)| number.arrival()).collect()
    }

    pub async fn run(&self, words: &[&str]) -> redis::Value {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut self.raw.clone()).await.unwrap()
    }

    async fn read<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        redis::from_redis_value(self.run(words).await).unwrap()
    }

    async fn names(&self) -> Vec<String> {
        self.read(&["KEYS", &format!("*{}:*", self.installation)]).await
    }

    /// Every key with what it holds: queue numbers as `#n`, those of a draw as `~place`, instants as
    /// `NOW+ms`, in the order of their names.
    pub async fn keyspace(&self) -> BTreeMap<String, String> {
        let prefix = format!("usher:{}:{{q:main}}:", self.installation);
        let mut space = BTreeMap::new();
        for key in self.names().await {
            let name = key.strip_prefix(&prefix).unwrap_or_else(|| panic!("a stray key: {key}"));
            let kind: String = self.read(&["TYPE", &key]).await;
            let shown = match kind.as_str() {
                "string" => self.readable(&self.read::<String>(&["GET", &key]).await),
                "hash" => {
                    let fields: BTreeMap<String, String> = self.read(&["HGETALL", &key]).await;
                    let one = |(field, value): (&String, &String)| {
                        format!("{field}={}", self.readable(value))
                    };
                    fields.iter().map(one).collect::<Vec<_>>().join(" ")
                }
                _ => {
                    let members: Vec<(String, String)> =
                        self.read(&["ZRANGE", &key, "0", "-1", "WITHSCORES"]).await;
                    let one = |(member, score): &(String, String)| {
                        format!("{member}={}", self.readable(score))
                    };
                    members.iter().map(one).collect::<Vec<_>>().join(" ")
                }
            };
            space.insert(name.to_owned(), shown);
        }
        space
    }

    /// What one key holds; nothing when there is no such key.
    pub async fn shown(&self, name: &str) -> String {
        self.keyspace().await.remove(name).unwrap_or_default()
    }

    /// The keyspace is exactly this, beside the generation.
    pub async fn holds<const N: usize>(&self, expected: [(&str, &str); N]) {
        let mut space = self.keyspace().await;
        assert_eq!(space.remove("gen"), Some(self.epoch.to_string()));
        let space: Vec<_> =
            space.iter().map(|(name, shown)| (name.as_str(), shown.as_str())).collect();
        assert_eq!(space, expected);
    }

    fn readable(&self, value: &str) -> String {
        let one = |part: &str| {
            let Ok(number) = part.parse::<i64>() else { return part.to_owned() };
            let (arrival, since) = (number - QueueNumber::base(self.epoch), number - NOW);
            let drawn = QueueNumber(number).drawn();
            let drawn = drawn.filter(|_| QueueNumber(number).epoch() == self.epoch);
            if let Some(place) = drawn {
                format!("~{place}")
            } else if (0..1_000_000).contains(&arrival) {
                format!("#{arrival}")
            } else if since == 0 {
                "NOW".to_owned()
            } else if since.abs() < 1_000_000 {
                format!("NOW{since:+}")
            } else {
                part.to_owned()
            }
        };
        value.split('|').map(one).collect::<Vec<_>>().join("|")
    }
}
