//! A rate on its way: how many it lets in, what it shows, and who stops it.

use super::{deeds, in_seconds, plan_ramp};
use crate::harness::*;

stories! {
    async fn a_ramp_rises_in_a_straight_line(app: &TestApp) {
        app.operator.tune("main", json!({"rate_per_second": 0, "burst": 1})).await;
        for _ in 0..90 {
            app.buyer().join().await.ok();
        }
        let start = app.operator.admitted_total("main").await;
        plan_ramp(app, 1, json!({"rate_per_second": 10}), 10).await;
        app.pass(1).await;
        let began = app.clock.now_ms();

        // The area under the line: what a rate that rises to 10 in ten seconds comes to.
        for (until, area) in [(5.0, 12.5), (10.0, 50.0), (12.0, 70.0)] {
            while ((app.clock.now_ms() - began) as f64) < until * 1_000.0 {
                app.pass_ms(100).await;
            }
            let admitted = app.operator.admitted_total("main").await - start;
            assert!((admitted as f64 - area).abs() <= 1.5, "{admitted} in {until} s, not {area}");
        }
    }

    async fn a_ramp_is_shown_while_it_lasts(app: &TestApp) {
        app.operator.tune("main", json!({"rate_per_second": 10})).await;
        plan_ramp(app, 60, json!({"rate_per_second": 110}), 100).await;
        let (begins, ends) = (in_seconds(app, 60), in_seconds(app, 160));
        let rates = async || {
            let queue = app.operator.queue("main").await;
            let metrics = app.operator.get("/metrics").await.text;
            let shown = app.get("/queues/main").await.ok()["rate_per_second"].as_f64().unwrap();
            assert_eq!(queue["rate_now_per_second"], shown);
            let gauge = format!("usher_rate_per_second{{queue=\"main\"}} {shown}\n");
            assert!(metrics.contains(&gauge), "{metrics}");
            (shown, queue["policy"]["rate_per_second"].clone(), queue["ramp"].clone())
        };
        assert_eq!(rates().await, (10.0, json!(10.0), Value::Null));
        app.pass(60).await;
        app.pass(50).await;
        let ramp = json!({"from_per_second": 10.0, "to_per_second": 110.0, "began_at": begins, "ends_at": ends});
        assert_eq!(rates().await, (60.0, json!(110.0), ramp.clone()));
        assert_eq!(deeds(app).await[0]["after"]["ramp"], ramp);
        app.pass(50).await;
        assert_eq!(rates().await, (110.0, json!(110.0), Value::Null));
    }

    async fn a_rate_by_hand_ends_a_ramp_and_nothing_else_does(app: &TestApp) {
        let now = async || {
            let queue = app.operator.queue("main").await;
            (queue["rate_now_per_second"].as_f64().unwrap(), queue["ramp"].is_null())
        };
        for (rate, by_hand) in [(100, 100), (200, 7)] {
            plan_ramp(app, 1, json!({"rate_per_second": rate}), 10).await;
            app.pass(1).await;
            app.pass(5).await;
            let halfway = now().await;
            assert!(!halfway.1 && halfway.0 < f64::from(rate), "{halfway:?}");
            app.operator.tune("main", json!({"mode": "paused", "message": "wait"})).await;
            app.operator.tune("main", json!({"mode": "open"})).await;
            assert_eq!(now().await, halfway);

            let etag = async || {
                let policy = app.operator.get("/admin/queues/main/policy").await;
                policy.header("etag").unwrap().to_owned()
            };
            app.operator.tune("main", json!({"rate_per_second": by_hand})).await;
            assert_eq!(now().await, (f64::from(by_hand), true), "also when it is the aim of the ramp");
            let deed = app.operator.last_deed().await;
            assert!(deed["before"]["ramp"].is_object() && deed["after"].get("ramp").is_none(), "{deed}");
            let tag = etag().await;
            app.operator.tune("main", json!({"rate_per_second": by_hand})).await;
            assert_eq!(etag().await, tag, "nothing was left to change");
        }
    }

    async fn a_ramp_calls_people_before_their_turn_comes(app: &TestApp) {
        app.operator.tune("main", json!({"rate_per_second": 0.1, "burst": 1, "claim_seconds": 10})).await;
        for _ in 0..20 {
            app.buyer().join().await.ok();
        }
        let last = app.waiting_buyer().await;
        plan_ramp(app, 1, json!({"rate_per_second": 100}), 20).await;
        app.pass(1).await;
        let place = last.poll().await.ok();
        // By the rate of this moment it would be half a minute; the turn comes in two seconds, for ten.
        assert!(place["poll_after_ms"].as_i64().unwrap() < 1_000, "{place}");
    }
}
