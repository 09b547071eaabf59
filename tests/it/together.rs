//! Holds and payments that come at the same time share transactions. Each gets the answer that it would get alone.

use crate::harness::*;

/// The same person at the same door, for once without the audit of answers: the story breaks the database.
fn unlucky(app: &TestApp, buyer: &Buyer) -> Buyer {
    let at = app.public.address().trim_start_matches("http://").parse().unwrap();
    let again = Buyer::new(buyer.user_id, Http::to(at), None);
    again.takes(buyer.token());
    again
}

/// From now on the database refuses every row of this person in a table.
async fn refuse_rows(app: &TestApp, on: Database, table: &str, user_id: i64) {
    let refuse = match on {
        Database::Sqlite => "BEGIN SELECT RAISE(ABORT, 'broken'); END",
        Database::Postgres => "EXECUTE FUNCTION refuse_change('broken')",
    };
    let trigger = format!(
        "CREATE TRIGGER broken BEFORE INSERT ON {table} FOR EACH ROW WHEN (NEW.user_id = {user_id}) {refuse}"
    );
    app.run_sql(&trigger).await;
}

stories! {
    async fn many_holds_at_once_get_each_their_own_answer(app: &TestApp) {
        let concert = app.hall().await;
        app.operator.tune("main", json!({"seats_per_user_max": 2})).await;
        let crowd = app.active_crowd(60).await;
        crowd[0].hold(concert, ["J-1"]).await.held();
        crowd[1].hold_with_key(concert, "J-2", "k").await.held();

        let wish = async |n: usize, buyer: &Buyer| match n % 6 {
            0 => buyer.hold_list(concert, "J-1,J-2").await,
            1 => buyer.hold_list(concert, &format!("A-{n},B-{n},G-{n}")).await,
            2 => buyer.hold_list(concert, "Z-1").await,
            3 => buyer.hold_list(concert, &format!("C-{n}")).await,
            4 => buyer.hold_with_key(concert, &format!("D-{n}"), "k").await,
            _ => buyer.hold_list(concert, &format!("E-{n},F-{n}")).await,
        };
        let wishes = crowd.iter().enumerate().skip(2).map(|(n, buyer)| wish(n, buyer));
        let again = crowd.iter().enumerate().skip(2).map(|(n, buyer)| wish(n, buyer));
        let (first, second) = tokio::join!(join_all(wishes), join_all(again));

        for ((n, buyer), (one, two)) in crowd.iter().enumerate().skip(2).zip(first.into_iter().zip(second)) {
            let refusal = match n % 6 {
                0 => (409, "seat_taken"),
                1 => (403, "purchase_limit"),
                2 => (404, "seat_not_found"),
                _ => (201, ""),
            };
            if refusal.0 == 201 {
                assert_eq!(one.held(), two.held(), "the same wish is the same booking");
            } else {
                one.refused(refusal.0, refusal.1);
                two.refused(refusal.0, refusal.1);
            }
            assert_eq!(buyer.bookings().await.len(), usize::from(n % 6 > 2), "{n}");
        }
        crowd[1].hold_with_key(concert, "G-1", "k").await.refused(422, "idempotency_key_reuse");
    }

    async fn many_payments_at_once_get_each_their_own_answer(app: &TestApp) {
        let concert = app.hall().await;
        let crowd = app.active_crowd(50).await;
        let mut bookings = Vec::new();
        for (n, buyer) in crowd.iter().enumerate() {
            buyer.top_up(if n % 5 == 1 { PRICE - 1 } else { 2 * PRICE }).await.ok();
            let booking = buyer.hold_list(concert, &format!("A-{}", n + 1)).await.held();
            if n % 5 == 2 {
                buyer.cancel(booking).await.no_content();
            }
            if n % 5 == 4 {
                let other = buyer.hold_list(concert, &format!("B-{}", n + 1)).await.held();
                buyer.pay_with_key(other, "k").await.paid();
            }
            bookings.push(booking);
        }

        let wish = async |n: usize| match n % 5 {
            3 => crowd[n].pay(bookings[n - 3]).await,
            4 => crowd[n].pay_with_key(bookings[n], "k").await,
            _ => crowd[n].pay(bookings[n]).await,
        };
        let (first, second) =
            tokio::join!(join_all((0..50).map(wish)), join_all((0..50).map(wish)));

        for (n, (one, two)) in first.into_iter().zip(second).enumerate() {
            let (status, code, left) = match n % 5 {
                0 => (200, "", PRICE),
                1 => (402, "insufficient_balance", PRICE - 1),
                2 => (409, "booking_not_held", 2 * PRICE),
                3 => (404, "booking_not_found", 2 * PRICE),
                _ => (422, "idempotency_key_reuse", PRICE),
            };
            if status == 200 {
                assert_eq!(one.paid(), two.paid(), "one payment, one receipt");
            } else {
                one.refused(status, code);
                two.refused(status, code);
            }
            assert_eq!(crowd[n].balance().await, left, "{n}");
        }
    }

    async fn a_hold_that_the_database_cannot_write_fails_alone(on: &Database) {
        let app = TestApp::begin(*on).await;
        let concert = app.hall().await;
        let crowd = app.active_crowd(100).await;
        let guilty = unlucky(&app, &crowd[50]);
        refuse_rows(&app, *on, "booking", guilty.user_id).await;

        let seats: Vec<String> = (1..=100).map(|n| format!("A-{n}")).collect();
        let wishes = crowd.iter().zip(&seats).map(async |(buyer, seat)| {
            let buyer = if buyer.user_id == guilty.user_id { &guilty } else { buyer };
            buyer.hold_list(concert, seat).await
        });
        for (n, answer) in join_all(wishes).await.into_iter().enumerate() {
            assert_eq!(answer.status, if n == 50 { 500 } else { 201 }, "{answer}");
        }
        assert!(guilty.bookings().await.is_empty());
        app.finish().await;
    }

    async fn a_payment_that_the_database_cannot_write_fails_alone(on: &Database) {
        let app = TestApp::begin(*on).await;
        let concert = app.hall().await;
        let crowd = app.active_crowd(100).await;
        let mut bookings = Vec::new();
        for (n, buyer) in crowd.iter().enumerate() {
            buyer.top_up(PRICE).await.ok();
            bookings.push(buyer.hold_list(concert, &format!("A-{}", n + 1)).await.held());
        }
        let guilty = unlucky(&app, &crowd[50]);
        refuse_rows(&app, *on, "transfer", guilty.user_id).await;

        let wishes = crowd.iter().zip(&bookings).map(async |(buyer, booking)| {
            let buyer = if buyer.user_id == guilty.user_id { &guilty } else { buyer };
            buyer.pay(*booking).await
        });
        for (n, answer) in join_all(wishes).await.into_iter().enumerate() {
            assert_eq!(answer.status, if n == 50 { 500 } else { 200 }, "{answer}");
        }
        assert_eq!(guilty.balance().await, PRICE, "nothing was half done");
        assert_eq!(guilty.status_of(bookings[50]).await, "held");
        app.finish().await;
    }
}
