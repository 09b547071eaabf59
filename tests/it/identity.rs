//! Who is who: in `jwt` mode nobody is believed without a signed word, and nobody acts for somebody else.

use crate::harness::*;

/// One visit from the first request to the receipt, by somebody the provider vouches for.
async fn visit(app: &TestApp) {
    let concert = app.concert(["1"]).await;
    let ann = app.rich_buyer(PRICE).await;
    let booking = ann.hold(concert, ["1"]).await.held();
    ann.pay(booking).await.paid();
    assert_eq!(ann.balance().await, 0);
    assert_eq!(ann.status_of(booking).await, "paid");
}

/// A join of user 101 that shows this word of who it is.
async fn join_with(app: &TestApp, bearer: &str) -> Answer {
    app.public.request("GET", "/token/101").bearer(bearer).send().await
}

/// What the provider says of user 101.
fn claims(app: &TestApp) -> Value {
    app.identity.as_ref().unwrap().claims(101, app.unix_seconds())
}

fn sign(app: &TestApp, claims: &Value) -> String {
    app.identity.as_ref().unwrap().sign(claims)
}

stories! {
    async fn an_hmac_secret_vouches_for_people(app: &JwtApp) {
        visit(app).await;
    }

    async fn a_public_key_vouches_for_people(on: &Database) {
        let app = TestApp::with_identity(*on, Idp::Pem).await;
        visit(&app).await;
        app.finish().await;
    }

    async fn a_key_set_vouches_for_people(on: &Database) {
        let app = TestApp::with_identity(*on, Idp::Jwks).await;
        visit(&app).await;
        app.finish().await;
    }

    async fn nobody_is_believed_without_a_bearer(app: &JwtApp) {
        let ann = app.active_buyer().await;
        let id = ann.user_id;
        let without = async |method: &str, path: &str, body: Value| {
            let request = app.public.request(method, path).header("token-auth", &ann.token());
            request.json(&body).send().await.refused(401, "unauthenticated")
        };
        without("GET", &format!("/token/{id}"), json!({})).await;
        without("GET", &format!("/balance/{id}"), json!({})).await;
        without("GET", &format!("/balance/{id}/history"), json!({})).await;
        without("GET", &format!("/users/{id}/bookings"), json!({})).await;
        without("POST", "/booking", json!({"user_id": id, "concert_id": 1, "seat_no": "1"})).await;
        without("POST", "/payment", json!({"user_id": id, "booking_id": 1})).await;
        without("POST", "/balance", json!({"user_id": id, "balance": 1})).await;
    }

    async fn the_line_needs_the_queue_token_alone(app: &JwtApp) {
        let ann = app.active_buyer().await;
        let alone = |method: &str| app.public.request(method, "/queue").header("token-auth", &ann.token());
        alone("GET").send().await.active();
        alone("DELETE").send().await.no_content();
    }

    async fn nobody_acts_for_another(app: &JwtApp) {
        let concert = app.hall().await;
        let (ann, bob) = (app.rich_buyer(PRICE).await, app.rich_buyer(PRICE).await);
        let booking = ann.hold(concert, ["A-1"]).await.held();
        let id = ann.user_id;

        bob.get(&format!("/token/{id}")).await.refused(403, "user_mismatch");
        let as_ann = async |path: &str, body: Value| {
            let request = bob.request("POST", path).header("idempotency-key", "as-ann");
            request.json(&body).send().await.refused(403, "user_mismatch")
        };
        as_ann("/booking", json!({"user_id": id, "concert_id": concert, "seat_no": "A-2"})).await;
        as_ann("/payment", json!({"user_id": id, "booking_id": booking})).await;
        as_ann("/balance", json!({"user_id": id, "balance": 1})).await;
        assert_eq!(ann.balance().await, PRICE);
        assert_eq!(ann.status_of(booking).await, "held");
    }

    async fn what_belongs_to_another_looks_like_nothing(app: &JwtApp) {
        let concert = app.hall().await;
        let (ann, bob) = (app.rich_buyer(PRICE).await, app.active_buyer().await);
        let booking = ann.hold(concert, ["A-1"]).await.held();

        for path in ["/balance/ID", "/balance/ID/history", "/users/ID/bookings"] {
            let look = async |id: i64| {
                let answer = bob.get(&path.replace("ID", &id.to_string())).await;
                answer.refused(404, "not_found")["detail"].clone()
            };
            assert_eq!(look(ann.user_id).await, look(999_999).await);
        }
        bob.booking(booking).await.refused(404, "booking_not_found");
        bob.cancel(booking).await.refused(404, "booking_not_found");
        bob.pay(booking).await.refused(404, "booking_not_found");
    }

    async fn a_token_in_other_hands_is_worth_nothing(app: &JwtApp) {
        let concert = app.hall().await;
        let (ann, bob) = (app.active_buyer().await, app.active_buyer().await);
        bob.takes(ann.token());
        bob.hold(concert, ["A-1"]).await.refused(403, "user_mismatch");
        assert!(app.seats(concert).await.starts_with('A'));
    }

    async fn charging_needs_its_scope_and_a_key(app: &JwtApp) {
        let ann = app.buyer_named(101);
        ann.top_up(5).await.refused(400, "idempotency_key_missing");

        let charge = async |scope: &str| {
            let mut claims = claims(app);
            claims["scope"] = json!(scope);
            let request = app.public.request("POST", "/balance").bearer(&sign(app, &claims));
            let request = request.header("idempotency-key", "k");
            request.json(&json!({"user_id": 101, "balance": 5})).send().await
        };
        for scope in ["profile", "balance:chargeback", ""] {
            charge(scope).await.refused(403, "forbidden");
        }
        charge("profile balance:charge").await.ok();
        assert_eq!(ann.balance().await, 5);
    }

    async fn a_word_out_of_its_time_is_refused(app: &JwtApp) {
        let with = async |claim: &str, seconds_from_now: i64| {
            let mut claims = claims(app);
            claims[claim] = json!(app.unix_seconds() + seconds_from_now);
            join_with(app, &sign(app, &claims)).await
        };
        with("exp", -6).await.refused(401, "token_expired");
        with("nbf", 6).await.refused(401, "token_invalid");
        with("exp", -4).await.ok();
        with("nbf", 4).await.ok();
    }

    async fn a_word_for_somebody_else_is_refused(app: &JwtApp) {
        for claim in ["iss", "aud"] {
            let mut claims = claims(app);
            claims[claim] = json!("elsewhere");
            join_with(app, &sign(app, &claims)).await.refused(401, "token_invalid");
        }
        for claim in ["iss", "aud", "sub", "exp"] {
            let mut claims = claims(app);
            claims.as_object_mut().unwrap().remove(claim);
            join_with(app, &sign(app, &claims)).await.refused(401, "token_invalid");
        }
    }

    async fn a_forged_word_is_refused(app: &JwtApp) {
        let claims = claims(app);
        for alg in ["none", "None", "nOnE", "HS384", "RS256"] {
            let token = forge(&json!({"alg": alg, "typ": "JWT"}), &claims, None);
            join_with(app, &token).await.refused(401, "token_invalid");
        }
        let header = json!({"alg": "HS256", "typ": "JWT"});
        let guessed = forge(&header, &claims, Some(b"another secret"));
        join_with(app, &guessed).await.refused(401, "token_invalid");
        let honest = sign(app, &claims);
        let (message, _) = honest.rsplit_once('.').unwrap();
        join_with(app, &format!("{message}.AAAA")).await.refused(401, "token_invalid");
        join_with(app, "no.token").await.refused(401, "token_malformed");
    }

    async fn a_public_key_is_nobodys_secret(on: &Database) {
        let app = TestApp::with_identity(*on, Idp::Pem).await;
        let header = json!({"alg": "HS256", "typ": "JWT"});
        for secret in [ED25519_PUBLIC, ED25519_PUBLIC.trim()] {
            let forged = forge(&header, &claims(&app), Some(secret.as_bytes()));
            join_with(&app, &forged).await.refused(401, "token_invalid");
        }
        app.finish().await;
    }

    async fn the_two_kinds_of_token_cannot_be_exchanged(app: &JwtApp) {
        let ann = app.buyer_named(101);
        ann.join().await.active();
        join_with(app, &ann.token()).await.refused(401, "token_invalid");
        ann.takes(sign(app, &claims(app)));
        ann.poll().await.refused(401, "token_invalid");
    }

    async fn a_forged_queue_token_is_refused(app: &TestApp) {
        let now = app.unix_seconds();
        let claims = json!({"aud": "usher:queue:main", "sub": "101", "seq": 1, "iat": now, "exp": now + 600});
        let ann = app.buyer();
        for header in [
            json!({"alg": "none", "typ": "queue+jwt"}),
            json!({"alg": "HS256", "typ": "queue+jwt"}),
            json!({"alg": "HS256", "typ": "queue+jwt", "kid": "../../etc/passwd"}),
        ] {
            ann.takes(forge(&header, &claims, Some(b"guessed")));
            ann.poll().await.refused(401, "token_invalid");
        }
    }

    async fn a_queue_token_lives_for_a_day(app: &TestApp) {
        let ann = app.active_buyer().await;
        app.clock.advance(std::time::Duration::from_secs(86_410));
        ann.poll().await.refused(401, "token_expired");
    }

    async fn open_doors_are_for_loopback_only(_on: &Database) {
        let read = |listen: &str| {
            let data = tempfile::tempdir().unwrap();
            let directory = data.path().to_str().unwrap();
            let settings = [("USHER_LISTEN", listen), ("USHER_AUTH", "open"), ("USHER_DATA_DIR", directory)];
            let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
            usher::config::Config::from_settings(settings).map(drop).map_err(|error| error.to_string())
        };
        assert!(read("0.0.0.0:0").unwrap_err().contains("USHER_AUTH"));
        assert!(read("[::]:0").unwrap_err().contains("USHER_AUTH"));
        assert_eq!(read("127.0.0.1:0"), Ok(()));
        assert_eq!(read("[::1]:0"), Ok(()));
    }
}
