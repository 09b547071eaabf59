//! Limits: what counts for whom, who is never limited, and a queue that is full. They live in memory, so one database is enough.

use super::{raw_to, request};
use crate::harness::*;

/// As the settings' documentation has them.
const BURST_OF_A_USER: usize = 30;
const BURST_OF_AN_ADDRESS: usize = 600;
const ENOUGH: usize = 5_000;

/// Asks until it is refused.
async fn limited(ask: impl AsyncFn(usize) -> Answer) -> Answer {
    for time in 0..ENOUGH {
        let answer = ask(time).await;
        if answer.status == 429 {
            return answer;
        }
    }
    panic!("{ENOUGH} requests were not limited");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_with_two_proofs_counts_once() {
    let app = TestApp::with_limits(Database::Sqlite).await;
    let ann = app.active_buyer().await;
    // The join was the first of the burst.
    for _ in 1..BURST_OF_A_USER {
        ann.pay(1).await.refused(404, "booking_not_found");
    }
    limited(async |_| ann.pay(1).await).await.refused(429, "rate_limited");
    app.active_buyer().await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_is_limited_where_the_public_asks() {
    let app = TestApp::with_limits(Database::Sqlite).await;
    let forwarded = |time: usize| format!("10.0.{}.{}", time / 250, time % 250);
    let ask = async |time: usize| {
        let request = app.public.request("GET", "/queues/main");
        request.header("x-forwarded-for", &forwarded(time)).send().await
    };
    limited(ask).await.refused(429, "rate_limited");
    limited(async |_| app.get("/nowhere").await).await.refused(429, "rate_limited");
    for _ in 0..1_000 {
        app.get("/livez").await.status(200);
        app.operator.http.get("/livez").await.status(200);
    }
    app.get("/readyz").await.status(200);
    app.operator.get("/admin/queues").await.ok();
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_says_so() {
    let app = TestApp::with(Database::Sqlite, [("USHER_WAITING_MAX", "1")]).await;
    app.operator.tune("main", json!({"mode": "paused"})).await;
    let (ann, bob) = (app.buyer(), app.buyer());
    assert_eq!(ann.join().await.waiting(), 1);
    bob.join().await.refused(503, "queue_full");
    assert_eq!(ann.join().await.waiting(), 1, "whoever is in stays in");
    app.finish().await;
}

/// How many of a thousand requests are refused that a proxy passes on, each with the hops of its number.
async fn refused_of_1000(public: &Http, hops: impl Fn(usize) -> String) -> usize {
    let ask = |n: usize| {
        let hops = hops(n);
        format!("GET /queues/main HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {hops}\r\n\r\n")
    };
    let asked: String = (1..1_000).map(ask).collect();
    let last = request("GET", "/queues/main", &format!("X-Forwarded-For: {}\r\n", hops(1_000)));
    let reply = raw_to(public, asked + &last).await;
    assert_eq!(reply.count(), 1_000);
    reply.text().matches("HTTP/1.1 429 ").count()
}

/// To a listener of both kinds of addresses, one of IPv4 looks like one of IPv6.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_proxy_each_address_counts_for_itself() {
    let data = tempfile::tempdir().unwrap();
    let key = data.path().join("idp.pem");
    std::fs::write(&key, ED25519_PUBLIC).unwrap();
    let settings = [
        ("USHER_LISTEN", "[::]:0"),
        ("USHER_AUTH", "jwt"),
        ("USHER_JWT_KEY_FILE", key.to_str().unwrap()),
        ("USHER_TRUSTED_PROXIES", "127.0.0.1, ::ffff:10.0.0.9"),
    ];
    let shop = Shop::open(data.path(), settings).await;
    let (_, port) = shop.public.rsplit_once(':').unwrap();
    let public = Http::to(([127, 0, 0, 1], port.parse().unwrap()).into());
    let of_each = |n: usize| format!("10.1.{}.{}", n / 250, n % 250);

    assert_eq!(refused_of_1000(&public, of_each).await, 0, "the proxy is not the address");
    let of_one = |hops: &'static str| refused_of_1000(&public, move |_| hops.to_owned());
    assert_ne!(of_one("10.0.0.1").await, 0);
    for same in [
        "10.0.0.1:567",
        "::ffff:10.0.0.1",
        "[::ffff:10.0.0.1]",
        "[::ffff:10.0.0.1]:567",
        "6.6.6.6, 10.0.0.1, 10.0.0.9",
        "6.6.6.6,10.0.0.1:567,[::ffff:10.0.0.9]:80",
    ] {
        // Whoever begins anew has a whole burst before him.
        assert!(of_one(same).await > 1_000 - BURST_OF_AN_ADDRESS, "{same}");
    }
    for unreadable in ["unknown", "_hidden", "", "1.2.3", "1.2.3.4:x", "[1.2.3.4"] {
        let invented = |n| format!("{}, {unreadable}", of_each(n));
        assert_ne!(refused_of_1000(&public, invented).await, 0, "{unreadable} is passed over");
    }
    shop.stop().await;
}
