//! Limits: what counts for whom, who is never limited, and a queue that is full. They live in memory, so one database is enough.

use tokio::net::{TcpSocket, TcpStream};

use super::{is_served, raw_to, request};
use crate::harness::*;

/// As the settings' documentation has them.
const BURST_OF_A_USER: usize = 30;
const BURST_OF_AN_ADDRESS: usize = 600;
/// Half of these are for connections; a sixteenth of those, 8, for each address.
const FILES: u32 = 256;
const CONNECTIONS_OF_AN_ADDRESS: usize = 8;
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

/// A connection from one of the many addresses that a machine is for itself.
async fn connect_from(address: [u8; 4], shop: &Shop) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((address, 0).into()).unwrap();
    socket.connect(shop.public.parse().unwrap()).await.unwrap()
}

#[tokio::test]
async fn an_address_leaves_room_for_others() {
    let [crowd, other, proxy] = [2, 3, 4].map(|last| [127, 0, 0, last]);
    let data = tempfile::tempdir().unwrap();
    let settings = [("USHER_RATE_LIMITS", "on"), ("USHER_TRUSTED_PROXIES", "127.0.0.4")];
    let shop = Shop::open_with_files(data.path(), FILES, settings).await;
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS_OF_AN_ADDRESS {
        let mut stream = connect_from(crowd, &shop).await;
        assert!(is_served(&mut stream).await);
        open.push(stream);
    }
    assert!(!is_served(&mut connect_from(crowd, &shop).await).await, "one too many");
    assert!(is_served(&mut connect_from(other, &shop).await).await);
    let mut behind = Vec::new();
    for _ in 0..=CONNECTIONS_OF_AN_ADDRESS {
        let mut stream = connect_from(proxy, &shop).await;
        assert!(is_served(&mut stream).await, "a proxy's connections are everybody's");
        behind.push(stream);
    }
    let figures = shop.operator().get("/metrics").await.status(200);
    assert!(figures.text.contains("\nusher_connections_refused_total 1\n"), "{}", figures.text);

    // The server hears of it in a moment.
    open.pop();
    while !is_served(&mut connect_from(crowd, &shop).await).await {}
    drop((open, behind));
    shop.stop().await;
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
