//! Who is let in, and when: the rate, the bucket, the cap, and turns that nobody takes.

use crate::harness::*;

/// A queue of its own with this rate and a bucket of one, and so many people in it, in the order of the list.
async fn line(app: &TestApp, name: &str, rate: f64, people: usize) -> Vec<Buyer> {
    app.operator.create_queue(name, json!({"rate_per_second": rate, "burst": 1})).await;
    let line: Vec<Buyer> = (0..people).map(|_| app.buyer()).collect();
    for buyer in &line {
        buyer.join_queue(name).await.ok();
    }
    app.app.admit_once().await.unwrap();
    line
}

stories! {
    async fn the_rate_is_exact(app: &TestApp) {
        for (name, rate, step_ms, admitted) in [
            ("one-a-minute", 1.0 / 60.0, 60_000, 1),
            ("one-in-two-seconds", 0.5, 2_000, 1),
            ("fifty-a-second", 50.0, 100, 5),
        ] {
            line(app, name, rate, 120).await;
            let start = app.operator.admitted_total(name).await;
            for step in 1..=10 {
                app.pass_ms(step_ms).await;
                let total = app.operator.admitted_total(name).await;
                assert_eq!(total - start, step * admitted, "{name}, step {step}");
            }
        }
    }

    async fn many_small_ticks_are_one_rate(app: &TestApp) {
        line(app, "slow", 0.5, 20).await;
        let start = app.operator.admitted_total("slow").await;
        for _ in 0..100 {
            app.pass_ms(201).await;
        }
        let total = app.operator.admitted_total("slow").await;
        assert_eq!(total - start, 10, "20.1 s at one in 2 s");
    }

    async fn a_quiet_hour_saves_up_one_bucket(app: &TestApp) {
        app.operator.tune("main", json!({"rate_per_second": 1, "burst": 5})).await;
        app.active_buyer().await.leave().await.no_content();
        app.pass(3_600).await;

        let crowd: Vec<Buyer> = (0..20).map(|_| app.buyer()).collect();
        let mut active = 0;
        for buyer in &crowd {
            active += usize::from(buyer.join().await.ok()["status"] == "active");
        }
        assert!((5..=6).contains(&active), "{active} at once, with a bucket of 5 and 1 a second");
    }

    async fn a_rate_of_zero_admits_nobody(app: &TestApp) {
        line(app, "still", 0.0, 5).await;
        let start = app.operator.admitted_total("still").await;
        app.pass(3_600).await;
        assert_eq!(app.operator.admitted_total("still").await, start);
    }

    async fn the_cap_is_strict(app: &TestApp) {
        app.operator.tune("main", json!({"active_max": 3})).await;
        let crowd: Vec<Buyer> = (0..10).map(|_| app.buyer()).collect();
        for buyer in &crowd {
            buyer.join().await.ok();
        }
        app.pass(10).await;
        assert_eq!(app.operator.queue("main").await["active"], 3);

        crowd[0].leave().await.no_content();
        app.pass(10).await;
        let queue = app.operator.queue("main").await;
        assert_eq!((&queue["active"], &queue["waiting"]), (&json!(3), &json!(6)));
    }

    async fn admission_keeps_the_order_of_arrival(app: &TestApp) {
        let mut inside = app.one_at_a_time().await;
        let mut line = Vec::new();
        for _ in 0..6 {
            line.push(app.waiting_buyer().await);
        }
        while !line.is_empty() {
            let next = line.remove(0);
            inside.leave().await.no_content();
            app.pass(1).await;
            next.poll().await.active();
            for later in &line {
                later.poll().await.waiting();
            }
            inside = next;
        }
    }

    async fn an_unclaimed_turn_ends_and_makes_room(app: &TestApp) {
        let inside = app.one_at_a_time().await;
        let (bob, cy) = (app.waiting_buyer().await, app.waiting_buyer().await);
        inside.leave().await.no_content();
        app.pass(1).await;

        app.pass(61).await;

        bob.poll().await.refused(410, "turn_ended");
        cy.poll().await.active();
        assert_eq!(app.operator.queue("main").await["unclaimed_total"], 1);
    }

    async fn an_unclaimed_turn_gives_its_credit_back(app: &TestApp) {
        let line = line(app, "slow", 0.1, 15).await;
        let start = app.operator.admitted_total("slow").await;
        let no_show = usize::try_from(start).unwrap();
        for _ in 0..14 {
            app.pass(5).await;
            for (_, buyer) in line.iter().enumerate().filter(|(place, _)| *place != no_show) {
                buyer.poll().await.ok();
            }
        }
        let queue = app.operator.queue("slow").await;
        let total = queue["admitted_total"].as_i64().unwrap();
        assert_eq!(total - start, 7, "one in ten seconds");
        assert_eq!(queue["unclaimed_total"], 1, "found after a minute");

        app.pass(5).await;
        app.pass(5).await;
        let total = app.operator.admitted_total("slow").await;
        assert_eq!(total - start, 9, "one by the rate, one for the turn that nobody took");
    }

    async fn a_claimed_turn_lasts_its_session(app: &TestApp) {
        let inside = app.one_at_a_time().await;
        let bob = app.waiting_buyer().await;
        inside.leave().await.no_content();
        app.pass(1).await;
        bob.poll().await.active();

        app.pass(120).await;
        bob.poll().await.active();
        app.pass(481).await;
        bob.poll().await.refused(410, "turn_ended");
    }
}
