//! Money: paying once, and only for what is held; charging an account; and the history that adds up to it.

use std::time::Duration;

use crate::harness::*;

/// A buyer with money, and one live booking of one seat.
async fn about_to_pay(app: &TestApp, money: i64) -> (Buyer, i64) {
    let concert = app.concert(["1"]).await;
    let buyer = app.rich_buyer(money).await;
    let booking = buyer.hold(concert, ["1"]).await.held();
    (buyer, booking)
}

async fn ten_holds(buyer: &Buyer, concert: i64) -> Vec<i64> {
    let mut bookings = Vec::new();
    for n in 1..=10 {
        bookings.push(buyer.hold_list(concert, &format!("A-{n}")).await.held());
    }
    bookings
}

stories! {
    async fn a_booking_is_paid_once(app: &TestApp) {
        let concert = app.concert(["1", "2"]).await;
        let ann = app.rich_buyer(3 * PRICE).await;
        let booking = ann.hold(concert, ["1", "2"]).await.held();

        let receipt = ann.pay(booking).await.paid();
        assert_eq!(receipt["booking_id"], booking);
        assert_eq!((&receipt["amount"], &receipt["balance"]), (&json!(2 * PRICE), &json!(PRICE)));
        assert_eq!(ann.balance().await, PRICE);
        assert_eq!(ann.status_of(booking).await, "paid");
        assert_eq!(app.seats(concert).await, "SS");
    }

    async fn paying_again_gives_the_same_receipt(app: &TestApp) {
        let (ann, booking) = about_to_pay(app, 2 * PRICE).await;
        let receipt = ann.pay(booking).await.paid();
        ann.top_up(1).await.ok();
        app.pass(43_000).await;

        assert_eq!(ann.pay(booking).await.paid(), receipt, "long after the turn and the hold");
        assert_eq!(ann.balance().await, PRICE + 1);
    }

    async fn too_little_money_changes_nothing(app: &TestApp) {
        let (ann, booking) = about_to_pay(app, PRICE - 1).await;
        let problem = ann.pay(booking).await.refused(402, "insufficient_balance");
        assert_eq!(problem["payment_result"], "insufficient_balance");
        assert_eq!(ann.balance().await, PRICE - 1);
        assert_eq!(ann.history("").await["entries"].as_array().unwrap().len(), 1);
        assert_eq!(ann.status_of(booking).await, "held");

        ann.top_up(1).await.ok();
        ann.pay(booking).await.paid();
        assert_eq!(ann.balance().await, 0);
    }

    async fn nobody_pays_without_an_account(app: &TestApp) {
        let concert = app.concert(["1"]).await;
        let ann = app.active_buyer().await;
        let booking = ann.hold(concert, ["1"]).await.held();
        ann.pay(booking).await.refused(402, "insufficient_balance");
    }

    async fn the_last_moment_of_a_hold_still_pays(app: &TestApp) {
        let (ann, booking) = about_to_pay(app, PRICE).await;
        app.clock.advance(Duration::from_millis(299_999));
        ann.pay(booking).await.paid();
    }

    async fn an_expired_hold_is_not_paid(app: &TestApp) {
        let (ann, booking) = about_to_pay(app, PRICE).await;
        app.clock.advance(Duration::from_secs(300));
        let problem = ann.pay(booking).await.refused(410, "hold_expired");
        assert_eq!(problem["payment_result"], "hold_expired");
        assert_eq!(ann.balance().await, PRICE);
    }

    async fn a_cancelled_booking_is_not_paid(app: &TestApp) {
        let (ann, booking) = about_to_pay(app, PRICE).await;
        ann.cancel(booking).await.no_content();
        ann.pay(booking).await.refused(409, "booking_not_held");
        assert_eq!(ann.balance().await, PRICE);
    }

    async fn the_turn_ends_with_the_payment(app: &TestApp) {
        let hall = app.hall().await;
        let ann = app.one_at_a_time().await;
        let bob = app.waiting_buyer().await;
        ann.top_up(PRICE).await.ok();
        let booking = ann.hold(hall, ["A-1"]).await.held();
        ann.pay(booking).await.paid();
        app.work_is_done().await;
        app.app.admit_once().await.unwrap();

        ann.poll().await.refused(410, "turn_ended");
        ann.hold(hall, ["A-2"]).await.refused(410, "turn_ended");
        bob.poll().await.active();
    }

    async fn charging_adds_up(app: &TestApp) {
        let ann = app.buyer();
        assert_eq!(ann.balance().await, 0, "without an account");
        assert_eq!(ann.top_up(700).await.ok()["balance"], 700);
        assert_eq!(ann.top_up(700).await.ok()["balance"], 1_400, "without a key each is its own");
        assert_eq!(ann.balance().await, 1_400);
    }

    async fn a_charge_with_a_key_happens_once(app: &TestApp) {
        let (ann, bob) = (app.buyer(), app.buyer());
        let first = ann.top_up_with_key(500, "monday").await.ok();
        ann.top_up(1).await.ok();
        let again = ann.top_up_with_key(500, "monday").await.ok();
        assert_eq!(again, first, "what was answered then");
        ann.top_up_with_key(501, "monday").await.refused(422, "idempotency_key_reuse");
        assert_eq!(ann.balance().await, 501);

        bob.top_up_with_key(900, "monday").await.ok();
        assert_eq!(bob.balance().await, 900, "a key belongs to one person");
    }

    async fn a_payment_with_a_key_happens_once(app: &TestApp) {
        let concert = app.concert(["1", "2"]).await;
        let ann = app.rich_buyer(2 * PRICE).await;
        let first = ann.hold(concert, ["1"]).await.held();
        let second = ann.hold(concert, ["2"]).await.held();

        let receipt = ann.pay_with_key(first, "k").await.paid();
        assert_eq!(ann.pay_with_key(first, "k").await.paid(), receipt);
        ann.pay_with_key(second, "k").await.refused(422, "idempotency_key_reuse");
        assert_eq!(ann.balance().await, PRICE);
        ann.pay_with_key(second, "l").await.paid();
    }

    async fn one_key_and_two_bookings_at_the_same_instant(app: &TestApp) {
        app.operator.create_queue("vip", json!({})).await;
        let seats = json!({"rows": ["A"], "per_row": 10});
        let lounge = app.concert_in("vip", seats).await;
        let ann = app.rich_buyer(20 * PRICE).await;
        let in_hall = ten_holds(&ann, app.hall().await).await;
        ann.join_queue("vip").await.active();
        let in_lounge = ten_holds(&ann, lounge).await;

        // Different turns: nothing but the account makes the two meet.
        for (round, (one, other)) in in_hall.into_iter().zip(in_lounge).enumerate() {
            let key = format!("round {round}");
            let (one, other) = tokio::join!(ann.pay_with_key(one, &key), ann.pay_with_key(other, &key));
            let (paid, refused) = if one.status == 200 { (one, other) } else { (other, one) };
            paid.paid();
            refused.refused(422, "idempotency_key_reuse");
        }
        assert_eq!(ann.balance().await, 10 * PRICE);
    }

    async fn a_charge_and_a_payment_may_share_a_key(app: &TestApp) {
        let (ann, booking) = about_to_pay(app, 1).await;
        ann.top_up_with_key(PRICE, "once").await.ok();
        ann.pay_with_key(booking, "once").await.paid();
        assert_eq!(ann.balance().await, 1);
    }

    async fn an_account_has_a_limit(app: &TestApp) {
        let ann = app.buyer();
        for _ in 0..50 {
            for answer in join_all((0..20).map(|_| ann.top_up(1_000_000_000))).await {
                answer.ok();
            }
        }
        ann.top_up(1).await.refused(422, "balance_limit");
        assert_eq!(ann.balance().await, 1_000_000_000_000);
    }

    async fn the_history_is_newest_first_and_in_pages(app: &TestApp) {
        let (ann, booking) = about_to_pay(app, PRICE).await;
        for amount in [11, 12, 13] {
            app.pass(1).await;
            ann.top_up(amount).await.ok();
        }
        ann.pay(booking).await.paid();

        let mut amounts = Vec::new();
        let mut query = "?limit=2".to_owned();
        loop {
            let page = ann.history(&query).await;
            let entries = page["entries"].as_array().unwrap();
            assert!(entries.len() <= 2);
            amounts.extend(entries.iter().map(|entry| entry["amount"].as_i64().unwrap()));
            let Some(next) = page["next"].as_i64() else { break };
            query = format!("?limit=2&before={next}");
        }
        assert_eq!(amounts, [PRICE, 13, 12, 11, PRICE]);
        assert_eq!(ann.history("").await["entries"][0]["balance_after"], 36);
        assert_eq!(app.buyer().history("").await["entries"], json!([]));
    }
}
