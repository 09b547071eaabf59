//! The index of bad input: each row of the matrix, what it is about, and the stories that would fail without it.

use std::collections::BTreeSet;

/// In the order of the matrix.
const ROWS: [(&str, &[&str]); 54] = [
    ("B1 not JSON", &["what_is_not_json_is_refused", "any_depth"]),
    ("B2 another media type", &["only_plain_json_is_read"]),
    ("B3 fields missing or of another type", &["json_of_another_shape_is_refused"]),
    ("B4 fields unknown or repeated", &["json_of_another_shape_is_refused"]),
    (
        "B5 bodies beyond their bound",
        &["a_body_has_its_bounds", "an_endless_body_is_cut_off", "a_gigabyte_is_not_kept"],
    ),
    ("B6 packed bodies", &["only_plain_json_is_read"]),
    ("B7 slow bodies", &["the_slow_are_not_waited_for"]),
    ("B8 slow and long heads", &["the_slow_are_not_waited_for", "a_head_has_its_bounds"]),
    ("B9 long addresses", &["a_head_has_its_bounds"]),
    (
        "B10 requests that hide others",
        &["nothing_is_smuggled", "a_body_is_never_read_as_a_request", "chunks_have_their_bounds"],
    ),
    ("B11 paths and methods", &["methods_are_those_of_the_table", "a_target_is_a_path"]),
    ("B12 ids of strange signs", &["a_path_has_plain_numbers", "ids"]),
    ("B13 ids of strange numbers", &["a_path_has_plain_numbers", "ids"]),
    ("B14 NUL", &["operators_err_too", "a_list_of_seats_is_read_as_it_stands"]),
    ("B15 no token", &["what_is_no_token_is_malformed"]),
    ("B16 two tokens", &["one_token_at_a_time"]),
    ("B17 no form of a token", &["what_is_no_token_is_malformed", "queue_tokens"]),
    (
        "B18 algorithms",
        &["a_header_is_that_of_a_known_key", "a_forged_identity_is_refused_everywhere"],
    ),
    (
        "B19 tokens for another use",
        &["a_header_is_that_of_a_known_key", "a_claim_is_what_it_should_be"],
    ),
    (
        "B20 keys that nobody knows",
        &["a_header_is_that_of_a_known_key", "a_forged_identity_is_refused_everywhere"],
    ),
    ("B21 tokens out of their time", &["a_claim_is_what_it_should_be"]),
    ("B22 times that are none", &["a_claim_is_what_it_should_be", "signed_claims_of_any_kind"]),
    ("B23 whoever waits", &["who_waits_cannot_book"]),
    ("B24 turns that are over", &["a_turn_that_is_over_is_over"]),
    (
        "B25 another person's name",
        &["nobody_acts_with_anothers_token", "nobody_acts_under_anothers_name"],
    ),
    ("B26 another person's balance", &["nobody_acts_under_anothers_name"]),
    (
        "B27 another person's booking",
        &["nobody_acts_with_anothers_token", "nobody_acts_under_anothers_name"],
    ),
    ("B28 numbers of bookings", &["a_booking_id_is_a_number_of_ones_own"]),
    ("B29 no list of seats", &["a_list_of_seats_is_read_as_it_stands", "lists_of_seats"]),
    ("B30 a seat twice", &["a_list_of_seats_is_read_as_it_stands", "lists_of_seats"]),
    ("B31 too many seats", &["a_list_of_seats_is_read_as_it_stands"]),
    (
        "B32 nothing to sell",
        &["what_is_not_sold_cannot_be_held", "nothing_is_sold_once_the_concert_begins"],
    ),
    ("B33 some seats taken", &["taken_seats_spoil_the_whole_list"]),
    ("B34 more than one may buy", &["one_person_buys_so_many"]),
    ("B35 another queue's token", &["a_token_is_good_in_its_own_queue"]),
    ("B36 seats as another type", &["json_of_another_shape_is_refused"]),
    ("B37 ids aimed at keys of Redis", &["a_path_has_plain_numbers", "queue_names"]),
    ("B38 no amount", &["no_amount_is_no_money"]),
    ("B39 too much money", &["an_account_has_a_limit"]),
    ("B40 money from nowhere", &["money_comes_from_those_who_may"]),
    ("B41 too little money", &["a_payment_is_possible_or_changes_nothing"]),
    ("B42 too late, twice, cancelled", &["a_payment_is_possible_or_changes_nothing"]),
    (
        "B43 no idempotency key",
        &["a_key_is_printable_ascii", "money_comes_from_those_who_may", "idempotency_keys"],
    ),
    ("B44 a key for something else", &["a_key_names_one_intention"]),
    ("B45 a key in flight", &["a_key_in_flight_is_neither_done_nor_refused"]),
    ("B46 another person's key", &["a_key_names_one_intention"]),
    (
        "B47 too often",
        &["an_address_is_limited_where_the_public_asks", "a_request_with_two_proofs_counts_once"],
    ),
    (
        "B48 not now",
        &[
            "a_full_queue_says_so",
            "whoever_hangs_up_keeps_his_place_until_his_work_is_done",
            "a_key_in_flight_is_neither_done_nor_refused",
        ],
    ),
    (
        "B49 headers that want to be believed",
        &["nobody_is_believed_for_a_header", "an_address_is_limited_where_the_public_asks"],
    ),
    ("B50 other origins", &["strangers_get_no_cors"]),
    ("B51 overridden methods", &["methods_are_those_of_the_table"]),
    ("B52 at the same instant", &["a_hundred_at_the_same_instant_are_one", "http2_is_not_spoken"]),
    ("B53 lines for the log", &["a_log_has_one_line_an_event", "the_log_of_a_process_is_its_own"]),
    ("B54 names of requests", &["a_request_has_one_plain_name"]),
];

#[test]
fn every_row_has_its_story() {
    let sources = crate::tidy::sources(&["tests/it"], ".rs");
    let told: BTreeSet<&str> = sources
        .iter()
        .flat_map(|source| source.text.split("fn ").skip(1))
        .filter_map(|rest| rest.split('(').next())
        .collect();
    for (number, (row, stories)) in ROWS.iter().enumerate() {
        assert!(row.starts_with(&format!("B{} ", number + 1)), "{row} is out of its order");
        for story in *stories {
            assert!(told.contains(story), "{row}: there is no {story}");
        }
    }
}
