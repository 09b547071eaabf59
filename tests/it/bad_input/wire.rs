//! The wire: heads and bodies beyond their bounds, requests that hide others, methods that nobody knows, and headers
//! that would like to be believed.

use tokio::io::AsyncWriteExt;

use super::{JSON, Reply, Stake, TOP_UP, connect, post, raw, read_to_end, request};
use crate::harness::*;

const MIB: usize = 1_024 * 1_024;
const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";
/// A request that has an effect, hidden where only a body should be.
const HIDDEN: &str = "POST /balance HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 30\r\n\r\n\
                      {\"user_id\": 7, \"balance\": 100}";

/// Headers of one POST about whose end two readers may disagree: each is refused, and the connection closed.
const AMBIGUOUS: [&str; 13] = [
    "Content-Length: 30\r\nContent-Length: 31\r\n",
    "Content-Length: 30, 31\r\n",
    "Content-Length: -30\r\n",
    "Content-Length: +30\r\n",
    "Content-Length: 0x1e\r\n",
    "Content-Length: 99999999999999999999\r\n",
    "Content-Length: 30\r\nTransfer-Encoding: xchunked\r\n",
    "Transfer-Encoding: xchunked\r\n",
    "Transfer-Encoding: chunked, identity\r\n",
    "Transfer-Encoding: gzip\r\n",
    "Content-Length: 30\r\nTransfer-Encoding : chunked\r\n",
    "Content-Length : 30\r\n",
    "Content-Length: 30\r\nX-Folded: a\r\n b\r\n",
];

/// Method, path, status, code and `Allow`.
const METHODS: [(&str, &str, u16, &str, &str); 13] = [
    ("GET", "/nowhere", 404, "not_found", ""),
    ("GET", "/admin/queues", 404, "not_found", ""),
    ("GET", "//livez", 404, "not_found", ""),
    ("GET", "/livez/", 404, "not_found", ""),
    ("OPTIONS", "*", 404, "not_found", ""),
    ("CONNECT", "usher.test:80", 404, "not_found", ""),
    ("GET", "/booking", 405, "method_not_allowed", "POST"),
    ("PUT", "/balance", 405, "method_not_allowed", "POST"),
    ("PATCH", "/queue", 405, "method_not_allowed", "GET,HEAD,DELETE"),
    ("TRACE", "/queue", 405, "method_not_allowed", "GET,HEAD,DELETE"),
    ("TRACE", "/livez", 405, "method_not_allowed", "GET,HEAD"),
    ("CONNECT", "/payment", 405, "method_not_allowed", "POST"),
    ("BREW", "/balance", 405, "method_not_allowed", "POST"),
];

/// Answered without a body: the head itself was not accepted.
#[track_caller]
fn turned_away(reply: &Reply, status: u16) {
    assert_eq!((reply.status(), reply.count()), (status, 1), "{}", reply.text());
    assert_eq!(reply.header("connection").as_deref(), Some("close"), "{}", reply.text());
}

fn headers(count: usize) -> String {
    (0..count).map(|header| format!("X-{header}: 1\r\n")).collect()
}

stories! {
    async fn a_head_has_its_bounds(app: &TestApp) {
        turned_away(&raw(app, request("GET", "/livez", &headers(101))).await, 431);
        turned_away(&raw(app, request("GET", "/livez", &format!("X: {}\r\n", "a".repeat(17 * 1_024)))).await, 431);
        turned_away(&raw(app, format!("GET /livez HTTP/1.1\r\nX: {}", "a".repeat(17 * 1_024))).await, 431);
        assert_eq!(raw(app, request("GET", "/livez", &headers(90))).await.status(), 200);

        let long = |length: usize| format!("/livez?{}", "a".repeat(length - 7));
        assert_eq!(raw(app, request("GET", &long(8_192), "")).await.status(), 200);
        for length in [8_193, 9_000, 12_000] {
            raw(app, request("GET", &long(length), "")).await.refused(414, "uri_too_long");
        }
        turned_away(&raw(app, request("GET", &long(70_000), "")).await, 431);
    }

    async fn a_body_has_its_bounds(app: &TestApp) {
        let stake = Stake::of(app).await;
        let padded = |length: usize| format!("{TOP_UP:length$}");
        for path in ["/booking", "/payment", "/balance"] {
            let headers = format!("{JSON}Token-Auth: {}\r\n", stake.ann.token());
            let announced = request("POST", path, &format!("{headers}Content-Length: 1073741824\r\n"));
            let chunk = format!("2000\r\n{}\r\n0\r\n\r\n", padded(0x2000));
            let chunked = request("POST", path, &format!("{headers}{CHUNKED}")) + &chunk;
            let plain = String::from_utf8(post(path, &headers, padded(4_097))).unwrap();
            for bytes in [announced, chunked, plain] {
                let reply = raw(app, bytes).await;
                reply.refused(413, "payload_too_large");
                assert_eq!(reply.header("connection").as_deref(), Some("close"));
            }
        }
        stake.is_unchanged(&"a large body").await;
        assert_eq!(raw(app, post("/balance", JSON, padded(4_096))).await.status(), 200);
    }

    /// What is beyond the bound is not even received: a gigabyte never comes through.
    async fn an_endless_body_is_cut_off(app: &TestApp) {
        let chunk = format!("100000\r\n{}\r\n", " ".repeat(MIB));
        for framing in [CHUNKED, "Content-Length: 1073741824\r\n"] {
            let mut stream = connect(&app.public).await;
            let head = request("POST", "/balance", &format!("{JSON}{framing}"));
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut sent = 0;
            while sent < 1_024 && stream.write_all(chunk.as_bytes()).await.is_ok() {
                sent += 1;
            }
            assert!(sent < 32, "{sent} MiB were taken");
        }
    }

    async fn nothing_is_smuggled(app: &TestApp) {
        let stake = Stake::of(app).await;
        for headers in AMBIGUOUS {
            let head = format!("POST /balance HTTP/1.1\r\nHost: x\r\n{JSON}{headers}\r\n");
            for body in [TOP_UP.to_owned(), format!("0\r\n\r\n{HIDDEN}"), format!("1e\r\n{TOP_UP}\r\n0\r\n\r\n{HIDDEN}")] {
                turned_away(&raw(app, format!("{head}{body}")).await, 400);
            }
        }
        for head in [
            "GET /livez HTTP/1.1\r\nHost: x\r\nX-Bare: a\rb\r\n\r\n",
            "GET /livez HTTP/1.1\r\nHost: x\r\nX-Null: a\0b\r\n\r\n",
            "GET /livez HTTP/1.1\r\nHost: x\r\n: nameless\r\n\r\n",
            "GET /livez HTTP/3.0\r\nHost: x\r\n\r\n",
            "\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03\r\n\r\n",
        ] {
            turned_away(&raw(app, head).await, 400);
        }
        // Both lengths: chunked counts, and what a reader of the other would take for a request is not read at all.
        let both = |body: &str| {
            let length = body.len();
            format!("POST /balance HTTP/1.1\r\nHost: x\r\n{JSON}Content-Length: {length}\r\n{CHUNKED}\r\n{body}")
        };
        let reply = raw(app, both(&format!("0\r\n\r\n{HIDDEN}"))).await;
        reply.refused(400, "invalid_json");
        for body in ["zz\r\n", "ffffffffffffffffff\r\n", "1e\r\n{\"user_id\": 7"] {
            let head = request("POST", "/balance", &format!("{JSON}{CHUNKED}"));
            let mut stream = connect(&app.public).await;
            stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            read_to_end(&mut stream).await.refused(400, "invalid_json");
        }
        stake.is_unchanged(&"a smuggler").await;
    }

    async fn a_body_is_never_read_as_a_request(app: &TestApp) {
        let stake = Stake::of(app).await;
        let length = HIDDEN.len();
        // Nobody reads the body of a GET, or of what is refused; it is no request for all that.
        for first in ["GET /livez", "GET /nowhere", "DELETE /balance", "POST /booking"] {
            let head = format!("{first} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
            let last = request("GET", "/livez", "");
            let reply = raw(app, format!("{head}{HIDDEN}{last}")).await;
            assert!((1..=2).contains(&reply.count()), "{first}: {}", reply.text());
        }
        stake.is_unchanged(&"the body of another request").await;
    }

    async fn methods_are_those_of_the_table(app: &TestApp) {
        let stake = Stake::of(app).await;
        let token = format!("Token-Auth: {}\r\n", stake.ann.token());
        for (method, path, status, code, allow) in METHODS {
            let reply = raw(app, request(method, path, &token)).await;
            reply.refused(status, code);
            let mut allowed: Vec<String> = reply
                .header("allow")
                .map(|methods| methods.split(',').map(|method| method.trim().to_owned()).collect())
                .unwrap_or_default();
            let mut expected: Vec<&str> = allow.split(',').filter(|method| !method.is_empty()).collect();
            allowed.sort_unstable();
            expected.sort_unstable();
            assert_eq!(allowed, expected, "{method} {path}");
            assert!(!reply.text().contains("Token-Auth"), "nothing is echoed: {}", reply.text());
        }
        for name in ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"] {
            let headers = format!("{token}{name}: DELETE\r\n");
            let reply = raw(app, request("GET", "/queue?_method=DELETE", &headers)).await;
            assert_eq!(reply.status(), 200);
        }
        stake.is_unchanged(&"a strange method").await;
    }

    async fn nobody_is_believed_for_a_header(app: &JwtApp) {
        let stake = Stake::of(app).await;
        let bob = app.identity.as_ref().unwrap().of(8, app.unix_seconds());
        let spoofed = "X-User-Id: 7\r\nX-Forwarded-User: 7\r\nX-Forwarded-For: 127.0.0.1\r\nForwarded: for=127.0.0.1\r\n\
                       X-Original-Url: /admin/queues\r\nX-Rewrite-Url: /admin/queues\r\n";
        let as_bob = format!("{spoofed}Authorization: Bearer {bob}\r\n");
        raw(app, request("GET", "/balance/7", &as_bob)).await.refused(404, "not_found");
        raw(app, request("GET", "/balance/7", spoofed)).await.refused(401, "unauthenticated");
        raw(app, request("GET", "/nowhere", spoofed)).await.refused(404, "not_found");
        for path in ["http://127.0.0.1:8081/admin/queues", "http://elsewhere.example/livez"] {
            let reply = raw(app, request("GET", path, "")).await;
            assert!(!reply.text().contains("elsewhere"), "{}", reply.text());
            assert_eq!(reply.status(), if path.ends_with("livez") { 200 } else { 404 });
        }
        stake.is_unchanged(&"a spoofed header").await;
    }

    async fn strangers_get_no_cors(app: &TestApp) {
        for path in ["/booking", "/balance", "/queue", "/concerts", "/token/7"] {
            for (method, status) in [("OPTIONS", 405), ("GET", 0)] {
                let asked = "Origin: https://elsewhere.example\r\nAccess-Control-Request-Method: POST\r\n\
                             Access-Control-Request-Headers: token-auth\r\n";
                let reply = raw(app, request(method, path, asked)).await;
                assert!(!reply.text().to_lowercase().contains("access-control-"), "{}", reply.text());
                assert!(status == 0 || reply.status() == status, "{}", reply.text());
            }
        }
    }

    async fn a_request_has_one_plain_name(app: &TestApp) {
        let id = async |given: &str| {
            let reply = raw(app, request("GET", "/nowhere", &format!("X-Request-Id: {given}\r\n"))).await;
            let problem = reply.refused(404, "not_found");
            let id = reply.header("x-request-id").unwrap();
            assert_eq!(problem["request_id"], json!(id), "one name in the header and in the body");
            id
        };
        let longest = "a".repeat(64);
        for plain in ["a", "2f1c-77_b.9", &longest] {
            assert_eq!(id(plain).await, plain);
        }
        let longer = "a".repeat(65);
        for odd in ["", "a b", "<script>", "a\"b", "{a}", "a;b", "é", "a,b", "%0d%0a", &longer] {
            let id = id(odd).await;
            assert_ne!(id, odd);
            assert!(id.len() >= 16 && id.bytes().all(|b| b.is_ascii_alphanumeric()), "{id}");
        }
    }

    /// Everything but the last byte of each is there before any of them is whole.
    async fn a_hundred_at_the_same_instant_are_one(app: &TestApp) {
        let stake = Stake::of(app).await;
        let key = format!("{JSON}Token-Auth: {}\r\nIdempotency-Key: once\r\n", stake.ann.token());
        for (path, body, balance) in [
            ("/balance", TOP_UP, PRICE + 100),
            ("/payment", r#"{"user_id": 7, "booking_id": 1}"#, 100),
        ] {
            let bytes = post(path, &key, body);
            let (all_but_one, last) = bytes.split_at(bytes.len() - 1);
            let ready = join_all((0..100).map(async |_| {
                let mut stream = connect(&app.public).await;
                stream.write_all(all_but_one).await.unwrap();
                stream
            }));
            let replies = join_all(ready.await.into_iter().map(async |mut stream| {
                stream.write_all(last).await.unwrap();
                read_to_end(&mut stream).await
            }));
            let mut bodies: Vec<String> = Vec::new();
            for reply in replies.await {
                assert_eq!(reply.status(), 200, "{}", reply.text());
                bodies.push(reply.text().split_once("\r\n\r\n").unwrap().1.to_owned());
            }
            bodies.dedup();
            assert_eq!(bodies.len(), 1, "one answer for all");
            assert_eq!(stake.ann.balance().await, balance);
        }
    }
}
