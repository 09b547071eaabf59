//! An operator changes the policy of a queue: what may be said, who said it first, and what was written down.

use crate::harness::*;

const POLICY: &str = "/admin/queues/main/policy";

stories! {
    async fn a_policy_has_its_defaults(app: &TestApp) {
        let policy = app.operator.get(POLICY).await.ok();
        let defaults = json!({
            "rate_per_second": 50.0, "burst": 50.0, "active_max": 500,
            "session_seconds": 600, "claim_seconds": 60, "hold_seconds": 300,
            "seats_per_booking_max": 8, "seats_per_user_max": null, "mode": "open", "message": "",
        });
        assert_eq!(policy, defaults);
    }

    async fn any_subset_may_be_changed(app: &TestApp) {
        for (method, rate) in [("PUT", 0.25), ("PATCH", 7.5)] {
            let before = app.operator.get(POLICY).await.ok();
            let change = json!({"rate_per_second": rate, "message": method});
            let after = app.operator.send(method, POLICY, change).await.ok();
            assert_eq!(after["rate_per_second"], rate);
            assert_eq!(after["message"], method);
            for field in ["active_max", "session_seconds", "claim_seconds", "hold_seconds", "mode"] {
                assert_eq!(after[field], before[field], "{field}");
            }
            assert_eq!(app.operator.get(POLICY).await.ok(), after);
            assert_eq!(app.operator.queue("main").await["policy"], after);
        }
    }

    async fn what_has_a_default_can_be_put_back(app: &TestApp) {
        for (limit, burst, in_force) in [(json!(4), json!(7.0), 7.0), (Value::Null, Value::Null, 50.0)] {
            let change = json!({"seats_per_user_max": limit, "burst": burst});
            let policy = app.operator.tune("main", change).await;
            assert_eq!(policy["seats_per_user_max"], limit);
            assert_eq!(policy["burst"], in_force);
        }
    }

    async fn a_change_that_changes_nothing_leaves_no_trace(app: &TestApp) {
        app.operator.tune("main", json!({"rate_per_second": 7, "message": "soon"})).await;
        let (deed, before) = (app.operator.last_deed().await, app.operator.get(POLICY).await);
        let etag = before.header("etag").unwrap();
        for (method, change) in [
            ("PUT", json!({})),
            ("PATCH", json!({"rate_per_second": 7.0, "burst": null})),
            ("PUT", before.json().as_object().map(|policy| {
                let mut same = policy.clone();
                same.remove("burst");
                Value::Object(same)
            }).unwrap()),
        ] {
            let after = app.operator.send(method, POLICY, change).await.status(200);
            assert_eq!(after.header("etag").unwrap(), etag);
            assert_eq!(after.json(), before.json());
        }
        assert_eq!(app.operator.last_deed().await, deed);
    }

    async fn two_operators_do_not_overwrite_each_other(app: &TestApp) {
        let seen = app.operator.get(POLICY).await;
        let etag = seen.header("etag").unwrap();
        let change = async |etag: &str, rate: i64| {
            let request = app.operator.request("PUT", POLICY).header("if-match", etag);
            request.json(&json!({"rate_per_second": rate})).send().await
        };

        let changed = change(etag, 10).await.status(200);
        let newer = changed.header("etag").unwrap();
        assert_ne!(newer, etag);
        change(etag, 20).await.refused(412, "policy_changed");
        assert_eq!(app.operator.get(POLICY).await.ok()["rate_per_second"], 10.0);
        change(newer, 20).await.ok();
    }

    async fn a_policy_has_bounds(app: &TestApp) {
        let before = app.operator.get(POLICY).await.ok();
        for (field, value) in [
            ("rate_per_second", json!(-1)),
            ("rate_per_second", json!(20_001)),
            ("rate_per_second", json!("50")),
            ("burst", json!(0)),
            ("active_max", json!(-1)),
            ("session_seconds", json!(0)),
            ("claim_seconds", json!(0)),
            ("hold_seconds", json!(0)),
            ("seats_per_booking_max", json!(0)),
            ("mode", json!("ajar")),
            ("message", json!("x".repeat(501))),
            ("rate", json!(5)),
            ("rate_per_second", Value::Null),
            ("active_max", Value::Null),
            ("session_seconds", Value::Null),
            ("claim_seconds", Value::Null),
            ("hold_seconds", Value::Null),
            ("seats_per_booking_max", Value::Null),
            ("mode", Value::Null),
            ("message", Value::Null),
        ] {
            let answer = app.operator.send("PATCH", POLICY, json!({field: value})).await;
            let problem = answer.refused(422, "invalid_field");
            assert_eq!(problem["errors"][0]["pointer"], format!("/{field}"));
        }
        assert_eq!(app.operator.get(POLICY).await.ok(), before, "nothing was changed");
    }

    async fn every_change_is_written_down(app: &TestApp) {
        app.operator.tune("main", json!({"rate_per_second": 3})).await;
        app.operator.tune("main", json!({"rate_per_second": 4})).await;

        let deed = app.operator.last_deed().await;
        assert_eq!(deed["before"]["rate_per_second"], 3.0);
        assert_eq!(deed["after"]["rate_per_second"], 4.0);
        assert!(deed["target"].as_str().unwrap().contains("main"), "{deed}");
        for field in ["at", "operator", "action", "target"] {
            assert_eq!(kinds(&deed[field]), "string", "{field}");
        }
    }

    async fn the_audit_comes_in_pages_and_by_queue(app: &TestApp) {
        app.operator.create_queue("vip", json!({})).await;
        for rate in 1..=4 {
            app.operator.tune("main", json!({"rate_per_second": rate})).await;
        }
        let page = async |query: &str| app.operator.get(&format!("/admin/audit?queue=main{query}")).await.ok();
        let first = page("&limit=3").await;
        let rest = page(&format!("&limit=3&before={}", first["next"])).await;
        let entries = |page: &Value| page["entries"].as_array().unwrap().clone();
        let all = [entries(&first), entries(&rest)].concat();

        let rates: Vec<Value> = all.iter().map(|deed| deed["after"]["rate_per_second"].clone()).collect();
        assert_eq!(rates[..4], [json!(4.0), json!(3.0), json!(2.0), json!(1.0)]);
        assert!(all.iter().all(|deed| !deed["target"].as_str().unwrap().contains("vip")), "{all:?}");
    }

    async fn a_new_cap_counts_at_once(app: &TestApp) {
        let inside = app.one_at_a_time().await;
        let (bob, cy) = (app.waiting_buyer().await, app.waiting_buyer().await);
        app.operator.tune("main", json!({"active_max": 2})).await;
        app.pass(1).await;
        bob.poll().await.active();
        cy.poll().await.waiting();

        app.operator.tune("main", json!({"active_max": 1})).await;
        inside.leave().await.no_content();
        app.pass(1).await;
        cy.poll().await.waiting();
        bob.poll().await.active();
    }

    async fn letting_people_in_by_hand_ignores_rate_and_pause_not_the_cap(app: &TestApp) {
        let change = json!({"mode": "paused", "rate_per_second": 0, "active_max": 2});
        app.operator.tune("main", change).await;
        let mut line = Vec::new();
        for _ in 0..5 {
            line.push(app.waiting_buyer().await);
        }
        let answer = app.operator.admit("main", 4).await.ok();
        assert_eq!((&answer["count"], &answer["manual_total"]), (&json!(4), &json!(4)));
        app.pass(1).await;
        assert_eq!(app.operator.queue("main").await["active"], 2, "the cap holds");

        line[0].poll().await.active();
        line[0].leave().await.no_content();
        app.pass(1).await;
        line[2].poll().await.active();
        line[4].poll().await.waiting();
    }

    async fn a_hand_that_repeats_itself_admits_once(app: &TestApp) {
        app.operator.tune("main", json!({"mode": "paused"})).await;
        let admit = async |key: &str| {
            let request = app.operator.request("POST", "/admin/queues/main/admit");
            request.header("idempotency-key", key).json(&json!({"count": 3})).send().await.ok()
        };
        assert_eq!(admit("one").await["manual_total"], 3);
        assert_eq!(admit("one").await["manual_total"], 3);
        assert_eq!(admit("two").await["manual_total"], 6);
    }

    async fn a_rate_of_nothing_lets_nobody_in_but_by_hand(app: &TestApp) {
        app.operator.tune("main", json!({"rate_per_second": 0})).await;
        let crowd: Vec<Buyer> = (0..3).map(|_| app.buyer()).collect();
        for buyer in &crowd {
            buyer.join().await.ok();
        }
        app.pass(5).await;
        assert_eq!(app.operator.admitted_total("main").await, 0);
        app.operator.send("POST", "/admin/queues/main/admit", json!({"count": 2})).await.ok();
        app.pass(1).await;
        assert_eq!(app.operator.admitted_total("main").await, 2);
    }
}
