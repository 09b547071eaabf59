//! Ids and names outside their grammar, in paths, queries and bodies, and those that nothing answers to.

use super::{Stake, raw, request};
use crate::harness::*;

/// No id in any path. Segments are as they stand on the wire.
const NO_ID: [&str; 31] = [
    "..",
    "%2e%2e",
    "%2e%2e%2f",
    "%00",
    "7%00",
    "0",
    "00",
    "07",
    "-1",
    "+1",
    "%2B1",
    "1e3",
    "1.0",
    "0x7",
    "%201",
    "1%20",
    "1_000",
    "7%0d%0a",
    "7%0D%0ASet-Cookie:%20a=b",
    "%EF%BC%99",
    "%D9%A7",
    "%E2%80%AE7",
    "%F0%9F%98%80",
    "%ff",
    "9007199254740992",
    "9223372036854775808",
    "18446744073709551616",
    "{7}",
    "%7Bq:main%7D",
    "*",
    "7;DROP%20TABLE%20account",
];

/// Everything that has an id in its path, and how it calls a wrong one.
const WITH_ID: [(&str, &str, &str); 9] = [
    ("GET", "/token/ID", "invalid_user_id"),
    ("GET", "/balance/ID", "invalid_user_id"),
    ("GET", "/balance/ID/history", "invalid_user_id"),
    ("GET", "/users/ID/bookings", "invalid_user_id"),
    ("GET", "/booking/ID", "invalid_id"),
    ("DELETE", "/booking/ID", "invalid_id"),
    ("GET", "/concerts/ID", "invalid_id"),
    ("GET", "/concerts/ID/seats", "invalid_id"),
    ("GET", "/queues/ID", "invalid_queue"),
];

/// No name of a queue.
const NO_QUEUE: [&str; 9] =
    ["", "Main", "main%20", "%7Bmain%7D", "*", "a:b", "main%00", "m%C3%A4in", "..%2f"];

/// No list of seats.
const NO_SEATS: [&str; 18] = [
    "",
    ",",
    " ",
    "2,",
    ",2",
    "2,,3",
    "2;DROP",
    "1.5",
    "+2",
    "2\\u0000",
    "２",
    "2,  3",
    " 2",
    "2 ",
    "2\\n3",
    "{2}",
    "2*",
    "AAAAAAAAAAAAAAAAA",
];

/// No page of a list.
const NO_PAGE: [&str; 7] = [
    "limit=0",
    "limit=501",
    "limit=-1",
    "limit=x",
    "limit=",
    "before=0",
    "before=9007199254740992",
];

/// Some of what is no id does name a queue.
fn names_a_queue(id: &str) -> bool {
    id.len() <= 32 && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

stories! {
    async fn a_path_has_plain_numbers(app: &TestApp) {
        let stake = Stake::of(app).await;
        let token = format!("Token-Auth: {}\r\n", stake.ann.token());
        let long = "1".repeat(65);
        for (method, path, code) in WITH_ID {
            let named = |id: &&str| code != "invalid_queue" || !names_a_queue(id);
            for id in NO_ID.into_iter().chain([long.as_str()]).filter(named) {
                let headers = if path.starts_with("/booking") { token.as_str() } else { "" };
                let reply = raw(app, request(method, &path.replace("ID", id), headers)).await;
                reply.refused(400, code);
            }
        }
        for path in ["/token/", "/balance/", "/balance//history", "/users//bookings"] {
            raw(app, request("GET", path, "")).await.refused(400, "invalid_user_id");
        }
        stake.is_unchanged(&"a path with a wrong id").await;
    }

    async fn a_query_is_in_its_grammar(app: &TestApp) {
        let stake = Stake::of(app).await;
        for name in NO_QUEUE {
            let path = format!("/token/8?queue={name}");
            raw(app, request("GET", &path, "")).await.refused(400, "invalid_queue");
        }
        app.get("/token/8?queue=nowhere").await.refused(404, "queue_not_found");
        for query in NO_PAGE {
            for list in ["/users/7/bookings", "/balance/7/history"] {
                app.get(&format!("{list}?{query}")).await.refused(400, "invalid_query");
            }
        }
        for id in ["", "0", "x", "1.0", "9007199254740992"] {
            app.get(&format!("/concerts?concert_id={id}")).await.refused(400, "invalid_query");
        }
        for path in [
            "/token/8?queue=main&queue=main",
            "/token/8?queue=main&%71ueue=vip",
            "/token/8?queue=%6",
            "/token/8?page=%zz",
            "/concerts?concert_id=1&concert_id=1",
            "/users/7/bookings?limit=1&limit=2",
            "/balance/7/history?before=2&limit=1&before=3",
            "/balance/7/history?limit=1&x=100%",
        ] {
            raw(app, request("GET", path, "")).await.refused(400, "invalid_query");
        }
        for path in ["/users/7/bookings?page=1&page=2", "/balance/7/history?limit=%31&%C3%A9=%20"] {
            app.get(path).await.ok();
        }
        stake.is_unchanged(&"a wrong query").await;
    }

    async fn a_booking_id_is_a_number_of_ones_own(app: &TestApp) {
        let stake = Stake::of(app).await;
        for id in ["0", "-1", "1.5", "1e0", "\"1\"", "9007199254740992", "99999999999999999999"] {
            let body = format!(r#"{{"user_id": 7, "booking_id": {id}}}"#);
            stake.refused(stake.post("/payment", &body).await, 422, "invalid_field").await;
        }
        for id in [2, 3, 4, 1_000, 9_007_199_254_740_991] {
            let ann = &stake.ann;
            for answer in [ann.pay(id).await, ann.booking(id).await, ann.cancel(id).await] {
                stake.refused(answer, 404, "booking_not_found").await;
            }
        }
    }

    async fn a_list_of_seats_is_read_as_it_stands(app: &TestApp) {
        let stake = Stake::of(app).await;
        let refused = async |seats: &str, status: u16, code: &str| {
            let body = format!(r#"{{"user_id": 7, "concert_id": 1, "seat_no": "{seats}"}}"#);
            let problem = stake.refused(stake.post("/booking", &body).await, status, code).await;
            assert_eq!(problem["booking_result"], code);
        };
        for seats in NO_SEATS {
            refused(seats, 422, "invalid_seat_list").await;
        }
        for seats in ["2,2", "2, 2", "2,3,2", "a,a"] {
            refused(seats, 422, "duplicate_seat").await;
        }
        for seats in ["a", "0", "-1", "0x1", "99", "02", "a-1", "2,99"] {
            refused(seats, 404, "seat_not_found").await;
        }
        let many = |count: usize| (2..count + 2).map(|seat| seat.to_string()).collect::<Vec<_>>().join(",");
        refused(&many(9), 422, "too_many_seats").await;
        refused(&many(500), 422, "too_many_seats").await;
        refused(&many(5_000), 413, "payload_too_large").await;
    }

    async fn what_is_not_sold_cannot_be_held(app: &TestApp) {
        let stake = Stake::of(app).await;
        for concert in [2, 1_000, 9_007_199_254_740_991] {
            let answer = stake.ann.hold(concert, ["2"]).await;
            stake.refused(answer, 404, "concert_not_found").await;
            app.get(&format!("/concerts/{concert}")).await.refused(404, "concert_not_found");
            app.get(&format!("/concerts/{concert}/seats")).await.refused(404, "concert_not_found");
        }
        app.get("/queues/nowhere").await.refused(404, "queue_not_found");
    }
}
