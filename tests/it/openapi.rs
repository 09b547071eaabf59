//! The OpenAPI document by itself: what a generator of clients or a tester of APIs would trip over. That real answers
//! are what it says is checked with every answer of every story (`harness/document.rs`).

use std::collections::{BTreeMap, BTreeSet};

use crate::harness::*;

/// What anybody may ask for, in either mode.
const OPEN: [&str; 8] = [
    "get_concert",
    "get_seats",
    "list_concerts",
    "livez",
    "look_at_draw",
    "look_at_queue",
    "openapi",
    "readyz",
];

/// Each operation with its path.
fn operations() -> Vec<(&'static str, &'static Value)> {
    let paths = DOCUMENT["paths"].as_object().unwrap().iter();
    let each = |(path, item): (&'static String, &'static Value)| {
        let operations = item.as_object().unwrap().values();
        operations.filter(|one| one.get("responses").is_some()).map(|one| (path.as_str(), one))
    };
    paths.flat_map(each).collect()
}

/// Every value in the document, with the name under which it stands.
fn walk<'a>(name: &'a str, value: &'a Value, see: &mut impl FnMut(&'a str, &'a Value)) {
    see(name, value);
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| walk(name, value, see)),
        Value::Array(items) => items.iter().for_each(|item| walk("", item, see)),
        _ => {}
    }
}

#[test]
fn every_operation_has_a_name_of_its_own_and_says_what_it_does() {
    let mut names = BTreeSet::new();
    for (path, operation) in operations() {
        let name = operation["operationId"].as_str().unwrap();
        assert!(names.insert(name), "{name} is twice there");
        assert!(
            operation["summary"].as_str().is_some_and(|text| !text.is_empty()),
            "{path} {name}"
        );
        for (status, response) in operation["responses"].as_object().unwrap() {
            assert!(
                response["description"].as_str().is_some_and(|text| !text.is_empty()),
                "{name} {status}"
            );
            assert!(response["headers"]["X-Request-Id"].is_object(), "{name} {status}");
        }
    }
    assert!(names.len() > 25, "only {} operations were found", names.len());
}

#[test]
fn every_reference_leads_somewhere_and_every_default_is_allowed() {
    let mut references = 0;
    walk("", &DOCUMENT, &mut |name, value| {
        if name == "$ref" {
            let reference = value.as_str().unwrap();
            assert!(DOCUMENT.pointer(&reference[1..]).is_some(), "{reference} leads nowhere");
            references += 1;
        }
        assert!(name != "default" || !value.is_null(), "a default is null");
    });
    assert!(references > 50, "only {references} references were found");
}

#[test]
fn every_operation_says_who_may_ask_and_where() {
    let mut open = BTreeSet::new();
    for (path, operation) in operations() {
        let security =
            operation["security"].as_array().unwrap_or_else(|| panic!("{path} says nothing"));
        let servers = &DOCUMENT["paths"][path]["servers"];
        let of_operators = path.starts_with("/admin/") || path == "/metrics";
        assert_eq!(of_operators, servers.is_array(), "{path}");
        assert_eq!(of_operators, *security == [json!({"operator": []})], "{path}");
        if *security == [json!({})] {
            open.insert(operation["operationId"].as_str().unwrap());
        }
    }
    assert_eq!(open, BTreeSet::from(OPEN));
}

/// By status, as the table of `docs/API.md` has them.
#[test]
fn the_document_and_the_manual_know_the_same_codes() {
    let mut manual: BTreeMap<&str, u16> = BTreeMap::new();
    for row in include_str!("../../docs/API.md").lines() {
        let mut cells = row.split('|').skip(1).map(str::trim);
        let Some(status) = cells.next().and_then(|status| status.parse().ok()) else { continue };
        let codes =
            cells.next().unwrap_or_default().split('`').filter(|code| !code.trim().is_empty());
        manual.extend(codes.map(|code| (code, status)));
    }
    let codes = DOCUMENT["components"]["schemas"]["Code"]["enum"].as_array().unwrap();
    let codes: BTreeSet<&str> = codes.iter().map(|code| code.as_str().unwrap()).collect();
    assert_eq!(codes, manual.keys().copied().collect());

    let mut told = BTreeSet::new();
    for (path, operation) in operations() {
        for (status, response) in operation["responses"].as_object().unwrap() {
            let schema = &response["content"]["application/problem+json"]["schema"];
            for code in schema
                .pointer("/allOf/1/properties/code/enum")
                .into_iter()
                .flat_map(|codes| codes.as_array().unwrap())
            {
                let code = code.as_str().unwrap();
                // Proxies understand two refusals.
                let known = match (path, code) {
                    ("/verify", "turn_ended") => 403,
                    ("/verify", "duplicate_header") => 401,
                    _ => manual[code],
                };
                assert_eq!(known.to_string(), *status, "{code} of {path}");
                told.insert(code);
            }
        }
    }
    // The one is a bug, the other is said where there is no operation.
    let never = BTreeSet::from(["internal", "method_not_allowed"]);
    assert_eq!(codes.difference(&told).copied().collect::<BTreeSet<_>>(), never);
}

#[test]
fn an_answer_that_the_document_does_not_promise_is_seen() {
    let objects = |status, body: Value| {
        objection("GET", "/balance/7?x=1", (status, &body.to_string())).is_some()
    };
    assert!(!objects(200, json!({"user_id": "7", "balance": 0})));
    assert!(objects(200, json!({"user_id": 7, "balance": 0})), "another type");
    assert!(objects(200, json!({"user_id": "7"})), "a field is missing");
    assert!(objects(200, json!({"user_id": "7", "balance": -1})), "out of bounds");
    assert!(objects(200, json!({"user_id": "7", "balance": 0, "debt": 1})), "an unknown field");
    assert!(objects(201, json!({"user_id": "7", "balance": 0})), "an unknown status");
    let problem = |code| {
        json!({"type": "about:blank", "title": "", "status": 404, "detail": "", "code": code,
        "request_id": "", "retryable": false})
    };
    assert!(!objects(404, problem("not_found")));
    assert!(objects(404, problem("seat_not_found")), "a code of another operation");
    let page = |at| json!({"next": null, "entries": [{"entry_id": 1, "type": "topup", "amount": 1, "balance_after": 1, "at": at}]});
    let objects =
        |at| objection("GET", "/balance/7/history", (200, &page(at).to_string())).is_some();
    assert!(!objects("2030-03-17T17:51:40.000Z"));
    assert!(objects("yesterday"), "no instant");
}
