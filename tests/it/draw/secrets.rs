//! When a draw does not begin, and what nobody may know before it is opened.

use super::{DRAW, announced, crowd, draw_number, open_slowly};
use crate::harness::*;

const QUEUE: &str = "/queues/main/draw";

async fn announce(app: &TestApp) -> Answer {
    app.operator.request("POST", DRAW).send().await
}

/// The row of an announcement whose instance died before it told Redis.
async fn announced_by_half(app: &TestApp) {
    let draw = format!(
        "draw_seed = '{}', draw_epoch = epoch, draw_announced_at = changed_at",
        "ab".repeat(32)
    );
    app.run_sql(&format!("UPDATE queue SET version = version + 1, {draw} WHERE name = 'main'"))
        .await;
    app.app.queue.refresh().await.unwrap();
}

stories! {
    async fn a_draw_begins_on_a_paused_queue_that_nobody_has_joined(app: &TestApp) {
        app.get(QUEUE).await.refused(404, "draw_not_found");
        app.operator.get(DRAW).await.refused(404, "draw_not_found");
        app.get("/queues/nowhere/draw").await.refused(404, "queue_not_found");
        announce(app).await.refused(409, "queue_in_use");

        app.operator.tune("main", json!({"mode": "paused"})).await;
        let ann = app.waiting_buyer().await;
        announce(app).await.refused(409, "queue_in_use");
        ann.leave().await.no_content();
        announce(app).await.refused(409, "queue_in_use");
        app.get(QUEUE).await.refused(404, "draw_not_found");
        app.operator.tune("main", json!({"mode": "open"})).await;
        app.active_buyer().await;
    }

    async fn a_queue_has_one_draw(app: &TestApp) {
        let draw = announced(app).await;
        announce(app).await.refused(409, "draw_exists");
        assert_eq!(app.get(QUEUE).await.ok(), draw);
        let deed = app.operator.last_deed().await;
        assert_eq!((&deed["action"], &deed["operator"]), (&json!("draw.announce"), &json!("operator")));
        assert_eq!(deed["after"]["commitment"], draw["commitment"]);
        open_slowly(app).await;
        app.operator.tune("main", json!({"mode": "paused"})).await;
        announce(app).await.refused(409, "draw_exists");
        assert_eq!(app.get(QUEUE).await.ok()["state"], "opened", "what is revealed stays so");
    }

    async fn closing_is_not_opening(app: &TestApp) {
        announced(app).await;
        let crowd = crowd(app, 1).await;
        app.operator.tune("main", json!({"mode": "closed"})).await;
        app.buyer().join().await.refused(403, "queue_closed");
        assert_eq!(crowd[0].poll().await.ok()["reason"], "closed");
        assert_eq!(app.get(QUEUE).await.ok()["state"], "announced");
        app.operator.tune("main", json!({"mode": "open"})).await;
        crowd[0].poll().await.active();
    }

    /// Not by anybody, the operators included.
    async fn before_the_opening_the_seed_is_not_to_be_seen(app: &TestApp) {
        announced(app).await;
        let crowd = crowd(app, 2).await;
        let places = ["/admin/queues", "/admin/queues/main", DRAW, "/admin/audit", "/admin/queues/main/policy"];
        let mut answers = vec![app.get(QUEUE).await, app.get("/queues/main").await, crowd[0].poll().await];
        for path in places {
            answers.push(app.operator.get(path).await);
        }
        let metrics = app.operator.get("/metrics").await;
        answers.push(metrics);
        let row = format!("{:?}", app.app.queue.line(&usher::ids::QueueName::main()).await.unwrap().queue());

        open_slowly(app).await;
        let draw = app.get(QUEUE).await.ok();
        let seed = draw["seed"].as_str().unwrap();
        assert_eq!(seed.len(), 64);
        for answer in answers {
            assert!(!answer.text.contains(seed), "{answer}");
        }
        assert!(row.contains("Seed(***)") && !row.contains(seed), "{row}");
    }

    async fn a_token_does_not_tell_how_lucky_its_owner_is(app: &TestApp) {
        announced(app).await;
        let crowd = crowd(app, 3).await;
        for (buyer, n) in crowd.iter().zip(1..) {
            assert_eq!(number_of(&buyer.token()), 1 << 40 | n);
        }
        open_slowly(app).await;
        for (buyer, n) in crowd.iter().zip(1..) {
            let before = buyer.token();
            buyer.join().await.waiting();
            assert_eq!((buyer.token(), number_of(&before)), (before, 1 << 40 | n), "it stays good");
        }
    }

    /// Tokens are read at every door, holds and payments included.
    async fn whoever_was_drawn_buys_like_anybody_else(app: &TestApp) {
        let concert = app.hall().await;
        announced(app).await;
        let crowd = crowd(app, 2).await;
        crowd[0].hold(concert, ["A-1"]).await.refused(403, "not_admitted");
        app.operator.tune("main", json!({"mode": "open"})).await;
        for (buyer, seat) in crowd.iter().zip(["A-1", "A-2"]) {
            buyer.top_up_with_key(PRICE, "pocket money").await.ok();
            let booking = buyer.hold(concert, [seat]).await.held();
            buyer.pay(booking).await.paid();
            buyer.poll().await.refused(410, "turn_ended");
        }
    }

    async fn a_stranger_s_number_of_a_draw_is_refused(app: &TestApp) {
        announced(app).await;
        let crowd = crowd(app, 1).await;
        let token = crowd[0].token();
        app.operator.create_queue("other", json!({"mode": "paused"})).await;
        let name = usher::ids::QueueName::parse("other").unwrap();
        let number = usher::ids::QueueNumber(number_of(&token));
        let user = usher::ids::UserId(crowd[0].user_id);
        let now = app.clock.now_ms();
        crowd[0].takes(app.app.tokens.sign(&name, user, (number, 1), now).unwrap());
        crowd[0].poll().await.refused(401, "token_invalid");
        crowd[0].takes(token);
        draw_number(crowd[0].poll().await).await;
    }
}

stories_on_postgres! {
    async fn an_announcement_that_came_halfway_is_finished_by_whoever_joins(app: &TestApp) {
        app.operator.tune("main", json!({"mode": "paused"})).await;
        announced_by_half(app).await;
        crowd(app, 2).await;
        announce(app).await.refused(409, "draw_exists");
    }

    async fn an_announcement_that_came_too_late_is_taken_back(app: &TestApp) {
        app.operator.tune("main", json!({"mode": "paused"})).await;
        let ann = app.waiting_buyer().await;
        announced_by_half(app).await;
        let bob = app.buyer();
        assert_eq!(bob.join().await.waiting(), 2);
        assert_eq!(ann.poll().await.waiting(), 1);
        app.get(QUEUE).await.refused(404, "draw_not_found");
        let deed = app.operator.last_deed().await;
        assert_eq!((&deed["action"], &deed["operator"]), (&json!("draw.withdraw"), &json!("usher")));
    }

    async fn a_seed_is_never_replaced(app: &TestApp) {
        let draw = announced(app).await;
        let other = format!("UPDATE queue SET draw_seed = '{}'; RAISE 'it was';", "cd".repeat(32));
        let expected = "SQLERRM NOT LIKE '%a_seed_is_never_replaced%'";
        let refused = format!("EXCEPTION WHEN OTHERS THEN IF {expected} THEN RAISE; END IF; END $$");
        app.run_sql(&format!("DO $$ BEGIN {other} {refused}")).await;
        assert_eq!(app.get(QUEUE).await.ok(), draw);
    }
}
