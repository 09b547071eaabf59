//! The tricks played on Redis.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ::redis::{AsyncConnectionConfig, Client, ErrorKind, ServerErrorKind, pipe};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::super::{Aim, Direction, Often, Protocol, Proxy, Refusal, Trick};
use super::{SEED, address_in, setting};

/// Adds one to its key, and answers the sum.
const COUNT: &str = "#!lua\nreturn redis.call('INCR', KEYS[1])";

/// Who speaks RESP by hand: one line is a command, one line is its reply.
struct Caller(BufReader<TcpStream>);

impl Caller {
    async fn at(address: SocketAddr) -> Self {
        Self(BufReader::new(TcpStream::connect(address).await.unwrap()))
    }

    async fn say(&mut self, commands: &str) {
        self.0.write_all(commands.as_bytes()).await.unwrap();
    }

    /// Nothing when the connection is over.
    async fn hear(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.0.read_line(&mut line).await;
        read.is_ok_and(|length| length > 0).then(|| line.trim_end().to_owned())
    }

    async fn ask(&mut self, command: &str) -> Option<String> {
        self.say(&format!("{command}\r\n")).await;
        self.hear().await
    }

    /// Whether nothing is heard for as long as anybody would take to answer.
    async fn hears_nothing(&mut self) -> bool {
        tokio::time::timeout(Duration::from_millis(200), self.hear()).await.is_err()
    }
}

/// A proxy, whoever calls through it and whoever does not; the script is loaded, and `key` is nobody else's.
struct Scene {
    proxy: Proxy,
    caller: Caller,
    direct: Caller,
    key: String,
    count: String,
}

impl Scene {
    async fn set(key: &str) -> Self {
        let url = setting("USHER_TEST_REDIS_URL");
        let proxy = super::proxy(Protocol::Redis, &url).await;
        let caller = Caller::at(proxy.address()).await;
        let mut direct = Caller::at(address_in(&url).parse().unwrap()).await;
        let load = format!("*3\r\n$6\r\nSCRIPT\r\n$4\r\nLOAD\r\n${}\r\n{COUNT}\r\n", COUNT.len());
        direct.say(&load).await;
        direct.hear().await.unwrap();
        let hash = direct.hear().await.unwrap();
        let key = format!("proxy:{key}");
        assert!(direct.ask(&format!("DEL {key}")).await.is_some());
        Self { proxy, caller, direct, count: format!("EVALSHA {hash} 1 {key}"), key }
    }

    async fn count(&mut self) -> Option<String> {
        self.caller.ask(&self.count.clone()).await
    }

    /// What the key holds, as someone sees it whom no trick reaches.
    async fn value(&mut self) -> String {
        let length = self.direct.ask(&format!("GET {}", self.key)).await.unwrap();
        if length == "$-1" { "nothing".to_owned() } else { self.direct.hear().await.unwrap() }
    }

    fn played(&self, what: &[(&'static str, u64)]) {
        assert_eq!(self.proxy.played(), BTreeMap::from_iter(what.iter().copied()));
    }
}

fn scripts(times: u64) -> Aim {
    Aim::at("evalsha", Often::Next(times))
}

#[tokio::test]
async fn redis_is_itself_behind_a_proxy_that_plays_nothing() {
    for protocol in ["resp2", "resp3"] {
        let scene = Scene::set(protocol).await;
        let url = format!("redis://{}/?protocol={protocol}", scene.proxy.address());
        let client = Client::open(url).unwrap();
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let mut redis = client.get_multiplexed_async_connection_with_config(&config).await.unwrap();

        let mut thousand = pipe();
        for number in 0..1_000 {
            thousand.cmd("HSET").arg(&scene.key).arg(number).arg(format!("v{number}")).ignore();
            thousand.cmd("HGET").arg(&scene.key).arg(number);
        }
        let values: Vec<String> = thousand.query_async(&mut redis).await.unwrap();
        assert!(values.iter().enumerate().all(|(number, value)| *value == format!("v{number}")));
        let all: BTreeMap<u64, String> =
            ::redis::cmd("HGETALL").arg(&scene.key).query_async(&mut redis).await.unwrap();
        assert_eq!(all.len(), 1_000);

        let megabyte = vec![b'\n'; 1 << 20];
        let mut large = pipe();
        large.cmd("SET").arg(&scene.key).arg(&megabyte).ignore().cmd("GET").arg(&scene.key);
        let (read,): (Vec<u8>,) = large.query_async(&mut redis).await.unwrap();
        assert!(read == megabyte);

        let error = ::redis::cmd("INCR").arg(&scene.key).query_async::<i64>(&mut redis).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Server(ServerErrorKind::ResponseError));
        scene.played(&[]);
    }
}

#[tokio::test]
async fn a_dropped_reply_is_of_a_command_that_was_executed() {
    let mut scene = Scene::set("drop-reply").await;
    scene.proxy.play(Trick::DropReply(scripts(1)));
    assert_eq!(scene.caller.ask("PING").await.unwrap(), "+PONG", "it is no script");
    assert_eq!(scene.count().await, None);
    assert_eq!(scene.value().await, "1");
    scene.caller = Caller::at(scene.proxy.address()).await;
    assert_eq!(scene.count().await.unwrap(), ":2", "it was played once");
    scene.played(&[("drop_reply", 1)]);
}

#[tokio::test]
async fn a_late_reply_keeps_its_place_and_comes_at_once_after_the_heal() {
    let mut scene = Scene::set("delay").await;
    let began = Instant::now();
    scene.proxy.play(Trick::Delay(100, scripts(1)));
    let both = format!("{}\r\nPING\r\n", scene.count);
    scene.caller.say(&both).await;
    assert_eq!(scene.caller.hear().await.unwrap(), ":1");
    assert!(began.elapsed() >= Duration::from_millis(100));
    assert_eq!(scene.caller.hear().await.unwrap(), "+PONG");

    scene.proxy.play(Trick::Delay(3_600_000, scripts(1)));
    scene.caller.say(&both).await;
    assert!(scene.caller.hears_nothing().await);
    scene.proxy.heal();
    assert_eq!(scene.caller.hear().await.unwrap(), ":2");
    scene.played(&[("delay", 2)]);
}

#[tokio::test]
async fn a_duplicate_runs_twice_and_is_answered_once() {
    let mut scene = Scene::set("duplicate").await;
    scene.proxy.play(Trick::Duplicate(scripts(20)));
    let (mut firsts, mut seconds) = (0, 0);
    for round in 0..20 {
        let answer = scene.count().await.unwrap();
        firsts += u64::from(answer == format!(":{}", 2 * round + 1));
        seconds += u64::from(answer == format!(":{}", 2 * round + 2));
        assert_eq!(scene.caller.ask("PING").await.unwrap(), "+PONG");
    }
    assert_eq!(scene.value().await, "40");
    assert!(firsts > 0 && seconds > 0 && firsts + seconds == 20, "{firsts} and {seconds}");
    scene.played(&[("duplicate", 20)]);
}

#[tokio::test]
async fn a_forged_refusal_stands_in_for_a_command_that_was_not_executed() {
    let mut scene = Scene::set("answer").await;
    let unknown = format!("EVALSHA {} 0", "0".repeat(40));
    let real = scene.direct.ask(&unknown).await.unwrap();
    for (refusal, code) in [
        (Refusal::NoScript, "-NOSCRIPT"),
        (Refusal::ReadOnly, "-READONLY"),
        (Refusal::Busy, "-BUSY"),
        (Refusal::Oom, "-OOM"),
        (Refusal::Loading, "-LOADING"),
        (Refusal::Misconf, "-MISCONF"),
        (Refusal::MasterDown, "-MASTERDOWN"),
    ] {
        scene.proxy.play(Trick::Answer(refusal, scripts(1)));
        let (count, key) = (&scene.count, &scene.key);
        scene.caller.say(&format!("STRLEN {key}\r\n{count}\r\nSTRLEN {key}\r\n")).await;
        assert_eq!(scene.caller.hear().await.unwrap(), ":0");
        let forged = scene.caller.hear().await.unwrap();
        assert_eq!(forged.split(' ').next(), Some(code));
        assert!(refusal != Refusal::NoScript || forged == real, "{forged} for {real}");
        assert_eq!(scene.caller.hear().await.unwrap(), ":0", "it was not executed");
        assert_eq!(scene.proxy.played()[refusal.name()], 1);
    }
    assert_eq!(scene.value().await, "nothing");
}

#[tokio::test]
async fn a_pipeline_is_cut_between_two_commands() {
    let mut scene = Scene::set("cut-between").await;
    scene.proxy.play(Trick::CutBetween(Often::Next(1)));
    assert_eq!(scene.count().await.unwrap(), ":1", "it stands alone");
    let three = format!("{}\r\n", scene.count).repeat(3);
    scene.caller.say(&three).await;
    assert_eq!(scene.caller.hear().await.unwrap(), ":2");
    assert_eq!(scene.caller.hear().await, None);
    assert_eq!(scene.value().await, "2");
    scene.played(&[("cut_between", 1)]);
}

#[tokio::test]
async fn what_is_stalled_flows_on_after_the_heal() {
    for (direction, done) in [(Direction::ToServer, "nothing"), (Direction::ToClient, "1")] {
        let mut scene = Scene::set(&format!("{direction:?}")).await;
        assert_eq!(scene.caller.ask("PING").await.unwrap(), "+PONG");
        scene.proxy.play(Trick::Stall(direction));
        let count = format!("{}\r\n", scene.count);
        scene.caller.say(&count).await;
        assert!(scene.caller.hears_nothing().await);
        assert_eq!(scene.value().await, done, "{direction:?}");
        scene.proxy.heal();
        assert_eq!(scene.caller.hear().await.unwrap(), ":1");
        assert_eq!(scene.proxy.played().into_values().collect::<Vec<_>>(), [1]);
    }
}

#[tokio::test]
async fn a_black_hole_accepts_and_never_answers() {
    let mut scene = Scene::set("black-hole").await;
    scene.proxy.play(Trick::BlackHole);
    let mut other = Caller::at(scene.proxy.address()).await;
    other.say("PING\r\n").await;
    assert!(other.hears_nothing().await);
    scene.caller.say("PING\r\n").await;
    assert!(scene.caller.hears_nothing().await);
    scene.proxy.heal();
    assert_eq!(other.hear().await.unwrap(), "+PONG");
    assert_eq!(scene.caller.hear().await.unwrap(), "+PONG");
    scene.played(&[("black_hole", 2)]);
}

#[tokio::test]
async fn a_cut_ends_all_and_a_refusal_keeps_out_who_is_new() {
    let mut scene = Scene::set("cut").await;
    let mut other = Caller::at(scene.proxy.address()).await;
    assert_eq!(other.ask("PING").await.unwrap(), "+PONG");
    assert_eq!(scene.caller.ask("PING").await.unwrap(), "+PONG");
    scene.proxy.play(Trick::Refuse);
    assert_eq!(Caller::at(scene.proxy.address()).await.hear().await, None);
    assert_eq!(other.ask("PING").await.unwrap(), "+PONG", "who was there stays");
    scene.proxy.play(Trick::Cut);
    assert_eq!(scene.caller.hear().await, None);
    assert_eq!(other.hear().await, None);
    scene.proxy.heal();
    other = Caller::at(scene.proxy.address()).await;
    assert_eq!(other.ask("PING").await.unwrap(), "+PONG");
    scene.played(&[("cut", 2), ("refuse", 1)]);
}

#[tokio::test]
async fn a_cut_anywhere_leaves_half_a_message() {
    let mut scene = Scene::set("cut-anywhere").await;
    scene.proxy.play(Trick::CutAnywhere(Often::Next(1)));
    assert!(scene.count().await.is_none_or(|torn| torn.len() < ":1".len()));
    scene.played(&[("cut_anywhere", 1)]);
}

#[tokio::test]
async fn a_share_is_drawn_from_the_seed() {
    let mut scene = Scene::set("share").await;
    scene.proxy.play(Trick::Answer(Refusal::Busy, Aim::any(Often::Share(0.5))));
    let mut drawn = Vec::new();
    for _ in 0..64 {
        drawn.push(scene.count().await.unwrap().starts_with("-BUSY"));
    }
    let again = Scene::set("share-again").await;
    again.proxy.play(Trick::Answer(Refusal::Busy, Aim::any(Often::Share(0.5))));
    let mut again_drawn = Vec::new();
    let mut again = again;
    for _ in 0..64 {
        again_drawn.push(again.count().await.unwrap().starts_with("-BUSY"));
    }
    assert_eq!(drawn, again_drawn);
    assert!((16..48).contains(&drawn.iter().filter(|busy| **busy).count()));
}

#[tokio::test]
async fn a_server_that_is_down_is_passed_on_and_found_again_when_it_is_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = listener.local_addr().unwrap();
    drop(listener);
    let proxy = Proxy::start(Protocol::Redis, upstream, SEED).await.unwrap();
    assert_eq!(Caller::at(proxy.address()).await.hear().await, None);
    let listener = TcpListener::bind(upstream).await.unwrap();
    let mut caller = Caller::at(proxy.address()).await;
    let mut server = BufReader::new(listener.accept().await.unwrap().0);
    caller.say("PING\r\n").await;
    let mut heard = String::new();
    server.read_line(&mut heard).await.unwrap();
    assert_eq!(heard, "PING\r\n");
    drop(server);
    assert_eq!(caller.hear().await, None);
}
