//! What people are told of the time: a range that holds, and a reason when the estimate rises or goes.

use crate::harness::*;

/// A queue at this rate in which so many wait, nobody of whom finds a turn free at once.
async fn line(app: &TestApp, rate: f64, people: usize) -> Vec<Buyer> {
    let policy = json!({"rate_per_second": rate, "burst": 1, "active_max": 100_000});
    app.operator.tune("main", policy).await;
    app.active_buyer().await;
    // For a minute people are told that the rate is lower than it was.
    app.pass(60).await;
    app.active_buyer().await;
    let mut line = Vec::new();
    for _ in 0..people {
        let buyer = app.buyer();
        buyer.join().await.ok();
        line.push(buyer);
    }
    line
}

fn seconds(place: &Value, field: &str) -> i64 {
    place[field].as_i64().unwrap_or_else(|| panic!("no {field}: {place}"))
}

async fn reason(buyer: &Buyer) -> Value {
    let place = buyer.poll().await.ok();
    let estimated = place.get("eta_seconds").is_some();
    let stops = !matches!(place["reason"].as_str(), None | Some("rate_lowered" | "turns_taken"));
    assert_eq!(estimated, !stops, "whoever does not move is told no time: {place}");
    place["reason"].clone()
}

stories! {
    async fn the_turn_comes_within_the_range_that_was_told(app: &TestApp) {
        let line = line(app, 2.0, 60).await;
        let mut ranges = Vec::new();
        for second in 1..=40_i64 {
            app.pass(1).await;
            for (who, buyer) in line.iter().enumerate().step_by(7) {
                let place = buyer.poll().await.ok();
                if place["status"] == "active" {
                    for (told_who, told_at, low, high) in &ranges {
                        let waited: i64 = second - told_at;
                        let held = *told_who != who || (*low..=high + 1).contains(&waited);
                        assert!(held, "told {low} to {high} s at {told_at}, came at {second}");
                    }
                    ranges.retain(|(told_who, ..)| *told_who != who);
                } else {
                    let (low, high) = (seconds(&place, "eta_low_seconds"), seconds(&place, "eta_high_seconds"));
                    assert!((low..=high).contains(&seconds(&place, "eta_seconds")), "{place}");
                    ranges.push((who, second, low, high));
                }
            }
        }
    }

    async fn an_estimate_that_rises_says_why(app: &TestApp) {
        let line = line(app, 10.0, 30).await;
        let last = line.last().unwrap();
        app.pass(1).await;
        let before = last.poll().await.ok();
        assert_eq!(before.get("reason"), None, "{before}");

        app.operator.tune("main", json!({"rate_per_second": 1})).await;
        app.pass_ms(200).await;
        let after = last.poll().await.ok();
        assert_eq!(after["reason"], "rate_lowered");
        assert!(seconds(&after, "eta_low_seconds") > seconds(&before, "eta_seconds"), "{before} {after}");
        app.pass(60).await;
        assert_eq!(reason(&app.waiting_buyer().await).await, Value::Null, "everybody has been told");

        app.operator.tune("main", json!({"mode": "paused"})).await;
        assert_eq!(reason(&app.waiting_buyer().await).await, "paused");
    }

    async fn whoever_waits_for_seats_is_told_so(app: &TestApp) {
        let concert = app.concert(["1", "2"]).await;
        app.pass(1).await;
        let (ann, bob) = (app.rich_buyer(PRICE).await, app.rich_buyer(PRICE).await);
        let cy = app.waiting_buyer().await;
        let (first, second) = (ann.hold(concert, ["1"]).await.held(), bob.hold(concert, ["2"]).await.held());
        app.pass(1).await;
        assert_eq!(reason(&cy).await, "full");

        ann.pay(first).await.paid();
        bob.pay(second).await.paid();
        app.work_is_done().await;
        app.pass(1).await;
        assert_eq!(reason(&cy).await, "sold_out");
    }

    /// However high the rate is: nobody has left yet, and nobody knows when somebody will.
    async fn whoever_waits_for_others_to_finish_is_told_so(app: &TestApp) {
        let policy = json!({"rate_per_second": 50, "active_max": 2, "session_seconds": 300, "claim_seconds": 300});
        app.operator.tune("main", policy).await;
        let inside = [app.active_buyer().await, app.active_buyer().await];
        let last = app.waiting_buyer().await;
        for _ in 0..60 {
            app.pass(1).await;
            assert_eq!(reason(&last).await, "turns_taken");
        }
        let place = last.poll().await.ok();
        let told = ["eta_low_seconds", "eta_seconds", "eta_high_seconds"].map(|field| seconds(&place, field));
        assert!(told[0] == 0 && (100..=300).contains(&told[1]) && told[2] >= 300, "two turns of 300 s: {place}");

        inside[0].leave().await.no_content();
        app.pass(1).await;
        assert_eq!(last.poll().await.ok()["status"], "active");
    }

    /// The further from the front the later, the more people ask the later, and never so late that a turn passes.
    async fn people_are_told_when_to_ask_again(app: &TestApp) {
        let line = line(app, 1.0, 200).await;
        app.pass(1).await;
        let mut told = Vec::new();
        for buyer in [&line[5], &line[199]] {
            told.push(seconds(&buyer.poll().await.ok(), "poll_after_ms"));
        }
        assert!((500..=5_000).contains(&told[0]) && (20_000..=30_000).contains(&told[1]), "{told:?}");
    }

    async fn what_was_seen_while_the_line_was_paused_is_no_estimate(app: &TestApp) {
        let line = line(app, 50.0, 0).await;
        assert!(line.is_empty());
        app.operator.tune("main", json!({"mode": "paused"})).await;
        let mut last = app.buyer();
        for _ in 0..200 {
            last = app.buyer();
            last.join().await.ok();
        }
        for _ in 0..60 {
            app.pass(1).await;
            last.poll().await.ok();
        }
        app.operator.tune("main", json!({"mode": "open"})).await;
        app.pass_ms(200).await;

        let place = last.poll().await.ok();
        let (low, high) = (seconds(&place, "eta_low_seconds"), seconds(&place, "eta_high_seconds"));
        assert!((low..=high).contains(&(seconds(&place, "position") / 50)), "{place}");
    }

    async fn on_a_ramp_the_turn_comes_within_the_range(app: &TestApp) {
        let line = line(app, 1.0, 200).await;
        let at = usher::clock::rfc3339(app.clock.now_ms() + 1_000);
        let plan = json!({"at": at, "policy": {"rate_per_second": 100}, "ramp_seconds": 10});
        app.operator.send("POST", "/admin/queues/main/schedule", plan).await.created();
        app.app.queue.carry_out_due().await.unwrap();
        app.pass(1).await;
        app.app.queue.carry_out_due().await.unwrap();
        app.pass_ms(200).await;

        let last = line.last().unwrap();
        let place = last.poll().await.ok();
        let mut waited_ms = 0;
        while last.poll().await.ok()["status"] == "waiting" {
            app.pass_ms(200).await;
            waited_ms += 200;
        }
        let (low, high) = (seconds(&place, "eta_low_seconds"), seconds(&place, "eta_high_seconds"));
        assert!((low..=high).contains(&(waited_ms / 1_000)), "came after {waited_ms} ms: {place}");
    }
}
