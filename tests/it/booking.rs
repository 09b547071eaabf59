//! Holding seats: all or none, for a while, for one person.
//!
//! Where several people are in the shop a second, huge concert (`app.hall()`) plays in the same queue: admission
//! looks at the stock, and would let one person at a time at the last seat.

use crate::harness::*;

const HOLD_SECONDS: u64 = 300;

stories! {
    async fn a_hold_takes_all_seats_or_none(app: &TestApp) {
        app.hall().await;
        let concert = app.concert(["1", "2", "3", "4"]).await;
        let (ann, bob) = (app.active_buyer().await, app.active_buyer().await);
        ann.hold(concert, ["2", "3"]).await.held();

        let problem = bob.hold(concert, ["1", "2", "3", "4"]).await.refused(409, "seat_taken");
        assert_eq!(problem["taken"], json!(["2", "3"]));
        assert_eq!(problem["booking_result"], "seat_taken");
        assert_eq!(app.seats(concert).await, "AHHA");
        bob.hold(concert, ["1", "4"]).await.held();
    }

    async fn a_booking_says_what_was_held(app: &TestApp) {
        let concert = app.concert(["1", "2"]).await;
        let ann = app.active_buyer().await;
        let booking = ann.hold_list(concert, "1,2").await.created();
        assert_eq!(booking["amount"], 2 * PRICE);
        assert_eq!(booking["user_id"], ann.user_id);
        assert_eq!(booking["concert_id"], concert);
        assert_eq!(booking["seats"], json!(["1", "2"]));

        let seen = ann.booking(booking["booking_id"].as_i64().unwrap()).await.ok();
        assert_eq!(seen["status"], "held");
        for field in ["booking_id", "concert_id", "seats", "amount", "expires_at"] {
            assert_eq!(seen[field], booking[field], "{field}");
        }
    }

    async fn the_same_seats_again_are_the_same_booking(app: &TestApp) {
        let concert = app.concert(["1", "2"]).await;
        let ann = app.active_buyer().await;
        let first = ann.hold(concert, ["1", "2"]).await.created();
        app.pass(10).await;
        let again = ann.hold(concert, ["1", "2"]).await.created();
        assert_eq!(again, first, "and no longer a hold");
        assert_eq!(ann.hold(concert, ["2", "1"]).await.created()["booking_id"], first["booking_id"]);
        assert_eq!(ann.bookings().await.len(), 1);
    }

    async fn some_of_ones_own_seats_are_taken_too(app: &TestApp) {
        let concert = app.concert(["1", "2", "3"]).await;
        let ann = app.active_buyer().await;
        ann.hold(concert, ["1", "2"]).await.held();
        let problem = ann.hold(concert, ["2", "3"]).await.refused(409, "seat_taken");
        assert_eq!(problem["taken"], json!(["2"]));
    }

    async fn a_hold_that_runs_out_frees_the_seat(app: &TestApp) {
        app.hall().await;
        let concert = app.concert(["1", "2"]).await;
        let (ann, bob) = (app.active_buyer().await, app.active_buyer().await);
        let booking = ann.hold(concert, ["1"]).await.held();
        app.pass(HOLD_SECONDS - 1).await;
        bob.hold(concert, ["1"]).await.refused(409, "seat_taken");

        app.pass(1).await;
        bob.hold(concert, ["1"]).await.held();
        app.app.housekeep().await.unwrap();
        assert_eq!(ann.status_of(booking).await, "expired");
        ann.pay(booking).await.refused(410, "hold_expired");
    }

    async fn an_expired_hold_shows_as_such_by_itself(app: &TestApp) {
        let concert = app.concert(["1"]).await;
        let ann = app.active_buyer().await;
        let booking = ann.hold(concert, ["1"]).await.held();
        app.pass(HOLD_SECONDS).await;
        assert_eq!(ann.status_of(booking).await, "expired");
        assert_eq!(ann.booking(booking).await.ok()["status"], "expired");
        assert_eq!(app.seats(concert).await, "A");
    }

    async fn cancelling_frees_the_seat_at_once(app: &TestApp) {
        app.hall().await;
        let concert = app.concert(["1"]).await;
        let (ann, bob) = (app.active_buyer().await, app.active_buyer().await);
        let booking = ann.hold(concert, ["1"]).await.held();

        ann.cancel(booking).await.no_content();
        ann.cancel(booking).await.no_content();

        assert_eq!(ann.status_of(booking).await, "cancelled");
        bob.hold(concert, ["1"]).await.held();
        ann.pay(booking).await.refused(409, "booking_not_held");
    }

    async fn what_lapsed_stays_expired(app: &TestApp) {
        let concert = app.concert(["1", "2"]).await;
        let ann = app.rich_buyer(PRICE).await;
        let (first, second) =
            (ann.hold(concert, ["1"]).await.held(), ann.hold(concert, ["2"]).await.held());
        app.pass(HOLD_SECONDS).await;
        ann.cancel(first).await.no_content();
        ann.leave().await.no_content();
        for booking in [first, second] {
            assert_eq!(ann.status_of(booking).await, "expired");
            ann.pay(booking).await.refused(410, "hold_expired");
        }
    }

    async fn every_lapsed_hold_is_swept(app: &TestApp) {
        let concert = app.hall().await;
        app.operator.tune("main", json!({"mode": "passthrough"})).await;
        let crowd: Vec<Buyer> = (0..26).map(|_| app.buyer()).collect();
        let holds = crowd.iter().zip(["A", "B", "C", "D", "E", "F"].iter().cycle()).enumerate();
        join_all(holds.map(async |(n, (buyer, row))| {
            buyer.join().await.active();
            for seat in 1..=20 {
                buyer.hold_list(concert, &format!("{row}-{}", n / 6 * 20 + seat)).await.held();
            }
        }))
        .await;
        app.pass(HOLD_SECONDS).await;
        assert_eq!(app.app.booking.expire().await.unwrap(), 520, "in one sweep");
    }

    async fn a_key_gives_its_first_answer_again(app: &TestApp) {
        app.hall().await;
        let concert = app.concert(["1", "2"]).await;
        let (ann, bob) = (app.rich_buyer(PRICE).await, app.active_buyer().await);
        let first = ann.hold_with_key(concert, "1", "once").await.created();
        bob.hold(concert, ["2"]).await.held();
        assert_eq!(ann.hold_with_key(concert, "1", "once").await.created(), first);
        ann.hold_with_key(concert, "2", "once").await.refused(422, "idempotency_key_reuse");

        ann.pay(first["booking_id"].as_i64().unwrap()).await.paid();
        ann.poll().await.refused(410, "turn_ended");
        assert_eq!(ann.hold_with_key(concert, "1", "once").await.created(), first, "for ever");
        assert_eq!(ann.bookings().await.len(), 1);
    }

    async fn the_key_of_a_hold_in_vain_holds_nothing(app: &TestApp) {
        app.hall().await;
        let concert = app.concert(["1", "2"]).await;
        let (ann, bob) = (app.active_buyer().await, app.active_buyer().await);
        ann.hold_with_key(concert, "1", "lapses").await.held();
        let let_go = ann.hold_with_key(concert, "2", "cancelled").await.held();
        ann.cancel(let_go).await.no_content();
        ann.hold_with_key(concert, "2", "cancelled").await.refused(410, "hold_expired");
        app.pass(HOLD_SECONDS).await;
        ann.hold_with_key(concert, "1", "lapses").await.refused(410, "hold_expired");
        bob.hold(concert, ["1"]).await.held();
        ann.hold_with_key(concert, "1", "lapses").await.refused(410, "hold_expired");
        bob.hold_with_key(concert, "2", "lapses").await.held();
    }

    async fn a_booking_says_when_to_ask_again(app: &TestApp) {
        let concert = app.hall().await;
        app.one_at_a_time().await;
        app.operator.tune("main", json!({"rate_per_second": 0.01})).await;
        let bob = app.waiting_buyer().await;
        let answer = bob.hold(concert, ["A-1"]).await;
        let seconds: i64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!(seconds > 1, "the turn is minutes away: {seconds}");
        answer.refused(403, "not_admitted");
    }

    async fn who_tries_to_book_has_claimed_the_turn(app: &TestApp) {
        let concert = app.hall().await;
        let inside = app.one_at_a_time().await;
        let bob = app.waiting_buyer().await;
        inside.hold(concert, ["A-1"]).await.held();
        app.operator.tune("main", json!({"active_max": 2})).await;
        app.pass(1).await;
        bob.hold(concert, ["A-1"]).await.refused(409, "seat_taken");
        app.pass(61).await;
        bob.hold(concert, ["A-2"]).await.held();
    }

    async fn what_is_paid_cannot_be_cancelled(app: &TestApp) {
        let concert = app.concert(["1"]).await;
        let ann = app.rich_buyer(PRICE).await;
        let booking = ann.hold(concert, ["1"]).await.held();
        ann.pay(booking).await.paid();
        ann.cancel(booking).await.refused(409, "booking_not_held");
        assert_eq!(app.seats(concert).await, "S");
    }

    async fn a_turn_may_hold_several_times(app: &TestApp) {
        let concert = app.concert(["1", "2", "3"]).await;
        let ann = app.rich_buyer(2 * PRICE).await;
        let first = ann.hold(concert, ["1"]).await.held();
        let second = ann.hold(concert, ["3"]).await.held();
        ann.pay(first).await.paid();
        ann.poll().await.active();
        ann.pay(second).await.paid();
        ann.poll().await.refused(410, "turn_ended");
    }

    async fn one_booking_has_so_many_seats_and_no_more(app: &TestApp) {
        let concert = app.concert(["1", "2", "3"]).await;
        app.operator.tune("main", json!({"seats_per_booking_max": 2})).await;
        let ann = app.active_buyer().await;
        ann.hold(concert, ["1", "2", "3"]).await.refused(422, "too_many_seats");
        ann.hold(concert, ["1", "2"]).await.held();
    }

    async fn one_person_has_so_many_seats_and_no_more(app: &TestApp) {
        let concert = app.concert(["1", "2", "3", "4"]).await;
        app.operator.tune("main", json!({"seats_per_user_max": 2})).await;
        let ann = app.rich_buyer(PRICE).await;
        let bought = ann.hold(concert, ["1"]).await.held();
        let held = ann.hold(concert, ["2"]).await.held();
        ann.pay(bought).await.paid();

        ann.hold(concert, ["3"]).await.refused(403, "purchase_limit");
        ann.cancel(held).await.no_content();
        ann.hold(concert, ["3"]).await.held();
        assert_eq!(app.seats(concert).await, "SAHA");
    }

    async fn nothing_is_sold_once_the_concert_begins(app: &TestApp) {
        let concert = app.concert(["1"]).await;
        let ann = app.active_buyer().await;
        let soon = json!({"starts_at": app.unix_seconds() + 100});
        app.operator.send("PUT", &format!("/admin/concerts/{concert}"), soon).await.ok();

        app.pass(100).await;
        ann.hold(concert, ["1"]).await.refused(410, "sale_closed");
    }

    async fn an_unknown_seat_is_not_found(app: &TestApp) {
        let concert = app.concert(["1"]).await;
        let ann = app.active_buyer().await;
        ann.hold(concert, ["1", "99"]).await.refused(404, "seat_not_found");
        assert_eq!(app.seats(concert).await, "A");
    }

    async fn another_persons_booking_looks_like_none(app: &TestApp) {
        app.hall().await;
        let concert = app.concert(["1", "2"]).await;
        let (ann, bob) = (app.active_buyer().await, app.rich_buyer(PRICE).await);
        let booking = ann.hold(concert, ["1"]).await.held();

        let words = |answer: Answer| answer.refused(404, "booking_not_found")["detail"].clone();
        assert_eq!(words(bob.booking(booking).await), words(bob.booking(999).await));
        assert_eq!(words(bob.cancel(booking).await), words(bob.cancel(999).await));
        assert_eq!(words(bob.pay(booking).await), words(bob.pay(999).await));
        assert_eq!(ann.status_of(booking).await, "held");
    }

    async fn a_hold_outlives_the_turn_and_can_be_paid(app: &TestApp) {
        let concert = app.concert(["1", "2"]).await;
        let ann = app.rich_buyer(PRICE).await;
        app.pass(599).await;
        let booking = ann.hold(concert, ["1"]).await.held();
        app.pass(2).await;

        ann.hold(concert, ["2"]).await.refused(410, "turn_ended");
        assert_eq!(ann.booking(booking).await.ok()["status"], "held");
        app.pass(200).await;
        ann.pay(booking).await.paid();
    }

    async fn prices_come_from_the_catalogue(app: &TestApp) {
        let tiers = json!([
            {"name": "stalls", "price": 9_000, "seats": ["1", "2"]},
            {"name": "gods", "price": 1_500, "seats": {"rows": ["Z"], "per_row": 2}},
        ]);
        let concert = json!({"title": "Lied", "place": "Barn", "tiers": tiers,
            "starts_at": app.unix_seconds() + 3_600});
        let made = app.operator.send("POST", "/admin/concerts", concert).await.created();
        let concert = made["concert_id"].as_i64().unwrap();
        let ann = app.active_buyer().await;
        assert_eq!(ann.hold(concert, ["1", "Z-2"]).await.created()["amount"], 10_500);
    }

    async fn a_users_bookings_are_listed_newest_first(app: &TestApp) {
        let concert = app.hall().await;
        let ann = app.active_buyer().await;
        let mut made = Vec::new();
        for seat in ["A-1", "A-2", "A-3"] {
            made.insert(0, ann.hold(concert, [seat]).await.held());
        }
        let path = format!("/users/{}/bookings", ann.user_id);
        let first = ann.get(&format!("{path}?limit=2")).await.ok();
        let rest = ann.get(&format!("{path}?limit=2&before={}", first["next"])).await.ok();
        let ids = |page: &Value| -> Vec<i64> {
            let bookings = page["bookings"].as_array().unwrap();
            bookings.iter().map(|booking| booking["booking_id"].as_i64().unwrap()).collect()
        };
        assert_eq!([ids(&first), ids(&rest)].concat(), made);
        assert_eq!(rest["next"], Value::Null);
        assert!(app.buyer().bookings().await.is_empty());
    }
}

stories_on_postgres! {
    async fn a_hold_is_given_away_later_than_it_may_be_paid(on: &Database) {
        let app = TestApp::among_several(*on).await;
        let concert = app.hall().await;
        app.operator.tune("main", json!({"seats_per_user_max": 1})).await;
        let (ann, bob) = (app.rich_buyer(PRICE).await, app.active_buyer().await);
        let booking = ann.hold(concert, ["A-1"]).await.held();

        app.pass(HOLD_SECONDS + 1).await;
        ann.pay(booking).await.refused(410, "hold_expired");
        bob.hold(concert, ["A-1"]).await.refused(409, "seat_taken");
        // Without her mark in Redis it is SQL that refuses.
        ann.cancel(booking).await.no_content();
        bob.hold(concert, ["A-1"]).await.refused(409, "seat_taken");
        app.app.housekeep().await.unwrap();
        ann.hold(concert, ["A-2"]).await.refused(403, "purchase_limit");

        app.pass(1).await;
        bob.hold(concert, ["A-1"]).await.held();
        ann.hold(concert, ["A-2"]).await.held();
        app.finish().await;
    }

    async fn a_seat_let_go_behind_the_back_of_redis_is_free_again(app: &TestApp) {
        let concert = app.hall().await;
        let (ann, bob) = (app.active_buyer().await, app.active_buyer().await);
        let elsewhere = app.another_instance_without_redis().await;
        let booking = ann.hold(concert, ["A-1"]).await.held();
        ann.at(&elsewhere).cancel(booking).await.no_content();
        bob.hold(concert, ["A-1"]).await.refused(409, "seat_taken");
        app.pass(5).await;
        bob.hold(concert, ["A-1"]).await.held();

        let again = ann.hold(concert, ["A-2"]).await.held();
        ann.at(&elsewhere).cancel(again).await.no_content();
        ann.cancel(again).await.no_content();
        bob.hold(concert, ["A-2"]).await.held();
        elsewhere.stop().await;
    }
}
