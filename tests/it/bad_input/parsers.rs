//! Whatever bytes are posted, each body's parser returns what was asked for or one of its refusals; it never panics.

use proptest::prelude::*;
use serde_json::Value;

use usher::booking::http::HoldSeatsBody;
use usher::concert::{ChangeConcert, CreateConcert};
use usher::error::{Code, Error};
use usher::http::extract::{Body, parse_json};
use usher::payment::http::{PayBookingBody, TopUpBody};
use usher::queue::http::operators::AdmitByHand;
use usher::queue::policy::TunePolicy;

/// Right bodies, to be spoilt.
const RIGHT: [&str; 7] = [
    r#"{"user_id": 7, "concert_id": 1, "seat_no": "10,A-12"}"#,
    r#"{"user_id": 7, "booking_id": 1}"#,
    r#"{"user_id": 7, "balance": 100}"#,
    r#"{"title": "Lied", "place": "Barn", "starts_at": 4102444800, "tiers": [{"name": "gods", "price": 1, "seats": ["1"]}]}"#,
    r#"{"tiers": [{"name": "gods", "price": 1, "seats": {"rows": ["A"], "per_row": 5}}], "queue": "main"}"#,
    r#"{"rate_per_second": 0.5, "burst": null, "mode": "paused", "message": "soon"}"#,
    r#"{"count": 5}"#,
];

const FIELDS: [&str; 16] = [
    "user_id",
    "concert_id",
    "seat_no",
    "booking_id",
    "balance",
    "title",
    "tiers",
    "name",
    "price",
    "seats",
    "rows",
    "per_row",
    "mode",
    "burst",
    "count",
    "é\u{0}/~`",
];

/// One parser on these bytes: what it refuses, it refuses in the words of the contract.
fn reads<T: Body>(bytes: &[u8]) -> Result<bool, TestCaseError> {
    match parse_json::<T>(bytes) {
        Ok(_) => Ok(true),
        Err(Error::InvalidFields { code, problems }) => {
            prop_assert!(matches!(code, Code::InvalidField | Code::InvalidAmount), "{code:?}");
            prop_assert!(!problems.is_empty());
            for problem in problems {
                let longest = problem.pointer.chars().count().max(problem.reason.chars().count());
                prop_assert!(longest <= 160, "{problem:?}");
                prop_assert!(
                    problem.pointer.is_empty() || problem.pointer.starts_with('/'),
                    "{problem:?}"
                );
            }
            Ok(false)
        }
        Err(error) => {
            prop_assert_eq!(error.code(), Code::InvalidJson);
            Ok(false)
        }
    }
}

/// Every parser on these bytes.
fn all_read(bytes: &[u8]) -> Result<(), TestCaseError> {
    let read = [
        reads::<HoldSeatsBody>(bytes)?,
        reads::<PayBookingBody>(bytes)?,
        reads::<TopUpBody>(bytes)?,
        reads::<CreateConcert>(bytes)?,
        reads::<ChangeConcert>(bytes)?,
        reads::<TunePolicy>(bytes)?,
        reads::<AdmitByHand>(bytes)?,
    ];
    if read.contains(&true) {
        let value: Result<Value, _> = serde_json::from_slice(bytes);
        prop_assert!(value.is_ok_and(|value| value.is_object()), "read from what is no object");
    }
    Ok(())
}

/// JSON of any shape, with the names that parsers look for.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (-2_i64..20).prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        let name = proptest::sample::select(&FIELDS[..]).prop_map(str::to_owned);
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::hash_map(name, inner, 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

#[test]
fn what_is_right_is_read() {
    assert!(reads::<HoldSeatsBody>(RIGHT[0].as_bytes()).unwrap());
    assert!(reads::<PayBookingBody>(RIGHT[1].as_bytes()).unwrap());
    assert!(reads::<TopUpBody>(RIGHT[2].as_bytes()).unwrap());
    assert!(reads::<CreateConcert>(RIGHT[3].as_bytes()).unwrap());
    assert!(reads::<TunePolicy>(RIGHT[5].as_bytes()).unwrap());
    assert!(reads::<AdmitByHand>(RIGHT[6].as_bytes()).unwrap());
}

proptest! {
    #![proptest_config(super::grammars::config())]

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        all_read(&bytes)?;
    }

    #[test]
    fn any_json(value in json()) {
        all_read(value.to_string().as_bytes())?;
    }

    #[test]
    fn a_right_body_with_some_bytes_changed(
        which in 0..RIGHT.len(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        kept in any::<prop::sample::Index>(),
    ) {
        let mut bytes = RIGHT[which].as_bytes().to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        all_read(&bytes)?;
        all_read(&bytes[..kept.index(bytes.len())])?;
    }

    #[test]
    fn any_depth(open in proptest::collection::vec(prop_oneof![Just("["), Just("{\"user_id\":")], 0..400)) {
        let closed = open.iter().rev().map(|open| if *open == "[" { "]" } else { "}" });
        let text: String = open.iter().copied().chain(["7"]).chain(closed).collect();
        all_read(text.as_bytes())?;
        if open.len() > 128 {
            prop_assert_eq!(parse_json::<TopUpBody>(text.as_bytes()).unwrap_err().code(), Code::InvalidJson);
        }
    }
}
