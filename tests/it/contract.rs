//! The contract to the letter: every row of the original specification, the one shape of errors, and the OpenAPI
//! document. Requests are literal text here, for a client in another language sends just that.

use crate::harness::*;

/// The routes that the document promises; a route that is added joins this list.
const ROUTES: &[(&str, &str)] = &[
    ("get", "/token/{userId}"),
    ("get", "/concerts"),
    ("post", "/booking"),
    ("post", "/payment"),
    ("get", "/balance/{userId}"),
    ("post", "/balance"),
    ("get", "/queue"),
    ("delete", "/queue"),
    ("get", "/verify"),
    ("get", "/queues/{name}"),
    ("get", "/concerts/{id}"),
    ("get", "/concerts/{id}/seats"),
    ("get", "/booking/{id}"),
    ("delete", "/booking/{id}"),
    ("get", "/users/{userId}/bookings"),
    ("get", "/balance/{userId}/history"),
    ("get", "/livez"),
    ("get", "/readyz"),
    ("get", "/admin/queues"),
    ("get", "/admin/queues/{name}"),
    ("post", "/admin/queues/{name}"),
    ("get", "/admin/queues/{name}/policy"),
    ("put", "/admin/queues/{name}/policy"),
    ("patch", "/admin/queues/{name}/policy"),
    ("post", "/admin/queues/{name}/admit"),
    ("get", "/admin/concerts"),
    ("post", "/admin/concerts"),
    ("get", "/admin/concerts/{id}"),
    ("put", "/admin/concerts/{id}"),
    ("get", "/admin/audit"),
    ("get", "/admin/check"),
];

async fn post(app: &TestApp, path: &str, token: &str, body: &str) -> Answer {
    app.public.request("POST", path).header("Token-Auth", token).body(body).send().await
}

/// A path whose parameters have lost their names.
fn bare(path: &str) -> String {
    let parts = path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

/// A problem as it travels, but for the request's own number.
fn literal(answer: &Answer) -> String {
    let mut problem = answer.json();
    problem["request_id"] = json!("…");
    let wait = answer.header("retry-after").map(|seconds| format!("Retry-After: {seconds}\n"));
    format!("{}\n{}{problem}", answer.status, wait.unwrap_or_default())
}

stories! {
    /// 1-1
    async fn get_token(app: &TestApp) {
        let answer = app.get("/token/7").await;
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let body = answer.ok();
        assert_eq!(kinds(&body["token_id"]), "string");

        assert_eq!(body["status"], "active");
        assert_eq!(body["queue"], "main");
        assert_eq!(kinds(&body["expires_at"]), "string");
        assert_eq!(kinds(&body["poll_after_ms"]), "int");
    }

    /// 1-1 and `GET /queue`, for somebody who waits
    async fn get_queue(app: &TestApp) {
        app.one_at_a_time().await;
        let ann = app.buyer();
        for place in [ann.join().await.ok(), ann.poll().await.ok()] {
            assert_eq!((&place["status"], &place["position"]), (&json!("waiting"), &json!(1)));
            for eta in ["eta_seconds", "eta_low_seconds", "eta_high_seconds"] {
                assert!(place[eta].is_number() || place[eta].is_null(), "{eta}: {place}");
            }
            assert!((1..=30_000).contains(&place["poll_after_ms"].as_i64().unwrap()));
        }
    }

    /// 2-1
    async fn get_concerts(app: &TestApp) {
        let concert_id = app.concert(["10", "11"]).await;
        let answer = app.get("/concerts").await;
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let concert = answer.ok()["concerts"][0].clone();

        let starts_at = app.unix_seconds() + 30 * 86_400;
        for (id, instant) in [("concert_id", "concert_dateTime"), ("ceoncert_id", "ceoncert_dateTime")] {
            assert_eq!(concert[id], json!(concert_id));
            assert_eq!(concert[instant], json!(starts_at));
        }
        assert_eq!(concert["seats"], json!([
            {"seat_id": "10", "seat_status": "AVAILABLE"},
            {"seat_id": "11", "seat_status": "AVAILABLE"},
        ]));
        assert_eq!(concert["queue"], "main");
    }

    /// 2-2
    async fn post_booking(app: &TestApp) {
        let concert = app.concert(["10", "11"]).await;
        let ann = app.buyer_named(7);
        ann.join().await.active();
        let body = format!(r#"{{"user_id": 7, "concert_id": {concert}, "seat_no": "10,11"}}"#);
        let booking = post(app, "/booking", &ann.token(), &body).await.created();

        assert_eq!(booking["booking_result"], "HELD");
        assert_eq!(kinds(&booking["booking_id"]), "int");
        assert_eq!(booking["seats"], json!(["10", "11"]));
        assert_eq!(booking["amount"], 2 * PRICE);
        assert!(booking["expires_at"].as_str().unwrap().starts_with("2030-03-17T17:51:40"));
    }

    /// 3-1
    async fn post_payment(app: &TestApp) {
        let concert = app.concert(["10"]).await;
        let ann = app.rich_buyer(PRICE).await;
        let booking = ann.hold(concert, ["10"]).await.held();
        let body = format!(r#"{{"user_id": {}, "booking_id": {booking}}}"#, ann.user_id);
        let receipt = post(app, "/payment", &ann.token(), &body).await.ok();

        assert_eq!(receipt["payment_result"], "PAID");
        for field in ["payment_id", "booking_id", "amount", "balance"] {
            assert_eq!(kinds(&receipt[field]), "int", "{field}");
        }
        assert_eq!(kinds(&receipt["paid_at"]), "string");
    }

    /// 4-1
    async fn get_balance(app: &TestApp) {
        assert_eq!(app.get("/balance/7").await.ok(), json!({"user_id": "7", "balance": 0}));
    }

    /// 4-2
    async fn post_balance(app: &TestApp) {
        let request = app.public.request("POST", "/balance").body(r#"{"user_id": 7, "balance": 300}"#);
        let answer = request.send().await.ok();
        assert_eq!((&answer["user_id"], &answer["balance"]), (&json!("7"), &json!(300)));
        assert_eq!(app.get("/balance/7").await.ok(), json!({"user_id": "7", "balance": 300}));
    }

    async fn bookings_and_history_are_lists(app: &TestApp) {
        let concert = app.concert(["10"]).await;
        let ann = app.rich_buyer(PRICE).await;
        let booking = ann.hold(concert, ["10"]).await.held();
        ann.pay(booking).await.paid();

        let seen = kinds(&ann.bookings().await[0]);
        for field in ["booking_id", "concert_id", "amount"] {
            assert_eq!(seen[field], "int", "{field}");
        }
        assert_eq!((&seen["status"], &seen["expires_at"]), (&json!("string"), &json!("string")));
        assert_eq!(seen["seats"], json!(["string"]));
        let entry = kinds(&ann.history("").await["entries"][0]);
        assert_eq!((&entry["amount"], &entry["balance_after"]), (&json!("int"), &json!("int")));
    }

    /// Every shape that an error's extra members give to it, word for word.
    async fn errors_have_one_shape(app: &TestApp) {
        app.operator.create_queue("vip", json!({})).await;
        let (concert, gala) = (app.hall().await, app.concert_in("vip", json!(["1"])).await);
        app.operator.tune("main", json!({"active_max": 2})).await;
        let (ann, bob) = (app.active_buyer().await, app.active_buyer().await);
        let cy = app.waiting_buyer().await;
        ann.hold(concert, ["A-1"]).await.held();

        let answers = [
            app.get("/nowhere").await,
            app.get("/token/0").await,
            app.get("/queue").await,
            bob.hold(concert, ["A-2", "A-1"]).await,
            bob.hold(gala, ["1"]).await,
            cy.hold(concert, ["A-2"]).await,
            bob.top_up(0).await,
            bob.pay(999).await,
        ];
        let shown = answers.iter().map(literal).collect::<Vec<_>>().join("\n");
        // Twice in one process: once on each database.
        insta::allow_duplicates! {
            insta::assert_snapshot!(shown, @r#"
            404
            {"code":"not_found","detail":"there is nothing here","request_id":"…","retryable":false,"status":404,"title":"Not Found","type":"about:blank"}
            400
            {"code":"invalid_user_id","detail":"a user id is a whole number from 1 to 9007199254740991","request_id":"…","retryable":false,"status":400,"title":"Bad Request","type":"about:blank"}
            401
            {"code":"token_missing","detail":"send the queue token in `Token-Auth`","request_id":"…","retryable":false,"status":401,"title":"Unauthorized","type":"about:blank"}
            409
            {"booking_result":"seat_taken","code":"seat_taken","detail":"somebody else has some of these seats","request_id":"…","retryable":false,"status":409,"taken":["A-1"],"title":"Conflict","type":"about:blank"}
            403
            {"booking_result":"wrong_queue","code":"wrong_queue","detail":"this needs a token of the queue `vip`","queue":"vip","request_id":"…","retryable":false,"status":403,"title":"Forbidden","type":"about:blank"}
            403
            Retry-After: 1
            {"booking_result":"not_admitted","code":"not_admitted","detail":"this token is still waiting in line","position":1,"request_id":"…","retryable":true,"status":403,"title":"Forbidden","type":"about:blank"}
            422
            {"code":"invalid_amount","detail":"1 field(s) of the body are wrong","errors":[{"pointer":"/balance","reason":"is a whole number of minor units from 1 to 1000000000"}],"request_id":"…","retryable":false,"status":422,"title":"Unprocessable Entity","type":"about:blank"}
            404
            {"code":"booking_not_found","detail":"there is no such booking","payment_result":"booking_not_found","request_id":"…","retryable":false,"status":404,"title":"Not Found","type":"about:blank"}
            "#);
        }
    }

    async fn the_document_lists_every_route_and_code(app: &TestApp) {
        let document = app.get("/openapi.json").await.ok();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
        let paths = document["paths"].as_object().unwrap();
        for (method, path) in ROUTES {
            let item = paths.iter().find(|(known, _)| bare(known) == bare(path));
            assert!(item.is_some_and(|(_, item)| item.get(method).is_some()), "{method} {path}");
        }
        let codes = document["components"]["schemas"]["Code"]["enum"].as_array().unwrap();
        for code in ["invalid_json", "not_admitted", "seat_taken", "insufficient_balance", "unavailable"] {
            assert!(codes.contains(&json!(code)), "{code}");
        }
        let text = document.to_string();
        for word in [r#""ceoncert_id""#, r#""ceoncert_dateTime""#, r#""deprecated":true"#] {
            assert!(text.contains(word), "{word}");
        }
    }
}
