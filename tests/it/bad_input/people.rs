//! Honest tokens in wrong hands, wrong queues and wrong moments, and the keys by which a request is known again.

use sea_orm::{ConnectionTrait, TransactionTrait};

use super::{JSON, Stake, TOP_UP, post, raw};
use crate::harness::*;

/// What user 8 tries with user 7's name, in a body; each with a key.
const AS_ANN: [(&str, &str); 3] = [
    ("/booking", r#"{"user_id": 7, "concert_id": 1, "seat_no": "2"}"#),
    ("/payment", r#"{"user_id": 7, "booking_id": 1}"#),
    ("/balance", TOP_UP),
];

/// Two answers are the same to whoever may not know which is which.
fn alike(one: &Answer, other: &Answer) {
    let bare = |answer: &Answer| {
        let mut problem = answer.json();
        problem["request_id"] = Value::Null;
        // Each names the id that was asked for.
        let digits = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "");
        (
            answer.status,
            digits(&problem.to_string()),
            answer.header("content-type").map(str::to_owned),
        )
    };
    assert_eq!(bare(one), bare(other), "{one} differs from {other}");
}

async fn charge(stake: &Stake<'_>, amount: i64, key: &str) -> Answer {
    stake.ann.top_up_with_key(amount, key).await
}

stories! {
    async fn nobody_acts_with_anothers_token(app: &TestApp) {
        let stake = Stake::of(app).await;
        let bob = app.buyer_named(8);
        bob.join().await.active();
        stake.ann.join().await.active();
        for (path, body) in &AS_ANN[..2] {
            let answer = bob.request("POST", path).body(*body).send().await;
            answer.refused(403, "user_mismatch");
        }
        for answer in [bob.pay(1).await, bob.booking(1).await, bob.cancel(1).await] {
            answer.refused(404, "booking_not_found");
        }
        let concert = app.operator.get("/admin/concerts/1").await.ok();
        assert_eq!((&concert["seats_held"], &concert["seats_sold"]), (&json!(1), &json!(0)));
        assert_eq!((stake.ann.balance().await, bob.balance().await), (PRICE, 0));
    }

    async fn nobody_acts_under_anothers_name(app: &JwtApp) {
        let stake = Stake::of(app).await;
        let bob = app.buyer_named(8);
        for (path, body) in AS_ANN {
            for token in [None, Some(stake.ann.token())] {
                let request = bob.request("POST", path).header("idempotency-key", "k").body(body);
                let answer = match token {
                    Some(token) => request.header("token-auth", &token).send().await,
                    None if path == "/booking" => continue,
                    None => request.send().await,
                };
                stake.refused(answer, 403, "user_mismatch").await;
            }
        }
        stake.refused(bob.get("/token/7").await, 403, "user_mismatch").await;
        for path in ["/balance/ID", "/balance/ID/history", "/users/ID/bookings"] {
            let look = async |id: &str| bob.get(&path.replace("ID", id)).await;
            stake.refused(look("7").await, 404, "not_found").await;
            alike(&look("7").await, &look("999999").await);
        }
        alike(&bob.booking(1).await, &bob.booking(999).await);
        alike(&bob.cancel(1).await, &bob.cancel(999).await);
        alike(&bob.pay(1).await, &bob.pay(999).await);
        stake.refused(bob.pay(1).await, 404, "booking_not_found").await;
    }

    async fn money_comes_from_those_who_may(app: &JwtApp) {
        let stake = Stake::of(app).await;
        let honest = app.identity.as_ref().unwrap();
        for scope in [json!("balance:read"), json!("Balance:Charge"), json!("balance:charge2"), json!("")] {
            let mut claims = honest.claims(7, app.unix_seconds());
            claims["scope"] = scope;
            let request = app.public.request("POST", "/balance").bearer(&honest.sign(&claims));
            let answer = request.header("idempotency-key", "k").body(TOP_UP).send().await;
            stake.refused(answer, 403, "forbidden").await;
        }
        stake.refused(stake.ann.top_up(1).await, 400, "idempotency_key_missing").await;
    }

    async fn a_token_is_good_in_its_own_queue(app: &TestApp) {
        let stake = Stake::of(app).await;
        app.operator.create_queue("vip", json!({})).await;
        let gala = app.concert_in("vip", json!(["1"])).await;
        let problem = stake.refused(stake.ann.hold(gala, ["1"]).await, 403, "wrong_queue").await;
        assert_eq!(problem["queue"], "vip");
        let bob = app.buyer_named(8);
        bob.join_queue("vip").await.active();
        let problem = bob.hold(1, ["2"]).await.refused(403, "wrong_queue");
        assert_eq!(problem["queue"], "main");
        assert!(bob.bookings().await.is_empty());
    }

    async fn one_person_buys_so_many(app: &TestApp) {
        app.operator.tune("main", json!({"seats_per_user_max": 2})).await;
        let stake = Stake::of(app).await;
        stake.refused(stake.ann.hold(1, ["2", "3"]).await, 403, "purchase_limit").await;
        stake.refused(stake.ann.hold_list(1, "2,3,4,5,6,7,8,9").await, 403, "purchase_limit").await;
    }

    async fn taken_seats_spoil_the_whole_list(app: &TestApp) {
        app.hall().await;
        let concert = app.concert(["1", "2", "3"]).await;
        let (ann, bob) = (app.active_buyer().await, app.active_buyer().await);
        ann.hold(concert, ["2"]).await.held();
        let problem = bob.hold(concert, ["1", "2", "3"]).await.refused(409, "seat_taken");
        assert_eq!(problem["taken"], json!(["2"]));
        assert!(bob.bookings().await.is_empty());
        assert_eq!(app.seats(concert).await, "AHA");
    }

    async fn a_payment_is_possible_or_changes_nothing(app: &TestApp) {
        let concert = app.hall().await;
        let ann = app.rich_buyer(PRICE).await;
        let dear = ann.hold(concert, ["A-1", "A-2"]).await.held();
        ann.pay(dear).await.refused(402, "insufficient_balance");
        ann.cancel(dear).await.no_content();
        ann.pay(dear).await.refused(409, "booking_not_held");
        let late = ann.hold(concert, ["A-3"]).await.held();
        app.pass(300).await;
        ann.pay(late).await.refused(410, "hold_expired");
        assert_eq!(ann.balance().await, PRICE);
        assert_eq!(ann.history("").await["entries"].as_array().unwrap().len(), 1);

        let bought = ann.hold(concert, ["A-4"]).await.held();
        let receipt = ann.pay(bought).await.paid();
        assert_eq!(ann.pay(bought).await.paid(), receipt);
        ann.cancel(bought).await.refused(409, "booking_not_held");
        assert_eq!(ann.balance().await, 0);
    }

    async fn a_key_is_printable_ascii(app: &TestApp) {
        let stake = Stake::of(app).await;
        let with = async |headers: String| {
            let headers = format!("{JSON}Token-Auth: {}\r\n{headers}", stake.ann.token());
            let mut replies = Vec::new();
            for (path, body) in AS_ANN {
                replies.push(raw(app, post(path, &headers, body)).await);
            }
            replies
        };
        let long = "k".repeat(256);
        for key in ["", "k\t1", "clé", "鍵", long.as_str()] {
            for reply in with(format!("Idempotency-Key: {key}\r\n")).await {
                reply.refused(400, "invalid_idempotency_key");
            }
        }
        for reply in with("Idempotency-Key: k\r\n".repeat(2)).await {
            reply.refused(400, "duplicate_header");
        }
        stake.is_unchanged(&"a wrong key").await;
        charge(&stake, 1, &"k".repeat(255)).await.ok();
    }

    async fn a_key_names_one_intention(app: &TestApp) {
        let stake = Stake::of(app).await;
        let first = charge(&stake, 100, "k").await.ok();
        charge(&stake, 101, "k").await.refused(422, "idempotency_key_reuse");
        assert_eq!(charge(&stake, 100, "k").await.ok(), first);
        assert_eq!(stake.ann.balance().await, PRICE + 100);

        let bob = app.buyer_named(8);
        assert_eq!(bob.top_up_with_key(5, "k").await.ok()["balance"], 5, "guessing gets nothing");
        let receipt = stake.ann.pay_with_key(1, "k").await.paid();
        assert_eq!(receipt["balance"], 100, "another endpoint, another intention");
    }
}

stories! {
    async fn a_key_in_flight_is_neither_done_nor_refused(app: &TestApp) {
        let stake = Stake::of(app).await;
        let sql = connect(&app.app.config.sql.url).await;
        let hold = async || stake.ann.hold_with_key(1, "2", "k").await;
        let pay = async || stake.ann.pay_with_key(1, "k").await;

        // Each row stands in for a first request that is still at work there; on SQLite any row is the whole file.
        for row in ["turn SET kind = kind", "account SET version = version"] {
            let first = sql.begin().await.unwrap();
            first.execute_unprepared(&format!("UPDATE {row}")).await.unwrap();
            pay().await.refused(503, "outcome_unknown");
            if row.starts_with("turn") {
                hold().await.refused(503, "outcome_unknown");
            } else {
                charge(&stake, 100, "k").await.refused(503, "outcome_unknown");
            }
            first.rollback().await.unwrap();
            stake.is_unchanged(&"a request that waited in vain").await;
        }
        sql.close().await.unwrap();

        for _ in 0..2 {
            charge(&stake, 100, "k").await.ok();
            hold().await.held();
            pay().await.paid();
        }
        assert_eq!(stake.ann.balance().await, 100);
    }
}
