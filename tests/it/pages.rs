//! The pages as their server sends them. What a browser makes of them is tried in `tests/browser`.

use std::collections::BTreeSet;

use crate::harness::*;

stories! {
    async fn a_page_is_whole_and_nothing_on_it_comes_from_elsewhere(app: &TestApp) {
        app.concert(["1", "2"]).await;
        let page = app.get("/wait/main?target=/shop").await.status(200);
        let allowed = page.header("content-security-policy").unwrap();
        assert!(allowed.starts_with("default-src 'self'") && !allowed.contains("unsafe"), "{allowed}");
        assert!(!page.text.contains("<script>") && !page.text.contains("style="), "{}", page.text);
        let drawn_with: Vec<&str> = page.text.split(['"']).filter(|part| part.starts_with("/assets/")).collect();
        assert!(drawn_with.len() >= 4, "{drawn_with:?}");
        for address in drawn_with {
            let file = app.get(address).await.status(200);
            assert_eq!(file.header("cache-control"), Some("public, max-age=31536000, immutable"));
        }
        app.get("/assets/../Cargo.toml").await.refused(404, "not_found");
        app.get("/assets/wait.html").await.refused(404, "not_found");
    }

    async fn the_way_on_is_ours_or_on_the_operators_list(app: &TestApp) {
        let target = async |target: &str| app.get(&format!("/wait/main?target={target}")).await;
        for ours in ["/shop", "/shop%3Fa=1%23b", "shop"] {
            assert!(target(ours).await.status(200).text.contains("data-target=\"&#x2f;"), "{ours}");
        }
        let foreign = ["https://evil.example/", "//evil.example", "/%5Cevil.example", "%5C%5Cevil.example",
            "javascript:alert(1)", "%09//evil.example", "data:text/html,x"];
        for target_of_others in foreign {
            let page = target(target_of_others).await.status(400);
            assert!(page.header("content-type").unwrap().starts_with("text/html"), "{target_of_others}");
        }
    }

    async fn a_queue_that_is_not_there_has_a_page_that_says_so(app: &TestApp) {
        let page = app.get("/wait/nowhere").await.status(404);
        assert!(page.text.contains("There is no such queue"));
        let korean = app.public.request("GET", "/wait/nowhere").header("accept-language", "de, ko-KR;q=0.8").send().await;
        assert!(korean.status(404).text.contains("해당 대기열이 없습니다"));
        assert!(app.get("/wait/nowhere?lang=ko").await.status(404).text.contains("lang=\"ko\""));
    }

    async fn the_seat_map_is_where_the_waiting_room_leads(app: &TestApp) {
        let concert = app.concert(["1", "2"]).await;
        let room = app.get("/wait/main").await.status(200);
        assert!(room.text.contains(&format!("buy&#x2f;{concert}")), "{}", room.text);
        let page = app.get(&format!("/buy/{concert}")).await.status(200);
        assert!(page.text.contains("data-queue=\"main\""), "{}", page.text);
        assert!(app.get("/buy/999").await.status(404).text.contains("There is no such concert"));
    }

    async fn a_place_is_taken_on_the_page_itself_and_nowhere_else(app: &TestApp) {
        let post = async |site: &str| {
            app.public.request("POST", "/wait/main?target=/shop").header("sec-fetch-site", site).send().await
        };
        post("cross-site").await.status(403);
        post("same-site").await.status(403);
        assert_eq!(app.operator.queue("main").await["waiting"], 0);
        let answer = post("same-origin").await.status(303);
        assert_eq!(answer.header("location"), Some("/wait/main?target=/shop"));
        let cookie = answer.header("set-cookie").unwrap();
        assert!(cookie.starts_with("usher_token=") && cookie.contains("SameSite=Strict"), "{cookie}");
        assert!(!cookie.contains("Secure"), "{cookie}");
        let over_https = app.public.request("POST", "/wait/main").header("x-forwarded-proto", "https").send().await;
        assert!(over_https.status(303).header("set-cookie").unwrap().ends_with("; Secure"));
        let place = app.public.request("GET", "/wait/main").header("cookie", cookie.split(';').next().unwrap()).send().await;
        assert!(place.status(200).text.contains("<noscript>"));
    }

    /// An operator is told what is wrong in his language, by the sentences that the server has.
    async fn whatever_the_server_says_of_a_field_the_desk_can_say(app: &TestApp) {
        let post = async |path: &str, body: Value| {
            let answer = app.operator.send("POST", path, body).await;
            let problem: Value = serde_json::from_str(&answer.text).unwrap();
            let errors = problem["errors"].as_array().unwrap_or_else(|| panic!("{problem}"));
            errors.iter().map(|error| sentence(error["reason"].as_str().unwrap())).collect::<BTreeSet<_>>()
        };
        let (soon, now) = (app.unix_seconds() + 60, usher::clock::rfc3339(app.clock.now_ms()));
        let hall = |seats: Value| json!([{"name": "stalls", "price": 1, "seats": seats}]);
        let night = |starts_at: i64, seats: Value| json!({"title": "T", "place": "P", "starts_at": starts_at, "tiers": hall(seats)});
        let policy = json!({"rate_per_second": -1, "session_seconds": 0, "message": "x".repeat(501)});
        let mut said = BTreeSet::new();
        for (path, body) in [
            ("/admin/concerts", json!({"title": "", "place": "P", "starts_at": -1, "tiers": []})),
            ("/admin/concerts", night(1, json!(["1"]))),
            ("/admin/concerts", night(soon, json!(["1", "1"]))),
            ("/admin/concerts", night(soon, json!(["?"]))),
            ("/admin/concerts", night(soon, json!({"rows": ["A"], "per_row": 100_001}))),
            ("/admin/queues/main/schedule", json!({"at": now, "policy": policy})),
            ("/admin/queues/main/schedule", json!({"at": now, "policy": {}, "ramp_seconds": 1})),
            ("/admin/queues/main/schedule", json!({"at": now, "policy": {"active_max": 1.5}})),
        ] {
            said.extend(post(path, body).await);
        }
        let known = words("en")["desk"]["reasons"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(said, known);
    }
}

/// A sentence without its numbers and what it quotes, as the desk looks it up.
fn sentence(said: &str) -> String {
    let (mut sentence, mut values) = (String::new(), 0);
    let mut blank = || {
        values += 1;
        format!("{{{}}}", values - 1)
    };
    for (index, part) in said.split('`').enumerate() {
        if index % 2 == 1 {
            sentence.push_str(&blank());
            continue;
        }
        for word in part.split_inclusive(|c: char| !c.is_ascii_alphanumeric() && c != '.') {
            let bare = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
            match bare.chars().next() {
                Some('0'..='9') => sentence.push_str(&(blank() + &word[bare.len()..])),
                _ => sentence.push_str(word),
            }
        }
    }
    sentence
}

fn words(lang: &str) -> Value {
    let file =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("web/lang/{lang}.json"));
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

#[test]
fn every_language_says_everything() {
    assert_eq!(outline(&words("ko")), outline(&words("en")));
}

/// What is said, by name, and what is filled in.
fn outline(words: &Value) -> Value {
    match words {
        Value::Object(words) => {
            words.iter().map(|(name, words)| (name.clone(), outline(words))).collect()
        }
        Value::String(text) => {
            let mut blanks: Vec<&str> =
                text.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect();
            blanks.sort_unstable();
            json!(blanks)
        }
        other => other.clone(),
    }
}
