//! What operators plan: openings, ramps and closings at an instant, made on time or late, once, in their order. What a
//! change of policy means is told in `tune.rs`.

mod ramps;
mod refusals;

use std::time::Duration;

use usher::clock::{Clock, rfc3339};

use crate::harness::*;

const SCHEDULE: &str = "/admin/queues/main/schedule";

/// The instant so many seconds from now.
fn in_seconds(app: &TestApp, seconds: i64) -> String {
    rfc3339(app.clock.now_ms() + seconds * 1_000)
}

/// Plans a change of `main` in so many seconds; returns the number of the entry.
async fn plan(app: &TestApp, seconds: i64, policy: Value) -> i64 {
    let entry = json!({"at": in_seconds(app, seconds), "policy": policy});
    let made = app.operator.send("POST", SCHEDULE, entry).await.created();
    made["entry_id"].as_i64().unwrap()
}

async fn plan_ramp(app: &TestApp, seconds: i64, policy: Value, ramp_seconds: i64) {
    let at = in_seconds(app, seconds);
    let entry = json!({"at": at, "policy": policy, "ramp_seconds": ramp_seconds});
    app.operator.send("POST", SCHEDULE, entry).await.created();
}

/// Time passes and no server is awake to see it.
fn sleep_through(app: &TestApp, seconds: u64) {
    app.clock.advance(Duration::from_secs(seconds));
}

/// Of the done entries: which they are and what became of them, newest first.
async fn done(app: &TestApp) -> Vec<(i64, String)> {
    let schedule = app.operator.get(SCHEDULE).await.ok();
    let outcome = |entry: &Value| entry["outcome"].as_str().unwrap().to_owned();
    let done = schedule["done"].as_array().unwrap().iter();
    done.map(|entry| (entry["entry_id"].as_i64().unwrap(), outcome(entry))).collect()
}

/// What the schedule did to `main`, as the audit has it, newest first.
async fn deeds(app: &TestApp) -> Vec<Value> {
    let audit = app.operator.get("/admin/audit?queue=main").await.ok();
    let all = audit["entries"].as_array().unwrap().iter();
    all.filter(|deed| deed["operator"] == "schedule").cloned().collect()
}

stories! {
    async fn a_queue_opens_at_its_instant(app: &TestApp) {
        app.operator.tune("main", json!({"mode": "paused"})).await;
        let ann = app.waiting_buyer().await;
        let opening = plan(app, 60, json!({"mode": "open", "message": "Enjoy"})).await;
        let pending = app.operator.get(SCHEDULE).await.ok();
        assert_eq!(pending["pending"][0]["policy"], json!({"mode": "open", "message": "Enjoy"}));
        assert_eq!((&pending["pending"][0]["made_by"], &pending["done"]), (&json!("operator"), &json!([])));

        app.pass(59).await;
        ann.poll().await.waiting();
        app.pass(1).await;
        ann.poll().await.active();

        let schedule = app.operator.get(SCHEDULE).await.ok();
        assert_eq!((&schedule["pending"], &schedule["next"]), (&json!([]), &Value::Null));
        let entry = &schedule["done"][0];
        assert_eq!((&entry["entry_id"], &entry["outcome"]), (&json!(opening), &json!("applied")));
        assert_eq!(entry["done_at"], entry["at"]);
        let deed = app.operator.last_deed().await;
        assert_eq!((&deed["operator"], &deed["action"]), (&json!("schedule"), &json!("policy.tune")));
        let modes = (&deed["before"]["mode"], &deed["after"]["mode"]);
        assert_eq!(modes, (&json!("paused"), &json!("open")));
    }

    async fn a_queue_closes_at_its_instant(app: &TestApp) {
        let concert = app.hall().await;
        let ann = app.active_buyer().await;
        plan(app, 60, json!({"mode": "closed"})).await;
        app.pass(60).await;

        app.buyer().join().await.refused(403, "queue_closed");
        ann.hold(concert, ["A-1"]).await.held();
    }

    async fn what_came_due_while_nobody_served_is_in_force_first(on: &Database) {
        let app = TestApp::with(*on, []).await;
        app.operator.tune("main", json!({"mode": "paused", "rate_per_second": 10})).await;
        let ann = app.waiting_buyer().await;
        plan_ramp(&app, 60, json!({"mode": "open", "rate_per_second": 110}), 100).await;
        plan(&app, 90, json!({"message": "We are back"})).await;
        plan(&app, 900, json!({"mode": "closed"})).await;

        let app = app.back_after(110).await;

        let queue = app.operator.queue("main").await;
        assert_eq!(queue["policy"]["message"], "We are back");
        assert_eq!(queue["rate_now_per_second"], 60.0, "the ramp began when it should have");
        assert_eq!(done(&app).await.len(), 2);
        app.buyer_named(ann.user_id).join().await.active();
        app.finish().await;
    }

    async fn a_clock_that_is_ahead_opens_nothing(on: &Database) {
        let app = TestApp::by_clock(Clock::shifted(), *on, []).await;
        plan(&app, 600, json!({"active_max": 7})).await;
        sleep_through(&app, 3_600);
        app.app.queue.carry_out_due().await.unwrap();
        let policy = app.operator.tune("main", json!({"message": "not yet"})).await;
        assert_eq!(policy["active_max"], 500);
        assert_eq!(done(&app).await, []);
        app.finish().await;
    }

    async fn a_pause_by_hand_has_the_last_word(app: &TestApp) {
        app.operator.tune("main", json!({"mode": "paused"})).await;
        let ann = app.waiting_buyer().await;
        let opening = plan(app, 60, json!({"mode": "open", "rate_per_second": 7})).await;
        sleep_through(app, 61);
        let policy = app.operator.tune("main", json!({"mode": "paused"})).await;
        assert_eq!((&policy["mode"], &policy["rate_per_second"]), (&json!("paused"), &json!(7.0)));

        app.pass(60).await;
        ann.poll().await.waiting();
        assert_eq!(app.operator.queue("main").await["policy"]["mode"], "paused");
        assert_eq!(done(app).await, [(opening, "applied".to_owned())]);
    }

    async fn a_word_by_hand_does_not_swallow_an_opening(app: &TestApp) {
        app.operator.tune("main", json!({"mode": "paused"})).await;
        let ann = app.waiting_buyer().await;
        plan(app, 60, json!({"mode": "open"})).await;
        sleep_through(app, 60);
        let policy = app.operator.tune("main", json!({"message": "Here we go"})).await;
        assert_eq!(policy["mode"], "open");
        app.pass(1).await;
        ann.poll().await.active();
    }

    async fn what_the_schedule_changed_is_no_longer_what_an_operator_read(app: &TestApp) {
        let policy = "/admin/queues/main/policy";
        let etag = app.operator.get(policy).await.header("etag").unwrap().to_owned();
        plan(app, 60, json!({"active_max": 7})).await;
        sleep_through(app, 60);
        let change = app.operator.request("PUT", policy).header("if-match", &etag);
        change.json(&json!({"active_max": 900})).send().await.refused(412, "policy_changed");
        assert_eq!(done(app).await, [], "a refusal has no effect");
        app.pass(1).await;
        assert_eq!(app.operator.get(policy).await.ok()["active_max"], 7);
    }

    async fn what_is_due_is_made_in_the_order_of_its_instants(app: &TestApp) {
        let third = plan(app, 30, json!({"rate_per_second": 3})).await;
        let first = plan(app, 10, json!({"rate_per_second": 1, "message": "one"})).await;
        let second = plan(app, 20, json!({"rate_per_second": 2})).await;
        let fourth = plan(app, 30, json!({"rate_per_second": 4})).await;
        let schedule = app.operator.get(SCHEDULE).await.ok();
        let pending: Vec<&Value> =
            schedule["pending"].as_array().unwrap().iter().map(|entry| &entry["entry_id"]).collect();
        assert_eq!(pending, [first, second, third, fourth]);

        sleep_through(app, 3_600);
        app.pass(1).await;
        let policy = &app.operator.queue("main").await["policy"];
        assert_eq!((&policy["rate_per_second"], &policy["message"]), (&json!(4.0), &json!("one")));
        let rates: Vec<Value> =
            deeds(app).await.iter().map(|deed| deed["after"]["rate_per_second"].clone()).collect();
        assert_eq!(rates, [4.0, 3.0, 2.0, 1.0]);
    }

    async fn a_plan_that_changes_nothing_leaves_the_policy_alone(app: &TestApp) {
        plan(app, 60, json!({"mode": "open"})).await;
        let version = app.operator.queue("main").await["version"].clone();
        app.pass(60).await;
        assert_eq!(app.operator.queue("main").await["version"], version);
        assert_eq!(done(app).await[0].1, "applied");
        assert_eq!(deeds(app).await, [] as [Value; 0]);
    }

    async fn a_plan_can_be_changed_and_taken_back(app: &TestApp) {
        let entry = plan(app, 60, json!({"mode": "closed"})).await;
        let path = format!("{SCHEDULE}/{entry}");
        let better = json!({"at": in_seconds(app, 30), "policy": {"rate_per_second": 9, "burst": null}, "ramp_seconds": 5});
        let changed = app.operator.send("PUT", &path, better.clone()).await.ok();
        assert_eq!(changed["policy"], json!({"rate_per_second": 9.0, "burst": null}));
        assert_eq!((&changed["ramp_seconds"], &changed["at"]), (&json!(5), &json!(in_seconds(app, 30))));
        let deed = app.operator.last_deed().await;
        assert_eq!((&deed["action"], &deed["operator"]), (&json!("schedule.change"), &json!("operator")));
        assert_eq!(app.operator.send("PUT", &path, better).await.ok(), changed);
        assert_eq!(app.operator.last_deed().await, deed, "the same plan leaves no trace");
        assert_eq!((&deed["before"]["policy"]["mode"], &deed["after"]), (&json!("closed"), &changed));

        for _ in 0..2 {
            app.operator.request("DELETE", &path).send().await.no_content();
            let deed = app.operator.last_deed().await;
            assert_eq!((&deed["action"], &deed["before"]), (&json!("schedule.cancel"), &changed));
        }
        assert_eq!(done(app).await, [(entry, "cancelled".to_owned())]);
        app.pass(120).await;
        assert_eq!(app.operator.queue("main").await["policy"]["rate_per_second"], 50.0);
        let again = json!({"at": in_seconds(app, 30), "policy": {"rate_per_second": 9}});
        app.operator.send("PUT", &path, again).await.refused(409, "schedule_done");
    }

    async fn what_is_done_stays_done(app: &TestApp) {
        let entry = plan(app, 60, json!({"active_max": 7})).await;
        let path = format!("{SCHEDULE}/{entry}");
        let other = json!({"at": in_seconds(app, 600), "policy": {"active_max": 8}});
        sleep_through(app, 60);
        // Its instant has come: it is as good as made, and then it is.
        for _ in 0..2 {
            app.operator.send("PUT", &path, other.clone()).await.refused(409, "schedule_done");
            app.operator.request("DELETE", &path).send().await.refused(409, "schedule_done");
            app.pass(1).await;
        }
        assert_eq!(done(app).await, [(entry, "applied".to_owned())]);
    }

}

stories_on_postgres! {
    async fn two_instances_make_a_change_once(app: &TestApp) {
        let other = app.another_instance().await;
        app.operator.tune("main", json!({"mode": "paused"})).await;
        let version = app.operator.queue("main").await["version"].as_i64().unwrap();
        plan(app, 60, json!({"mode": "open"})).await;
        plan(app, 60, json!({"rate_per_second": 80})).await;
        sleep_through(app, 60);

        let both = (0..8).map(|n| if n % 2 == 0 { &app.app } else { &other.app });
        for outcome in join_all(both.map(|app| app.queue.carry_out_due())).await {
            outcome.unwrap();
        }

        for door in [app, &other] {
            door.app.queue.refresh().await.unwrap();
            let queue = door.operator.queue("main").await;
            assert_eq!(queue["version"], version + 2);
            let policy = &queue["policy"];
            assert_eq!((&policy["mode"], &policy["rate_per_second"]), (&json!("open"), &json!(80.0)));
        }
        assert_eq!(deeds(app).await.len(), 2);
        other.stop().await;
    }

    async fn what_no_longer_holds_is_skipped(app: &TestApp) {
        let bound = plan(app, 60, json!({"rate_per_second": 7})).await;
        let unknown = plan(app, 60, json!({"rate_per_second": 7})).await;
        let good = plan(app, 61, json!({"active_max": 7})).await;
        for (entry, patch) in [(bound, r#"{"rate_per_second":-1}"#), (unknown, r#"{"colour":"red"}"#)] {
            app.run_sql(&format!("UPDATE schedule SET patch = '{patch}' WHERE id = {entry}")).await;
        }
        app.pass(61).await;

        let skipped = "skipped".to_owned();
        let expected = [(good, "applied".to_owned()), (unknown, skipped.clone()), (bound, skipped)];
        assert_eq!(done(app).await, expected);
        let policy = &app.operator.queue("main").await["policy"];
        assert_eq!((&policy["rate_per_second"], &policy["active_max"]), (&json!(50.0), &json!(7)));
        let skips = deeds(app).await;
        assert_eq!(skips[1]["action"], "schedule.skip");
        assert_eq!(skips[1]["before"]["policy"], json!({"colour": "red"}));
    }
}
