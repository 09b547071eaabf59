//! A queue that opens with a draw: nobody has a place before, everybody the drawn one after, and anybody can recompute it.
//! What does not begin, and what nobody may find out, is told in `secrets.rs`.

mod secrets;

use tokio::process::Command;

use crate::harness::*;

const DRAW: &str = "/admin/queues/main/draw";
const VERIFY_DRAW: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/verify-draw");

/// `main` is paused, and its draw is announced.
async fn announced(app: &TestApp) -> Value {
    app.operator.tune("main", json!({"mode": "paused"})).await;
    app.operator.request("POST", DRAW).send().await.created()
}

/// As which somebody comes to the draw, who knows no more than that.
async fn draw_number(answer: Answer) -> i64 {
    let place = answer.ok();
    assert_eq!((&place["status"], &place["reason"]), (&json!("waiting"), &json!("draw")));
    let told = place.as_object().unwrap().keys();
    assert!(
        told.clone().all(|name| !name.contains("position") && !name.contains("eta")),
        "{place}"
    );
    place["draw_number"].as_i64().expect("a draw number")
}

/// So many people who come to the draw one after the other.
async fn crowd(app: &TestApp, people: usize) -> Vec<Buyer> {
    let crowd: Vec<Buyer> = (0..people).map(|_| app.buyer()).collect();
    for (buyer, n) in crowd.iter().zip(1..) {
        assert_eq!(draw_number(buyer.join().await).await, n);
    }
    crowd
}

/// The draw opens, and nobody is admitted yet.
async fn open_slowly(app: &TestApp) {
    app.operator.tune("main", json!({"mode": "open", "active_max": 0})).await;
}

/// From now on one is admitted each second; the first at once.
async fn one_a_second(app: &TestApp) {
    let pace = json!({"rate_per_second": 1, "burst": 1, "active_max": 100});
    app.operator.tune("main", pace).await;
}

/// The draw numbers in the order of service, by somebody who has the published seed and nothing of ours.
async fn verified(app: &TestApp, words: &[&str]) -> Vec<usize> {
    let url = format!("{}/queues/main/draw", app.public.address());
    let mut verify = Command::new(VERIFY_DRAW);
    let said = verify.arg(url).args(words).env("no_proxy", "*").output().await.unwrap();
    let complaint = String::from_utf8(said.stderr).unwrap();
    assert!(said.status.success(), "{complaint}");
    let lines = String::from_utf8(said.stdout).unwrap();
    lines.lines().map(|line| line.split(',').next().unwrap().parse().unwrap()).collect()
}

#[tokio::test]
async fn who_verifies_nothing_is_told_so_in_a_sentence() {
    for nowhere in ["/nowhere/draw.json", "/dev/null", "http://127.0.0.1:1/queues/main/draw"] {
        let said = Command::new(VERIFY_DRAW).arg(nowhere).env("no_proxy", "*").output();
        let said = String::from_utf8(said.await.unwrap().stderr).unwrap();
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains(nowhere), "{said}");
    }
}

stories! {
    async fn before_the_opening_nobody_has_a_place_and_nobody_is_admitted(app: &TestApp) {
        announced(app).await;
        let crowd = crowd(app, 3).await;
        app.operator.admit("main", 5).await.refused(409, "draw_not_opened");
        app.pass(600).await;
        for (buyer, n) in crowd.iter().zip(1..) {
            assert_eq!(draw_number(buyer.poll().await).await, n);
            assert_eq!(draw_number(buyer.join().await).await, n, "the same place again");
        }
        let queue = app.get("/queues/main").await.ok();
        assert_eq!((&queue["reason"], &queue["waiting"]), (&json!("draw"), &json!(3)));
        assert_eq!(app.operator.admitted_total("main").await, 0);
    }

    async fn the_drawn_order_is_the_order_of_admission(app: &TestApp) {
        let (people, later) = (12, 3);
        let draw = announced(app).await;
        let mut crowd = crowd(app, people).await;
        open_slowly(app).await;
        for n in 1..=later {
            let buyer = app.buyer();
            let place = buyer.join().await.ok();
            assert_eq!(place["position"], people + n, "in the order of coming, behind the draw");
            assert_eq!(place.get("draw_number"), None);
            crowd.push(buyer);
        }
        let opened = app.get("/queues/main/draw").await.ok();
        assert_eq!((&opened["state"], &opened["size"]), (&json!("opened"), &json!(people)));
        assert_eq!(opened["commitment"], draw["commitment"]);

        let mut order = verified(app, &["--all"]).await;
        assert_eq!(order.len(), people);
        assert!(!order.is_sorted(), "one draw in 479,001,600 is");
        order.extend(people + 1..=people + later);
        for (n, position) in order.iter().zip(1..) {
            assert_eq!(crowd[n - 1].poll().await.waiting(), position);
        }
        one_a_second(app).await;
        for (served, n) in order.iter().enumerate() {
            let place = crowd[n - 1].poll().await.ok();
            assert_eq!(place["status"], "active", "{place}");
            assert_eq!(place["draw_number"].as_u64(), Some(*n as u64).filter(|n| *n <= people as u64));
            for (next, position) in order[served + 1..].iter().zip(1..) {
                assert_eq!(crowd[next - 1].poll().await.waiting(), position);
            }
            app.pass(1).await;
        }
        let queue = app.get("/queues/main").await.ok();
        assert_eq!(queue["serving_number"].as_i64().unwrap() & 0xffff, (people + later) as i64);
    }

    /// He knows as little of his luck the second time, and he does not get it.
    async fn who_leaves_and_joins_again_is_not_drawn_again(app: &TestApp) {
        announced(app).await;
        let crowd = crowd(app, 4).await;
        let first = crowd[1].token();
        crowd[1].leave().await.no_content();
        let again = crowd[1].join().await.ok();
        assert_eq!((&again["reason"], again.get("draw_number")), (&json!("draw"), None));
        let last = app.buyer();
        assert_eq!(draw_number(last.join().await).await, 5);
        open_slowly(app).await;

        assert_eq!(crowd[1].poll().await.waiting(), 6, "behind everybody who was drawn");
        crowd[1].takes(first);
        crowd[1].poll().await.refused(410, "turn_ended");
        let size = app.get("/queues/main/draw").await.ok()["size"].clone();
        assert_eq!(size, 5);
    }

    async fn who_has_had_his_turn_comes_again_like_anybody_else(app: &TestApp) {
        announced(app).await;
        let crowd = crowd(app, 2).await;
        app.operator.tune("main", json!({"mode": "open", "active_max": 1})).await;
        let (first, second) = match verified(app, &["--all"]).await[..] {
            [1, 2] => (&crowd[0], &crowd[1]),
            _ => (&crowd[1], &crowd[0]),
        };
        first.poll().await.active();
        let late = app.waiting_buyer().await;
        first.leave().await.no_content();
        first.poll().await.refused(410, "turn_ended");
        assert_eq!(first.join().await.waiting(), 2, "behind whoever came before");
        for next in [second, &late] {
            app.pass(1).await;
            next.poll().await.active();
            next.leave().await.no_content();
        }
        app.pass(1).await;
        first.poll().await.active();
    }

    /// The ones before him leave: nobody's position rises, and the line goes on.
    async fn positions_never_rise(app: &TestApp) {
        announced(app).await;
        let crowd = crowd(app, 6).await;
        open_slowly(app).await;
        let order = verified(app, &["--all"]).await;
        crowd[order[0] - 1].leave().await.no_content();
        crowd[order[3] - 1].leave().await.no_content();
        let last = &crowd[order[5] - 1];
        let mut position = last.poll().await.waiting();
        assert_eq!(position, 6);
        one_a_second(app).await;
        for n in [order[1], order[2], order[4]] {
            crowd[n - 1].poll().await.active();
            let now = last.poll().await.waiting();
            assert!(now < position, "{now} after {position}");
            position = now;
            app.pass(1).await;
        }
        last.poll().await.active();
    }

    async fn whoever_listens_is_told_of_the_opening(app: &TestApp) {
        announced(app).await;
        let crowd = crowd(app, 3).await;
        let mut stream = crowd[2].listen().await;
        let place = stream.place().await;
        let told = (&place["draw_number"], &place["reason"], place.get("position"));
        assert_eq!(told, (&json!(3), &json!("draw"), None));

        open_slowly(app).await;
        let place = stream.until(|place| place["reason"] != "draw").await;
        assert_eq!(place["position"], crowd[2].poll().await.ok()["position"]);
    }

    async fn an_opening_by_schedule_opens_the_draw(app: &TestApp) {
        announced(app).await;
        let crowd = crowd(app, 3).await;
        let at = usher::clock::rfc3339(app.clock.now_ms() + 60_000);
        let opening = json!({"at": at, "policy": {"mode": "draining"}});
        app.operator.send("POST", "/admin/queues/main/schedule", opening).await.created();
        app.pass(59).await;
        draw_number(crowd[0].poll().await).await;
        app.pass(1).await;
        for buyer in &crowd {
            buyer.poll().await.active();
        }
        let draw = app.get("/queues/main/draw").await.ok();
        assert_eq!((&draw["state"], &draw["opened_at"]), (&json!("opened"), &json!(at)));
    }

    /// What is kept is the seed and how many came: everything else follows from them again.
    async fn places_outlive_the_process(on: &Database) {
        let app = TestApp::with(*on, []).await;
        announced(&app).await;
        let crowd = crowd(&app, 5).await;
        open_slowly(&app).await;
        let order = verified(&app, &["--all"]).await;
        let app = app.back_after(10).await;
        for (n, position) in order.iter().zip(1..) {
            assert_eq!(crowd[n - 1].at(&app).poll().await.waiting(), position);
        }
        app.finish().await;
    }

    async fn a_queue_that_nobody_came_to_opens_all_the_same(app: &TestApp) {
        announced(app).await;
        app.operator.tune("main", json!({"mode": "open"})).await;
        app.active_buyer().await;
        let draw = app.get("/queues/main/draw").await.ok();
        assert_eq!((&draw["state"], &draw["size"]), (&json!("opened"), &json!(0)));
        verified(app, &["--all"]).await;
    }
}

stories_on_postgres! {
    /// The other instance hears of nothing until it is told by Redis: nobody stands beside the draw, and nobody enters
    /// it late.
    async fn an_instance_that_hears_late_of_a_draw_does_nobody_a_favour(app: &TestApp) {
        let other = app.another_instance().await;
        announced(app).await;
        let (ann, bob, cy) = (app.buyer(), app.buyer(), app.buyer());
        assert_eq!(draw_number(ann.at(&other).join().await).await, 1);
        assert_eq!(draw_number(bob.join().await).await, 2);
        assert_eq!(draw_number(cy.at(&other).join().await).await, 3, "whoever counts");
        draw_number(bob.at(&other).poll().await).await;

        open_slowly(app).await;
        let late = app.buyer().at(&other);
        assert_eq!(late.join().await.waiting(), 4);
        let draws = [app, &other].map(|door| door.get("/queues/main/draw"));
        let [one, another] = futures_util::future::join_all(draws).await.try_into().unwrap();
        assert_eq!(one.ok(), another.ok());
        other.stop().await;
    }

    async fn many_join_at_two_instances_and_each_number_is_given_once(app: &TestApp) {
        let other = app.another_instance().await;
        announced(app).await;
        let crowd: Vec<Buyer> = (0..60).map(|_| app.buyer()).collect();
        let doors = crowd.iter().enumerate();
        let doors: Vec<Buyer> =
            doors.map(|(n, buyer)| buyer.at(if n % 2 == 0 { app } else { &other })).collect();
        let joined = join_all(doors.iter().map(Buyer::join)).await;
        let mut numbers = join_all(joined.into_iter().map(draw_number)).await;
        open_slowly(app).await;
        let order = verified(app, &["--all"]).await;
        other.app.queue.refresh().await.unwrap();
        other.pass(1).await;
        for (place, n) in order.iter().enumerate() {
            let owner = numbers.iter().position(|number| *number == *n as i64).unwrap();
            assert_eq!(doors[owner].poll().await.waiting(), place as i64 + 1);
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=60).collect::<Vec<i64>>());
        other.stop().await;
    }
}
