//! `usher bench` as anybody runs it: the real program, in small, and what it leaves behind. How fast it was is nobody's
//! assertion.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
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

/// `usher bench` with these words, and all that it writes below `home`.
fn bench(home: &Path, words: &str) -> Command {
    let mut command = Command::new(USHER);
    command.arg("bench").args(words.split_whitespace()).env("TMPDIR", home).kill_on_drop(true);
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

/// What it found, having done so without a word of complaint and left nothing behind.
async fn found(words: &str) -> Value {
    let home = tempfile::tempdir().unwrap();
    // A PostgreSQL that a bench starts is another user's.
    std::fs::set_permissions(home.path(), Permissions::from_mode(0o711)).unwrap();
    let done = bench(home.path(), words).arg("--json").output().await.unwrap();
    assert!(done.status.success() && done.stderr.is_empty(), "{done:?}");
    assert_eq!(left_in(home.path()), [""; 0]);
    let found: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(found["broken"], json!([]));
    found
}

fn number(found: &Value) -> f64 {
    found.as_f64().unwrap_or_else(|| panic!("{found} is no number"))
}

mod sqlite {
    use super::*;

    #[tokio::test]
    async fn the_line_is_measured_beside_a_bare_axum() {
        let found = found("line --waiting 200,300 --seconds 1").await;
        assert_eq!(found["bare_axum"]["errors"], 0);
        for (line, people) in found["lines"].as_array().unwrap().iter().zip([200, 300]) {
            assert_eq!(line["people_waiting"], people);
            for figure in ["server_rss_bytes", "redis_used_bytes", "redis_bytes_per_person"] {
                assert!(number(&line[figure]) > 0.0, "{figure}: {line:#}");
            }
            for (load, request) in
                [("livez", "GET /livez"), ("poll", "GET /queue"), ("join", "GET /token/{userId}")]
            {
                let load = &line["loads"][load];
                assert_eq!((&load["request"], &load["errors"]), (&json!(request), &json!(0)));
                for figure in
                    ["requests", "requests_per_second", "server_cpu_us_per_request", "p50_ms"]
                {
                    assert!(number(&load[figure]) > 0.0, "{figure}: {load:#}");
                }
                assert!(number(&load["p50_ms"]) <= number(&load["p99_ms"]), "{load:#}");
            }
            // The ticks of an open queue go on: a few commands a second, however many requests there are.
            let commands =
                |load: &str| number(&line["loads"][load]["redis_commands_per_request"]).floor();
            assert_eq!((commands("livez"), commands("poll")), (0.0, 0.0), "{line:#}");
            let joins = &line["loads"]["join"]["redis_commands_per_request"];
            assert!(number(joins) > 0.01, "joins share scripts, and what they do: {line:#}");
        }
    }

    #[tokio::test]
    async fn a_line_that_is_let_go_is_timed_and_its_scripts_are() {
        let found = found("admission --waiting 2000").await;
        assert!(number(&found["admitted"]) >= 1_800.0, "{found:#}");
        assert!(number(&found["admitted_per_second"]) > 0.0, "{found:#}");
        assert!(number(&found["script_calls"]) >= 2.0 * 1_800.0 / 400.0, "{found:#}");
    }

    #[tokio::test]
    async fn no_shows_are_made_up_for() {
        let found = found("no-shows --rate 10 --seconds 3").await;
        assert!(number(&found["arrivals"]) > 0.0, "{found:#}");
    }

    #[tokio::test]
    async fn a_turn_that_is_left_is_taken_by_the_next() {
        let found = found("turnover --turns 5").await;
        assert_eq!(found["empty"]["count"], 5);
    }

    #[tokio::test]
    async fn people_who_listen_hear_how_the_line_moves() {
        let found = found("events --streams 20 --rate 20 --seconds 3").await;
        assert!(number(&found["events"]) >= 20.0, "{found:#}");
        assert_eq!(found["silent"], 0, "{found:#}");
        assert!(number(&found["age"]["max_ms"]) > 0.0, "{found:#}");
    }

    #[tokio::test]
    async fn a_small_hall_is_sold_out_to_a_crowd() {
        let found = found("seats --seats 6 --people 40").await;
        for (rush, seats_max) in found["rushes"].as_array().unwrap().iter().zip([4, 1]) {
            assert_eq!((&rush["seats_max"], &rush["seats_sold"]), (&json!(seats_max), &json!(6)));
            let ends = ["bought", "let_go", "found_nothing", "ran_out", "sent_home"];
            let people: f64 = ends.iter().map(|end| number(&rush[*end])).sum();
            assert_eq!(people, 40.0, "everybody's visit has an end: {rush:#}");
        }
    }

    /// It starts a PostgreSQL of its own beside.
    #[tokio::test]
    async fn a_sale_is_measured_beside_the_databases_own_tool() {
        let found = found("sale --people 120 --alone 10 --connections 8 --seconds 1").await;
        let rates = found["rates"].as_array().unwrap();
        let named =
            |rate: &Value| format!("{} {}", rate["what"], rate["database"]).replace('"', "");
        assert_eq!(
            rates.iter().map(named).collect::<Vec<_>>(),
            ["bookings PostgreSQL", "payments PostgreSQL", "bookings SQLite", "payments SQLite"]
        );
        for rate in rates {
            for figure in ["per_second", "beside_per_second", "ratio", "server_cpu_us"] {
                assert!(number(&rate[figure]) >= 0.0, "{figure}: {rate:#}");
            }
        }
    }

    #[tokio::test]
    async fn queues_that_nobody_asks_for_are_watched() {
        let found = found("idle --queues 3 --seconds 1").await;
        assert_eq!(
            (&found["idle"][0]["queues"], &found["idle"][1]["queues"]),
            (&json!(1), &json!(3))
        );
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

        let done =
            bench(home.path(), "line").env("USHER_REDIS_SERVER", &redis).output().await.unwrap();
        let said = String::from_utf8(done.stderr).unwrap();
        assert_eq!((done.status.code(), said.lines().count()), (Some(1), 1), "{said}");
        assert!(said.starts_with("interrupted"), "{said}");
        assert_eq!(left_in(home.path()), [""; 0]);
    }

    #[tokio::test]
    async fn several_servers_need_stores_to_share() {
        let home = tempfile::tempdir().unwrap();
        let refused = bench(home.path(), "turnover --instances 2").output().await.unwrap();
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(said.contains("--database-url and --redis-url"), "{said}");
    }

    #[tokio::test]
    async fn a_bench_without_a_redis_server_says_so() {
        let home = tempfile::tempdir().unwrap();
        let absent =
            bench(home.path(), "line").env("USHER_REDIS_SERVER", "/no/redis").output().await;
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
        let refused = bench(home.path(), &format!("line --database-url {url}")).output().await.unwrap();
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert_eq!(said, "the database has been in use: --database-url takes an empty one\n");
        assert_eq!(app.operator.get("/admin/queues/main/policy").await.ok(), policy);
    }

    async fn several_servers_keep_one_rate_and_one_cap(app: &TestApp) {
        let [database, redis] = ["USHER_DATABASE_URL", "USHER_REDIS_URL"].map(|name| app.setting(name));
        let stores = format!("--database-url {database} --redis-url {redis}");
        let found = found(&format!("rate --rates 20,40 --seconds 6 --instances 2 {stores}")).await;
        assert_eq!(found["instances"], 2);
        for (queue, rate) in found["queues"].as_array().unwrap().iter().zip([20.0, 40.0]) {
            assert_eq!(queue["active_peak"], queue["active_max"], "everybody rushed for it");
            let rates = [rate, rate / 2.0];
            for (stretch, rate) in queue["stretches"].as_array().unwrap().iter().zip(rates) {
                assert_eq!(number(&stretch["rate_per_second"]), rate);
                assert!(number(&stretch["turns"]) > 0.0, "{stretch:#}");
            }
        }
    }
}
