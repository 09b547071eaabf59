//! The pages as their server sends them. What a browser makes of them is tried in `tests/browser`.

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
}

#[test]
fn every_language_says_everything() {
    let words = |lang: &str| -> Value {
        let file =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("web/lang/{lang}.json"));
        serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
    };
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
