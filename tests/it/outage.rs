//! Machines that go away. Nothing may be half done, nothing may be granted on a guess, and no answer is a 500.

use std::ops::Deref;
use std::time::Duration;

use usher::clock::Clock;

use crate::harness::*;

/// So long what readiness found is told.
const A_LOOK: Duration = Duration::from_millis(400);

/// A server whose Redis is its own, so that a story may kill it.
pub struct Fragile {
    pub shop: TestApp,
    pub redis: PrivateRedis,
}

impl Deref for Fragile {
    type Target = TestApp;

    fn deref(&self) -> &TestApp {
        &self.shop
    }
}

impl Stage for Fragile {
    async fn begin(on: Database) -> Fragile {
        let redis = PrivateRedis::start().await;
        let shop = TestApp::with(on, [("USHER_REDIS_URL", redis.url().as_str())]).await;
        Fragile { shop, redis }
    }

    /// The audit wants a Redis to look at, whatever became of the story's.
    async fn finish(self) {
        self.redis.kill().await;
        self.redis.start_again().await;
        self.shop.finish().await;
        self.redis.kill().await;
    }
}

pub fn rebuilding(place: &Value) {
    assert_eq!((&place["status"], &place["reason"]), (&json!("waiting"), &json!("rebuilding")));
    assert!(place.get("position").is_none_or(Value::is_null), "{place}");
    assert!(place["poll_after_ms"].as_i64().unwrap() <= 30_000);
}

stories! {
    async fn without_redis_nobody_joins(app: &Fragile) {
        app.redis.kill().await;

        let problem = app.buyer().join().await.refused(503, "unavailable");
        assert_eq!(problem["retryable"], true);
        app.public.get("/readyz").await.status(503);
        app.operator.http.get("/readyz").await.status(503);
        app.public.get("/livez").await.status(200);
    }

    async fn without_redis_operators_are_told_what_is_wrong(app: &Fragile) {
        app.redis.kill().await;
        let health = app.operator.get("/admin/health").await.ok();
        assert_eq!((&health["ready"], &health["database"]), (&json!(false), &json!("ok")));
        let redis = |finding: &&Value| finding["what"] == "Redis";
        let found = health["findings"].as_array().unwrap().iter().find(redis).unwrap();
        assert_eq!(found["ok"], false, "{health}");
    }

    /// However many ask, the machines are asked once; and a fault is told of as soon as that look is a moment old.
    async fn a_flood_of_probes_is_one_look(app: &Fragile) {
        let before = app.redis.times_told().await;
        for answer in join_all((0..100).map(|_| app.get("/readyz"))).await {
            answer.ok();
        }
        assert_eq!(app.redis.times_told().await - before, 1);

        app.redis.kill().await;
        app.clock.advance(A_LOOK);
        for listener in [&app.public, &app.operator.http] {
            let problem = listener.get("/readyz").await.refused(503, "unavailable");
            assert!(problem["detail"].as_str().unwrap().contains("Redis is not available"), "{problem}");
        }
    }

    async fn without_redis_a_booking_can_be_paid(app: &Fragile) {
        let concert = app.concert(["1", "2"]).await;
        let ann = app.rich_buyer(PRICE).await;
        let booking = ann.hold(concert, ["1"]).await.held();
        app.redis.kill().await;

        ann.hold(concert, ["2"]).await.refused(503, "unavailable");
        ann.pay(booking).await.paid();
        assert_eq!(ann.status_of(booking).await, "paid");
        assert_eq!(ann.balance().await, 0);
        app.get("/concerts").await.ok();
    }

    async fn without_redis_whoever_waits_is_told_so(app: &Fragile) {
        app.one_at_a_time().await;
        let bob = app.waiting_buyer().await;
        app.redis.kill().await;
        app.clock.advance(Duration::from_secs(1));

        rebuilding(&bob.poll().await.ok());
    }

    /// One poll waits for it in vain; the others are told what is known, and ask nothing.
    async fn a_redis_that_hangs_is_asked_by_one(app: &Fragile) {
        app.one_at_a_time().await;
        let bob = app.waiting_buyer().await;
        let before = app.redis.scripts_run().await;

        app.redis.freeze().await;
        app.clock.advance(Duration::from_secs(1));
        for _ in 0..20 {
            rebuilding(&bob.poll().await.ok());
        }
        app.redis.thaw().await;
        assert_eq!(app.redis.scripts_run().await - before, 1);

        app.clock.advance(Duration::from_secs(1));
        assert_eq!(bob.poll().await.waiting(), 1);
    }

    /// Nobody waits for a server that hangs after somebody else has done so in vain.
    async fn a_redis_that_hangs_is_connected_to_by_one(app: &Fragile) {
        let crowd: Vec<_> = (0..20).map(|_| app.buyer()).collect();
        app.redis.freeze().await;
        let joins = || join_all(crowd.iter().map(Buyer::join));
        for answer in joins().await {
            answer.refused(503, "unavailable");
        }
        app.redis.thaw().await;
        let before = app.redis.connections_made().await;

        app.redis.freeze().await;
        for answer in joins().await {
            answer.refused(503, "unavailable");
        }
        app.redis.thaw().await;
        assert_eq!(app.redis.connections_made().await - before, 2, "theirs and ours");
    }

    async fn an_emptied_redis_is_not_an_empty_queue(app: &Fragile) {
        let concert = app.hall().await;
        let inside = app.one_at_a_time().await;
        let bob = app.waiting_buyer().await;
        let admitted = app.operator.admitted_total("main").await;

        app.redis.flush_all().await;
        app.clock.advance(Duration::from_secs(60));

        app.buyer().join().await.refused(503, "queue_rebuilding");
        inside.hold(concert, ["A-1"]).await.refused(503, "queue_rebuilding");
        drop(app.app.admit_once().await);
        rebuilding(&bob.poll().await.ok());
        let queue = app.operator.queue("main").await;
        assert_eq!(queue["state"], "rebuilding");
        assert_eq!(queue["admitted_total"], admitted);
        let ready = app.public.get("/readyz").await.ok();
        assert_eq!(ready["queue"], "rebuilding");
    }

    async fn a_redis_that_restarts_empty_is_not_believed(app: &Fragile) {
        app.active_buyer().await;
        app.redis.kill().await;
        app.redis.start_again().await;

        // The first call finds the connection broken, the next one finds another server behind the address.
        assert_eq!(app.buyer().join().await.status, 503);
        app.buyer().join().await.refused(503, "queue_rebuilding");
    }

    async fn money_needs_no_line(app: &Fragile) {
        let concert = app.concert(["1"]).await;
        let ann = app.active_buyer().await;
        let booking = ann.hold(concert, ["1"]).await.held();
        app.redis.flush_all().await;

        ann.top_up(PRICE).await.ok();
        ann.pay(booking).await.paid();
        assert_eq!(ann.status_of(booking).await, "paid");
    }

    async fn every_key_carries_the_installation(app: &Fragile) {
        let concert = app.hall().await;
        let ann = app.one_at_a_time().await;
        app.waiting_buyer().await;
        ann.hold(concert, ["A-1"]).await.held();

        let keys = app.redis.keys().await;
        let ours = format!("usher:{}:", app.app.installation());
        assert!(keys.len() >= 4 && keys.iter().all(|key| key.starts_with(&ours)), "{keys:?}");
    }
}

/// Nobody knows whether it happened, and that is what the client is told.
fn outcome_unknown(answer: Answer) {
    let problem = answer.refused(503, "outcome_unknown");
    assert_eq!(problem["retryable"], true);
}

stories_on_postgres! {
    async fn what_a_lost_commit_did_is_found_and_not_done_again(app: &TestApp) {
        let wire = Wire::to(app.setting("USHER_DATABASE_URL")).await;
        let far = app.another_instance_over(&wire).await;
        let concert = app.concert(["1"]).await;
        let ann = app.active_buyer().await;
        let ann_from_afar = ann.at(&far);

        wire.lose_next_commit();
        outcome_unknown(ann_from_afar.top_up_with_key(PRICE, "k").await);
        assert_eq!(ann.balance().await, PRICE, "it happened");
        assert_eq!(ann_from_afar.top_up_with_key(PRICE, "k").await.ok()["balance"], PRICE);

        wire.lose_next_commit();
        outcome_unknown(ann_from_afar.hold(concert, ["1"]).await);
        let [lost] = ann.bookings().await.try_into().expect("it happened");
        let booking = ann_from_afar.hold(concert, ["1"]).await.held();
        assert_eq!(lost["booking_id"], booking);

        wire.lose_next_commit();
        outcome_unknown(ann_from_afar.pay(booking).await);
        assert_eq!(ann.status_of(booking).await, "paid", "it happened");
        assert_eq!(ann_from_afar.pay(booking).await.paid()["balance"], 0);

        assert_eq!(ann.history("").await["entries"].as_array().unwrap().len(), 2);
        assert_eq!(ann.bookings().await.len(), 1);
        far.stop().await;
    }

    /// Else people would be told for a while that somebody is before them who is inside.
    async fn a_lost_commit_of_a_tick_is_known_when_it_ends(app: &TestApp) {
        let wire = Wire::to(app.setting("USHER_DATABASE_URL")).await;
        let far = app.another_instance_over(&wire).await;
        app.one_at_a_time().await;
        let line = [app.waiting_buyer().await, app.waiting_buyer().await, app.waiting_buyer().await];
        app.operator.tune("main", json!({"active_max": 9, "rate_per_second": 1, "burst": 1})).await;
        let admitted = app.operator.admitted_total("main").await;
        far.app.queue.refresh().await.unwrap();
        app.clock.advance(Duration::from_secs(1));

        wire.lose_next_commit();
        far.app.admit_once().await.unwrap();
        assert_eq!(app.operator.admitted_total("main").await, admitted + 1);
        assert_eq!(line[2].at(&far).poll().await.waiting(), 1);
        far.stop().await;
    }

    /// Nobody says that it is gone, so nobody would ever hear that it is not coming back.
    async fn a_database_that_vanishes_without_a_word_stops_nobody_for_long(app: &TestApp) {
        let wire = Wire::to(app.setting("USHER_DATABASE_URL")).await;
        let far = app.another_instance_over(&wire).await;
        app.one_at_a_time().await;
        let line = [app.waiting_buyer().await, app.waiting_buyer().await];
        app.operator.tune("main", json!({"active_max": 9, "rate_per_second": 1, "burst": 1})).await;
        far.app.queue.refresh().await.unwrap();
        app.clock.advance(Duration::from_secs(1));

        wire.fall_silent_at_next_commit();
        let ticked = tokio::time::timeout(Duration::from_secs(30), far.app.admit_once()).await;
        ticked.expect("it is given up").expect("and done again over another connection");
        line[1].at(&far).poll().await.active();

        wire.fall_silent_at_next_commit();
        outcome_unknown(line[1].at(&far).top_up_with_key(PRICE, "k").await);
        assert_eq!(line[1].at(&far).top_up_with_key(PRICE, "k").await.ok()["balance"], PRICE);
        far.stop().await;
    }

    async fn without_sql_nothing_is_granted(app: &TestApp) {
        let concert = app.hall().await;
        let ann = app.rich_buyer(PRICE).await;
        let booking = ann.hold(concert, ["A-1"]).await.held();
        let admitted = app.operator.admitted_total("main").await;

        app.let_sql_connect(false).await;
        ann.pay(booking).await.refused(503, "unavailable");
        ann.hold(concert, ["A-2"]).await.refused(503, "unavailable");
        ann.top_up(5).await.refused(503, "unavailable");
        app.get(&format!("/balance/{}", ann.user_id)).await.refused(503, "unavailable");
        let joined = app.buyer().join().await;
        assert!(joined.status == 503 || joined.json()["status"] == "waiting", "{joined}");
        app.public.get("/readyz").await.status(503);
        drop(app.app.admit_once().await);

        app.let_sql_connect(true).await;
        assert_eq!(app.operator.admitted_total("main").await, admitted);
        assert_eq!(ann.balance().await, PRICE, "nothing was half done");
        ann.pay(booking).await.paid();
        app.clock.advance(A_LOOK);
        app.public.get("/readyz").await.status(200);
    }

    /// What everybody asks for all the time costs no SQL; nor does a place in line.
    async fn without_sql_the_crowd_is_answered(app: &TestApp) {
        app.hall().await;
        app.one_at_a_time().await;
        let bob = app.waiting_buyer().await;
        let (queue, concerts) = (app.get("/queues/main").await.ok(), app.get("/concerts").await.ok());

        app.let_sql_connect(false).await;
        assert_eq!(app.get("/queues/main").await.ok(), queue);
        assert_eq!(app.get("/concerts").await.ok(), concerts);
        app.clock.advance(Duration::from_secs(1));
        assert_eq!(bob.poll().await.waiting(), 1);
        app.let_sql_connect(true).await;
    }

    /// Its clock would fill the bucket that all instances share, and end what has not ended.
    async fn an_instance_whose_clock_is_off_admits_nobody(on: &Database) {
        let right = TestApp::by_clock(Clock::system(), *on, []).await;
        let off = right.another_instance_by(Clock::shifted()).await;
        let bob = off.buyer();
        off.clock.advance(Duration::from_secs(2));

        assert_eq!(bob.join().await.waiting(), 1);
        off.app.admit_once().await.unwrap_err();
        off.public.get("/readyz").await.refused(503, "unavailable");
        assert_eq!(bob.poll().await.waiting(), 1, "polls go on");

        right.app.admit_once().await.unwrap();
        bob.at(&right).poll().await.active();
        off.stop().await;
        right.finish().await;
    }

    /// Redis takes the number out of the line; SQL, which comes back half a second later, gives it the turn.
    async fn a_turn_begins_when_sql_grants_it(app: &TestApp) {
        app.hall().await;
        let change = json!({"rate_per_second": 2, "burst": 1, "active_max": 2});
        app.operator.tune("main", change).await;
        app.active_buyer().await;
        let bob = app.waiting_buyer().await;
        app.app.admit_once().await.unwrap();

        app.let_sql_connect(false).await;
        app.clock.advance(Duration::from_millis(500));
        app.app.admit_once().await.unwrap_err();
        app.let_sql_connect(true).await;
        app.pass_ms(500).await;
        bob.poll().await.active();
        let granted_at = usher::clock::rfc3339(app.clock.now_ms());
        assert_eq!(app.operator.queue("main").await["last_admitted_at"], granted_at);
    }

    async fn the_line_goes_on_when_sql_comes_back(app: &TestApp) {
        let inside = app.one_at_a_time().await;
        let (bob, cy) = (app.waiting_buyer().await, app.waiting_buyer().await);
        inside.leave().await.no_content();

        app.let_sql_connect(false).await;
        app.clock.advance(Duration::from_secs(1));
        drop(app.app.admit_once().await);
        app.let_sql_connect(true).await;

        app.pass(2).await;
        bob.poll().await.active();
        cy.poll().await.waiting();
        assert_eq!(app.operator.queue("main").await["active"], 1);
    }
}
