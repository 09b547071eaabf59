//! Tokens: missing, malformed, forged, for another use, out of their time, and honest ones that give no right.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::{JSON, Stake, post, raw, request};
use crate::harness::*;

/// Requests that need the queue token.
const WITH_TOKEN: [(&str, &str, &str); 6] = [
    ("GET", "/queue", ""),
    ("DELETE", "/queue", ""),
    ("GET", "/booking/1", ""),
    ("DELETE", "/booking/1", ""),
    ("POST", "/booking", r#"{"user_id": 7, "concert_id": 1, "seat_no": "2"}"#),
    ("POST", "/payment", r#"{"user_id": 7, "booking_id": 1}"#),
];

/// A token that somebody holds, taken apart, and the secret that signed it.
struct Known {
    header: Value,
    claims: Value,
    secret: Vec<u8>,
}

impl Known {
    fn of(app: &TestApp, token: &str) -> Known {
        let part = |index: usize| -> Value {
            let part = URL_SAFE_NO_PAD.decode(token.split('.').nth(index).unwrap()).unwrap();
            serde_json::from_slice(&part).unwrap()
        };
        let secret = STANDARD.decode(app.setting("USHER_TOKEN_KEY")).unwrap();
        let known = Known { header: part(0), claims: part(1), secret };
        let copy = known.sign(&known.header, &known.claims);
        app.app.tokens.verify(&copy, app.clock.now_ms()).expect("the forger knows the craft");
        known
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        forge(header, claims, Some(&self.secret))
    }

    /// The right secret under a header that is not the right one.
    fn with_header(&self, name: &str, value: Value) -> String {
        let mut header = self.header.clone();
        header[name] = value;
        self.sign(&header, &self.claims)
    }

    /// The right header and secret with one claim changed, or gone when it is `null`.
    fn with_claim(&self, name: &str, value: Value) -> String {
        let mut claims = self.claims.clone();
        claims[name] = value;
        if claims[name].is_null() {
            claims.as_object_mut().unwrap().remove(name);
        }
        self.sign(&self.header, &claims)
    }
}

impl Stake<'_> {
    /// Every request that needs a token refuses this one.
    async fn refuses_everywhere(&self, token: Option<&str>, status: u16, code: &str) {
        for (method, path, body) in WITH_TOKEN {
            let request = self.app.public.request(method, path).body(body);
            let request = match token {
                Some(token) => request.header("token-auth", token),
                None => request,
            };
            request.send().await.refused(status, code);
        }
        self.is_unchanged(&format!("token {token:?}")).await;
    }
}

/// Ends the turn of somebody new in each of the four ways.
async fn ended(app: &TestApp, hall: i64) -> [Buyer; 4] {
    let (left, unclaimed) = (app.active_buyer().await, app.active_buyer().await);
    let (paid, expired) = (app.rich_buyer(PRICE).await, app.active_buyer().await);
    left.leave().await.no_content();
    let booking = paid.hold(hall, ["A-1"]).await.held();
    paid.pay(booking).await.paid();
    expired.hold(hall, ["A-2"]).await.held();
    app.pass(601).await;
    [left, unclaimed, paid, expired]
}

stories! {
    async fn what_is_no_token_is_malformed(app: &TestApp) {
        let stake = Stake::of(app).await;
        let token = stake.ann.token();
        let (header, rest) = token.split_once('.').unwrap();
        let (claims, signature) = rest.split_once('.').unwrap();
        stake.refuses_everywhere(None, 401, "token_missing").await;
        for malformed in [
            String::new(),
            "7".to_owned(),
            "..".to_owned(),
            format!("{header}.{claims}"),
            format!("{token}.{signature}"),
            format!("{token}="),
            format!("{header}.{claims}=.{signature}"),
            format!("!{token}"),
            format!("{header}.{claims}.{signature}/+"),
            format!("{header}.{claims}.{}", "A".repeat(1_024)),
            "A".repeat(8_000),
            format!("Bearer {token}"),
        ] {
            stake.refuses_everywhere(Some(&malformed), 401, "token_malformed").await;
        }
        let latin = b"GET /queue HTTP/1.1\r\nHost: x\r\nConnection: close\r\nToken-Auth: \xff\r\n\r\n";
        raw(app, latin).await.refused(401, "token_malformed");
    }

    async fn a_header_is_that_of_a_known_key(app: &TestApp) {
        let stake = Stake::of(app).await;
        let known = Known::of(app, &stake.ann.token());
        for alg in ["none", "None", "nOnE", "HS384", "HS512", "RS256", "EdDSA", "hs256", ""] {
            let token = known.with_header("alg", json!(alg));
            stake.refuses_everywhere(Some(&token), 401, "token_invalid").await;
            let mut header = known.header.clone();
            header["alg"] = json!(alg);
            let unsigned = forge(&header, &known.claims, None);
            stake.refuses_everywhere(Some(&unsigned), 401, "token_invalid").await;
        }
        for (name, value) in [
            ("typ", json!("JWT")),
            ("typ", json!("Queue+JWT")),
            ("typ", Value::Null),
            ("kid", json!("2")),
            ("kid", json!("../../../dev/null")),
            ("kid", json!("1' OR '1'='1")),
            ("kid", json!("https://elsewhere.example/keys")),
            ("kid", Value::Null),
            ("jku", json!("https://elsewhere.example/keys")),
            ("x5u", json!("https://elsewhere.example/chain")),
            ("jwk", json!({"kty": "oct", "k": "AAAA"})),
            ("crit", json!(["exp"])),
        ] {
            let token = known.with_header(name, value);
            stake.refuses_everywhere(Some(&token), 401, "token_invalid").await;
        }
        for secret in [b"".as_slice(), b"guessed", &[0; 32]] {
            let token = forge(&known.header, &known.claims, Some(secret));
            stake.refuses_everywhere(Some(&token), 401, "token_invalid").await;
        }
    }

    async fn a_claim_is_what_it_should_be(app: &TestApp) {
        let stake = Stake::of(app).await;
        let known = Known::of(app, &stake.ann.token());
        let now = app.unix_seconds();
        for (name, value) in [
            ("exp", Value::Null),
            ("exp", json!((now + 60).to_string())),
            ("exp", json!(now as f64 + 60.5)),
            ("exp", json!(-1)),
            ("exp", json!(1.8446744073709552e19)),
            ("exp", json!(u64::MAX)),
            ("iat", Value::Null),
            ("iat", json!(now + 6)),
            ("aud", Value::Null),
            ("aud", json!("main")),
            ("aud", json!("usher:queue:")),
            ("aud", json!("usher:queue:Main")),
            ("aud", json!("usher:queue:{main}")),
            ("aud", json!(["usher:queue:main"])),
            ("sub", Value::Null),
            ("sub", json!(7)),
            ("sub", json!("07")),
            ("sub", json!("7 ")),
            ("seq", Value::Null),
            ("seq", json!("1")),
        ] {
            let token = known.with_claim(name, value);
            stake.refuses_everywhere(Some(&token), 401, "token_invalid").await;
        }
        for expired in [0, now - 1, now] {
            let token = known.with_claim("exp", json!(expired));
            stake.refuses_everywhere(Some(&token), 401, "token_expired").await;
        }
        stake.ann.takes(known.with_claim("iat", json!(now + 5)));
        stake.ann.poll().await.active();
    }

    async fn one_token_at_a_time(app: &TestApp) {
        let stake = Stake::of(app).await;
        let token = format!("Token-Auth: {}\r\n", stake.ann.token());
        for (method, path, body) in WITH_TOKEN {
            let headers = format!("{JSON}{token}{token}");
            let bytes = match method {
                "POST" => post(path, &headers, body),
                _ => request(method, path, &headers).into_bytes(),
            };
            raw(app, bytes).await.refused(400, "duplicate_header");
        }
        raw(app, request("GET", "/token/7", &token.repeat(2))).await.refused(400, "duplicate_header");
        stake.is_unchanged(&"two tokens").await;
    }

    async fn who_waits_cannot_book(app: &TestApp) {
        let concert = app.hall().await;
        app.one_at_a_time().await;
        let (bob, cy) = (app.waiting_buyer().await, app.waiting_buyer().await);
        for (waits, position) in [(&bob, 1), (&cy, 2)] {
            let answer = waits.hold(concert, ["A-1"]).await;
            let wait: i64 = answer.header("retry-after").unwrap().parse().unwrap();
            assert!(wait >= 1, "{answer}");
            let problem = answer.refused(403, "not_admitted");
            assert_eq!(problem["position"], position);
            assert!(waits.bookings().await.is_empty());
        }
        let sums = app.operator.get(&format!("/admin/concerts/{concert}")).await.ok();
        assert_eq!(sums["seats_free"], sums["seats_total"]);
    }

    async fn a_turn_that_is_over_is_over(app: &TestApp) {
        let hall = app.hall().await;
        for gone in ended(app, hall).await {
            let before = gone.bookings().await;
            gone.poll().await.refused(410, "turn_ended");
            gone.hold(hall, ["A-9"]).await.refused(410, "turn_ended");
            gone.poll().await.refused(410, "turn_ended");
            assert_eq!(gone.bookings().await, before);
        }
    }

    async fn a_forged_identity_is_refused_everywhere(app: &JwtApp) {
        let stake = Stake::of(app).await;
        let now = app.unix_seconds();
        let honest = app.identity.as_ref().unwrap();
        let claims = honest.claims(7, now);
        let header = |name: &str, value: Value| {
            let mut header = json!({"alg": "HS256", "typ": "JWT"});
            header[name] = value;
            header
        };
        let with = |name: &str, value: Value| {
            let mut claims = claims.clone();
            claims[name] = value;
            honest.sign(&claims)
        };
        for (bearer, code) in [
            (String::new(), "unauthenticated"),
            ("x".to_owned(), "token_malformed"),
            ("a.b.c".to_owned(), "token_malformed"),
            ("x".repeat(9_000), "token_malformed"),
            (forge(&header("alg", json!("none")), &claims, None), "token_invalid"),
            (forge(&header("kid", json!("../../etc/passwd")), &claims, Some(b"x")), "token_invalid"),
            (forge(&header("jku", json!("https://elsewhere.example")), &claims, Some(b"x")), "token_invalid"),
            (forge(&header("jwk", json!({"kty": "oct", "k": "eA"})), &claims, Some(b"x")), "token_invalid"),
            (stake.ann.token(), "token_invalid"),
            (with("exp", json!((now + 60).to_string())), "token_invalid"),
            (with("exp", json!(now as f64 + 60.5)), "token_invalid"),
            (with("exp", json!(-1)), "token_invalid"),
            (with("exp", json!(u64::MAX)), "token_invalid"),
            (with("exp", Value::Null), "token_invalid"),
            (with("exp", json!(0)), "token_expired"),
            (with("exp", json!(now - 5)), "token_expired"),
            (with("iat", json!(now + 6)), "token_invalid"),
            (with("sub", json!(7)), "token_invalid"),
            (with("sub", json!("0")), "token_invalid"),
            (with("sub", json!("7\u{0}")), "token_invalid"),
        ] {
            for (method, path, body) in [
                ("GET", "/token/7", ""),
                ("GET", "/balance/7", ""),
                ("POST", "/balance", r#"{"user_id": 7, "balance": 100}"#),
                ("POST", "/booking", r#"{"user_id": 7, "concert_id": 1, "seat_no": "2"}"#),
            ] {
                let request = app.public.request(method, path).header("token-auth", &stake.ann.token());
                let request = request.header("idempotency-key", "forged").bearer(&bearer);
                request.body(body).send().await.refused(401, code);
            }
        }
        let bearer = format!("Authorization: Bearer {}\r\n", honest.of(7, now));
        let reply = raw(app, request("GET", "/balance/7", &bearer.repeat(2))).await;
        reply.refused(400, "duplicate_header");
        stake.is_unchanged(&"a forged identity").await;
    }
}
