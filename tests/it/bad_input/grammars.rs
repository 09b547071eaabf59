//! Every parser of a text against its grammar, written down a second time: what is in it is read and comes back as it
//! was, what is not is refused by its code, and nothing panics.
//!
//! A long run: `PROPTEST_CASES=1000000 scripts/test bad_input::grammars`.

use axum::extract::FromRequestParts;
use axum::http::{HeaderValue, Request};
use proptest::prelude::*;

use usher::auth::{Identities, Tokens};
use usher::clock::rfc3339;
use usher::config::{AuthConfig, Config, Identity, KeyState, Secret, TokenKey};
use usher::error::{Code, Error};
use usher::http::extract::{MaybeKey, Query, parse_json};
use usher::ids::{ID_MAX, IdempotencyKey, QueueName, QueueNumber, SeatId, UserId};
use usher::queue::draw::Seed;
use usher::queue::policy::{Policy, PolicyView, TunePolicy};
use usher::queue::schedule::ScheduleTune;

use crate::harness::{Value, forge, json};

const NOW_MS: i64 = 1_900_000_000_000;
const SECRET: [u8; 32] = [7; 32];
const LAST_INSTANT_MS: i64 = 253_402_300_799_999;

/// As many cases as a push can wait for, or as many as somebody asks for.
pub fn config() -> ProptestConfig {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let usual = ProptestConfig::default();
    ProptestConfig {
        cases: if asked { usual.cases } else { 2_000 },
        failure_persistence: None,
        ..usual
    }
}

fn is_id(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.chars().all(|c| "0123456789".contains(c));
    digits(text)
        && !text.starts_with('0')
        && text.parse().is_ok_and(|id: u128| id <= ID_MAX as u128)
}

fn is_seat(text: &str) -> bool {
    (1..=16).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
}

fn is_key(text: &str) -> bool {
    (1..=255).contains(&text.len()) && text.chars().all(|c| c == ' ' || c.is_ascii_graphic())
}

/// The code of a list of at most eight seats, by its first mistake; nothing if there is none.
fn mistake(list: &str) -> Option<Code> {
    let mut known: Vec<&str> = Vec::new();
    for (index, item) in list.split(',').enumerate() {
        let item = if index > 0 && item.starts_with(' ') { &item[1..] } else { item };
        let wrong = match item {
            _ if !is_seat(item) => Some(Code::InvalidSeatList),
            _ if known.contains(&item) => Some(Code::DuplicateSeat),
            _ if known.len() == 8 => Some(Code::TooManySeats),
            _ => None,
        };
        if wrong.is_some() {
            return wrong;
        }
        known.push(item);
    }
    None
}

fn code<T>(read: Result<T, Error>) -> Option<Code> {
    read.err().map(|error| error.code())
}

fn tokens() -> Tokens {
    let key = TokenKey { kid: "1".to_owned(), secret: SECRET.to_vec(), state: KeyState::Active };
    Tokens::new(&AuthConfig {
        identity: Identity::Open,
        token_keys: vec![key],
        token_key_file: None,
        token_seconds: 86_400,
        admin_key: Secret::new("x".repeat(16)),
    })
}

fn identities() -> Identities {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), [SECRET, SECRET].concat()).unwrap();
    let (key_file, none) = (file.path().to_owned(), None::<String>);
    let jwt =
        Identity::Jwt { key_file, algorithm: none.clone(), issuer: none.clone(), audience: none };
    Identities::new(&jwt).unwrap().unwrap()
}

/// What an extractor makes of the head of a request; none of these waits for anything.
fn extracted<T: FromRequestParts<()>>(request: Request<()>) -> Result<T, T::Rejection> {
    let (mut parts, ()) = request.into_parts();
    futures_util::FutureExt::now_or_never(T::from_request_parts(&mut parts, &()))
        .expect("it does not wait")
}

fn query(text: &str) -> Option<Request<()>> {
    Request::get(format!("/token/7?{text}")).body(()).ok()
}

/// Any claim: absent, of any type, at any bound.
fn claim() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        (-10_i64..10).prop_map(|by| Value::from(NOW_MS / 1_000 + by)),
        any::<f64>().prop_map(Value::from),
        "[0-9]{1,17}".prop_map(Value::from),
        "(usher:queue:)?\\PC{0,12}".prop_map(Value::from),
        any::<bool>().prop_map(|_| json!([1, {}])),
    ]
}

/// Right claims, some of them replaced by any.
fn claims(right: Value) -> impl Strategy<Value = Value> {
    let changes = proptest::collection::vec(proptest::option::weighted(0.2, claim()), 6);
    changes.prop_map(move |changes| {
        let right = right.as_object().unwrap().clone().into_iter();
        let changed = right.zip(changes).map(|((name, was), change)| (name, change.unwrap_or(was)));
        changed.filter(|(_, value)| !value.is_null()).collect()
    })
}

fn right_of_token() -> Value {
    let now = NOW_MS / 1_000;
    json!({"aud": "usher:queue:main", "sub": "7", "seq": 9, "g": 1, "iat": now, "exp": now + 60})
}

fn right_of_person() -> Value {
    let now = NOW_MS / 1_000;
    json!({"sub": "7", "iat": now, "nbf": now, "exp": now + 60, "scope": "balance:charge"})
}

/// A number about a bound as often as any.
fn about(bounds: &'static [i64]) -> impl Strategy<Value = i64> {
    prop_oneof![
        (proptest::sample::select(bounds), -1_i64..=1).prop_map(|(at, by)| at + by),
        any::<i64>()
    ]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn ids(text in prop_oneof!["[0-9]{0,20}", "[-+0-9 a-fxe.]{0,18}", "\\PC{0,20}", (ID_MAX - 9..ID_MAX + 9).prop_map(|id| id.to_string())]) {
        match UserId::parse(&text) {
            Ok(id) => prop_assert_eq!((id.to_string(), is_id(&text)), (text, true)),
            Err(error) => prop_assert_eq!((error.code(), is_id(&text)), (Code::InvalidUserId, false)),
        }
    }

    #[test]
    fn queue_names(text in prop_oneof!["[a-z0-9-]{0,34}", "[a-zA-Z:{}*é-]{0,8}", "\\PC{0,34}"]) {
        let in_grammar = (1..=32).contains(&text.len())
            && text.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-'));
        let read = QueueName::parse(&text);
        prop_assert_eq!(read.is_ok(), in_grammar);
        prop_assert!(read.map_or(true, |name| name.to_string() == text));
    }

    #[test]
    fn lists_of_seats(list in prop_oneof!["[A-C0-2]{1,2}(, ?[A-C0-2]{1,2}){0,9}", "[A-Ca-c0-2, ;é\0-]{0,40}", "\\PC{0,40}"]) {
        let read = SeatId::parse_list(&list, 8);
        prop_assert_eq!(code(SeatId::parse_list(&list, 8)), mistake(&list));
        if let Ok(seats) = read {
            let printed: Vec<&str> = seats.iter().map(SeatId::as_str).collect();
            prop_assert_eq!(printed.join(","), list.replace(' ', ""));
            let mut sorted = seats.clone();
            sorted.sort();
            prop_assert_eq!(SeatId::split(&SeatId::join(&seats)), sorted);
        }
    }

    #[test]
    fn idempotency_keys(sent in proptest::collection::vec(prop_oneof![8 => b' '..=b'~', 1 => any::<u8>()], 0..300)) {
        if let Ok(text) = std::str::from_utf8(&sent) {
            let read = IdempotencyKey::parse(text);
            prop_assert_eq!(read.is_ok(), is_key(text));
            prop_assert!(read.map_or(true, |key| key.as_str() == text));
        }
        let Ok(header) = HeaderValue::from_bytes(&sent) else { return Ok(()) };
        let request = Request::get("/").header("idempotency-key", header).body(()).unwrap();
        let read: Result<MaybeKey, Error> = extracted(request);
        let in_grammar = std::str::from_utf8(&sent).is_ok_and(is_key);
        let expected = (!in_grammar).then_some(Code::InvalidIdempotencyKey);
        prop_assert_eq!(code(read), expected);
    }

    #[test]
    fn the_query_of_a_join(text in prop_oneof!["(queue|%71ueue|page)=[a-z0-9%&=]{0,12}(&queue=[a-z]{0,3})?", "[!-~]{0,30}"]) {
        let Some(request) = query(&text) else { return Ok(()) };
        let read = extracted::<Query>(request).and_then(|query| query.queue());
        match read {
            Ok(Some(name)) => prop_assert!(text.contains('=') && QueueName::parse(name.as_str()).is_ok()),
            Ok(None) => prop_assert!(!text.starts_with("queue=") && !text.contains("&queue=")),
            Err(error) => prop_assert!(matches!(error.code(), Code::InvalidQuery | Code::InvalidQueue), "{error}"),
        }
    }

    #[test]
    fn a_queue_name_in_a_query(name in "[a-z0-9-]{1,32}", before in "([a-p]{1,5}=[a-z0-9]{0,5}&){0,3}") {
        let percent: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
        for sent in [&name, &percent] {
            let read = extracted::<Query>(query(&format!("{before}queue={sent}")).unwrap());
            let read = read.and_then(|query| query.queue()).unwrap().unwrap();
            prop_assert_eq!(read.as_str(), &name);
        }
    }

    #[test]
    fn queue_tokens(text in prop_oneof!["[A-Za-z0-9_-]{0,40}(\\.[A-Za-z0-9_=-]{0,60}){0,3}", "\\PC{0,1100}"]) {
        let refused = code(tokens().verify(&text, NOW_MS)).unwrap();
        prop_assert!(matches!(refused, Code::TokenMalformed | Code::TokenInvalid), "{refused:?}");
        let refused = code(identities().verify(&text, NOW_MS)).unwrap();
        prop_assert!(matches!(refused, Code::TokenMalformed | Code::TokenInvalid), "{refused:?}");
    }

    #[test]
    fn a_signed_token_comes_back(user in 1..=ID_MAX, number in any::<i64>(), epoch in any::<i64>(), name in "[a-z0-9-]{1,32}", later in 0..43_200_i64) {
        let (tokens, queue) = (tokens(), QueueName::parse(&name).unwrap());
        let token = tokens.sign(&queue, UserId(user), (QueueNumber(number), epoch), NOW_MS).unwrap();
        let read = tokens.verify(&token, NOW_MS + later * 1_000).unwrap();
        prop_assert_eq!((read.place(), read.queue), ((UserId(user), QueueNumber(number), epoch), queue));
    }

    /// Signed by the right key, and for all that not believed blindly.
    #[test]
    fn signed_claims_of_any_kind(of_token in claims(right_of_token()), of_person in claims(right_of_person())) {
        let token = forge(&json!({"alg": "HS256", "kid": "1", "typ": "queue+jwt"}), &of_token, Some(&SECRET));
        match tokens().verify(&token, NOW_MS) {
            Ok(read) => prop_assert!(is_id(of_token["sub"].as_str().unwrap()) && read.expires_at > NOW_MS),
            Err(error) => prop_assert!(matches!(error.code(), Code::TokenInvalid | Code::TokenExpired), "{error}"),
        }
        let token = forge(&json!({"alg": "HS256", "typ": "JWT"}), &of_person, Some(&[SECRET, SECRET].concat()));
        match identities().verify(&token, NOW_MS) {
            Ok(caller) => prop_assert_eq!(json!(caller.user.to_string()), of_person["sub"].clone()),
            Err(error) => prop_assert!(matches!(error.code(), Code::TokenInvalid | Code::TokenExpired), "{error}"),
        }
    }

    #[test]
    fn policies(rate in prop_oneof![0.0..20_000.0, any::<f64>()], active in about(&[0, 1_000_000]), hold in about(&[1, 86_400]), seats in about(&[1, 100]), message in "\\PC{0,20}\0?") {
        let change = json!({"rate_per_second": rate, "active_max": active, "hold_seconds": hold,
            "seats_per_booking_max": seats, "message": message});
        let read = parse_json::<TunePolicy>(change.to_string().as_bytes());
        let tuned = read.and_then(|change| Policy::default().tuned(change));
        let in_bounds = (0.0..=20_000.0).contains(&rate)
            && (0..=1_000_000).contains(&active)
            && (1..=86_400).contains(&hold)
            && (1..=100).contains(&seats)
            && !message.contains('\0');
        prop_assert_eq!(code(tuned), (!in_bounds).then_some(Code::InvalidField));
    }

    #[test]
    fn a_policy_that_is_shown_can_be_sent_back(rate in 0..20_000_000_u32, burst in 1_000..20_000_000_u32, session in 1..86_400_i64, per_user in proptest::option::of(1..1_000_000_i64), message in "[^\0]{0,100}") {
        // To the thousandth: of more digits than people write, the last may be read as its neighbour.
        let thousandths = |number: u32| f64::from(number) / 1_000.0;
        let policy = Policy { rate_per_second: thousandths(rate), burst: Some(thousandths(burst)), session_seconds: session,
            seats_per_user_max: per_user, message, ..Policy::default() };
        let shown = serde_json::to_vec(&PolicyView::from(&policy)).unwrap();
        let sent = parse_json::<TunePolicy>(&shown).unwrap();
        prop_assert_eq!(Policy::default().tuned(sent).unwrap(), policy);
    }

    #[test]
    fn instants(at in prop_oneof![0..=LAST_INSTANT_MS, NOW_MS - 10..NOW_MS + 10], text in prop_oneof!["\\PC{0,30}", "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{1,12})?(Z|[+-][0-2][0-9]:[0-6][0-9])"]) {
        let read = |at: &str| parse_json::<ScheduleTune>(json!({"at": at, "policy": {}}).to_string().as_bytes());
        prop_assert_eq!(read(&rfc3339(at)).unwrap().at, at);
        match read(&text) {
            Ok(plan) => prop_assert!(text.contains('T') || text.contains('t') || text.contains(' '), "{}", plan.at),
            Err(error) => prop_assert_eq!(error.code(), Code::InvalidField),
        }
    }

    #[test]
    fn seeds_of_draws(bytes in any::<[u8; 32]>(), text in prop_oneof!["[0-9a-fA-F+-]{64}", "[0-9a-f]{62,66}", "\\PC{20,64}"]) {
        prop_assert_eq!(Seed::read(&Seed::new(bytes).hex()).map(|seed| seed.hex()), Some(Seed::new(bytes).hex()));
        let in_grammar = text.len() == 64 && text.chars().all(|c| c.is_ascii_hexdigit());
        prop_assert_eq!(Seed::read(&text).is_some(), in_grammar);
    }

    #[test]
    fn numbers_of_arrivals_and_draws(epoch in 0..(1_i64 << 23), n in 1..(1_i64 << 39)) {
        let arrived = QueueNumber(QueueNumber::base(epoch) + n - 1);
        prop_assert_eq!((arrived.epoch(), arrived.arrival(), arrived.drawn()), (epoch, n - 1, None));
        let drawn = QueueNumber::of_draw(epoch, n - 1);
        prop_assert_eq!((drawn.epoch(), drawn.drawn()), (epoch, Some(n - 1)));
        prop_assert!(drawn < arrived);
    }
}

proptest! {
    // Each makes keys in a directory of its own.
    #![proptest_config(ProptestConfig { cases: config().cases / 10, ..config() })]

    #[test]
    fn settings(poll in prop_oneof!["[0-9]{1,4}", "[-+0-9a-z. ]{1,6}"], limits in prop_oneof![Just("on".to_owned()), Just("off".to_owned()), "[a-z]{1,4}"], listen in prop_oneof!["127\\.0\\.0\\.1:[0-9]{1,6}", "\\PC{1,20}"], proxies in "[0-9., ]{1,20}") {
        let directory = tempfile::tempdir().unwrap();
        let given = [("USHER_POLL_SECONDS_MAX", poll.as_str()), ("USHER_RATE_LIMITS", &limits), ("USHER_LISTEN", &listen),
            ("USHER_TRUSTED_PROXIES", &proxies), ("USHER_DATA_DIR", directory.path().to_str().unwrap())];
        let read = Config::from_settings(given.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let told = read.as_ref().err().map(ToString::to_string).unwrap_or_default();
        let wrong = |name: &str| told.contains(&format!("\n  {name} "));
        prop_assert_eq!(wrong("USHER_POLL_SECONDS_MAX"), !poll.parse().is_ok_and(|seconds: i64| (1..=300).contains(&seconds)));
        prop_assert_eq!(wrong("USHER_RATE_LIMITS"), limits != "on" && limits != "off");
        let address = listen.parse::<std::net::SocketAddr>();
        prop_assert_eq!(told.contains("USHER_LISTEN is an address"), address.is_err());
        let known = given.map(|(name, _)| name);
        for line in told.lines().skip(1) {
            prop_assert!(line.split_whitespace().next().is_some_and(|name| known.contains(&name) || name == "USHER_AUTH"), "{line}");
        }
        if let Ok(config) = read {
            prop_assert_eq!(Some(config.http.listen), address.ok());
        }
    }
}
