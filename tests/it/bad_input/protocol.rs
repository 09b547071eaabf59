//! HTTP to the letter: requests that are right, though not everybody sends them, and answers that must arrive.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{JSON, Reply, Stake, TOP_UP, connect, post, raw, read_to_end, request};
use crate::harness::*;

const KIB: usize = 1_024;
const MIB: usize = 1_024 * KIB;

/// What somebody who may read can ask for, and so also for its head.
const READ: [&str; 8] = [
    "/livez",
    "/readyz",
    "/concerts",
    "/concerts/1",
    "/queues/main",
    "/booking/1",
    "/users/7/bookings",
    "/balance/7/history",
];

/// The head of an answer without what differs from one to the next.
fn lasting(reply: &Reply) -> Vec<String> {
    let text = reply.text();
    let (head, _) = text.split_once("\r\n\r\n").unwrap();
    let passing =
        |line: &&str| !["date:", "x-request-id:"].iter().any(|name| line.starts_with(name));
    head.lines().filter(passing).map(str::to_owned).collect()
}

fn body(reply: &Reply) -> String {
    reply.text().split_once("\r\n\r\n").unwrap().1.to_owned()
}

stories! {
    async fn a_head_is_that_of_the_whole_answer(app: &TestApp) {
        let stake = Stake::of(app).await;
        let token = format!("Token-Auth: {}\r\n", stake.ann.token());
        let packed = format!("{token}Accept-Encoding: gzip\r\n");
        app.hall().await;
        app.pass(1).await;
        let asked = READ.into_iter().map(|path| (path, &token)).chain([("/concerts", &packed)]);
        for (path, headers) in asked {
            let (head, whole) = (request("HEAD", path, headers), request("GET", path, headers));
            let (head, whole) = (raw(app, head).await, raw(app, whole).await);
            assert_eq!(whole.status(), 200, "{path}: {}", whole.text());
            assert_eq!(lasting(&head), lasting(&whole), "{path}");
            assert_eq!((body(&head).len(), body(&whole).is_empty()), (0, false), "{path}");
        }
        for (path, status) in [("/nowhere", 404), ("/booking", 405), ("/balance/x", 400), ("/concerts/9", 404)] {
            let reply = raw(app, request("HEAD", path, "")).await;
            assert_eq!((reply.status(), body(&reply).as_str()), (status, ""), "{path}");
            assert_eq!(reply.header("content-type").as_deref(), Some("application/problem+json"));
            assert_ne!(reply.header("content-length").as_deref(), Some("0"));
        }
        stake.is_unchanged(&"a HEAD").await;
    }

    async fn a_body_waits_to_be_asked_for(app: &TestApp) {
        let stake = Stake::of(app).await;
        let mut stream = connect(&app.public).await;
        let head = |length: usize| {
            let headers = format!("{JSON}Expect: 100-continue\r\nContent-Length: {length}\r\n");
            request("POST", "/balance", &headers)
        };
        stream.write_all(head(TOP_UP.len()).as_bytes()).await.unwrap();
        let mut go_on = [0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
        stream.read_exact(&mut go_on).await.unwrap();
        assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
        stake.is_unchanged(&"a request whose body is to come").await;
        stream.write_all(TOP_UP.as_bytes()).await.unwrap();
        assert_eq!(read_to_end(&mut stream).await.status(), 200);

        // Nobody asks for a body that is refused anyway.
        raw(app, head(MIB)).await.refused(413, "payload_too_large");
    }

    async fn old_and_odd_requests_are_answered(app: &TestApp) {
        for old in ["GET /livez HTTP/1.0\r\n\r\n", "GET /livez HTTP/1.0\r\nHost: x\r\nConnection: close\r\n\r\n"] {
            let reply = raw(app, old).await;
            assert_eq!((reply.status(), body(&reply).as_str()), (200, "ok"), "{}", reply.text());
        }
        let reply = raw(app, request("GET", "http://usher.test/livez", "")).await;
        assert_eq!((reply.status(), body(&reply).as_str()), (200, "ok"));
        assert_eq!(reply.header("connection").as_deref(), Some("close"));
        // The first asks for no more; the second asks on the same connection.
        let (last, behind) = (request("GET", "/livez", ""), "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(raw(app, format!("{last}{behind}")).await.count(), 1);
        assert_eq!(raw(app, format!("{behind}{last}")).await.count(), 2);
    }

    /// Whoever sends first and reads afterwards is answered, too, and not cut off.
    async fn too_large_a_body_gets_its_answer(app: &TestApp) {
        let stake = Stake::of(app).await;
        let token = format!("{JSON}Token-Auth: {}\r\n", stake.ann.token());
        let spaces = " ".repeat(MIB);
        let chunked = format!("{token}Transfer-Encoding: chunked\r\n");
        let chunked = request("POST", "/booking", &chunked) + &format!("100000\r\n{spaces}\r\n0\r\n\r\n");
        for bytes in [post("/booking", &token, &spaces), chunked.into_bytes()] {
            let mut stream = connect(&app.public).await;
            let (first, rest) = bytes.split_at(KIB * 64);
            stream.write_all(first).await.unwrap();
            stream.readable().await.unwrap();
            for part in rest.chunks(KIB * 64) {
                stream.write_all(part).await.expect("all of it is taken, also after the answer");
            }
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.expect("the connection ends in peace");
            Reply(answer).refused(413, "payload_too_large");
        }
        stake.is_unchanged(&"a large body").await;
    }
}
