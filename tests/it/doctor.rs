//! `usher doctor`, as an operator runs it before people come: what it finds, and that it leaves no trace.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;
use tokio_util::sync::CancellationToken;
use usher::app::App;
use usher::clock::Clock;
use usher::config::Config;

use crate::harness::*;

/// What doctor found, by what it looked at, and how it ended.
struct Found {
    findings: Vec<Value>,
    code: Option<i32>,
}

impl Found {
    /// Exit code 1 exactly if something is wrong; returns what was said of this.
    #[track_caller]
    fn said(&self, what: &str, ok: bool) -> &str {
        let finding = self.findings.iter().find(|finding| finding["what"] == what);
        let finding = finding.unwrap_or_else(|| panic!("no {what}: {:#?}", self.findings));
        assert_eq!(finding["ok"], ok, "{finding}");
        let all_well = self.findings.iter().all(|finding| finding["ok"] == true);
        assert_eq!(self.code, Some(i32::from(!all_well)));
        finding["said"].as_str().unwrap()
    }
}

/// Runs it with these settings and none of the machine's.
async fn doctor<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> Found {
    let output = Command::new(env!("CARGO_BIN_EXE_usher"))
        .args(["doctor", "--json"])
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .envs(settings)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let findings = serde_json::from_slice(&output.stdout).unwrap();
    Found { findings, code: output.status.code() }
}

fn everything_in(dir: &Path) -> Vec<std::ffi::OsString> {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect()
}

#[tokio::test]
async fn before_the_first_start_nothing_is_there_and_nothing_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data").display().to_string();
    let found = doctor([("USHER_DATA_DIR", data.as_str())]).await;
    assert!(found.said("database", true).contains("first start"));
    assert!(found.said("private Redis", true).contains("not running"));
    found.said("Redis program", true);
    found.said("Redis directory", true);
    assert!(everything_in(dir.path()).is_empty());
}

#[tokio::test]
async fn a_wrong_setting_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().display().to_string();
    let found = doctor([("USHER_DATA_DIR", data.as_str()), ("USHER_LISTEN", "here")]).await;
    assert!(found.said("settings", false).contains("USHER_LISTEN"));

    let settings = [("USHER_DATA_DIR", data.as_str()), ("USHER_REDIS_SERVER", "/bin/echo")];
    assert!(doctor(settings).await.said("Redis program", false).contains("--version"));
    assert!(everything_in(dir.path()).is_empty());
}

#[tokio::test]
async fn a_redis_that_drops_people_is_wrong() {
    let (redis, dir) = (PrivateRedis::start().await, tempfile::tempdir().unwrap());
    redis.set("maxmemory-policy", "allkeys-lru").await;
    let (url, data) = (redis.url(), dir.path().display().to_string());
    let found = doctor([
        ("USHER_DATA_DIR", data.as_str()),
        ("USHER_REDIS_URL", url.as_str()),
        ("USHER_TOKEN_KEY", "dGhpcnR5LXR3byBieXRlcyBvZiBhIHRlc3RpbmcgISE="),
    ])
    .await;
    assert!(found.said("Redis eviction", false).contains("allkeys-lru"));
    found.said("Redis persistence", false);
    found.said("Redis clock", true);
}

stories! {
    async fn a_server_that_runs_is_a_fact(app: &TestApp) {
        let found = doctor(app.settings()).await;
        assert!(found.said("database", true).contains("every constraint"));
        found.said("database clock", true);
        let sqlite = app.setting("USHER_DATABASE_URL").is_empty();
        let runs = found.findings.iter().any(|finding| finding["what"] == "instance");
        assert_eq!(runs, sqlite, "only SQLite's file has one server");
        app.get("/concerts").await.ok();
    }
}

stories_on_postgres! {
    async fn a_constraint_that_is_gone_is_missed(app: &TestApp) {
        app.run_sql("DROP TRIGGER the_audit_only_grows ON audit").await;
        let found = doctor(app.settings()).await;
        assert!(found.said("database", false).contains("the_audit_only_grows"));
    }
}

#[tokio::test]
async fn a_shop_that_runs_is_examined_where_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let data = dir.path().display().to_string();
    let settings = [("USHER_DATA_DIR".to_owned(), data.clone())];
    let config = Config::from_settings(settings).unwrap();
    let stop = CancellationToken::new();
    let app = App::build(config, Clock::system(), &stop).await.unwrap();

    let found = doctor([("USHER_DATA_DIR", data.as_str())]).await;
    assert!(found.said("private Redis", true).contains("running here"));
    assert!(found.said("instance", true).contains("running here"));
    for what in ["keys", "Redis eviction", "Redis persistence", "Redis clock", "database"] {
        found.said(what, true);
    }
    app.close().await;
}

/// A private Redis holds one line, so PostgreSQL takes one instance with one.
mod alone {
    use super::*;

    stories_on_postgres! {
        async fn a_second_private_redis_is_refused(app: &TestApp) {
            let dir = tempfile::tempdir().unwrap();
            let build = async |name: &str| {
                let data = dir.path().join(name).display().to_string();
                let settings =
                    [("USHER_DATA_DIR", &*data), ("USHER_DATABASE_URL", app.setting("USHER_DATABASE_URL"))];
                let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
                let config = Config::from_settings(settings).unwrap();
                App::build(config, Clock::system(), &CancellationToken::new()).await
            };
            let refused = async || {
                let refused = build("b").await.err().expect("one instance is enough");
                assert!(refused.to_string().contains("USHER_REDIS_URL"), "{refused}");
            };
            let first = build("a").await.unwrap();
            refused().await;

            app.let_sql_connect(false).await;
            assert!(first.sql.stay_alone().await.is_err());
            app.let_sql_connect(true).await;
            first.housekeep().await.unwrap();
            refused().await;

            first.close().await;
            build("b").await.unwrap().close().await;
        }
    }
}
