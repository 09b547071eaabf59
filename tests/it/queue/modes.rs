//! What each mode of a queue does to joins, to admission and to live turns.

use crate::harness::*;

async fn mode(app: &TestApp, mode: &str) {
    app.operator.tune("main", json!({"mode": mode})).await;
}

stories! {
    async fn paused_lets_people_join_and_nobody_in(app: &TestApp) {
        let concert = app.hall().await;
        let ann = app.active_buyer().await;
        mode(app, "paused").await;
        let bob = app.waiting_buyer().await;
        app.pass(60).await;

        let place = bob.poll().await.ok();
        assert_eq!((&place["status"], &place["reason"]), (&json!("waiting"), &json!("paused")));
        ann.hold(concert, ["A-1"]).await.held();

        mode(app, "open").await;
        app.pass(1).await;
        bob.poll().await.active();
    }

    async fn draining_serves_the_line_and_takes_nobody_new(app: &TestApp) {
        let ann = app.one_at_a_time().await;
        let bob = app.waiting_buyer().await;
        mode(app, "draining").await;

        app.buyer().join().await.refused(403, "queue_closed");
        assert_eq!(bob.join().await.waiting(), 1, "whoever is in line already keeps the place");
        ann.leave().await.no_content();
        app.pass(1).await;
        bob.poll().await.active();
    }

    async fn closed_keeps_places_and_admits_nobody(app: &TestApp) {
        let concert = app.hall().await;
        let ann = app.one_at_a_time().await;
        let (bob, cy) = (app.waiting_buyer().await, app.waiting_buyer().await);
        mode(app, "closed").await;

        app.buyer().join().await.refused(403, "queue_closed");
        ann.hold(concert, ["A-1"]).await.held();
        ann.leave().await.no_content();
        app.pass(60).await;
        bob.poll().await.waiting();

        mode(app, "open").await;
        app.pass(1).await;
        bob.poll().await.active();
        assert_eq!(cy.poll().await.waiting(), 1);
    }

    async fn whoever_comes_while_the_doors_open_gets_a_number_or_is_too_early(app: &TestApp) {
        for _ in 0..20 {
            mode(app, "closed").await;
            let crowd: Vec<Buyer> = (0..50).map(|_| app.buyer()).collect();
            let joins = join_all(crowd.iter().map(Buyer::join));
            let (answers, ()) = tokio::join!(joins, mode(app, "open"));
            for answer in answers.into_iter().filter(|answer| answer.status != 200) {
                answer.refused(403, "queue_closed");
            }
        }
    }

    async fn passthrough_lets_everybody_in_and_writes_it_down(app: &TestApp) {
        let concert = app.concert(["1"]).await;
        let change = json!({"mode": "passthrough", "rate_per_second": 0, "active_max": 1});
        app.operator.tune("main", change).await;
        let start = app.operator.admitted_total("main").await;

        let crowd: Vec<Buyer> = (0..10).map(|_| app.buyer()).collect();
        for buyer in &crowd {
            buyer.join().await.active();
        }
        assert_eq!(app.operator.admitted_total("main").await - start, 10);
        crowd[9].hold(concert, ["1"]).await.held();
    }

    async fn a_message_reaches_those_who_wait(app: &TestApp) {
        for message in ["Back in ten minutes", ""] {
            app.operator.tune("main", json!({"message": message})).await;
            app.pass(1).await;
            assert_eq!(app.get("/queues/main").await.ok()["message"], message);
        }
    }
}
