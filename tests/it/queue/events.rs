//! A place that tells of itself: what a stream says, when it ends, and who may listen.

use std::time::Duration;

use usher::ids::QueueName;
use usher::queue::redis::Allowance;

use crate::harness::*;

stories! {
    async fn whoever_listens_is_told_of_every_step_and_of_the_turn(app: &TestApp) {
        let ann = app.one_at_a_time().await;
        let (bob, cy) = (app.waiting_buyer().await, app.waiting_buyer().await);
        let mut stream = cy.listen().await;
        assert_eq!(stream.header("content-type"), "text/event-stream");
        let first = stream.place().await;
        assert_eq!((&first["position"], &first["mode"]), (&json!(2), &json!("open")));

        ann.leave().await.no_content();
        app.pass(1).await;
        stream.until(|place| place["position"] == 1).await;
        bob.leave().await.no_content();
        app.pass(1).await;
        let turn = stream.until(|place| place["status"] == "active").await;

        // The stream announces and does not claim: the turn lasts as long as there is time to claim it.
        let claimed = cy.poll().await.active();
        assert!(claimed["expires_at"].as_str() > turn["expires_at"].as_str());
    }

    async fn a_listener_hears_what_operators_do(app: &TestApp) {
        app.one_at_a_time().await;
        let bob = app.waiting_buyer().await;
        let mut stream = bob.listen().await;
        assert_eq!(stream.place().await["message"], "");

        app.operator.tune("main", json!({"message": "Five minutes more", "mode": "paused"})).await;

        let place = stream.until(|place| place["mode"] == "paused").await;
        assert_eq!((&place["message"], &place["reason"]), (&json!("Five minutes more"), &json!("paused")));
    }

    async fn whoever_has_a_turn_hears_the_operators_too(app: &TestApp) {
        let ann = app.active_buyer().await;
        let mut stream = ann.listen().await;
        assert_eq!(stream.place().await["status"], "active");

        app.operator.tune("main", json!({"message": "Leave the building"})).await;

        stream.until(|place| place["message"] == "Leave the building").await;
    }

    /// The line shows a number as served when its batch is taken; its turn is granted later, and nothing else may move
    /// in between.
    async fn a_turn_that_is_long_in_coming_is_told_when_it_has_come(app: &TestApp) {
        app.one_at_a_time().await;
        let bob = app.waiting_buyer().await;
        let mut stream = bob.listen().await;
        assert_eq!(stream.place().await["position"], 1);

        // Some instance takes the batch; its transaction takes a while.
        let line = app.app.queue.line(&QueueName::main()).await.unwrap();
        let queue = line.queue();
        app.clock.advance(Duration::from_millis(100));
        let allowance = Allowance {
            version: queue.version,
            policy: &queue.policy,
            cap: 2,
            manual_total: queue.manual_total,
        };
        let redis = app.app.queue.redis_line(&line).await.unwrap();
        redis.admit_reserve(&allowance, app.clock.now_ms()).await.unwrap();
        let mut shown = line.shown();
        for _ in 0..2 {
            app.clock.advance(Duration::from_millis(100));
            shown.changed().await.unwrap();
        }

        app.pass(1).await;
        stream.until(|place| place["status"] == "active").await;
        // For the audit: two were allowed at once.
        app.operator.tune("main", json!({"active_max": 2})).await;
    }

    async fn the_end_of_a_turn_is_told_while_the_line_moves(app: &TestApp) {
        let ann = app.active_buyer().await;
        let mut stream = ann.listen().await;
        assert_eq!(stream.place().await["status"], "active");
        ann.leave().await.no_content();

        let moves = async {
            loop {
                app.buyer().join().await.ok();
                app.pass(2).await;
            }
        };
        tokio::select! {
            said = stream.next() => assert_eq!(said.unwrap().0, "ended"),
            () = moves => {}
        }
    }

    async fn a_person_listens_at_four_windows_and_no_more(app: &TestApp) {
        app.one_at_a_time().await;
        let (bob, cy) = (app.waiting_buyer().await, app.waiting_buyer().await);
        let mut windows = Vec::new();
        for _ in 0..4 {
            windows.push(bob.listen().await);
        }
        bob.get("/queue/events").await.refused(429, "rate_limited");
        assert_eq!(cy.listen().await.place().await["position"], 2);
    }

    async fn the_end_of_a_turn_is_the_end_of_its_stream(app: &TestApp) {
        let ann = app.active_buyer().await;
        let mut stream = ann.listen().await;
        assert_eq!(stream.place().await["status"], "active");

        ann.leave().await.no_content();
        app.pass(15).await;

        let ended = json!({"code": "turn_ended"});
        assert_eq!(stream.next().await, Some(("ended".to_owned(), ended)));
        assert_eq!(stream.next().await, None);
        ann.get("/queue/events").await.refused(410, "turn_ended");
    }

    async fn a_stream_that_broke_is_taken_up_where_the_line_is_now(app: &TestApp) {
        let ann = app.one_at_a_time().await;
        app.waiting_buyer().await;
        let cy = app.waiting_buyer().await;
        let mut stream = cy.listen().await;
        assert_eq!(stream.place().await["position"], 2);
        drop(stream);

        ann.leave().await.no_content();
        app.pass(1).await;

        assert_eq!(cy.listen().await.place().await["position"], 1);
    }

    async fn a_browser_shows_its_cookie_and_nobody_the_address(app: &TestApp) {
        app.one_at_a_time().await;
        let bob = app.waiting_buyer().await;
        let (stranger, token) = (app.buyer(), bob.token());
        stranger.get("/queue/events").await.refused(401, "token_missing");
        let in_query = format!("/queue/events?usher_token={token}&token={token}");
        stranger.get(&in_query).await.refused(401, "token_missing");

        let request = || app.public.request("GET", "/queue/events");
        let cookie = format!("theme=dark; usher_token={token}");
        let place = request().header("cookie", &cookie).listen().await.place().await;
        assert_eq!(place["position"], 1);
        let forged = request().header("cookie", &format!("usher_token={token}x")).send().await;
        assert_eq!(forged.status, 401);
    }
}

stories_on_postgres! {
    async fn a_server_that_stops_lets_its_listeners_go(app: &TestApp) {
        app.one_at_a_time().await;
        let bob = app.waiting_buyer().await;
        let other = app.another_instance().await;
        let mut stream = bob.at(&other).listen().await;
        assert_eq!(stream.place().await["position"], 1);

        other.stop().await;

        assert_eq!(stream.next().await, None);
        bob.poll().await.waiting();
    }
}
