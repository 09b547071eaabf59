//! THE table of links: where the answer of one operation leads, for the OpenAPI document. A reader sees the way of a
//! buyer in it, and a tool that reads the document can walk it.

use serde_json::{Value, json};
use utoipa::openapi::link::{Link, LinkBuilder};

const ID: &str = "$response.body#/booking_id";
const ASKED: &str = "$request.body#/user_id";
const PERSON: &str = "$request.path.userId";
const TOKEN: (&str, &str) = ("header.Token-Auth", "$response.body#/token_id");
const CONCERT: (&str, &str) = ("id", "$response.body#/concert_id");
const LISTED: (&str, &str) = ("id", "$response.body#/concerts/0/concert_id");
const QUEUE: (&str, &str) = ("name", "$response.body#/name");
const OF_QUEUE: (&str, &str) = ("name", "$request.path.name");
const ENTRY: (&str, &str) = ("id", "$response.body#/entry_id");

/// The next operation, its parameters, and what is known of its body.
type Next = (&'static str, &'static [(&'static str, &'static str)], Value);

/// What may come next after an operation has succeeded.
fn after(operation: &str) -> Vec<Next> {
    let no = || Value::Null;
    match operation {
        "join_queue" => vec![
            ("get_place", &[TOKEN], no()),
            ("verify_turn", &[TOKEN], no()),
            ("leave_queue", &[TOKEN], no()),
            ("hold_seats", &[TOKEN], json!({"user_id": PERSON})),
        ],
        "list_concerts" => vec![("get_concert", &[LISTED], no()), ("get_seats", &[LISTED], no())],
        "hold_seats" => vec![
            ("get_booking", &[("id", ID)], no()),
            ("cancel_booking", &[("id", ID)], no()),
            ("pay_booking", &[], json!({"user_id": ASKED, "booking_id": ID})),
        ],
        "pay_booking" | "top_up" => vec![
            ("get_balance", &[("userId", ASKED)], no()),
            ("list_transfers", &[("userId", ASKED)], no()),
            ("list_bookings", &[("userId", ASKED)], no()),
        ],
        "create_concert" => {
            vec![("get_concert_sums", &[CONCERT], no()), ("change_concert", &[CONCERT], no())]
        }
        "create_queue" => vec![
            ("get_queue", &[QUEUE], no()),
            ("get_policy", &[QUEUE], no()),
            ("patch_policy", &[QUEUE], no()),
            ("announce_draw", &[QUEUE], no()),
            ("add_to_schedule", &[QUEUE], no()),
            ("admit_by_hand", &[QUEUE], no()),
        ],
        "announce_draw" => vec![("get_draw", &[OF_QUEUE], no())],
        "add_to_schedule" => vec![
            ("change_schedule", &[OF_QUEUE, ENTRY], no()),
            ("cancel_schedule", &[OF_QUEUE, ENTRY], no()),
            ("list_schedule", &[OF_QUEUE], no()),
        ],
        _ => Vec::new(),
    }
}

/// The links of an operation's success, each by the name of the operation that it leads to.
pub fn links(operation: &str) -> impl Iterator<Item = (&'static str, Link)> {
    after(operation).into_iter().map(|(next, parameters, body)| {
        let link = LinkBuilder::new().operation_id(next);
        let link = parameters
            .iter()
            .fold(link, |link, (name, value)| link.parameter(*name, Value::from(*value)));
        (next, if body.is_null() { link } else { link.request_body(Some(body)) }.build())
    })
}
