//! Many people at the same instant. Whoever wins, the books must balance: the audit after each race is its point.

use std::time::Duration;

use crate::harness::*;

fn count(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

/// All instances tick at the same instant.
async fn tick_together(doors: [&TestApp; 3], milliseconds: u64) {
    doors[0].clock.advance(Duration::from_millis(milliseconds));
    for tick in join_all(doors.map(|door| door.app.admit_once())).await {
        tick.unwrap();
    }
}

stories! {
    async fn two_hundred_buyers_and_one_seat(app: &TestApp) {
        let concert = app.concert(["1"]).await;
        let crowd = app.active_crowd(200).await;

        let answers = join_all(crowd.iter().map(|buyer| buyer.hold(concert, ["1"]))).await;

        assert_eq!(count(&answers, 201), 1, "one winner");
        for loser in answers.into_iter().filter(|answer| answer.status != 201) {
            assert_eq!(loser.refused(409, "seat_taken")["taken"], json!(["1"]));
        }
    }

    async fn two_people_ask_for_one_seat_a_thousand_times(app: &TestApp) {
        let concert = app.hall().await;
        let crowd = app.active_crowd(2).await;

        let wishes = (0..1_000).map(|n| crowd[n % 2].hold(concert, ["A-1"]));
        let answers = join_all(wishes).await;

        for answer in &answers {
            assert!(matches!(answer.status, 201 | 409), "{answer}");
        }
        let of = |n: usize| answers.iter().skip(n).step_by(2).map(|answer| answer.status);
        let winner = usize::from(answers[1].status == 201);
        assert!(of(winner).all(|status| status == 201), "whoever has it is told so every time");
        assert_eq!(crowd[winner].bookings().await.len(), 1);
        assert!(crowd[1 - winner].bookings().await.is_empty());
    }

    async fn one_booking_paid_a_thousand_times(app: &TestApp) {
        let concert = app.concert(["1"]).await;
        let ann = app.rich_buyer(5 * PRICE).await;
        let booking = ann.hold(concert, ["1"]).await.held();

        let answers = join_all((0..1_000).map(|_| ann.pay(booking))).await;

        let receipt = answers[0].clone().paid();
        for answer in answers {
            assert_eq!(answer.paid(), receipt);
        }
        assert_eq!(ann.balance().await, 4 * PRICE, "one debit");
    }

    async fn two_bookings_and_money_for_one(app: &TestApp) {
        let concert = app.hall().await;
        let ann = app.rich_buyer(PRICE).await;
        let first = ann.hold(concert, ["A-1"]).await.held();
        let second = ann.hold(concert, ["A-2"]).await.held();

        let payments = (0..1_000).map(|n| ann.pay(if n % 2 == 0 { first } else { second }));
        let answers = join_all(payments).await;

        assert_eq!((count(&answers, 200), count(&answers, 402)), (500, 500));
        assert_eq!(ann.balance().await, 0);
        let statuses = [ann.status_of(first).await, ann.status_of(second).await];
        assert_eq!(statuses.iter().filter(|status| *status == "paid").count(), 1);
    }

    async fn one_person_joins_a_hundred_times(app: &TestApp) {
        let inside = app.one_at_a_time().await;
        let (ann, bob) = (app.buyer(), app.buyer());

        for answer in join_all((0..100).map(|_| ann.join())).await {
            assert_eq!(answer.waiting(), 1);
        }
        assert_eq!(bob.join().await.waiting(), 2, "a hundred joins took one number");

        inside.leave().await.no_content();
        app.pass(1).await;
        for answer in join_all((0..100).map(|_| ann.join())).await {
            answer.active();
        }
        assert_eq!(app.operator.admitted_total("main").await, 2);
    }

    async fn two_lists_of_seats_that_overlap(app: &TestApp) {
        let concert = app.hall().await;
        let crowd = app.active_crowd(2).await;
        for round in 1..=30 {
            let seats = |first: i64| (first..first + 4).map(|n| format!("A-{n}")).collect::<Vec<_>>();
            let forward = seats(3 * round).join(",");
            let backward = seats(3 * round + 2).into_iter().rev().collect::<Vec<_>>().join(",");
            let (one, two) = tokio::join!(
                crowd[0].hold_list(concert, &forward),
                crowd[1].hold_list(concert, &backward)
            );
            assert!((one.status == 201) != (two.status == 201), "one of {one} and {two}");
            for (buyer, answer) in crowd.iter().zip([one, two]) {
                match answer.status {
                    201 => buyer.cancel(answer.held()).await.no_content(),
                    _ => drop(answer.refused(409, "seat_taken")),
                }
            }
        }
    }

    async fn one_charge_sent_fifty_times_at_once(app: &TestApp) {
        let ann = app.buyer();
        for answer in join_all((0..50).map(|_| ann.top_up_with_key(70, "once"))).await {
            assert_eq!(answer.ok()["balance"], 70);
        }
        assert_eq!(ann.history("").await["entries"].as_array().unwrap().len(), 1);
    }

    async fn fifty_charges_at_once_all_count(app: &TestApp) {
        let ann = app.buyer();
        for answer in join_all((1..=50).map(|amount| ann.top_up(amount))).await {
            answer.ok();
        }
        assert_eq!(ann.balance().await, 1_275);
    }

    async fn paying_cancelling_and_somebody_waiting_for_the_seat(app: &TestApp) {
        let concert = app.hall().await;
        let crowd = app.active_crowd(2).await;
        let (ann, bob) = (&crowd[0], &crowd[1]);
        ann.top_up(100 * PRICE).await.ok();
        let keeps_the_turn = ann.hold(concert, ["J-100"]).await.held();
        // Whoever begins mostly wins, so they take turns at it, and go on until each has won.
        let (mut sold, mut let_go) = (0, 0);
        for round in 1..=100 {
            if round > 25 && sold > 0 && let_go > 0 {
                break;
            }
            let seat = format!("B-{round}");
            let booking = ann.hold_list(concert, &seat).await.held();
            let (pays, cancels) = (ann.pay(booking), ann.cancel(booking));
            let takes = bob.hold_list(concert, &seat);
            let (paid, cancelled, taken) = if round % 2 == 0 {
                tokio::join!(pays, cancels, takes)
            } else {
                let (cancelled, paid, taken) = tokio::join!(cancels, pays, takes);
                (paid, cancelled, taken)
            };
            if paid.status == 200 {
                sold += 1;
                paid.paid();
                cancelled.refused(409, "booking_not_held");
                taken.refused(409, "seat_taken");
                assert_eq!(ann.status_of(booking).await, "paid");
            } else {
                let_go += 1;
                paid.refused(409, "booking_not_held");
                cancelled.no_content();
                assert!(matches!(taken.status, 201 | 409), "{taken}");
                assert_eq!(ann.status_of(booking).await, "cancelled");
            }
        }
        assert!(sold > 0 && let_go > 0, "{sold} sold, {let_go} let go: no race was run");
        assert_eq!(ann.status_of(keeps_the_turn).await, "held");
    }

    async fn everybody_polls_leaves_and_joins_at_once(app: &TestApp) {
        app.operator.tune("main", json!({"active_max": 5, "rate_per_second": 1_000})).await;
        let crowd: Vec<Buyer> = (0..60).map(|_| app.buyer()).collect();
        join_all(crowd.iter().map(Buyer::join)).await;
        for _ in 0..4 {
            let deeds = crowd.iter().enumerate().map(async |(n, buyer)| match n % 3 {
                0 => buyer.leave().await.no_content(),
                1 => drop(buyer.join().await.ok()),
                _ => drop(buyer.poll().await),
            });
            join_all(deeds).await;
            app.pass(1).await;
            assert!(app.operator.queue("main").await["active"].as_i64().unwrap() <= 5);
        }
    }
}

stories_on_postgres! {
    async fn three_instances_and_one_cap(app: &TestApp) {
        let change = json!({"active_max": 10, "rate_per_second": 1_000, "burst": 1_000});
        app.operator.tune("main", change).await;
        let (second, third) = (app.another_instance().await, app.another_instance().await);
        let doors = [app, &second, &third];
        let crowd: Vec<Buyer> = (0..60).map(|n| app.buyer().at(doors[n % 3])).collect();
        join_all(crowd.iter().map(Buyer::join)).await;

        for _ in 0..6 {
            tick_together(doors, 1_000).await;
            let (mut inside, mut outside) = (Vec::new(), Vec::new());
            for buyer in &crowd {
                let place = buyer.poll().await;
                match place.json()["status"].as_str() {
                    Some("active") => inside.push(buyer),
                    Some("waiting") => outside.push(buyer),
                    _ => drop(place.refused(410, "turn_ended")),
                }
            }
            let number = |buyer: &&Buyer| number_of(&buyer.token());
            let (last, next) = (inside.iter().map(number).max(), outside.iter().map(number).min());
            assert!(next.is_none_or(|next| last < Some(next)), "nobody is passed over");
            assert_eq!(inside.len(), 10, "every free turn is given");
            for answer in join_all(inside.iter().map(|buyer| buyer.leave())).await {
                answer.no_content();
            }
        }
        assert_eq!(app.operator.admitted_total("main").await, 60);
        second.stop().await;
        third.stop().await;
    }

    async fn three_instances_and_one_rate(app: &TestApp) {
        app.operator.tune("main", json!({"rate_per_second": 5, "burst": 1})).await;
        let (second, third) = (app.another_instance().await, app.another_instance().await);
        let doors = [app, &second, &third];
        let crowd: Vec<Buyer> = (0..80).map(|n| app.buyer().at(doors[n % 3])).collect();
        join_all(crowd.iter().map(Buyer::join)).await;
        tick_together(doors, 0).await;
        let start = app.operator.admitted_total("main").await;
        for _ in 0..50 {
            tick_together(doors, 200).await;
        }
        let total = app.operator.admitted_total("main").await;
        assert_eq!(total - start, 50, "ten seconds at five a second");
        second.stop().await;
        third.stop().await;
    }

    async fn three_instances_and_one_booking(app: &TestApp) {
        let (second, third) = (app.another_instance().await, app.another_instance().await);
        let doors = [app, &second, &third];
        let concert = app.hall().await;
        let crowd = app.active_crowd(30).await;
        let spread = crowd.iter().enumerate().map(|(n, buyer)| buyer.at(doors[n % 3]));
        let spread: Vec<Buyer> = spread.collect();
        let answers = join_all(spread.iter().map(|buyer| buyer.hold(concert, ["A-1", "A-2"]))).await;
        assert_eq!((count(&answers, 201), count(&answers, 409)), (1, 29));

        let winner = answers.iter().position(|answer| answer.status == 201).unwrap();
        let (booking, winner) = (answers[winner].clone().held(), &crowd[winner]);
        winner.top_up(9 * PRICE).await.ok();
        let everywhere = doors.map(|door| winner.at(door));
        let payments = join_all((0..60).map(|n| everywhere[n % 3].pay(booking))).await;
        let receipt = payments[0].clone().paid();
        assert!(payments.into_iter().all(|answer| answer.paid() == receipt));
        assert_eq!(winner.balance().await, 7 * PRICE);
        second.stop().await;
        third.stop().await;
    }
}
