//! The operators' listener: who may enter, what it keeps from the public, queues, concerts, health and metrics.

use std::time::{Duration, Instant};

use crate::bad_input as wire;
use crate::harness::*;

const ROUTES: [(&str, &str); 15] = [
    ("GET", "/admin/desk/queues"),
    ("GET", "/admin/events"),
    ("GET", "/admin/queues"),
    ("GET", "/admin/queues/main"),
    ("PUT", "/admin/queues/main/policy"),
    ("GET", "/admin/queues/main/schedule"),
    ("POST", "/admin/queues/main/schedule"),
    ("DELETE", "/admin/queues/main/schedule/1"),
    ("POST", "/admin/queues/main/admit"),
    ("GET", "/admin/queues/main/report"),
    ("GET", "/admin/concerts"),
    ("GET", "/admin/audit"),
    ("GET", "/admin/check"),
    ("GET", "/admin/health"),
    ("GET", "/metrics"),
];

stories! {
    async fn only_the_key_opens_the_desk(app: &TestApp) {
        for (method, path) in ROUTES {
            let request = || app.operator.http.request(method, path).json(&json!({}));
            request().send().await.refused(401, "unauthenticated");
            request().bearer("another key").send().await.refused(401, "unauthenticated");
            let basic = request().header("authorization", "Basic eDp5");
            basic.send().await.refused(401, "unauthenticated");
        }
    }

    async fn the_public_port_knows_no_operators(app: &TestApp) {
        for (method, path) in ROUTES.into_iter().chain([("GET", "/admin")]) {
            let request = app.public.request(method, path).json(&json!({}));
            request.send().await.refused(404, "not_found");
        }
    }

    async fn queues_are_made_once(app: &TestApp) {
        let make = async |name: &str, policy: Value| {
            app.operator.send("POST", &format!("/admin/queues/{name}"), policy).await
        };
        let made = make("vip", json!({"active_max": 7})).await.created();
        assert_eq!((&made["name"], &made["policy"]["active_max"]), (&json!("vip"), &json!(7)));
        make("vip", json!({})).await.refused(409, "queue_exists");
        make("main", json!({})).await.refused(409, "queue_exists");
        make("No_Name", json!({})).await.refused(400, "invalid_queue");
        app.operator.get("/admin/queues/nowhere").await.refused(404, "queue_not_found");

        let list = app.operator.get("/admin/queues").await.ok();
        let queues = list["queues"].as_array().unwrap();
        let names: Vec<&Value> = queues.iter().map(|queue| &queue["name"]).collect();
        assert_eq!(names, ["main", "vip"]);
    }

    async fn a_queue_without_a_body_has_the_defaults(app: &TestApp) {
        let usual = app.operator.queue("main").await["policy"].clone();
        // The harness names a type of content with every request; curl does not when it sends none.
        let bare = async |name: &str, headers: &str| {
            let key = app.setting("USHER_ADMIN_KEY");
            let headers = format!("Authorization: Bearer {key}\r\n{headers}");
            let request = wire::request("POST", &format!("/admin/queues/{name}"), &headers);
            wire::raw_to(&app.operator.http, request).await.status()
        };
        assert_eq!(app.operator.request("POST", "/admin/queues/a").send().await.created()["policy"], usual);
        assert_eq!(bare("b", "").await, 201);
        assert_eq!(bare("c", "Content-Length: 0\r\n").await, 201);
        assert_eq!(app.operator.queue("c").await["policy"], usual);
        assert_eq!(bare("d", "Content-Length: 2\r\n\r\n{}").await, 415);
        for body in [" ", "{", "null"] {
            let answer = app.operator.request("POST", "/admin/queues/d").body(body).send().await;
            assert!([400, 422].contains(&answer.status), "{answer}");
        }
        app.operator.get("/admin/queues/d").await.refused(404, "queue_not_found");
    }

    async fn a_queue_shows_itself(app: &TestApp) {
        app.one_at_a_time().await;
        app.waiting_buyer().await;
        app.pass(1).await;
        let queue = app.operator.queue("main").await;
        for field in ["waiting", "active", "admitted_total"] {
            assert_eq!(queue[field], 1, "{field}");
        }
        assert_eq!(queue["state"], "ok");
        for (field, kind) in [
            ("name", "string"),
            ("version", "int"),
            ("rate_now_per_second", "float"),
            ("ramp", "null"),
            ("serving_number", "int"),
            ("unclaimed_total", "int"),
            ("last_admitted_at", "string"),
            ("measured_rate_per_second", "float"),
            ("free_seats", "null"),
            ("unsold_seats", "null"),
        ] {
            assert_eq!(kinds(&queue[field]), kind, "{field}: {queue}");
        }
    }

    async fn rows_of_seats_are_named(app: &TestApp) {
        app.concert_in("main", json!({"rows": ["A", "B"], "per_row": 2})).await;
        let list = app.get("/concerts").await.ok();
        let seats = list["concerts"][0]["seats"].as_array().unwrap();
        let names: Vec<&Value> = seats.iter().map(|seat| &seat["seat_id"]).collect();
        assert_eq!(names, ["A-1", "A-2", "B-1", "B-2"]);
    }

    async fn a_concert_that_makes_no_sense_is_refused(app: &TestApp) {
        let with = |tiers: Value| {
            json!({"title": "T", "place": "P", "starts_at": app.unix_seconds() + 9, "tiers": tiers})
        };
        let tier = |price: i64, seats: Value| json!([{"name": "a", "price": price, "seats": seats}]);
        let mut untitled = with(tier(10, json!(["1"])));
        untitled.as_object_mut().unwrap().remove("title");
        for concert in [
            untitled,
            with(json!([])),
            with(tier(0, json!(["1"]))),
            with(tier(1_000_000_001, json!(["1"]))),
            with(tier(10, json!(["1", "1"]))),
            with(tier(10, json!(["no spaces"]))),
            with(tier(10, json!([]))),
        ] {
            let answer = app.operator.send("POST", "/admin/concerts", concert).await;
            assert_eq!(answer.status, 422, "{answer}");
        }
        let mut nulled = with(tier(10, json!(["1"])));
        nulled["queue"] = Value::Null;
        let problem = app.operator.send("POST", "/admin/concerts", nulled).await.refused(422, "invalid_field");
        assert_eq!(problem["errors"][0]["pointer"], "/queue");
        let mut lost = with(tier(10, json!(["1"])));
        lost["queue"] = json!("nowhere");
        let answer = app.operator.send("POST", "/admin/concerts", lost).await;
        answer.refused(404, "queue_not_found");
        assert_eq!(app.get("/concerts").await.ok()["concerts"], json!([]));
    }

    async fn a_concert_is_counted(app: &TestApp) {
        let concert = app.concert(["1", "2", "3", "4"]).await;
        let ann = app.rich_buyer(PRICE).await;
        ann.hold(concert, ["1", "2"]).await.held();
        let booking = ann.hold(concert, ["3"]).await.held();
        ann.pay(booking).await.paid();
        app.pass(1).await;

        let seen = app.operator.get(&format!("/admin/concerts/{concert}")).await.ok();
        let counts = ["seats_total", "seats_free", "seats_held", "seats_sold"];
        assert_eq!(counts.map(|count| seen[count].as_i64().unwrap()), [4, 1, 2, 1]);
        let counts = ["seats", "seats_free", "seats_held", "seats_sold"];
        assert_eq!(counts.map(|count| seen["tiers"][0][count].as_i64().unwrap()), [4, 1, 2, 1]);
        assert_eq!(app.operator.get("/admin/concerts").await.ok()["concerts"][0], seen);
        app.operator.get("/admin/concerts/999").await.refused(404, "concert_not_found");
    }

    async fn a_concert_with_bookings_keeps_its_queue(app: &TestApp) {
        app.operator.create_queue("vip", json!({})).await;
        let concert = app.concert(["1"]).await;
        let path = format!("/admin/concerts/{concert}");
        let change = async |change: Value| app.operator.send("PUT", &path, change).await;
        assert_eq!(change(json!({"queue": "vip", "title": "New"})).await.ok()["queue"], "vip");
        let deed = app.operator.last_deed().await;
        assert_eq!((&deed["before"]["queue"], &deed["after"]["queue"]), (&json!("main"), &json!("vip")));

        let ann = app.buyer();
        ann.join_queue("vip").await.active();
        ann.hold(concert, ["1"]).await.held();
        change(json!({"queue": "main"})).await.refused(409, "concert_has_bookings");
        assert_eq!(change(json!({"place": "Barn"})).await.ok()["place"], "Barn");
    }

    async fn a_concert_is_changed_by_what_is_said_and_only_then(app: &TestApp) {
        let path = format!("/admin/concerts/{}", app.concert(["1"]).await);
        let change = async |change: Value| app.operator.send("PUT", &path, change).await;
        let announced = change(json!({"title": "New"})).await.ok();
        let deed = app.operator.last_deed().await;

        for field in ["title", "place", "starts_at", "queue"] {
            let problem = change(json!({field: null})).await.refused(422, "invalid_field");
            assert_eq!(problem["errors"][0]["pointer"], format!("/{field}"));
            assert_eq!(change(json!({field: announced[field]})).await.ok(), announced);
        }
        assert_eq!(change(json!({})).await.ok(), announced);
        assert_eq!(app.operator.last_deed().await, deed, "nothing was changed");
    }

    async fn both_listeners_say_whether_they_live(app: &TestApp) {
        for listener in [&app.public, &app.operator.http] {
            listener.get("/livez").await.status(200);
            listener.get("/readyz").await.status(200);
        }
    }

    async fn health_is_all_that_doctor_finds(app: &TestApp) {
        let health = app.operator.get("/admin/health").await.ok();
        assert_eq!((&health["ready"], &health["redis"]), (&json!(true), &json!("ok")));
        assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(health["started_at"], health["now"], "no time has passed");
        let findings = health["findings"].as_array().unwrap();
        for what in ["settings", "Redis", "Redis clock", "database", "database clock"] {
            let finding = findings.iter().find(|finding| finding["what"] == what);
            assert_eq!(finding.unwrap_or_else(|| panic!("no {what}"))["ok"], true, "{health}");
        }
    }

    async fn metrics_are_for_operators(app: &TestApp) {
        app.active_buyer().await;
        let metrics = app.operator.get("/metrics").await.status(200);
        assert!(metrics.header("content-type").unwrap().starts_with("text/plain"));
        let ours = metrics.text.lines().filter(|line| line.starts_with("usher_")).count();
        assert!(ours > 5, "{}", metrics.text);
    }
}

/// What a query over this table takes longer, in seconds: more than a statement has elsewhere.
const SLOW: u64 = 3;

stories_on_postgres! {
    /// The check reads this table twice, so it takes longer than a buyer would wait, too.
    async fn a_check_has_the_time_it_takes(app: &TestApp) {
        app.rich_buyer(PRICE).await;
        app.run_sql("ALTER TABLE account RENAME TO accounts").await;
        let slow = format!(
            "CREATE VIEW account AS WITH pause AS MATERIALIZED (SELECT pg_sleep({SLOW}))
                SELECT accounts.* FROM accounts, pause"
        );
        app.run_sql(&slow).await;
        let since = Instant::now();
        assert_eq!(app.operator.get("/admin/check").await.ok()["ok"], true);
        assert!(since.elapsed() >= Duration::from_secs(2 * SLOW), "both queries were slow");

        app.run_sql("DROP VIEW account").await;
        app.run_sql("ALTER TABLE accounts RENAME TO account").await;
    }
}
