//! Limits: what counts for whom, who is never limited, and a queue that is full. They live in memory, so one database is enough.

use crate::harness::*;

/// As the settings' documentation has them.
const BURST_OF_A_USER: usize = 30;
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
