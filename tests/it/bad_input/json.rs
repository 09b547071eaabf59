//! Bodies that are no JSON, or JSON of the wrong shape; amounts that are no money; plans that are no hall.

use super::{JSON, Stake, TOP_UP, post, raw, raw_to, request};
use crate::harness::*;

/// Where bodies are posted to, with a body that is right.
const RIGHT: [(&str, &str); 3] = [
    ("/booking", r#"{"user_id": 7, "concert_id": 1, "seat_no": "2"}"#),
    ("/payment", r#"{"user_id": 7, "booking_id": 1}"#),
    ("/balance", TOP_UP),
];

/// Changes that make any object no JSON: before it, and behind it.
const SPOILT: [(&str, &str); 8] = [
    ("", "x"),
    ("\u{feff}", ""),
    ("", "{}"),
    ("", "\n\0"),
    ("[", ""),
    ("{", "}"),
    ("//\n", ""),
    ("(", ")"),
];

/// Not JSON wherever it is posted.
const NO_JSON: [&str; 13] = [
    "",
    "  \r\n",
    "{",
    "}",
    "nul",
    "{'user_id': 7}",
    "{user_id: 7}",
    r#"{"user_id": 07}"#,
    r#"{"user_id": +7}"#,
    r#"{"user_id": 7,}"#,
    r#"{"user_id": NaN}"#,
    r#"{"user_id": Infinity}"#,
    r#"{"user_id": "7}"#,
];

/// JSON wherever it is posted, but no object with the right `user_id`.
const NO_USER: [&str; 23] = [
    "null",
    "7",
    "true",
    r#""user_id""#,
    "[]",
    "{}",
    r#"[7, 1]"#,
    r#"[7, 1, "2"]"#,
    r#"{"user_id": "7", ..}"#,
    r#"{"user_id": 7.0, ..}"#,
    r#"{"user_id": 7e0, ..}"#,
    r#"{"user_id": null, ..}"#,
    r#"{"user_id": [7], ..}"#,
    r#"{"user_id": {"id": 7}, ..}"#,
    r#"{"user_id": true, ..}"#,
    r#"{"user_id": 0, ..}"#,
    r#"{"user_id": -7, ..}"#,
    r#"{"user_id": 9007199254740992, ..}"#,
    r#"{"user_id": 18446744073709551623, ..}"#,
    r#"{"user_id": 7, "user_id": 7, ..}"#,
    r#"{"user_id": 7, "admin": true, ..}"#,
    r#"{"user_id": 7, "user_id\u0000": 8, ..}"#,
    r#"{"User_Id": 7, ..}"#,
];

/// The rest of the right body of each path, in place of `..`.
const REST: [(&str, &str); 3] = [
    ("/booking", r#""concert_id": 1, "seat_no": "2""#),
    ("/payment", r#""booking_id": 1"#),
    ("/balance", r#""balance": 100"#),
];

/// A field of one body that is wrong by itself: path, body, and the pointer to the mistake.
const WRONG_FIELDS: [(&str, &str, &str); 13] = [
    ("/booking", r#"{"user_id": 7, "concert_id": 1}"#, "/seat_no"),
    ("/booking", r#"{"user_id": 7, "concert_id": 1, "seat_no": ["2"]}"#, "/seat_no"),
    ("/booking", r#"{"user_id": 7, "concert_id": 1, "seat_no": 2}"#, "/seat_no"),
    ("/booking", r#"{"user_id": 7, "concert_id": 1, "seat_no": null}"#, "/seat_no"),
    ("/booking", r#"{"user_id": 7, "concert_id": "1", "seat_no": "2"}"#, "/concert_id"),
    ("/booking", r#"{"user_id": 7, "concert_id": 0, "seat_no": "2"}"#, "/concert_id"),
    ("/booking", r#"{"user_id": 7, "concert_id": 1, "seat_no": "2", "seat_no": "3"}"#, "/seat_no"),
    ("/booking", r#"{"user_id": 7, "concert_id": 1, "seat_no": "2", "price": 1}"#, "/price"),
    ("/payment", r#"{"user_id": 7}"#, "/booking_id"),
    ("/payment", r#"{"user_id": 7, "booking_id": 1, "amount": 1}"#, "/amount"),
    ("/balance", r#"{"user_id": 7}"#, "/balance"),
    ("/balance", r#"{"user_id": 7, "balance": 1, "balance": 2}"#, "/balance"),
    ("/balance", r#"{"user_id": 7, "balance": 1, "a/b~c": 2}"#, "/a~1b~0c"),
];

/// What is no amount of money.
const NO_AMOUNT: [&str; 18] = [
    "0",
    "-0",
    "-1",
    "0.5",
    "1.0",
    "1e3",
    "1e400",
    "1e-400",
    "\"100\"",
    "\"NaN\"",
    "null",
    "[100]",
    "{}",
    "1000000001",
    "9007199254740993",
    "9223372036854775807",
    "-9223372036854775808",
    "10000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000",
];

/// What an operator's plan of a hall may not be: a change of the right one, and the pointer to the mistake.
fn wrong_plans() -> Vec<(Value, &'static str)> {
    let tier = |name: &str, price: i64, seats: Value| json!({"tiers": [{"name": name, "price": price, "seats": seats}]});
    vec![
        (json!({"title": "a\u{0}b"}), "/title"),
        (json!({"title": ""}), "/title"),
        (json!({"place": "x".repeat(201)}), "/place"),
        (json!({"starts_at": -1}), "/starts_at"),
        (json!({"starts_at": i64::MAX}), "/starts_at"),
        (json!({"starts_at": 1_600_000_000}), "/starts_at"),
        (json!({"queue": "{main}"}), "/queue"),
        (json!({"tiers": "all"}), "/tiers"),
        (tier("\u{0}", 1, json!(["1"])), "/tiers/0/name"),
        (tier("stalls", 0, json!(["1"])), "/tiers/0/price"),
        (tier("stalls", 1_000_000_001, json!(["1"])), "/tiers/0/price"),
        (tier("stalls", 1, json!({"rows": ["A"], "per_row": 100_001})), "/tiers/0/seats"),
        (tier("stalls", 1, json!({"rows": ["A", "B"], "per_row": u32::MAX})), "/tiers/0/seats"),
        (tier("stalls", 1, json!([["A", "B"], 2])), "/tiers/0/seats"),
        (json!({"tiers": [["stalls", 1, ["1"]]]}), "/tiers/0"),
        (
            json!({"tiers": [{"name": "a", "price": 1, "seats": ["1"]}, ["b", 1, ["2"]]]}),
            "/tiers/1",
        ),
    ]
}

/// What a policy may not be.
fn wrong_policies() -> Vec<(Value, &'static str)> {
    vec![
        (json!({"rate_per_second": -0.1}), "/rate_per_second"),
        (json!({"rate_per_second": 20_001}), "/rate_per_second"),
        (json!({"rate_per_second": "50"}), "/rate_per_second"),
        (json!({"burst": 0}), "/burst"),
        (json!({"active_max": -1}), "/active_max"),
        (json!({"active_max": 1.5}), "/active_max"),
        (json!({"hold_seconds": 0}), "/hold_seconds"),
        (json!({"mode": "ajar"}), "/mode"),
        (json!({"mode": {"paused": null}}), "/mode"),
        (json!({"message": "x".repeat(501)}), "/message"),
        (json!({"message": "a\u{0}b"}), "/message"),
        (json!({"actve_max": 5}), "/actve_max"),
    ]
}

fn pointers(problem: &Value) -> Vec<&str> {
    let errors = problem["errors"].as_array().into_iter().flatten();
    errors.map(|error| error["pointer"].as_str().unwrap()).collect()
}

stories! {
    async fn what_is_not_json_is_refused(app: &TestApp) {
        let stake = Stake::of(app).await;
        let deep = format!(r#"{{"user_id": {}7{}}}"#, "[".repeat(128), "]".repeat(128));
        for (path, right) in RIGHT {
            let spoilt = SPOILT.map(|(before, after)| format!("{before}{right}{after}"));
            let truncated = right[..right.len() - 1].to_owned();
            let broken = NO_JSON.map(str::to_owned).into_iter().chain(spoilt);
            for body in broken.chain([truncated, deep.clone()]) {
                stake.refused(stake.post(path, &body).await, 400, "invalid_json").await;
            }
            let headers = format!("{JSON}Token-Auth: {}\r\n", stake.ann.token());
            let latin = [right.as_bytes(), b"\xff"].concat();
            raw(app, post(path, &headers, latin)).await.refused(400, "invalid_json");
            stake.is_unchanged(&"a body in Latin-1").await;
        }
    }

    async fn json_of_another_shape_is_refused(app: &TestApp) {
        let stake = Stake::of(app).await;
        for (path, rest) in REST {
            for body in NO_USER {
                let body = body.replace("..", rest);
                let problem = stake.refused(stake.post(path, &body).await, 422, "invalid_field").await;
                assert!(!pointers(&problem).is_empty(), "{body}: {problem}");
            }
        }
        for (path, body, pointer) in WRONG_FIELDS {
            let problem = stake.refused(stake.post(path, body).await, 422, "invalid_field").await;
            assert_eq!(pointers(&problem), [pointer], "{body}");
        }
    }

    async fn no_amount_is_no_money(app: &TestApp) {
        let stake = Stake::of(app).await;
        for amount in NO_AMOUNT {
            let body = format!(r#"{{"user_id": 7, "balance": {amount}}}"#);
            stake.refused(stake.post("/balance", &body).await, 422, "invalid_amount").await;
        }
    }

    async fn an_error_does_not_echo_what_was_sent(app: &TestApp) {
        let stake = Stake::of(app).await;
        let long = "x".repeat(1_000);
        for body in [format!(r#"{{"{long}": 1}}"#), format!(r#"{{"user_id": "{long}"}}"#)] {
            let answer = stake.post("/balance", &body).await;
            let problem = stake.refused(answer, 422, "invalid_field").await;
            assert!(!problem["detail"].as_str().unwrap().contains(&"x".repeat(65)), "{problem}");
            assert!(problem.to_string().len() < 1_000, "{problem}");
        }
    }

    async fn only_plain_json_is_read(app: &TestApp) {
        let stake = Stake::of(app).await;
        for kind in [
            "",
            "Content-Type:\r\n",
            "Content-Type: text/plain\r\n",
            "Content-Type: text/json\r\n",
            "Content-Type: application/json-seq\r\n",
            "Content-Type: application/x-www-form-urlencoded\r\n",
            "Content-Type: multipart/form-data; boundary=application/json\r\n",
        ] {
            let reply = raw(app, post("/balance", kind, TOP_UP)).await;
            reply.refused(415, "unsupported_media_type");
        }
        for encoding in ["gzip", "deflate", "br", "identity, gzip", "x"] {
            let headers = format!("{JSON}Content-Encoding: {encoding}\r\n");
            let reply = raw(app, post("/balance", &headers, b"\x1f\x8b\x08\0\0\0\0\0\0\0")).await;
            reply.refused(415, "unsupported_encoding");
        }
        stake.is_unchanged(&"another kind of body").await;
        for kind in ["application/json; charset=utf-8", "Application/JSON"] {
            let headers = format!("Content-Type: {kind}\r\n");
            assert_eq!(raw(app, post("/balance", &headers, TOP_UP)).await.status(), 200, "{kind}");
        }
    }

    async fn operators_err_too(app: &TestApp) {
        let stake = Stake::of(app).await;
        let operator = &app.operator;
        let right = json!({"title": "Lied", "place": "Barn", "starts_at": app.unix_seconds() + 3_600,
            "tiers": [{"name": "stalls", "price": 1, "seats": ["1"]}]});
        for (change, pointer) in wrong_plans() {
            let mut plan = right.clone();
            plan.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            let problem = operator.send("POST", "/admin/concerts", plan).await;
            assert_eq!(pointers(&problem.refused(422, "invalid_field")), [pointer], "{change}");
        }
        for (change, pointer) in wrong_policies() {
            let answer = operator.send("PUT", "/admin/queues/main/policy", change.clone()).await;
            let problem = stake.refused(answer, 422, "invalid_field").await;
            assert_eq!(pointers(&problem)[0], pointer, "{change}");
        }
        for count in [json!(0), json!(-1), json!("1"), json!(i64::MAX), Value::Null] {
            let body = json!({"count": count});
            let answer = operator.send("POST", "/admin/queues/main/admit", body).await;
            stake.refused(answer, 422, "invalid_field").await;
        }
        let key = app.setting("USHER_ADMIN_KEY");
        let headers = format!("{JSON}Authorization: Bearer {key}\r\nContent-Length: 4194305\r\n");
        let huge = request("POST", "/admin/concerts", &headers);
        raw_to(&operator.http, huge).await.refused(413, "payload_too_large");
        let concerts = operator.get("/admin/concerts").await.ok();
        assert_eq!(concerts["concerts"].as_array().unwrap().len(), 1);
    }
}
