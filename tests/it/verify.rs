//! A shop behind the line: what a proxy is told about whoever knocks. The proxies themselves are asked by
//! `scripts/proxies`.

use std::time::Duration;

use crate::harness::*;
use crate::outage::Fragile;

/// So many seconds a turn may stay unclaimed, and lasts.
const CLAIM: u64 = 60;
const SESSION: u64 = 600;

async fn knock(buyer: &Buyer) -> Answer {
    buyer.get("/verify").await
}

/// The answer of a proxy that lets this person pass.
#[track_caller]
fn passes(answer: Answer, buyer: &Buyer) -> i64 {
    assert_eq!(answer.header("usher-user"), Some(&*buyer.user_id.to_string()), "{answer}");
    assert_eq!(answer.header("usher-wait"), None);
    let number = answer.header("usher-number").map(|number| number.parse().unwrap());
    answer.no_content();
    number.expect("a turn has a number")
}

/// The way that a refusal shows.
#[track_caller]
fn way(answer: Answer, (status, code): (u16, &str)) -> String {
    let way = answer.header("usher-wait").map(str::to_owned);
    assert_eq!(answer.header("usher-code"), Some(code), "{answer}");
    for name in ["usher-user", "usher-queue", "usher-number"] {
        assert_eq!(answer.header(name), None, "{name}: {answer}");
    }
    answer.refused(status, code);
    way.expect("a refusal shows the way to the waiting room")
}

stories! {
    async fn whoever_waits_is_told_where_he_stands(app: &TestApp) {
        app.one_at_a_time().await;
        app.waiting_buyer().await;
        let cy = app.waiting_buyer().await;

        let answer = knock(&cy).await;
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=30).contains(&wait), "{wait}");
        assert_eq!(answer.clone().refused(403, "not_admitted")["position"], 2);
        assert_eq!(way(answer, (403, "not_admitted")), "/wait/main");
    }

    async fn whoever_has_a_turn_passes_by_name(app: &TestApp) {
        app.operator.create_queue("vip", json!({})).await;
        let ann = app.buyer();
        ann.join_queue("vip").await.active();

        let answer = ann.get("/verify?queue=vip").await;
        assert_eq!(answer.header("usher-queue"), Some("vip"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(passes(answer, &ann), number_of(&ann.token()));
    }

    /// A turn that nobody claims is over after `CLAIM`; one that was claimed lasts for `SESSION`.
    async fn to_pass_is_to_claim_the_turn(app: &TestApp) {
        let inside = app.one_at_a_time().await;
        let (bob, cy) = (app.waiting_buyer().await, app.waiting_buyer().await);
        inside.leave().await.no_content();
        app.pass(1).await;
        passes(knock(&bob).await, &bob);

        app.pass(CLAIM + 1).await;
        passes(knock(&bob).await, &bob);
        assert_eq!(app.operator.queue("main").await["unclaimed_total"], 0);
        cy.poll().await.waiting();

        app.pass(SESSION).await;
        way(knock(&bob).await, (403, "turn_ended"));
        passes(knock(&cy).await, &cy);
    }

    async fn a_turn_that_was_given_back_is_over(app: &TestApp) {
        let ann = app.active_buyer().await;
        passes(knock(&ann).await, &ann);
        ann.leave().await.no_content();

        let problem = knock(&ann).await.refused(403, "turn_ended");
        assert_eq!((&problem["status"], &problem["title"]), (&json!(403), &json!("Forbidden")));
        ann.poll().await.refused(410, "turn_ended");
    }

    async fn a_turn_is_good_in_its_own_queue(app: &TestApp) {
        app.operator.create_queue("vip", json!({})).await;
        let ann = app.active_buyer().await;

        let answer = ann.get("/verify?queue=vip").await;
        assert_eq!(answer.clone().refused(403, "wrong_queue")["queue"], "vip");
        assert_eq!(way(answer, (403, "wrong_queue")), "/wait/vip");
        ann.get("/verify?queue=VIP").await.refused(400, "invalid_queue");
        ann.get("/verify?queue=main&queue=vip").await.refused(400, "invalid_query");
    }

    async fn nobody_passes_without_a_good_token(app: &TestApp) {
        let ann = app.active_buyer().await;
        let stranger = app.buyer();
        way(knock(&stranger).await, (401, "token_missing"));
        stranger.takes(format!("{}AAAA", ann.token()));
        way(knock(&stranger).await, (401, "token_invalid"));
        stranger.takes("a turn, please");
        way(knock(&stranger).await, (401, "token_malformed"));

        let twice = ann.request("GET", "/verify").header("token-auth", &ann.token());
        way(twice.send().await, (401, "duplicate_header"));
        let token = ann.token();
        let in_query = format!("/verify?token={token}&usher_token={token}");
        way(app.get(&in_query).await, (401, "token_missing"));
    }

    async fn a_browser_shows_its_cookie(app: &TestApp) {
        let ann = app.active_buyer().await;
        let cookie = format!("theme=dark; usher_token={}", ann.token());
        let by_cookie = || app.public.request("GET", "/verify").header("cookie", &cookie);
        passes(by_cookie().send().await, &ann);

        // The header is what is meant, good or not.
        let bob = app.active_buyer().await;
        passes(by_cookie().header("token-auth", &bob.token()).send().await, &bob);
        let forged = by_cookie().header("token-auth", "x.y.z").send().await;
        assert_eq!(forged.status, 401, "{forged}");
    }

    async fn the_way_leads_back_to_what_was_asked_for(app: &TestApp) {
        let asked = |uri: &str| app.public.request("GET", "/verify").header("x-forwarded-uri", uri);
        let back = way(asked("/shop?a=1&b=2").send().await, (401, "token_missing"));
        assert_eq!(back, "/wait/main?target=/shop%3Fa%3D1%26b%3D2");
        let elsewhere = way(asked("//evil.example/").send().await, (401, "token_missing"));
        assert_eq!(elsewhere, "/wait/main");
    }

    /// A turn is SQL's to know. Of whoever has none nothing can be said: he may be let in a moment from now.
    async fn without_redis_a_turn_goes_on_and_nobody_else_passes(app: &Fragile) {
        let ann = app.one_at_a_time().await;
        let bob = app.waiting_buyer().await;
        app.redis.kill().await;
        app.clock.advance(Duration::from_secs(1));

        let refused = knock(&bob).await;
        assert_eq!(refused.header("usher-wait"), None, "{refused}");
        refused.refused(503, "queue_rebuilding");
        passes(knock(&ann).await, &ann);
    }
}

stories_on_postgres! {
    async fn without_sql_nobody_passes(app: &TestApp) {
        let ann = app.active_buyer().await;
        app.let_sql_connect(false).await;
        knock(&ann).await.refused(503, "unavailable");
        app.let_sql_connect(true).await;
        passes(knock(&ann).await, &ann);
    }
}
