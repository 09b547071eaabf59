//! What cannot be planned, and how much.

use super::{SCHEDULE, in_seconds, plan, sleep_through};
use crate::harness::*;

stories! {
    async fn a_plan_belongs_to_its_queue(app: &TestApp) {
        app.operator.create_queue("vip", json!({})).await;
        let entry = plan(app, 60, json!({"active_max": 7})).await;
        let body = json!({"at": in_seconds(app, 60), "policy": {"active_max": 8}});
        for (path, status, code) in [
            (format!("/admin/queues/vip/schedule/{entry}"), 404, "schedule_not_found"),
            (format!("{SCHEDULE}/{}", entry + 1), 404, "schedule_not_found"),
            (format!("/admin/queues/nowhere/schedule/{entry}"), 404, "queue_not_found"),
            (format!("{SCHEDULE}/0"), 400, "invalid_id"),
            (format!("{SCHEDULE}/%ff"), 400, "invalid_queue"),
            (format!("/admin/queues/Main/schedule/{entry}"), 400, "invalid_queue"),
        ] {
            app.operator.send("PUT", &path, body.clone()).await.refused(status, code);
            app.operator.request("DELETE", &path).send().await.refused(status, code);
        }
        app.operator.get("/admin/queues/nowhere/schedule").await.refused(404, "queue_not_found");
        let lost = app.operator.send("POST", "/admin/queues/nowhere/schedule", body).await;
        lost.refused(404, "queue_not_found");
        let vip = app.operator.get("/admin/queues/vip/schedule").await.ok();
        assert_eq!((&vip["pending"], &vip["done"]), (&json!([]), &json!([])));
    }

    async fn a_plan_that_makes_no_sense_is_refused(app: &TestApp) {
        let entry = plan(app, 60, json!({"active_max": 7})).await;
        let before = app.operator.get(SCHEDULE).await.text;
        let deed = app.operator.last_deed().await;
        let at = in_seconds(app, 60);
        let (policy, rate) = (json!({"mode": "open"}), json!({"rate_per_second": 5}));
        for (body, pointer) in [
            (json!({"policy": policy}), "/at"),
            (json!({"at": at}), "/policy"),
            (json!({"at": in_seconds(app, 0), "policy": policy}), "/at"),
            (json!({"at": in_seconds(app, -1), "policy": policy}), "/at"),
            (json!({"at": "2099-01-01T00:00:00Z", "policy": policy}), "/at"),
            (json!({"at": "9999-12-31T23:59:59-23:59", "policy": policy}), "/at"),
            (json!({"at": "2031-05-01", "policy": policy}), "/at"),
            (json!({"at": app.unix_seconds() + 60, "policy": policy}), "/at"),
            (json!({"at": null, "policy": policy}), "/at"),
            (json!({"at": at, "policy": {}}), "/policy"),
            (json!({"at": at, "policy": null}), "/policy"),
            (json!({"at": at, "policy": [5]}), "/policy"),
            (json!({"at": at, "policy": {"rate": 5}}), "/policy/rate"),
            (json!({"at": at, "policy": {"rate_per_second": -1}}), "/policy/rate_per_second"),
            (json!({"at": at, "policy": {"active_max": null}}), "/policy/active_max"),
            (json!({"at": at, "policy": {"mode": "ajar"}}), "/policy/mode"),
            (json!({"at": at, "policy": rate, "ramp_seconds": 0}), "/ramp_seconds"),
            (json!({"at": at, "policy": rate, "ramp_seconds": 86_401}), "/ramp_seconds"),
            (json!({"at": at, "policy": rate, "ramp_seconds": 1.5}), "/ramp_seconds"),
            (json!({"at": at, "policy": rate, "ramp_seconds": null}), "/ramp_seconds"),
            (json!({"at": at, "policy": policy, "ramp_seconds": 9}), "/ramp_seconds"),
            (json!({"at": at, "policy": policy, "queue": "main"}), "/queue"),
        ] {
            for (method, path) in [("POST", SCHEDULE.to_owned()), ("PUT", format!("{SCHEDULE}/{entry}"))] {
                let problem = app.operator.send(method, &path, body.clone()).await.refused(422, "invalid_field");
                assert_eq!(problem["errors"][0]["pointer"], pointer, "{body} {problem}");
            }
        }
        app.operator.request("POST", SCHEDULE).body("{").send().await.refused(400, "invalid_json");
        app.operator.get(&format!("{SCHEDULE}?limit=501")).await.refused(400, "invalid_query");
        assert_eq!(app.operator.get(SCHEDULE).await.text, before, "nothing was changed");
        assert_eq!(app.operator.last_deed().await, deed);
    }

    async fn a_plan_may_name_its_instant_in_any_time_zone(app: &TestApp) {
        let noon_in_seoul = json!({"at": "2031-05-01T12:00:00.5+09:00", "policy": {"active_max": 7}});
        let made = app.operator.send("POST", SCHEDULE, noon_in_seoul).await.created();
        assert_eq!(made["at"], "2031-05-01T03:00:00.500Z");
    }

    async fn a_schedule_has_an_end_and_its_history_comes_in_pages(app: &TestApp) {
        let mut entries = Vec::new();
        for second in 1..=100 {
            entries.push(plan(app, second, json!({"active_max": second})).await);
        }
        let more = json!({"at": in_seconds(app, 60), "policy": {"active_max": 8}});
        app.operator.send("POST", SCHEDULE, more.clone()).await.refused(409, "schedule_full");
        app.operator.request("DELETE", &format!("{SCHEDULE}/{}", entries[99])).send().await.no_content();
        app.operator.send("POST", SCHEDULE, more).await.created();

        sleep_through(app, 3_600);
        app.pass(1).await;
        let page = async |query: &str| app.operator.get(&format!("{SCHEDULE}?limit=40{query}")).await.ok();
        let (mut seen, mut before) = (Vec::new(), String::new());
        loop {
            let page = page(&before).await;
            seen.extend(page["done"].as_array().unwrap().iter().map(|entry| entry["entry_id"].as_i64().unwrap()));
            let Some(next) = page["next"].as_i64() else { break };
            before = format!("&before={next}");
        }
        entries.push(entries[99] + 1);
        entries.reverse();
        assert_eq!(seen, entries);
    }
}
