//! `usher ctl` and the operators' scripts as an operator or a script uses them: the real programs, as
//! processes, against a running server. What each request means is told in `tune.rs` and
//! `operators.rs`.

mod emergency;
mod hold;
mod sale;

use std::process::{Output, Stdio};

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::Command;

use crate::harness::*;

const USHER: &str = env!("CARGO_BIN_EXE_usher");
const POLICY: &str = "/admin/queues/main/policy";

/// What a program said, and how it ended.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    #[track_caller]
    fn ok(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (Some(0), ""), "{self:?}");
        self.out
    }

    #[track_caller]
    fn json(self) -> Value {
        serde_json::from_str(&self.ok()).unwrap()
    }

    /// Exit code 1 and one line of complaint, which starts like this.
    #[track_caller]
    fn refused(self, start: &str) -> String {
        assert_eq!(self.code, Some(1), "{self:?}");
        assert_eq!(self.err.lines().count(), 1, "{self:?}");
        assert!(self.err.starts_with(start), "{self:?}");
        self.err
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Said {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// A program that knows where this server is, and nothing of the machine's own settings.
fn program(app: &TestApp, path: &str, words: &str) -> Command {
    let (key, data) = (app.setting("USHER_ADMIN_KEY"), app.setting("USHER_DATA_DIR"));
    program_at(app.operator.http.address(), (key, data), path, words)
}

fn program_at(url: &str, (key, data): (&str, &str), path: &str, words: &str) -> Command {
    let mut command = Command::new(path);
    command
        .args(words.split_whitespace())
        .env("USHER_ADMIN_URL", url)
        .env("USHER_ADMIN_KEY", key)
        .env("USHER_DATA_DIR", data)
        .env("USHER_BIN", USHER)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// `usher ctl` with these words.
async fn ctl(app: &TestApp, words: &str) -> Said {
    program(app, USHER, &format!("ctl {words}")).output().await.unwrap().into()
}

async fn tune_rate(app: &TestApp, words: &str) -> Said {
    script(app, "tune-rate", words).await
}

/// One of `scripts/` with these words.
async fn script(app: &TestApp, name: &str, words: &str) -> Said {
    program(app, &path_of(name), words).output().await.unwrap().into()
}

fn path_of(script: &str) -> String {
    format!("{}/scripts/{script}", env!("CARGO_MANIFEST_DIR"))
}

/// Reads on to a line that says this.
async fn line_with<R: AsyncBufRead + Unpin>(lines: &mut Lines<R>, what: &str) -> String {
    loop {
        let line = lines.next_line().await.unwrap().unwrap_or_else(|| panic!("nobody said {what}"));
        if line.contains(what) {
            return line;
        }
    }
}

async fn rate(app: &TestApp) -> Value {
    app.operator.get(POLICY).await.ok()["rate_per_second"].clone()
}

/// The cells of the first row that begins with this one.
#[track_caller]
fn row<'a>(table: &'a str, first: &str) -> Vec<&'a str> {
    let mut rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.find(|row| row.first() == Some(&first)).unwrap_or_else(|| panic!("no {first}:\n{table}"))
}

stories! {
    async fn a_script_reads_exactly_what_the_server_says(app: &TestApp) {
        app.concert(["1", "2"]).await;
        for (words, path) in [
            ("policy show main", POLICY),
            ("queues list", "/admin/queues"),
            ("queues show main", "/admin/queues/main"),
            ("concerts list", "/admin/concerts"),
            ("schedule list main", "/admin/queues/main/schedule"),
            ("audit", "/admin/audit"),
            ("check", "/admin/check"),
        ] {
            let printed = ctl(app, &format!("{words} --json")).await.ok();
            let served = app.operator.get(path).await.status(200).text;
            assert_eq!(printed, format!("{served}\n"), "{words}");
        }
    }

    async fn a_policy_is_tuned_and_the_audit_tells(app: &TestApp) {
        let shown = ctl(app, "policy show main").await.ok();
        assert_eq!(row(&shown, "rate_per_second"), ["rate_per_second", "50"]);
        let etag = ctl(app, "policy show main --etag").await.ok();
        assert_eq!(Some(etag.trim()), app.operator.get(POLICY).await.header("etag"));

        let set = "policy set main --rate-per-second 12.5 --message Soon --if-match";
        let set = format!("{set} {etag}");
        let policy = ctl(app, &format!("{set} --json")).await.json();
        assert_eq!(policy, app.operator.get(POLICY).await.ok());
        assert_eq!(policy["rate_per_second"], 12.5);
        assert_eq!(policy["message"], "Soon");
        ctl(app, &set).await.refused("policy_changed: ");

        let audit = ctl(app, "audit --queue main --limit 1").await.ok();
        assert!(audit.contains("rate_per_second 50 → 12.5"), "{audit}");
        let deed = ctl(app, "audit --limit 1 --json").await.json()["entries"][0].clone();
        assert_eq!(deed, app.operator.last_deed().await);
    }

    async fn a_draw_is_announced_and_shown(app: &TestApp) {
        ctl(app, "draw show main").await.refused("draw_not_found: ");
        ctl(app, "policy set main --mode paused").await.ok();
        let draw = ctl(app, "draw announce main --json").await.json();
        let shown = ctl(app, "draw show main").await.ok();
        let commitment = draw["commitment"].as_str().unwrap();
        assert_eq!(row(&shown, "commitment"), ["commitment", commitment]);
        ctl(app, "draw announce main").await.refused("draw_exists: ");
        ctl(app, "resume main").await.ok();
        let opened = ctl(app, "draw show main --json").await.json();
        assert_eq!(opened, app.get("/queues/main/draw").await.ok());
        assert_eq!(opened["state"], "opened");
    }

    async fn every_field_of_a_policy_has_its_flag(app: &TestApp) {
        let flags = "--rate-per-second 2 --burst 3 --active-max 4 --session-seconds 5 \
                     --claim-seconds 6 --hold-seconds 7 --seats-per-booking-max 8 \
                     --seats-per-user-max 9 --mode draining --message Ten";
        let expected = json!({
            "rate_per_second": 2.0, "burst": 3.0, "active_max": 4, "session_seconds": 5,
            "claim_seconds": 6, "hold_seconds": 7, "seats_per_booking_max": 8,
            "seats_per_user_max": 9, "mode": "draining", "message": "Ten",
        });
        let made = ctl(app, &format!("queues create vip {flags} --json")).await.json();
        assert_eq!(made["policy"], expected);
        let set = ctl(app, &format!("policy set main {flags} --json")).await.json();
        assert_eq!(set, expected);
        let back = ctl(app, "policy set main --burst auto --seats-per-user-max none --json").await;
        let back = back.json();
        assert_eq!((&back["burst"], &back["seats_per_user_max"]), (&json!(2.0), &Value::Null));
    }

    async fn people_are_held_up_and_let_in(app: &TestApp) {
        ctl(app, "pause main").await.ok();
        let (ann, bob) = (app.waiting_buyer().await, app.waiting_buyer().await);
        let admit = "admit main 1 --idempotency-key gate-3 --json";
        let first = ctl(app, admit).await.json();
        assert_eq!(first["count"], 1);
        assert_eq!(ctl(app, admit).await.json()["manual_total"], first["manual_total"]);
        app.pass(1).await;
        ann.poll().await.active();
        assert_eq!(bob.poll().await.waiting(), 1);

        let queues = ctl(app, "queues list").await.ok();
        assert_eq!(row(&queues, "main")[1], "paused");
        ctl(app, "resume main").await.ok();
        app.pass(1).await;
        bob.poll().await.active();
    }

    async fn an_evening_is_planned(app: &TestApp) {
        let add = "schedule add main --at 2031-05-01T20:00:00+09:00 --mode open --rate-per-second 80 --ramp 300";
        let opening = ctl(app, &format!("{add} --json")).await.json();
        assert_eq!(opening["at"], "2031-05-01T11:00:00.000Z");
        assert_eq!(opening["policy"], json!({"mode": "open", "rate_per_second": 80.0}));
        assert_eq!(opening["ramp_seconds"], 300);
        let id = opening["entry_id"].to_string();
        let listed = ctl(app, "schedule list main").await.ok();
        let cells = ["mode", "open,", "rate_per_second", "80", "300", "operator", "-", "-"];
        assert_eq!(row(&listed, &id)[2..], cells, "{listed}");

        let change = format!("schedule change main {id} --at 2031-05-01T20:30:00+09:00 --mode open --json");
        let changed = ctl(app, &change).await.json();
        assert_eq!((&changed["at"], &changed["ramp_seconds"]), (&json!("2031-05-01T11:30:00.000Z"), &Value::Null));
        for flag in ["", "--json"] {
            let said = ctl(app, &format!("schedule cancel main {id} {flag}")).await.ok();
            assert_eq!(said.is_empty(), flag == "--json", "{said}");
        }
        let listed = ctl(app, "schedule list main --json").await.json();
        assert_eq!(listed["done"][0]["outcome"], "cancelled");
        ctl(app, &change).await.refused("schedule_done: ");
        ctl(app, "schedule cancel main 99").await.refused("schedule_not_found: ");
        // Where this server's clock stands, ten minutes from now are long ago.
        let late = ctl(app, "schedule add main --at +10m --mode open").await;
        assert!(late.refused("invalid_field: ").contains("/at"));
    }

    async fn a_concert_is_put_on_sale(app: &TestApp) {
        let starts_at = app.unix_seconds() + 86_400;
        let create = format!(
            "concerts create --title Requiem --place Dome --starts-at {starts_at} \
             --tier Stalls:500:A-B:2 --tier Box:900:L:1 --json"
        );
        let id = ctl(app, &create).await.json()["concert_id"].clone();
        let listed = ctl(app, "concerts list").await.ok();
        let cells = row(&listed, &id.to_string());
        assert_eq!((cells[1], cells[2], cells[5]), ("Requiem", "Dome", "5"), "{listed}");

        let changed = ctl(app, &format!("concerts change {id} --place Barn --json")).await.json();
        assert_eq!(changed["place"], "Barn");
        assert_eq!(ctl(app, &format!("concerts show {id} --json")).await.json(), changed);
        let shown = ctl(app, &format!("concerts show {id}")).await.ok();
        assert_eq!(row(&shown, "Box"), ["Box", "900", "1", "1", "0", "0"]);
    }

    async fn a_concert_comes_from_a_file_or_a_pipe(app: &TestApp) {
        let tiers = json!([{"name": "all", "price": 1, "seats": ["1", "2"]}]);
        let starts_at = app.unix_seconds() + 86_400;
        let concert = json!({"title": "T", "place": "P", "starts_at": starts_at, "tiers": tiers});
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), concert.to_string()).unwrap();
        ctl(app, &format!("concerts create {}", file.path().display())).await.ok();

        let mut piped = program(app, USHER, "ctl concerts create - --json");
        let mut piped = piped.stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = piped.stdin.take().unwrap();
        stdin.write_all(concert.to_string().as_bytes()).await.unwrap();
        drop(stdin);
        let id = Said::from(piped.wait_with_output().await.unwrap()).json()["concert_id"].clone();
        app.operator.get(&format!("/admin/concerts/{id}")).await.ok();
    }

    async fn the_books_are_checked(app: &TestApp) {
        app.rich_buyer(PRICE).await;
        let report = ctl(app, "check").await.ok();
        assert!(report.contains("all checks hold"), "{report}");
    }

    async fn health_is_a_table(app: &TestApp) {
        let table = ctl(app, "health").await.ok();
        assert_eq!(row(&table, "ready"), ["ready", "true"]);
        assert_eq!(row(&table, "true")[1], "settings", "{table}");
    }

    async fn a_refusal_is_one_line(app: &TestApp) {
        ctl(app, "queues show nowhere").await.refused("queue_not_found: ");
        ctl(app, "queues create main").await.refused("queue_exists: ");
        ctl(app, "check --key another-key").await.refused("unauthenticated: ");
        let bound = ctl(app, "policy set main --rate-per-second 20001").await;
        assert!(bound.refused("invalid_field: ").contains("/rate_per_second"));
        // Port 1 of loopback: nobody listens there.
        let nobody = ctl(app, "check --url http://127.0.0.1:1").await;
        assert!(nobody.refused("cannot reach http://127.0.0.1:1").contains("--url"));
        assert_eq!(ctl(app, "policy set main").await.code, Some(2));
    }

    async fn the_rate_is_tuned_by_a_script(app: &TestApp) {
        let dry = tune_rate(app, "--dry-run ramp 10 20 2s").await.ok();
        assert_eq!(dry.lines().count(), 3, "{dry}");
        assert!(dry.lines().nth(1).unwrap().contains("--rate-per-second 15 "), "{dry}");
        assert_eq!(rate(app).await, 50.0, "a dry run sends nothing");

        tune_rate(app, "set 7.5").await.ok();
        assert_eq!(rate(app).await, 7.5);
        tune_rate(app, "pause").await.ok();
        let shown = tune_rate(app, "show").await.ok();
        assert_eq!(row(&shown, "mode"), ["mode", "paused"]);
        tune_rate(app, "resume").await.ok();
        assert_eq!(app.operator.get(POLICY).await.ok()["mode"], "open");
        assert_eq!(tune_rate(app, "set fast").await.code, Some(2));
    }

    async fn a_ramp_goes_up_step_by_step(app: &TestApp) {
        let ramp = tune_rate(app, "ramp 10 11 1s").await.ok();
        assert_eq!(ramp, "main: 10/s, step 0 of 1\nmain: 11/s, step 1 of 1\n");
        assert_eq!(rate(app).await, 11.0);
    }

    async fn a_ramp_yields_to_another_operator(app: &TestApp) {
        let mut ramp = program(app, &path_of("tune-rate"), "ramp 10 100 90s").spawn().unwrap();
        let mut lines = BufReader::new(ramp.stdout.take().unwrap()).lines();
        assert!(lines.next_line().await.unwrap().unwrap().contains("step 0 of 90"));
        app.operator.tune("main", json!({"rate_per_second": 3})).await;

        let mut complaint = String::new();
        ramp.stderr.take().unwrap().read_to_string(&mut complaint).await.unwrap();
        assert!(complaint.contains("somebody else changed the policy of main"), "{complaint}");
        assert_eq!(ramp.wait().await.unwrap().code(), Some(1));
        assert_eq!(rate(app).await, 3.0, "the other operator has the last word");
    }
}
