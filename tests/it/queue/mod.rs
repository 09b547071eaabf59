//! The line as people meet it: places, turns, and how both end. Admission by rate and cap is in `admission.rs`,
//! what an operator's mode does to the line in `modes.rs`, what people are told of the time in `estimates.rs`, places that
//! tell of themselves in `events.rs`.

mod admission;
mod estimates;
mod events;
mod modes;

use usher::clock::Clock;
use usher::ids::{QueueName, UserId};
use usher::queue::Queue;
use usher::queue::redis::Allowance;

use crate::harness::*;

stories! {
    async fn joining_twice_is_joining_once(app: &TestApp) {
        app.one_at_a_time().await;
        let (ann, bob) = (app.buyer(), app.buyer());

        assert_eq!(ann.join().await.waiting(), 1);
        assert_eq!(ann.join().await.waiting(), 1, "the same place again");
        assert_eq!(bob.join().await.waiting(), 2, "the second join took no number");
        assert_eq!(app.operator.queue("main").await["waiting"], 2);
    }

    /// Half a life of a token is twelve hours: it changes once in each, and the one before stays good.
    async fn a_token_asked_for_again_is_the_same_token(app: &TestApp) {
        app.one_at_a_time().await;
        let ann = app.waiting_buyer().await;
        let first = ann.token();
        app.pass(1).await;
        ann.join().await.waiting();
        assert_eq!(ann.token(), first);

        app.pass(12 * 3_600).await;
        let polled = ann.poll().await.ok();
        ann.join().await.ok();
        assert_ne!(ann.token(), first);
        assert_eq!(polled["token_id"], ann.token(), "a poll says so, too");
        assert_eq!(number_of(&ann.token()), number_of(&first));
        ann.takes(first);
        ann.poll().await.ok();
    }

    async fn position_one_is_next(app: &TestApp) {
        let inside = app.one_at_a_time().await;
        let (ann, bob) = (app.waiting_buyer().await, app.waiting_buyer().await);

        inside.leave().await.no_content();
        app.pass(1).await;

        ann.poll().await.active();
        assert_eq!(bob.poll().await.waiting(), 1);
    }

    async fn a_position_never_rises(app: &TestApp) {
        let mut inside = app.one_at_a_time().await;
        let mut line = Vec::new();
        for _ in 0..5 {
            line.push(app.waiting_buyer().await);
        }
        line.remove(1).leave().await.no_content();
        let last = line.pop().unwrap();
        let mut position = last.poll().await.waiting();

        for next in line {
            inside.leave().await.no_content();
            app.pass(1).await;
            let now = last.poll().await.waiting();
            assert!(now <= position, "from {position} to {now}");
            position = now;
            next.poll().await.active();
            inside = next;
        }
        assert_eq!(position, 1);
    }

    async fn a_free_turn_is_given_within_the_join(app: &TestApp) {
        let ann = app.buyer();
        let place = ann.join().await.active();
        assert_eq!(place["queue"], "main");

        assert_eq!(ann.poll().await.active()["expires_at"], place["expires_at"]);
        assert_eq!(ann.join().await.active()["expires_at"], place["expires_at"]);
    }

    async fn a_waiting_token_books_nothing(app: &TestApp) {
        let concert = app.hall().await;
        app.one_at_a_time().await;
        let (_ann, bob) = (app.waiting_buyer().await, app.waiting_buyer().await);

        let answer = bob.hold(concert, ["A-1"]).await;
        assert!(answer.header("retry-after").unwrap().parse::<u32>().unwrap() >= 1);
        let problem = answer.refused(403, "not_admitted");
        assert_eq!(problem["position"], 2);
        assert_eq!(problem["booking_result"], "not_admitted");
        assert!(bob.bookings().await.is_empty());
    }

    async fn a_turn_ends_after_its_session(app: &TestApp) {
        let concert = app.hall().await;
        let ann = app.one_at_a_time().await;
        let (bob, cy) = (app.waiting_buyer().await, app.waiting_buyer().await);

        app.pass(599).await;
        ann.poll().await.active();
        app.pass(2).await;

        ann.poll().await.refused(410, "turn_ended");
        ann.hold(concert, ["A-1"]).await.refused(410, "turn_ended");
        bob.poll().await.active();
        assert_eq!(cy.poll().await.waiting(), 1);
        assert_eq!(ann.join().await.waiting(), 2, "a new number, at the back");
    }

    async fn an_old_token_stays_dead_beside_the_new_one(app: &TestApp) {
        let ann = app.active_buyer().await;
        let old = ann.token();
        ann.leave().await.no_content();
        ann.join().await.active();

        ann.poll().await.active();
        ann.takes(old);
        ann.poll().await.refused(410, "turn_ended");
    }

    async fn whoever_leaves_the_line_is_gone(app: &TestApp) {
        app.one_at_a_time().await;
        let (ann, bob) = (app.waiting_buyer().await, app.waiting_buyer().await);

        ann.leave().await.no_content();
        ann.leave().await.no_content();

        ann.poll().await.refused(410, "turn_ended");
        assert_eq!(app.operator.queue("main").await["waiting"], 1);
        let behind_bob = ann.join().await.waiting();
        app.pass(1).await;
        assert!(bob.poll().await.waiting() < behind_bob);
    }

    async fn whoever_leaves_the_shop_makes_room(app: &TestApp) {
        let ann = app.one_at_a_time().await;
        let bob = app.waiting_buyer().await;

        ann.leave().await.no_content();
        ann.leave().await.no_content();
        app.app.admit_once().await.unwrap();

        bob.poll().await.active();
        ann.poll().await.refused(410, "turn_ended");
    }

    async fn a_late_goodbye_of_an_ended_turn_takes_nothing_from_the_next_one(app: &TestApp) {
        let concert = app.concert(["1", "2"]).await;
        let ann = app.active_buyer().await;
        let old = ann.token();
        ann.leave().await.no_content();
        ann.join().await.active();
        let (new, booking) = (ann.token(), ann.hold(concert, ["1"]).await.held());

        ann.takes(old);
        ann.leave().await.no_content();

        ann.takes(new);
        ann.poll().await.active();
        assert_eq!(ann.status_of(booking).await, "held");
        assert_eq!(app.seats(concert).await, "HA");
        ann.hold(concert, ["2"]).await.held();
    }

    async fn leaving_lets_unpaid_seats_go(app: &TestApp) {
        let concert = app.concert(["1", "2", "3"]).await;
        let ann = app.rich_buyer(PRICE).await;
        let bought = ann.hold(concert, ["1"]).await.held();
        let unpaid = ann.hold(concert, ["2"]).await.held();
        ann.pay(bought).await.paid();

        ann.leave().await.no_content();

        assert_eq!(ann.status_of(bought).await, "paid");
        assert_eq!(ann.status_of(unpaid).await, "cancelled");
        assert_eq!(app.seats(concert).await, "SAA");
    }

    async fn queues_stand_apart(app: &TestApp) {
        app.operator.create_queue("vip", json!({"active_max": 1})).await;
        let gala = app.concert_in("vip", json!(["1"])).await;
        app.one_at_a_time().await;
        let (ann, bob) = (app.buyer(), app.buyer());

        assert_eq!(ann.join_queue("vip").await.active()["queue"], "vip");
        ann.hold(gala, ["1"]).await.held();

        assert_eq!(bob.join_queue("vip").await.waiting(), 1);
        assert_eq!(bob.join().await.waiting(), 1, "one person may stand in two lines");
        app.buyer().join_queue("nowhere").await.refused(404, "queue_not_found");
    }

    async fn a_token_of_another_queue_is_sent_to_the_right_one(app: &TestApp) {
        app.operator.create_queue("vip", json!({})).await;
        let gala = app.concert_in("vip", json!(["1"])).await;
        let ann = app.active_buyer().await;

        let problem = ann.hold(gala, ["1"]).await.refused(403, "wrong_queue");
        assert_eq!(problem["queue"], "vip");
    }

    async fn a_stranger_cannot_use_a_token(app: &TestApp) {
        let concert = app.hall().await;
        let (ann, bob) = (app.active_buyer().await, app.active_buyer().await);

        bob.takes(ann.token());
        bob.hold(concert, ["A-1"]).await.refused(403, "user_mismatch");
        assert!(bob.bookings().await.is_empty() && ann.bookings().await.is_empty());
    }

    async fn everybody_may_look_at_a_queue(app: &TestApp) {
        app.operator.tune("main", json!({"message": "Doors at eight"})).await;
        app.one_at_a_time().await;
        app.waiting_buyer().await;
        app.pass(1).await;

        let answer = app.get("/queues/main").await;
        assert!(answer.header("cache-control").unwrap().contains("max-age=1"));
        let view = answer.ok();
        assert_eq!(view["mode"], "open");
        assert_eq!(view["waiting"], 1);
        assert_eq!(view["message"], "Doors at eight");
        assert!(view["serving_number"].is_i64());
        app.get("/queues/nowhere").await.refused(404, "queue_not_found");
    }

    async fn a_queue_says_why_nobody_moves(app: &TestApp) {
        let concert = app.concert(["1"]).await;
        let reason = async || {
            app.pass(1).await;
            app.get("/queues/main").await.ok()["reason"].clone()
        };
        assert_eq!(reason().await, Value::Null);

        app.operator.tune("main", json!({"mode": "paused"})).await;
        assert_eq!(reason().await, "paused");
        app.operator.tune("main", json!({"mode": "open"})).await;

        let ann = app.rich_buyer(PRICE).await;
        let booking = ann.hold(concert, ["1"]).await.held();
        assert_eq!(reason().await, "full", "all seats are held");
        ann.pay(booking).await.paid();
        assert_eq!(reason().await, "sold_out");
    }

    /// The client of the original specification: it has one token, and never polls.
    async fn the_original_client_buys_a_ticket(app: &TestApp) {
        app.concert(["1", "2"]).await;
        let token = app.get("/token/7").await.ok()["token_id"].as_str().unwrap().to_owned();
        let post = async |path: &str, body: Value| {
            app.public.request("POST", path).header("token-auth", &token).json(&body).send().await
        };

        let concert = app.get("/concerts").await.ok()["concerts"][0].clone();
        let seats = concert["seats"].as_array().unwrap();
        let seat = seats.iter().find(|seat| seat["seat_status"] == "AVAILABLE").unwrap();
        let booking = json!({"user_id": 7, "concert_id": concert["ceoncert_id"],
            "seat_no": seat["seat_id"]});
        let booking_id = post("/booking", booking).await.held();
        post("/balance", json!({"user_id": 7, "balance": PRICE})).await.ok();
        post("/payment", json!({"user_id": 7, "booking_id": booking_id})).await.paid();

        assert_eq!(app.get("/balance/7").await.ok()["balance"], 0);
    }

    async fn numbers_carry_the_epoch_and_never_come_again(app: &TestApp) {
        let (ann, bob) = (app.buyer(), app.buyer());
        let mut numbers = Vec::new();
        for buyer in [&ann, &bob, &ann, &bob, &ann] {
            buyer.join().await.active();
            numbers.push(number_of(&buyer.token()));
            buyer.leave().await.no_content();
        }
        assert!(numbers.is_sorted_by(|earlier, later| earlier < later), "{numbers:?}");
        assert!(numbers[0] >> 40 >= 1 && numbers[0] >> 40 == numbers[4] >> 40, "{numbers:?}");
    }
}

stories! {
    /// Another instance has taken the number a moment ago, and its transaction is under way, or lost.
    async fn a_join_waits_for_a_turn_that_is_on_its_way(on: &Database) {
        let app = TestApp::by_clock(Clock::system(), *on, []).await;
        app.active_buyer().await;
        let bob = app.buyer();
        let line = app.app.queue.line(&QueueName::main()).await.unwrap();
        let (queue, now) = (line.queue(), app.clock.now_ms());
        let redis = app.app.queue.redis_line(&line).await.unwrap();
        redis.join(&[UserId(bob.user_id)], 10, now).await.unwrap();
        let Queue { version, policy, manual_total, .. } = &*queue;
        let (version, manual_total) = (*version, *manual_total);
        let allowance = Allowance { version, policy, cap: 500, manual_total };
        redis.admit_reserve(&allowance, now - 300).await.unwrap();

        bob.join().await.active();
        app.finish().await;
    }
}

stories_on_postgres! {
    async fn a_position_never_rises_from_one_instance_to_the_other(app: &TestApp) {
        let policy = json!({"rate_per_second": 40, "burst": 1, "active_max": 10_000});
        app.operator.tune("main", policy).await;
        let other = app.another_instance().await;
        app.active_buyer().await;
        for _ in 0..120 {
            app.buyer().join().await.ok();
        }
        let bob = app.buyer();
        let mut last = bob.join().await.waiting();
        for step in 0..20 {
            // Only this instance ticks; the other hears of it by looking.
            app.pass_ms(100).await;
            let asked = if step % 2 == 0 { bob.at(&other) } else { bob.at(app) };
            let position = asked.poll().await.waiting();
            assert!(position < last, "{position} after {last}");
            last = position;
        }
        other.stop().await;
    }
}
