//! The examples of `docs/API.md`, run as they stand there: each buys a ticket from a server that refuses and breaks off
//! wherever a real one may.

use std::process::Stdio;

use tokio::process::Command;

use crate::bad_input::{raw_to, request};
use crate::harness::*;
use crate::tidy;

/// Who buys.
const USER: i64 = 7;

/// An example: its language, its title, its text.
type Example = (String, String, String);

fn examples() -> Vec<Example> {
    let page = tidy::read("docs/API.md").text;
    let blocks = page.split("\n```").skip(1).step_by(2);
    let titled = blocks.filter_map(|block| {
        let (language, rest) = block.split_once(" title=\"")?;
        let (title, text) = rest.split_once("\"\n")?;
        Some((language.to_owned(), title.to_owned(), text.to_owned()))
    });
    titled.collect()
}

/// The program of an example, on its way to this server.
fn program(title: &str, server: &str, concert: i64) -> Command {
    let of_this = |example: &Example| example.1 == title;
    let (language, _, text) = examples().into_iter().find(of_this).expect("the page has it");
    let words: &[&str] = match language.as_str() {
        "sh" => &["bash", "-c"],
        "python" => &["python3", "-c"],
        "js" => &["node", "--input-type=module", "-e"],
        other => panic!("nobody runs {other}"),
    };
    let mut program = Command::new(words[0]);
    program.args(&words[1..]).arg(text).env_clear();
    program.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    program.env("USHER_URL", server).env("USER_ID", USER.to_string());
    program.env("CONCERT_ID", concert.to_string());
    program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    program
}

/// What somebody heard who asked too often.
async fn too_many(shop: &TestApp) -> String {
    loop {
        let asked = request("GET", "/balance/8", "Content-Type: application/json\r\n");
        let reply = raw_to(&shop.public, asked).await;
        if reply.status() == 429 {
            return reply.text();
        }
    }
}

/// Everything that may happen on the way, in the order of the way.
async fn on_the_way(counter: &mut Counter, (shop, redis): (&TestApp, &PrivateRedis), concert: i64) {
    let rival = shop.active_buyer().await;
    shop.operator.tune("main", json!({"mode": "paused"})).await;
    let join = format!("GET /token/{USER}");
    counter.next(&join).await.give(too_many(shop).await);
    assert_eq!(counter.next(&join).await.pass().await, 200);

    let poll = counter.next("GET /queue").await;
    shop.operator.tune("main", json!({"mode": "open"})).await;
    shop.pass(1).await;
    assert_eq!(poll.pass().await, 200);

    looks_at_the_hall(counter, concert).await;
    let booking = counter.next("POST /booking").await;
    rival.hold(concert, ["A-1"]).await.held();
    let key = booking.header("idempotency-key").to_owned();
    assert_eq!(booking.pass().await, 409);

    looks_at_the_hall(counter, concert).await;
    let booking = counter.next("POST /booking").await;
    assert_ne!(booking.header("idempotency-key"), key, "other seats are another intention");
    shop.pass(601).await;
    assert_eq!(booking.pass().await, 410);
    assert_eq!(counter.next(&join).await.pass().await, 200);

    looks_at_the_hall(counter, concert).await;
    let booking = counter.next("POST /booking").await;
    let key = booking.header("idempotency-key").to_owned();
    redis.freeze().await;
    assert_eq!(booking.pass().await, 503);
    redis.thaw().await;
    happens_once(counter, ("POST /booking", &key), 201).await;
    for line in ["POST /balance", "POST /payment"] {
        let first = counter.next(line).await;
        let key = first.header("idempotency-key").to_owned();
        assert_eq!(first.lose_answer().await, 200);
        happens_once(counter, (line, &key), 200).await;
    }
}

async fn looks_at_the_hall(counter: &mut Counter, concert: i64) {
    for line in [format!("GET /concerts/{concert}"), format!("GET /concerts/{concert}/seats")] {
        assert_eq!(counter.next(&line).await.pass().await, 200);
    }
}

/// Asked again with its key, also when half of an answer is all that comes.
async fn happens_once(counter: &mut Counter, (line, key): (&str, &str), status: u16) {
    let again = counter.next(line).await;
    assert_eq!(again.header("idempotency-key"), key, "{line}");
    assert_eq!(again.break_answer().await, status);
    let again = counter.next(line).await;
    assert_eq!(again.header("idempotency-key"), key, "{line}");
    assert_eq!(again.pass().await, status);
}

async fn buys_a_ticket(title: &str, on: Database) {
    let redis = PrivateRedis::start().await;
    let limits = [("USHER_REDIS_URL", &*redis.url()), ("USHER_RATE_LIMITS", "on")];
    let shop = TestApp::with(on, limits).await;
    let concert = shop.concert_in("main", json!({"rows": ["A"], "per_row": 5})).await;
    let mut counter = Counter::before(&shop.public).await;
    let mut ends = Box::pin(program(title, &counter.url(), concert).output());
    tokio::select! {
        () = on_the_way(&mut counter, (&shop, &redis), concert) => {}
        ended = &mut ends => panic!("it gave up: {ended:?}"),
    }
    let ended = ends.await.unwrap();

    assert!(ended.status.success(), "{ended:?}");
    let receipt: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(receipt["payment_result"], "PAID");
    let buyer = shop.buyer_named(USER);
    let bookings = buyer.bookings().await;
    assert_eq!(bookings.len(), 1, "{bookings:?}");
    assert_eq!(bookings[0]["booking_id"], receipt["booking_id"]);
    assert_eq!(
        (&bookings[0]["status"], &bookings[0]["seats"]),
        (&json!("paid"), &json!(["A-2", "A-3"]))
    );
    let history = buyer.history("").await;
    assert_eq!(history["entries"].as_array().unwrap().len(), 2, "{history}");
    assert_eq!(buyer.balance().await, 0);
    shop.finish().await;
}

stories! {
    async fn a_ticket_with_curl(on: &Database) {
        buys_a_ticket("A ticket with curl", *on).await;
    }

    async fn a_ticket_with_python(on: &Database) {
        buys_a_ticket("A ticket with Python", *on).await;
    }

    async fn a_ticket_with_javascript(on: &Database) {
        buys_a_ticket("A ticket with JavaScript", *on).await;
    }
}

/// An example that nobody runs is a promise that nobody keeps.
#[test]
fn every_example_has_its_story() {
    let titles: Vec<String> = examples().into_iter().map(|(_, title, _)| title).collect();
    assert_eq!(titles, ["A ticket with curl", "A ticket with Python", "A ticket with JavaScript"]);
}
