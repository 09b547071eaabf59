//! The operators' desk as its server sends it: who may sit at it, and what it is told live. What a browser makes of it is
//! tried in `tests/browser`.

use std::time::{Duration, Instant};

use usher::auth::Desk;
use usher::config::Secret;

use crate::harness::*;

const A_LOOK: Duration = Duration::from_millis(500);

/// Shows a key at the door.
async fn knock(app: &TestApp, key: &str) -> Answer {
    let form = format!("key={key}");
    app.operator.http.request("POST", "/admin/session").body(form).send().await
}

/// `usher_desk=…`, as a browser sends it back.
async fn session(app: &TestApp) -> String {
    let entered = knock(app, app.setting("USHER_ADMIN_KEY")).await.status(303);
    entered.header("set-cookie").unwrap().split(';').next().unwrap().to_owned()
}

async fn with_cookie(app: &TestApp, method: &str, path: &str, cookie: &str) -> Answer {
    let request = app.operator.http.request(method, path).header("cookie", cookie);
    request.json(&json!({"rate_per_second": 3})).send().await
}

fn main_queue(figures: &Value) -> &Value {
    figures["queues"].as_array().unwrap().iter().find(|queue| queue["name"] == "main").unwrap()
}

stories! {
    async fn the_key_opens_the_desk_and_another_does_not(app: &TestApp) {
        let door = app.operator.http.get("/admin").await.status(200);
        assert!(door.text.contains("type=\"password\"") && !door.text.contains("x-data"), "{door}");
        for wrong in ["", "wrong", &format!("{}x", app.setting("USHER_ADMIN_KEY"))] {
            let page = knock(app, wrong).await.status(401);
            assert!(page.text.contains("This is not the operators’ key"), "{page}");
            assert!(page.header("set-cookie").is_none(), "{page}");
        }

        let entered = knock(app, app.setting("USHER_ADMIN_KEY")).await.status(303);
        assert_eq!(entered.header("location"), Some("/admin"));
        let cookie = entered.header("set-cookie").unwrap();
        for guard in ["Path=/admin", "HttpOnly", "SameSite=Strict", "Max-Age=43200"] {
            assert!(cookie.contains(guard), "{cookie}");
        }
        assert!(!cookie.contains("Secure"), "{cookie}");
        let desk = with_cookie(app, "GET", "/admin", &session(app).await).await.status(200);
        assert!(desk.text.contains("data-tab=\"queues\""), "{desk}");
        assert!(!desk.text.contains("style=") && !desk.text.contains("<script>"), "{desk}");
    }

    async fn a_tab_is_sent_with_what_it_needs_and_no_more(app: &TestApp) {
        let cookie = session(app).await;
        let desk = with_cookie(app, "GET", "/admin", &cookie).await.status(200);
        assert!(!desk.text.contains("Let people in by hand"), "{desk}");
        for name in ["queues", "concerts", "schedules", "audit", "health"] {
            let tab = with_cookie(app, "GET", &format!("/admin/desk/{name}?lang=en"), &cookie).await.status(200);
            assert!(tab.header("content-security-policy").unwrap().starts_with("default-src 'self'"), "{tab}");
            assert!(!tab.text.contains("style=") && !tab.text.contains("<script>"), "{tab}");
            assert!(tab.text.contains(&format!("x-data=\"{name}\"")), "{tab}");
            assert_eq!(tab.text.contains("Let people in by hand"), name == "queues", "{tab}");
            let needed: Vec<&str> = tab.text.split(['"']).filter(|part| part.starts_with("/assets/")).collect();
            assert!(needed.len() >= 2, "{needed:?}");
            for address in needed {
                app.operator.http.get(address).await.status(200);
            }
        }
        let korean = with_cookie(app, "GET", "/admin/desk/queues?lang=ko", &cookie).await.status(200);
        assert!(korean.text.contains("속도와 정원"), "{korean}");
        let packed = app.operator.http.request("GET", "/admin/desk/queues").header("cookie", &cookie);
        let packed = packed.header("accept-encoding", "gzip").send().await.status(200);
        assert_eq!(packed.header("content-encoding"), Some("gzip"));
        for unknown in ["sign-in", "tab", "Queues"] {
            let path = format!("/admin/desk/{unknown}");
            with_cookie(app, "GET", &path, &cookie).await.refused(404, "not_found");
        }
    }

    async fn over_https_a_session_stays_there_and_a_language_is_kept(app: &TestApp) {
        let form = format!("key={}", app.setting("USHER_ADMIN_KEY"));
        let request = app.operator.http.request("POST", "/admin/session?lang=ko").body(form);
        let entered = request.header("x-forwarded-proto", "https").send().await.status(303);
        assert!(entered.header("set-cookie").unwrap().ends_with("; Secure"));
        assert_eq!(entered.header("location"), Some("/admin?lang=ko"));
    }

    async fn a_session_reads_and_changes_only_what_the_desk_itself_asks_for(app: &TestApp) {
        let (policy, cookie) = ("/admin/queues/main/policy", session(app).await);
        with_cookie(app, "GET", "/admin/queues", &cookie).await.ok();
        with_cookie(app, "PUT", policy, &cookie).await.refused(403, "forbidden");
        with_cookie(app, "DELETE", "/admin/session", &cookie).await.refused(403, "forbidden");
        assert_eq!(app.operator.queue("main").await["policy"]["rate_per_second"], 50.0);

        let request = app.operator.http.request("PUT", policy).header("cookie", &cookie);
        let tuned = request.header("x-usher-desk", "1").json(&json!({"rate_per_second": 3})).send();
        assert_eq!(tuned.await.ok()["rate_per_second"], 3.0);
        let request = app.operator.http.request("DELETE", "/admin/session").header("cookie", &cookie);
        let left = request.header("x-usher-desk", "1").send().await;
        assert!(left.header("set-cookie").unwrap().starts_with("usher_desk=; Path=/admin; Max-Age=0"));
        left.no_content();
    }

    async fn a_session_ends_and_one_of_another_key_never_began(app: &TestApp) {
        let refused = async |cookie: &str| {
            with_cookie(app, "GET", "/admin/queues", cookie).await.refused(401, "unauthenticated");
            let door = with_cookie(app, "GET", "/admin", cookie).await.status(200);
            assert!(door.text.contains("type=\"password\""), "{door}");
        };
        let cookie = session(app).await;
        app.clock.advance(Duration::from_secs(12 * 3_600 - 1));
        with_cookie(app, "GET", "/admin/queues", &cookie).await.ok();
        app.clock.advance(Duration::from_secs(1));
        refused(&cookie).await;

        let signed = |key: &str| Desk::new(&Secret::new(key.to_owned())).sign(app.clock.now_ms()).unwrap();
        let (ours, theirs) = (signed(app.setting("USHER_ADMIN_KEY")), signed("the key of other operators"));
        with_cookie(app, "GET", "/admin/queues", &format!("usher_desk={ours}")).await.ok();
        refused(&format!("usher_desk={theirs}")).await;
        refused(&format!("usher_desk={ours}x")).await;
        refused("usher_desk=").await;
    }

    async fn a_place_in_line_is_no_session_and_a_session_no_place(app: &TestApp) {
        let ann = app.active_buyer().await;
        let cookie = format!("usher_desk={}", ann.token());
        with_cookie(app, "GET", "/admin/queues", &cookie).await.refused(401, "unauthenticated");

        let session = session(app).await;
        let session = session.strip_prefix("usher_desk=").unwrap();
        let token = app.public.request("GET", "/queue").header("token-auth", session);
        token.send().await.refused(401, "token_invalid");
        let key = app.operator.http.request("GET", "/admin/queues").bearer(session);
        key.send().await.refused(401, "unauthenticated");
    }

    async fn figures_come_at_once_and_are_what_the_document_says(app: &TestApp) {
        let concert = app.concert(["1", "2", "3", "4"]).await;
        let ann = app.rich_buyer(PRICE).await;
        ann.hold(concert, ["1", "2"]).await.held();
        let booking = ann.hold(concert, ["3"]).await.held();
        ann.pay(booking).await.paid();
        app.operator.tune("main", json!({"mode": "paused", "message": "Soon"})).await;
        app.waiting_buyer().await;
        app.pass(2).await;

        let mut stream = app.operator.request("GET", "/admin/events").listen().await;
        assert_eq!(stream.header("content-type"), "text/event-stream");
        let figures = stream.figures().await;
        assert_eq!(objection("GET", "/admin/events", (200, &figures.to_string())), None);
        let queue = main_queue(&figures);
        assert_eq!(queue["seats"], json!({"available": 1, "held": 2, "sold": 1}));
        for (field, value) in [
            ("waiting", json!(1)), ("active", json!(1)), ("active_max", json!(500)), ("mode", json!("paused")),
            ("message", json!("Soon")), ("reason", json!("paused")), ("state", json!("ok")),
            ("admitted_total", json!(1)), ("rate_per_second", json!(50.0)), ("session_seconds", json!(600)),
        ] {
            assert_eq!(queue[field], value, "{field}: {queue}");
        }
        assert_eq!(figures["instance"]["redis"], "ok");
        assert_eq!(figures["instance"]["ready"], true);
    }

    async fn a_change_is_seen_within_a_second_by_everybody_who_looks_on(app: &TestApp) {
        app.operator.create_queue("vip", json!({})).await;
        let listen = async || app.operator.request("GET", "/admin/events").listen().await;
        let (mut one, mut other) = (listen().await, listen().await);
        assert_eq!(main_queue(&one.figures().await)["rate_per_second"], 50.0);
        let before = Instant::now();
        app.operator.tune("main", json!({"rate_per_second": 7.5})).await;
        let is_tuned = |figures: &Value| main_queue(figures)["rate_per_second"] == 7.5;
        let (first, second) = tokio::join!(one.figures_until(is_tuned), other.figures_until(is_tuned));
        assert!(before.elapsed() < Duration::from_secs(1), "{:?}", before.elapsed());
        assert_eq!(first["queues"], second["queues"]);
    }

    async fn what_buyers_ask_for_is_measured(app: &TestApp) {
        let mut stream = app.operator.request("GET", "/admin/events").listen().await;
        let quiet = stream.figures().await;
        assert_eq!(quiet["instance"]["requests_per_second"], 0.0);
        assert_eq!(quiet["instance"]["p99_ms"], Value::Null);
        for _ in 0..20 {
            app.get("/queues/main").await.ok();
        }
        let busy = |figures: &Value| figures["instance"]["requests_per_second"].as_f64() > Some(0.0);
        let instance = stream.figures_until(busy).await["instance"].clone();
        assert!(instance["p50_ms"].as_f64().unwrap() > 0.0, "{instance}");
        assert!(instance["p99_ms"].as_f64() >= instance["p50_ms"].as_f64(), "{instance}");
        assert_eq!(instance["errors_per_second"], 0.0);
    }
}

stories_on_postgres! {
    async fn whoever_looks_on_is_told_what_is_away(app: &TestApp) {
        let other = app.another_instance_without_redis().await;
        let mut stream = other.operator.request("GET", "/admin/events").listen().await;
        let first = stream.figures().await;
        assert_ne!(first["instance"]["redis"], "ok");
        assert_eq!((&first["instance"]["database"], &first["instance"]["ready"]), (&json!("ok"), &json!(false)));
        assert_eq!(main_queue(&first)["state"], "rebuilding");
        stream.figures().await;
        other.stop().await;

        let mut stream = app.operator.request("GET", "/admin/events").listen().await;
        assert_eq!(stream.figures().await["instance"]["database"], "ok");
        app.let_sql_connect(false).await;
        app.clock.advance(A_LOOK);
        let away = stream.figures_until(|figures| figures["instance"]["database"] != "ok").await;
        assert_eq!(main_queue(&away)["rate_per_second"], 50.0);
        app.let_sql_connect(true).await;
        app.clock.advance(A_LOOK);
        stream.figures_until(|figures| figures["instance"]["database"] == "ok").await;
    }

    async fn a_server_that_stops_lets_its_operators_go(app: &TestApp) {
        let other = app.another_instance().await;
        let mut stream = other.operator.request("GET", "/admin/events").listen().await;
        stream.figures().await;
        other.stop().await;
        while let Some((event, _)) = stream.next().await {
            assert_eq!(event, "figures");
        }
    }
}
