//! `usher bench` as anybody runs it: the real program, in small, and what it leaves behind. How fast it was is nobody's
//! assertion.

use std::path::Path;

use tokio::process::Command;

use crate::harness::*;

const USHER: &str = env!("CARGO_BIN_EXE_usher");
/// A Redis that has the bench interrupted (the parent of its parent, the server) while it starts.
const INTERRUPTING: &str = r#"#!/bin/sh
read -r _ _ _ bench _ <"/proc/$PPID/stat"
kill -INT "$bench"
exec redis-server "$@"
"#;

/// `usher bench line` with these words, and all that it writes below `home`.
fn bench(home: &Path, words: &str) -> Command {
    let mut command = Command::new(USHER);
    command
        .args(["bench", "line"])
        .args(words.split_whitespace())
        .env("TMPDIR", home)
        .kill_on_drop(true);
    command
}

/// Files below `home`, and processes that work there.
fn left_in(home: &Path) -> Vec<String> {
    let names = |folder: &Path| -> Vec<_> {
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let works = |process: &&std::path::PathBuf| {
        std::fs::read_link(process.join("cwd")).is_ok_and(|at| at.starts_with(home))
    };
    let processes = names(Path::new("/proc"));
    let left = processes.iter().filter(works).cloned().chain(names(home));
    left.map(|path| path.display().to_string()).collect()
}

mod sqlite {
    use super::*;

    #[tokio::test]
    async fn a_bench_measures_something_real_and_leaves_nothing_behind() {
        let home = tempfile::tempdir().unwrap();
        let done = bench(home.path(), "--waiting 200 --seconds 1 --json").output().await.unwrap();
        assert!(done.status.success() && done.stderr.is_empty(), "{done:?}");
        assert_eq!(left_in(home.path()), [""; 0]);

        let report: Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(report["fill"]["people_waiting"], 200);
        for found in ["server_rss_bytes", "redis_used_bytes", "redis_bytes_per_person"] {
            assert!(report["memory"][found].as_f64().unwrap() > 0.0, "{found}: {report:#}");
        }
        for (load, request) in
            [("livez", "GET /livez"), ("poll", "GET /queue"), ("join", "GET /token/{userId}")]
        {
            let load = &report["loads"][load];
            assert_eq!((&load["request"], &load["errors"]), (&json!(request), &json!(0)));
            for found in ["requests", "requests_per_second", "server_cpu_us_per_request", "p50_ms"]
            {
                assert!(load[found].as_f64().unwrap() > 0.0, "{found}: {report:#}");
            }
            assert!(load["p50_ms"].as_f64() <= load["p99_ms"].as_f64(), "{report:#}");
        }
        // The ticks of an open queue go on: a few commands a second, however many requests there are.
        let commands = |load: &str| {
            report["loads"][load]["redis_commands_per_request"].as_f64().unwrap().floor()
        };
        assert_eq!((commands("livez"), commands("poll")), (0.0, 0.0), "{report:#}");
        let joins = &report["loads"]["join"]["redis_commands_per_request"];
        assert!(joins.as_f64() > Some(0.01), "joins share scripts, and what they do: {report:#}");
    }

    #[tokio::test]
    async fn an_interrupted_bench_leaves_nothing_behind() {
        let (home, tools) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let redis = tools.path().join("redis");
        // Written by a shell: a program that this process has open for writing could not be started.
        let written = Command::new("sh")
            .args(["-c", "printf %s \"$1\" >\"$0\" && chmod +x \"$0\""])
            .arg(&redis)
            .arg(INTERRUPTING)
            .status();
        assert!(written.await.unwrap().success());

        let done = bench(home.path(), "").env("USHER_REDIS_SERVER", &redis).output().await.unwrap();
        let said = String::from_utf8(done.stderr).unwrap();
        assert_eq!((done.status.code(), said.lines().count()), (Some(1), 1), "{said}");
        assert!(said.starts_with("interrupted"), "{said}");
        assert_eq!(left_in(home.path()), [""; 0]);
    }

    #[tokio::test]
    async fn a_bench_without_a_redis_server_says_so() {
        let home = tempfile::tempdir().unwrap();
        let absent = bench(home.path(), "").env("USHER_REDIS_SERVER", "/no/redis").output().await;
        let said = String::from_utf8(absent.unwrap().stderr).unwrap();
        assert!(said.contains("there is no /no/redis: install redis-server"), "{said}");
        assert_eq!(left_in(home.path()), [""; 0]);
    }
}

stories_on_postgres! {
    async fn a_shop_that_is_in_use_is_left_alone(app: &TestApp) {
        app.active_buyer().await;
        let policy = app.operator.get("/admin/queues/main/policy").await.ok();
        let home = tempfile::tempdir().unwrap();
        let url = app.setting("USHER_DATABASE_URL");
        let refused = bench(home.path(), &format!("--database-url {url}")).output().await.unwrap();
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert_eq!(said, "the database has been in use: --database-url takes an empty one\n");
        assert_eq!(app.operator.get("/admin/queues/main/policy").await.ok(), policy);
    }
}
