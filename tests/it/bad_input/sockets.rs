//! Sockets in strange hands: many requests at once, connections closed on one side, chunks with something to say, targets
//! of every form, and the next version of HTTP, which is not spoken here.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{JSON, Stake, TOP_UP, connect, raw, read_to_end, request};
use crate::harness::*;

const PIPELINED: usize = 300;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What is no target of a request.
const NO_TARGETS: [&str; 7] = ["/\0", "/a b", "/\u{7f}", "livez", "?", "http://", "/livez\tx"];

/// A frame of HTTP/2: its length, kind, flags and stream stand before it.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

stories! {
    async fn requests_in_a_row_are_answered_in_their_order(app: &TestApp) {
        let stake = Stake::of(app).await;
        let ask = |n: usize| format!("GET /nowhere HTTP/1.1\r\nHost: x\r\nX-Request-Id: n{n}\r\n\r\n");
        let asked: String = (0..PIPELINED).map(ask).collect();
        let reply = raw(app, asked + &request("GET", "/livez", "")).await;
        let text = reply.text();
        let named = text.lines().filter_map(|line| line.strip_prefix("x-request-id: n"));
        let expected: Vec<String> = (0..PIPELINED).map(|n| n.to_string()).collect();
        assert_eq!(named.collect::<Vec<_>>(), expected);
        assert_eq!(reply.count(), PIPELINED + 1);

        // What was asked for before it broke off is done, and answered; what is half there is not.
        let whole = format!("POST /balance HTTP/1.1\r\nHost: x\r\n{JSON}Content-Length: {}\r\n\r\n{TOP_UP}", TOP_UP.len());
        let mut stream = connect(&app.public).await;
        stream.write_all(format!("{whole}{}", &whole[..whole.len() - 1]).as_bytes()).await.unwrap();
        let mut answer = [0; "HTTP/1.1 200 OK".len()];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
        stream.shutdown().await.unwrap();
        read_to_end(&mut stream).await;
        assert_eq!(stake.ann.balance().await, PRICE + 100);
    }

    async fn whoever_closes_his_side_in_the_midst_changes_nothing(app: &TestApp) {
        let stake = Stake::of(app).await;
        let head = format!("POST /balance HTTP/1.1\r\nHost: x\r\n{JSON}Content-Length: 99\r\n\r\n{TOP_UP}");
        for beginning in ["", "GET", "GET /livez HTTP/1.1\r\nHost", &head] {
            let mut stream = connect(&app.public).await;
            stream.write_all(beginning.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            let reply = read_to_end(&mut stream).await;
            assert!(reply.count() <= 1 && !reply.text().contains(" 200 "), "{beginning}: {}", reply.text());
        }
        // Nobody is there any more to be answered.
        for _ in 0..50 {
            let mut stream = connect(&app.public).await;
            stream.write_all(head.as_bytes()).await.unwrap();
        }
        stake.is_unchanged(&"half a request").await;
    }

    async fn chunks_have_their_bounds(app: &TestApp) {
        let stake = Stake::of(app).await;
        let post = |body: &str| request("POST", "/balance", &format!("{JSON}Transfer-Encoding: chunked\r\n")) + body;
        let long = "x".repeat(64 * 1_024);
        for body in [
            format!("1e;{long}\r\n{TOP_UP}\r\n0\r\n\r\n"),
            format!("-1e\r\n{TOP_UP}\r\n0\r\n\r\n"),
            format!("1e \u{0}\r\n{TOP_UP}\r\n0\r\n\r\n"),
            format!("1f\r\n{TOP_UP}\r\n0\r\n\r\n"),
            format!("1e\r\n{TOP_UP}x\r\n0\r\n\r\n"),
            format!("1e\r\n{TOP_UP}\r\n0\r\nX: {long}\r\n\r\n"),
        ] {
            let mut stream = connect(&app.public).await;
            let _ = stream.write_all(post(&body).as_bytes()).await;
            let _ = stream.shutdown().await;
            let reply = read_to_end(&mut stream).await;
            let start = &body[..body.len().min(40)];
            assert!(reply.count() <= 1 && !reply.text().contains(" 200 "), "{start:?}: {}", reply.text());
        }
        stake.is_unchanged(&"a chunk without end").await;
        let one_by_one: String = TOP_UP.chars().map(|c| format!("1;a=b\r\n{c}\r\n")).collect();
        assert_eq!(raw(app, post(&format!("{one_by_one}0\r\n\r\n"))).await.status(), 200);
    }

    async fn a_target_is_a_path(app: &TestApp) {
        let stake = Stake::of(app).await;
        let token = format!("Token-Auth: {}\r\n", stake.ann.token());
        for target in NO_TARGETS {
            let reply = raw(app, request("GET", target, &token)).await;
            assert!(matches!(reply.status(), 400 | 404), "{target:?}: {}", reply.text());
        }
        for target in ["usher.test:80", "user:secret@usher.test:80"] {
            let reply = raw(app, request("GET", target, &token)).await;
            assert!(matches!(reply.status(), 400 | 404), "{target}: {}", reply.text());
            assert!(!reply.text().contains("secret"), "{}", reply.text());
        }
        for target in ["/livez#there", "/./livez", "/admin/../livez", "/%6civez", "/livez%00", "/livez;x", "/\\livez"] {
            let reply = raw(app, request("GET", target, &token)).await;
            assert!(matches!(reply.status(), 200 | 400 | 404), "{target}: {}", reply.text());
            assert_eq!(reply.count(), 1, "{target}");
        }
        stake.is_unchanged(&"a strange target").await;
    }

    /// Frames that would cost a server of HTTP/2 dearly: streams that are reset as soon as they are opened, and a head
    /// that never ends. Here the first bytes are no request, and that is that.
    async fn http2_is_not_spoken(app: &TestApp) {
        let stake = Stake::of(app).await;
        let resets = (0..5_000_u32).flat_map(|n| {
            let stream = 2 * n + 1;
            [frame(1, 4, stream, &[0x82]), frame(3, 0, stream, &[0, 0, 0, 8])].concat()
        });
        let endless = (0..500).flat_map(|_| frame(9, 0, 1, &[0; 4_096]));
        let endless = frame(1, 0, 1, &[0x82]).into_iter().chain(endless);
        for flood in [Vec::new(), resets.collect(), endless.collect()] {
            let reply = raw(app, [PREFACE, &frame(4, 0, 0, &[]), &flood].concat()).await;
            assert!(reply.count() <= 1, "{}", reply.text());
            assert!(reply.count() == 0 || reply.status() == 400, "{}", reply.text());
        }
        let upgrade = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
        let ask = format!("GET /livez HTTP/1.1\r\nHost: x\r\n{upgrade}\r\n{}", request("GET", "/livez", ""));
        let reply = raw(app, ask).await;
        assert_eq!((reply.status(), reply.count()), (200, 2), "no other protocol: {}", reply.text());
        stake.is_unchanged(&"another protocol").await;
    }
}
