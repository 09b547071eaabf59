//! Keys that are rotated while people wait, on three processes: nobody who holds a valid token is refused, and a key that
//! is revoked is worth nothing.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use tempfile::TempDir;
use usher::clock::Clock;

use crate::harness::*;

const AGAIN: &str = "the keys were read again";
const BROKEN: &str = "the keys do not hold";

/// Puts a list of keys in the place of the last, as `mv` does: nobody ever reads half of it.
fn write(file: &Path, keys: &[(&str, &str)]) {
    let secret = |kid: &str| STANDARD.encode([kid.as_bytes()[0]; 32]);
    let key =
        |(kid, state): &(&str, &str)| json!({"kid": kid, "secret": secret(kid), "state": state});
    put(file, &json!(keys.iter().map(key).collect::<Vec<_>>()).to_string());
}

fn put(file: &Path, text: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, file).unwrap();
}

fn kid_of(token: &str) -> String {
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

/// Three machines, each with its own copy of the keys.
struct Branches {
    shops: Vec<Shop>,
    directory: TempDir,
}

impl Branches {
    async fn open(home: &TestApp, keys: &[(&str, &str)]) -> Branches {
        let mut branches = Branches { shops: Vec::new(), directory: tempfile::tempdir().unwrap() };
        for at in 0..3 {
            let file = branches.keys(at);
            std::fs::create_dir(file.parent().unwrap()).unwrap();
            write(&file, keys);
            let keys = format!("@{}", file.display());
            let settings = home.settings().filter(|(name, _)| *name != "USHER_TOKEN_KEY");
            let settings = settings.chain([("USHER_TOKEN_KEY", keys.as_str())]);
            branches.shops.push(Shop::open(file.parent().unwrap(), settings).await);
        }
        branches
    }

    fn keys(&self, at: usize) -> std::path::PathBuf {
        self.directory.path().join(at.to_string()).join("keys.json")
    }

    /// One machine after the other gets these keys.
    async fn rotate(&mut self, keys: &[(&str, &str)]) {
        for at in 0..3 {
            write(&self.keys(at), keys);
            self.shops[at].says(AGAIN).await;
        }
    }
}

/// Somebody who polls every machine in turn until told to stop; returns his last token.
async fn waits(branches: &[Http], user_id: i64, enough: &AtomicBool) -> String {
    let at = |branch: &Http, token: &str| {
        let buyer = Buyer::new(user_id, branch.clone(), None);
        buyer.takes(token);
        buyer
    };
    let first = Buyer::new(user_id, branches[0].clone(), None);
    first.join().await.ok();
    let (mut token, mut polls) = (first.token(), 0);
    let mut last = false;
    while !last || polls < 6 {
        // One more after the rotation: the poll before may have been answered before it.
        last = enough.load(Ordering::Relaxed);
        let branch = &branches[polls % branches.len()];
        let place = at(branch, &token).poll().await.ok();
        token = place["token_id"].as_str().unwrap_or(&token).to_owned();
        polls += 1;
    }
    token
}

stories_on_postgres! {
    async fn keys_are_rotated_while_people_wait(on: &Database) {
        let home = TestApp::by_clock(Clock::system(), *on, []).await;
        let mut branches = Branches::open(&home, &[("1", "active")]).await;
        branches.shops[0].pause().await;
        let doors: Vec<_> = branches.shops.iter().map(Shop::http).collect();
        let early = Buyer::new(1, doors[0].clone(), None);
        early.join().await.waiting();
        assert_eq!(kid_of(&early.token()), "1");

        let enough = AtomicBool::new(false);
        let crowd = join_all((2..12).map(|user_id| waits(&doors, user_id, &enough)));
        let rotation = async {
            branches.rotate(&[("1", "active"), ("2", "verify")]).await;
            branches.rotate(&[("1", "verify"), ("2", "active")]).await;
            enough.store(true, Ordering::Relaxed);
        };
        let (tokens, ()) = tokio::join!(crowd, rotation);
        assert!(tokens.iter().all(|token| kid_of(token) == "2"), "renewed at the next poll");
        early.poll().await.waiting();

        branches.rotate(&[("1", "revoked"), ("2", "active")]).await;
        let latest = &tokens[0];
        for door in &doors {
            let held = |user_id, token: &str| {
                let buyer = Buyer::new(user_id, door.clone(), None);
                buyer.takes(token);
                buyer
            };
            held(1, &early.token()).poll().await.refused(401, "token_invalid");
            held(2, latest).poll().await.waiting();
        }
        assert_eq!(early.join().await.waiting(), 1, "the place outlives the key");

        for broken in ["", "[", "[]", r#"[{"kid":"2","secret":"c2hvcnQ=","state":"active"}]"#] {
            put(&branches.keys(0), broken);
            let said = branches.shops[0].says(BROKEN).await;
            assert!(said.contains("keys.json"), "{said}");
            held_on(&branches.shops[0], latest).await;
        }
        std::fs::remove_file(branches.keys(0)).unwrap();
        branches.shops[0].says(BROKEN).await;
        held_on(&branches.shops[0], latest).await;
        for shop in branches.shops {
            shop.stop().await;
        }
        home.finish().await;
    }

}

stories! {
    async fn a_provider_may_change_its_key(on: &Database) {
        let app = TestApp::with_identity(*on, Idp::Pem).await;
        let file = Path::new(app.setting("USHER_JWT_KEY_FILE")).to_owned();
        let ann = app.active_buyer().await;
        let balance = async || ann.get(&format!("/balance/{}", ann.user_id)).await;

        put(&file, "an HMAC secret of nobody, which has at least 32 bytes");
        app.app.refresh_keys().await;
        balance().await.refused(401, "token_invalid");
        put(&file, ED25519_PUBLIC);
        app.app.refresh_keys().await;
        balance().await.ok();
        put(&file, "short");
        app.app.refresh_keys().await;
        balance().await.ok();
        app.finish().await;
    }
}

/// User 2's token is still good, and it is still his.
async fn held_on(shop: &Shop, token: &str) {
    let place = shop.buyer(2, Some(token.to_owned())).poll().await.ok();
    assert_eq!(place["token_id"].as_str().unwrap_or(token), token);
}
