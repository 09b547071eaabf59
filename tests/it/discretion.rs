//! What stays in the house: the log tells no secret, files are for their owner, Redis lets Usher do no more than it must,
//! and a crowd does not take what the machines need.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tokio::net::TcpStream;

use crate::harness::*;

const OPERATIONS: &str = include_str!("../../docs/OPERATIONS.md");

/// Somebody buys a seat, and somebody else tries with a forged token and a body of nonsense; returns what none of them
/// would like to read in a log.
async fn purchase(shop: &Shop) -> Vec<String> {
    let tier = json!({"name": "stalls", "price": PRICE, "seats": ["1"]});
    let concert = json!({"title": "Nachtmusik", "place": "Town Hall", "starts_at": 4_000_000_000_i64,
        "queue": "main", "tiers": [tier]});
    let made = shop.operator().send("POST", "/admin/concerts", concert).await.created();
    let ann = shop.buyer(1, None);
    ann.join().await.ok();
    while ann.poll().await.ok()["status"] != "active" {}
    ann.top_up_with_key(PRICE, "a key of my own").await.ok();
    let booking = ann.hold(made["concert_id"].as_i64().unwrap(), ["1"]).await.held();
    ann.pay(booking).await.paid();

    let forged = format!("{}AAAA", ann.token());
    shop.buyer(1, Some(forged.clone())).poll().await.refused(401, "token_invalid");
    let nonsense = ann.request("POST", "/payment").body(r#"{"user_id": "my-dear-diary"}"#);
    nonsense.send().await.refused(422, "invalid_field");
    let admin = shop.operator().request("GET", "/admin/queues").bearer("a-guess-of-the-key");
    admin.send().await.refused(400, "duplicate_header");
    let signature = ann.token().rsplit_once('.').unwrap().1.to_owned();
    let told =
        ["a key of my own", "my-dear-diary", "a-guess-of-the-key", "the-key-of-the-operators"];
    let told = told.map(str::to_owned).into_iter().chain([signature, forged]);
    told.collect()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn the_log_tells_no_secret_and_files_are_for_their_owner() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let shop = Shop::open(&data, [("USHER_LOG", "debug")]).await;
    let mut secrets = purchase(&shop).await;
    secrets.push(std::fs::read_to_string(data.join("token.key")).unwrap());
    for name in ["token.key", "usher.db", "usher.db-wal", "usher.db.lock"] {
        assert_eq!(mode(&data.join(name)), 0o600, "{name}");
    }
    assert_eq!((mode(&data), mode(&data.join("redis"))), (0o700, 0o700));

    let log = shop.stop().await;
    assert!(log.contains("DEBUG") && log.contains("token_invalid"), "it tells something: {log}");
    for secret in secrets {
        let line = log.lines().find(|line| line.contains(&secret));
        assert_eq!(line, None, "{secret}");
    }
}

/// With the user that the handbook tells an operator to make.
#[tokio::test]
async fn redis_needs_to_allow_no_more_than_the_handbook_says() {
    let (redis, data) = (PrivateRedis::start().await, tempfile::tempdir().unwrap());
    let words = OPERATIONS.lines().find_map(|line| line.strip_prefix("redis-cli ACL SETUSER "));
    let words = words.unwrap().replace("'", "").replace("PASSWORD", "a-password");
    redis.allow(&words.split(' ').collect::<Vec<_>>()).await;
    let url = format!("{}?user=usher&pass=a-password", redis.url());
    let key = "dGhpcnR5LXR3byBieXRlcyBvZiBhIHRlc3RpbmcgISE=";
    let settings =
        [("USHER_REDIS_URL", url.as_str()), ("USHER_TOKEN_KEY", key), ("USHER_LOG", "debug")];
    let shop = Shop::open(data.path(), settings).await;
    purchase(&shop).await;
    shop.http().get("/readyz").await.ok();
    let log = shop.stop().await;
    for refusal in ["NOPERM", "no permissions"] {
        assert_eq!(log.lines().find(|line| line.contains(refusal)), None);
    }
    redis.kill().await;
}

/// `ulimit -n 256` and 300 people who connect and say nothing.
#[tokio::test]
async fn a_crowd_leaves_files_for_the_machines() {
    let data = tempfile::tempdir().unwrap();
    let shop = Shop::open_with_files(data.path(), 256, []).await;
    let crowd = join_all((0..300).map(|_| TcpStream::connect(&shop.public))).await;
    assert!(crowd.iter().all(Result::is_ok));
    let operator = shop.operator();
    operator.http.get("/readyz").await.ok();
    operator.get("/admin/check").await.ok();
    drop(crowd);
    shop.http().get("/readyz").await.ok();
    shop.buyer(1, None).join().await.ok();
    drop(operator);
    shop.stop().await;
}

/// All of it is told at once, and nobody is served.
#[tokio::test]
async fn what_is_fatal_is_refused_at_the_start() {
    let (redis, data) = (PrivateRedis::start().await, tempfile::tempdir().unwrap());
    redis.set("maxmemory-policy", "volatile-lru").await;
    let key = "dGhpcnR5LXR3byBieXRlcyBvZiBhIHRlc3RpbmcgISE=";
    let url = redis.url();
    let settings = [("USHER_REDIS_URL", url.as_str()), ("USHER_TOKEN_KEY", key)];
    let output = serve(data.path(), settings).wait_with_output().await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("Redis eviction") && said.contains("volatile-lru"), "{said}");
    redis.kill().await;
}
