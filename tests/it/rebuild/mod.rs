//! A line whose Redis was lost: it comes back in the order it had, nobody gets a second turn, and who has one keeps it.

mod doubt;

use std::ops::Deref;

use crate::bad_input::{connect, is_served};
use crate::harness::*;
use crate::outage::{Fragile, rebuilding};

/// The longest poll interval, and two seconds: by then everybody has asked once.
const PAUSE: u64 = 32;
/// Whoever began an epoch is left alone for so long.
const LEASE: u64 = 5;

/// Redis is empty, and somebody has noticed: the line is rebuilt, and admits nobody yet.
async fn wipe(app: &Fragile) {
    app.redis.flush_all().await;
    app.clock.advance(std::time::Duration::from_secs(LEASE));
    app.buyer().join().await.refused(503, "queue_rebuilding");
    app.app.admit_once().await.unwrap();
    assert_eq!(app.operator.queue("main").await["state"], "rebuilding");
}

/// One inside, and so many who wait.
async fn line_of(app: &Fragile, people: usize) -> (Buyer, Vec<Buyer>) {
    let inside = app.one_at_a_time().await;
    let mut line = Vec::new();
    for _ in 0..people {
        line.push(app.waiting_buyer().await);
    }
    (inside, line)
}

/// So many who came to a draw that is not opened yet.
async fn drawn_line_of(app: &Fragile, people: usize) -> Vec<Buyer> {
    app.operator.tune("main", json!({"mode": "paused"})).await;
    app.operator.request("POST", "/admin/queues/main/draw").send().await.created();
    let drawn: Vec<Buyer> = (0..people).map(|_| app.buyer()).collect();
    for buyer in &drawn {
        buyer.join().await.ok();
    }
    drawn
}

fn of<T: Deref<Target = TestApp>>(app: &T) -> &TestApp {
    app
}

/// Whoever came for his place and was sent away by a limit has to come again before anybody is admitted.
async fn refused_get_more_time(on: Database, until_refused: impl AsyncFn(&Fragile)) {
    let redis = PrivateRedis::start().await;
    let url = redis.url();
    let settings = [("USHER_REDIS_URL", url.as_str()), ("USHER_RATE_LIMITS", "on")];
    let app = Fragile { shop: TestApp::with(on, settings).await, redis };
    let _line = line_of(&app, 1).await;
    wipe(&app).await;
    let state = async || app.operator.queue("main").await["state"].clone();
    app.pass(PAUSE - 1).await;
    until_refused(&app).await;

    app.pass(1).await;
    assert_eq!(state().await, "rebuilding");
    app.pass(PAUSE - 2).await;
    assert_eq!(state().await, "rebuilding");
    app.pass(1).await;
    assert_eq!(state().await, "ok");
    app.finish().await;
}

stories! {
    async fn a_lost_line_comes_back_in_its_order(app: &Fragile) {
        let (inside, line) = line_of(app, 3).await;
        wipe(app).await;

        // Whoever comes meanwhile comes behind them, however late they ask.
        let new = app.buyer();
        rebuilding(&new.join().await.ok());
        for buyer in line.iter().rev() {
            rebuilding(&buyer.poll().await.ok());
        }
        inside.leave().await.no_content();
        app.pass(PAUSE - 1).await;
        assert_eq!(app.operator.queue("main").await["active"], 0, "nobody before they are back");

        app.pass(1).await;
        assert_eq!(app.public.get("/readyz").await.ok()["queue"], "ok");
        app.pass(1).await;
        line[0].poll().await.active();
        assert_eq!(line[1].poll().await.waiting(), 1);
        assert_eq!(line[2].poll().await.waiting(), 2);
        assert_eq!(new.poll().await.waiting(), 3);
        for next in [&line[1], &line[2], &new] {
            app.operator.tune("main", json!({"active_max": 9})).await;
            app.pass(1).await;
            next.poll().await.active();
        }
    }

    async fn whoever_has_a_turn_keeps_it_and_counts(app: &Fragile) {
        let concert = app.hall().await;
        let (inside, line) = line_of(app, 1).await;
        wipe(app).await;

        inside.poll().await.active();
        line[0].poll().await.ok();
        app.pass(PAUSE).await;
        assert_eq!(line[0].poll().await.waiting(), 1, "the turn inside takes the only place");
        let booking = inside.hold(concert, ["A-1"]).await.held();
        inside.top_up(PRICE).await.ok();
        inside.pay(booking).await.paid();
        app.pass(1).await;
        line[0].poll().await.active();
    }

    /// Every way to have had one's turn, presented again after Redis forgot it.
    async fn nobody_gets_a_second_turn(app: &Fragile) {
        let concert = app.concert(["1", "2", "3"]).await;
        let paid = app.rich_buyer(PRICE).await;
        let booking = paid.hold(concert, ["1"]).await.held();
        let left = app.active_buyer().await;
        let overdue = app.active_buyer().await;
        app.operator.tune("main", json!({"active_max": 3})).await;
        let gave_up = app.waiting_buyer().await;
        let unclaimed = app.waiting_buyer().await;
        gave_up.leave().await.no_content();
        paid.pay(booking).await.paid();
        left.leave().await.no_content();
        app.pass(601).await;

        for _ in 0..2 {
            wipe(app).await;
            for buyer in [&paid, &left, &overdue, &unclaimed, &gave_up] {
                buyer.poll().await.refused(410, "turn_ended");
            }
            app.pass(PAUSE).await;
            for buyer in [&paid, &left, &overdue, &unclaimed, &gave_up] {
                buyer.poll().await.refused(410, "turn_ended");
                buyer.hold(concert, ["2"]).await.refused(410, "turn_ended");
            }
        }
        // Who asks for another number gets one, behind everybody.
        left.takes(app.buyer_named(left.user_id).join().await.ok()["token_id"].as_str().unwrap());
    }

    async fn holds_and_sales_come_back(app: &Fragile) {
        let concert = app.concert(["1", "2", "3"]).await;
        let (ann, bob) = (app.rich_buyer(PRICE).await, app.active_buyer().await);
        let booking = ann.hold(concert, ["1"]).await.held();
        ann.hold(concert, ["2"]).await.held();
        ann.pay(booking).await.paid();
        wipe(app).await;

        let marks = app.redis.hash(&format!("seats:{concert}")).await;
        assert_eq!(marks["1"], "sold");
        assert!(marks["2"].starts_with(&format!("{}|", ann.user_id)), "{marks:?}");
        assert_eq!(marks.len(), 2);
        bob.hold(concert, ["1"]).await.refused(409, "seat_taken");
        bob.hold(concert, ["3"]).await.held();
    }

    /// Places are told by those who came back; whoever came in between two losses stays behind the earlier ones.
    async fn two_losses_leave_one_order(app: &Fragile) {
        let (inside, first) = line_of(app, 2).await;
        wipe(app).await;
        let second = app.buyer();
        second.join().await.ok();
        for buyer in &first {
            buyer.poll().await.ok();
        }
        app.pass(PAUSE).await;
        assert_eq!(second.poll().await.waiting(), 3);

        wipe(app).await;
        let third = app.buyer();
        third.join().await.ok();
        rebuilding(&second.poll().await.ok());
        for buyer in &first {
            buyer.poll().await.ok();
        }
        app.pass(PAUSE).await;
        app.clock.advance(std::time::Duration::from_secs(1));
        let mut places = Vec::new();
        for buyer in [&first[0], &first[1], &second, &third] {
            places.push(buyer.poll().await.waiting());
        }
        assert_eq!(places, [1, 2, 3, 4]);
        inside.leave().await.no_content();
        app.operator.tune("main", json!({"active_max": 9, "rate_per_second": 1, "burst": 1})).await;
        for buyer in [&first[0], &first[1], &second, &third] {
            app.pass(1).await;
            buyer.poll().await.active();
        }
    }

    async fn a_place_that_was_given_up_is_no_obstacle_to_the_next(app: &Fragile) {
        let (_inside, line) = line_of(app, 1).await;
        line[0].leave().await.no_content();
        let bob = app.buyer_named(line[0].user_id);
        bob.join().await.waiting();
        wipe(app).await;

        line[0].poll().await.refused(410, "turn_ended");
        bob.poll().await.ok();
        app.pass(PAUSE).await;
        bob.poll().await.waiting();
    }

    /// Somebody who lined up again while his place was lost has it back with his old token, and but one place.
    async fn the_earlier_of_two_places_counts(app: &Fragile) {
        let (inside, line) = line_of(app, 2).await;
        wipe(app).await;
        let again = app.buyer_named(line[0].user_id);
        again.join().await.ok();
        line[1].poll().await.ok();
        rebuilding(&line[0].poll().await.ok());
        app.pass(PAUSE).await;
        inside.leave().await.no_content();
        app.operator.tune("main", json!({"active_max": 1})).await;
        app.pass(1).await;
        line[0].poll().await.active();
        line[0].leave().await.no_content();
        app.pass(1).await;
        line[1].poll().await.active();
        again.poll().await.refused(410, "turn_ended");
    }

    async fn people_who_were_refused_unread_get_more_time(on: &Database) {
        let asks_too_often = async |app: &Fragile| {
            let mut refused = false;
            for _ in 0..30 {
                let answers = join_all((0..50).map(|_| app.public.get("/queues/main"))).await;
                refused |= answers.iter().any(|answer| answer.status == 429);
            }
            assert!(refused);
        };
        refused_get_more_time(*on, asks_too_often).await;
    }

    async fn people_who_were_refused_at_the_door_get_more_time(on: &Database) {
        let takes_what_there_is = async |app: &Fragile| {
            let (mut open, mut served) = (Vec::new(), true);
            while served {
                let mut stream = connect(&app.public).await;
                served = is_served(&mut stream).await;
                open.push(stream);
            }
        };
        refused_get_more_time(*on, takes_what_there_is).await;
    }

    /// A booking with the token of a lost line is a way to come back like any other.
    async fn whoever_tries_to_book_has_come_back(app: &Fragile) {
        let concert = app.hall().await;
        let (inside, line) = line_of(app, 2).await;
        wipe(app).await;
        line[1].poll().await.ok();
        app.pass(1).await;
        line[0].hold(concert, ["A-1"]).await.refused(403, "not_admitted");
        app.pass(PAUSE).await;
        inside.leave().await.no_content();
        app.pass(1).await;
        line[0].poll().await.active();
        assert_eq!(line[1].poll().await.waiting(), 1);
    }

    async fn a_draw_outlives_its_redis(app: &Fragile) {
        let drawn = drawn_line_of(app, 3).await;
        let gone = app.buyer();
        gone.join().await.ok();
        gone.leave().await.no_content();
        wipe(app).await;

        let late = app.buyer();
        let place = late.join().await.ok();
        assert!(place["draw_number"].as_i64().unwrap() > 3, "nobody's number: {place}");
        for (buyer, n) in drawn.iter().zip(1..) {
            let place = buyer.poll().await.ok();
            assert_eq!(place["draw_number"], n, "{place}");
        }
        let gone = app.buyer_named(gone.user_id);
        assert!(gone.join().await.ok().get("draw_number").is_none(), "he is not drawn twice");
        app.pass(PAUSE).await;
        app.operator.tune("main", json!({"mode": "open", "active_max": 0})).await;
        app.pass(1).await;
        let mut places = Vec::new();
        for buyer in drawn.iter().chain([&late]) {
            places.push(buyer.poll().await.waiting());
        }
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), 4, "each his own: {places:?}");
        assert!(places[3] <= 5 && gone.poll().await.waiting() >= 5, "behind the drawn: {places:?}");
    }

    /// Who lined up again without his token, and then finds it, has the place that was drawn.
    async fn a_drawn_place_comes_before_a_later_one(app: &Fragile) {
        let drawn = drawn_line_of(app, 3).await;
        app.operator.tune("main", json!({"mode": "open", "active_max": 0})).await;
        app.pass(1).await;
        wipe(app).await;
        let again = app.buyer_named(drawn[0].user_id);
        again.join().await.ok();
        for buyer in &drawn {
            assert!(buyer.poll().await.ok()["draw_number"].is_number());
        }
        app.pass(PAUSE).await;
        app.operator.tune("main", json!({"active_max": 3})).await;
        app.pass(1).await;
        for buyer in &drawn {
            buyer.poll().await.active();
        }
    }
}

stories_on_postgres! {
    /// A winner that dies leaves the line to whoever comes after its lease.
    async fn a_rebuild_that_was_given_up_is_begun_again(app: &Fragile) {
        let (_inside, line) = line_of(app, 1).await;
        app.redis.flush_all().await;
        app.run_sql("UPDATE queue SET epoch = 2, epoch_at = 1900000000000, changed_at = 1900000000000, version = version + 1").await;
        app.app.queue.refresh().await.unwrap();
        rebuilding(&line[0].poll().await.ok());
        app.app.admit_once().await.unwrap_err();
        rebuilding(&line[0].poll().await.ok());

        app.clock.advance(std::time::Duration::from_secs(LEASE));
        app.app.admit_once().await.unwrap();
        line[0].poll().await.ok();
        app.pass(PAUSE).await;
        assert_eq!(line[0].poll().await.waiting(), 1);
    }

    /// SQL has closed the place, and Redis has not heard of it: whoever joins again gets a place that counts.
    async fn a_lost_leave_does_not_hold_a_person(app: &Fragile) {
        let (inside, line) = line_of(app, 1).await;
        let other = of(app).another_instance().await;
        app.redis.set("min-replicas-to-write", "1").await;
        line[0].leave().await.no_content();
        app.redis.set("min-replicas-to-write", "0").await;

        let again = app.buyer_named(line[0].user_id).at(&other);
        again.join().await.waiting();
        inside.leave().await.no_content();
        app.pass(1).await;
        again.poll().await.active();
        other.stop().await;
    }

    async fn one_instance_rebuilds_and_all_go_on(app: &Fragile) {
        let (inside, line) = line_of(app, 2).await;
        let other = of(app).another_instance().await;
        line[0].at(&other).poll().await.waiting();
        app.redis.flush_all().await;
        app.clock.advance(std::time::Duration::from_secs(LEASE));
        rebuilding(&line[0].poll().await.ok());
        rebuilding(&line[1].at(&other).poll().await.ok());
        app.app.admit_once().await.unwrap();
        other.app.admit_once().await.unwrap();
        let epoch = |app: &TestApp| app.app.queue.lines()[0].epoch();
        assert_eq!((epoch(app), epoch(&other)), (2, 2));

        line[1].at(&other).poll().await.ok();
        line[0].poll().await.ok();
        app.pass(PAUSE).await;
        other.app.admit_once().await.unwrap();
        assert_eq!(line[1].at(&other).poll().await.waiting(), 2);
        inside.leave().await.no_content();
        app.pass(1).await;
        line[0].at(&other).poll().await.active();
        other.stop().await;
    }
}
