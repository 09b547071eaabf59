//! Clients that take their time, and what is written of strange ones in the log.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::timeout;
use tower::ServiceExt;
use usher::http::limits;

use super::{Reply, connect, raw, read_to_end, request};
use crate::harness::*;

const POST: &str = "POST /balance HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";

/// Sends the beginning at once and the rest byte by byte, one a second, until the server has had enough; says how long
/// that took.
async fn trickle(http: &Http, beginning: &str, rest: &str) -> (Reply, Duration) {
    let mut stream = connect(http).await;
    let since = Instant::now();
    stream.write_all(beginning.as_bytes()).await.unwrap();
    let (mut rest, mut answer) = (rest.bytes(), Vec::new());
    loop {
        // The pause between two bytes is spent listening.
        match timeout(Duration::from_secs(1), stream.read_buf(&mut answer)).await {
            Ok(Ok(read)) if read > 0 => {}
            Ok(_) => return (Reply(answer), since.elapsed()),
            Err(_) => {
                if let Some(byte) = rest.next() {
                    let _ = stream.write_all(&[byte]).await;
                }
            }
        }
        assert!(since.elapsed() < Duration::from_secs(30), "the server waits for ever");
    }
}

/// Asks once, is silent for longer than a head may take, and begins a head on the same connection that it never ends;
/// says how long that was awaited.
async fn linger(http: &Http) -> Duration {
    let mut stream = connect(http).await;
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let end = timeout(Duration::from_secs(6), stream.read_to_end(&mut answer)).await;
    end.expect_err("an idle connection is kept");
    assert_eq!(Reply(answer).status(), 200);
    let since = Instant::now();
    stream.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
    assert_eq!(read_to_end(&mut stream).await.text(), "");
    since.elapsed()
}

/// One place for two addresses: at one of them work waits until it is let go.
#[tokio::test]
async fn whoever_hangs_up_keeps_his_place_until_his_work_is_done() {
    play::<TestApp>(Database::Sqlite, async |app| {
        let (begun, gate) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (app, begins, opens) = (app.app.clone(), begun.clone(), gate.clone());
        let (work, addresses) = (app.work.clone(), app.limits.clone());
        let at_work = async move || {
            let work = async move {
                begins.notify_one();
                opens.notified().await;
                Ok(())
            };
            app.detached(work).await
        };
        let routes = Router::new().route("/work", get(at_work)).route("/rest", get(async || ()));
        let shop: Router = routes.route_layer(limits::gate(addresses, 1, Arc::new(|| ())));
        let ask = |path| shop.clone().oneshot(Request::get(path).body(Body::empty()).unwrap());

        let client = tokio::spawn(ask("/work"));
        begun.notified().await;
        client.abort();
        assert!(client.await.unwrap_err().is_cancelled());
        assert_eq!(ask("/rest").await.unwrap().status(), 503, "the work goes on");

        gate.notify_one();
        work.close();
        work.wait().await;
        assert_eq!(ask("/rest").await.unwrap().status(), 200, "the work is done");
    })
    .await;
}

/// A head has five seconds and a body ten, however busily they trickle; both listeners keep to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_slow_are_not_waited_for() {
    play::<TestApp>(Database::Sqlite, async |app| {
        let (public, operators) = (&app.public, &app.operator.http);
        let spaces = " ".repeat(40);
        let chunks = "1\r\n \r\n".repeat(10);
        let length = format!("{POST}Content-Length: 50\r\n\r\n");
        let heads = join_all([
            trickle(public, "", ""),
            trickle(public, "GET /livez HTTP/1.1\r\nHos", ""),
            trickle(
                public,
                "GET /livez HTTP/1.1\r\nX: ",
                "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            ),
            trickle(
                operators,
                "GET /livez HTTP/1.1\r\n",
                "X: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            ),
            trickle(operators, "", ""),
        ]);
        let chunked = format!("{POST}Transfer-Encoding: chunked\r\n\r\n");
        let begun = format!("{length}{{\"us");
        let bodies = join_all([
            trickle(public, &begun, ""),
            trickle(public, &length, &spaces),
            trickle(public, &chunked, &chunks),
        ]);
        // Those whose body nobody wants are not waited for at all.
        let unread = join_all([
            trickle(
                public,
                "GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{",
                &spaces,
            ),
            trickle(
                public,
                "POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n",
                &spaces,
            ),
        ]);
        let others = async {
            for _ in 0..20 {
                app.get("/livez").await.status(200);
            }
        };
        let (heads, bodies, unread, kept, ()) =
            tokio::join!(heads, bodies, unread, linger(public), others);
        assert!(kept < Duration::from_millis(6_500), "a further head was awaited for {kept:?}");
        for (reply, took) in heads {
            assert_eq!(reply.text(), "");
            assert!(took < Duration::from_millis(6_500), "a head was awaited for {took:?}");
        }
        for (reply, took) in bodies {
            let problem = reply.refused(408, "request_timeout");
            assert_eq!(problem["retryable"], true);
            assert!(took < Duration::from_millis(11_500), "a body was awaited for {took:?}");
        }
        for (reply, took) in unread {
            assert_eq!(reply.count(), 1);
            assert!(
                took < Duration::from_millis(6_500),
                "a body that nobody reads was awaited for {took:?}"
            );
        }
    })
    .await;
}

/// What a subscriber writes, kept.
#[derive(Clone, Default)]
struct Pages(Arc<Mutex<Vec<u8>>>);

impl Write for Pages {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Everything runs on this one thread, so that its log is this test's alone.
#[tokio::test(flavor = "current_thread")]
async fn a_log_has_one_line_an_event() {
    let pages = Pages::default();
    let writer = pages.clone();
    let subscriber = tracing_subscriber::fmt().json().with_max_level(tracing::Level::TRACE);
    // With a single dispatcher, a place in the code that another thread meets first is decided by that thread, which
    // has none: a second one makes all of them be asked.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let _log =
        tracing::subscriber::set_default(subscriber.with_writer(move || writer.clone()).finish());
    play::<TestApp>(Database::Sqlite, async |app| {
        let fake = r#"%0d%0a{"level":"ERROR","fields":{"message":"forged"}}"#;
        raw(app, request("GET", &format!("/{fake}%1b[31m"), "X-Request-Id: \u{85}\r\n")).await;
        raw(app, request("GET", "/token/7%0d%0aforged", "User-Agent: \t{\"level\":\"ERROR\"}\r\n"))
            .await;
        let body = r#"{"user_id\n{\"level\":\"ERROR\"}": "\u001b[31m\r\n"}"#;
        app.public
            .request("POST", "/balance")
            .body(body)
            .send()
            .await
            .refused(422, "invalid_field");
        let token = "\t{\"level\":\"ERROR\"}.\u{1b}";
        raw(app, request("GET", "/queue", &format!("Token-Auth: {token}\r\n"))).await;
    })
    .await;
    let pages = String::from_utf8(pages.0.lock().unwrap().clone()).unwrap();
    assert!(pages.contains("invalid_user_id") && pages.contains("not_found"), "errors are logged");
    for line in pages.lines() {
        let event: Value =
            serde_json::from_str(line).unwrap_or_else(|_| panic!("no event: {line}"));
        assert_ne!(event["level"], "ERROR", "{line}");
        assert!(!line.contains(|c: char| c.is_control()), "{line:?}");
    }
}
