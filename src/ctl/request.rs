//! One command as one request to the operators' API: method, path, query, headers, body.
//!
//! May not live here: sending it. Everything here but reading a concert's file is pure.

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::args::{Ask, Concerts, Draw, Policy, PolicyFlags, Queues};
use super::{concert, schedule};

#[derive(Debug)]
pub struct Request {
    pub method: Method,
    /// Below the base URL, from `/admin` on; its variable parts need no escaping.
    pub path: String,
    pub query: Vec<(&'static str, String)>,
    /// JSON.
    pub body: Option<String>,
    pub if_match: Option<String>,
    pub idempotency_key: Option<String>,
}

impl Request {
    /// Whether it may be sent again without doing more than once: as HTTP has it, unless it depends on what was before.
    pub fn can_be_repeated(&self) -> bool {
        matches!(self.method, Method::GET | Method::PUT) && self.if_match.is_none()
    }
}

pub fn of(ask: &Ask) -> anyhow::Result<Request> {
    Ok(match ask {
        Ask::Queues(queues) => of_queues(queues),
        Ask::Policy(policy) => of_policy(policy),
        Ask::Schedule(schedule) => schedule::request(schedule),
        Ask::Draw(Draw::Show { name }) => read(format!("/admin/queues/{name}/draw")),
        Ask::Draw(Draw::Announce { name }) => {
            Request { method: Method::POST, ..read(format!("/admin/queues/{name}/draw")) }
        }
        Ask::Admit { name, count, idempotency_key } => Request {
            idempotency_key: idempotency_key.clone(),
            ..write(Method::POST, format!("/admin/queues/{name}/admit"), &json!({"count": count}))
        },
        Ask::Pause { name } => mode(name, "paused"),
        Ask::Resume { name } => mode(name, "open"),
        Ask::Report { name, .. } => read(format!("/admin/queues/{name}/report")),
        Ask::Concerts(concerts) => of_concerts(concerts)?,
        Ask::Audit { queue, limit, before } => {
            paged("/admin/audit", queue.as_deref(), *limit, *before)
        }
        Ask::Check => read("/admin/check"),
        Ask::Health => read("/admin/health"),
    })
}

fn of_queues(queues: &Queues) -> Request {
    match queues {
        Queues::List => read("/admin/queues"),
        Queues::Show { name } => read(format!("/admin/queues/{name}")),
        Queues::Create { name, policy } => {
            write(Method::POST, format!("/admin/queues/{name}"), &patch(policy))
        }
    }
}

fn of_policy(policy: &Policy) -> Request {
    match policy {
        Policy::Show { name, .. } => read(format!("/admin/queues/{name}/policy")),
        Policy::Set { name, policy, if_match, .. } => Request {
            if_match: if_match.clone(),
            ..write(Method::PUT, format!("/admin/queues/{name}/policy"), &patch(policy))
        },
    }
}

fn of_concerts(concerts: &Concerts) -> anyhow::Result<Request> {
    Ok(match concerts {
        Concerts::List => read("/admin/concerts"),
        Concerts::Show { id } => read(format!("/admin/concerts/{id}")),
        Concerts::Create(new) => Request {
            body: Some(concert::body(new)?),
            ..write(Method::POST, "/admin/concerts", &Value::Null)
        },
        Concerts::Change { id, title, place, starts_at, queue } => {
            let body = object([
                ("title", title.as_ref().map(|title| json!(title))),
                ("place", place.as_ref().map(|place| json!(place))),
                ("starts_at", starts_at.map(Value::from)),
                ("queue", queue.as_ref().map(|queue| json!(queue))),
            ]);
            write(Method::PUT, format!("/admin/concerts/{id}"), &body)
        }
    })
}

/// A page of a list, newest first.
pub fn paged(
    path: impl Into<String>,
    queue: Option<&str>,
    limit: Option<u64>,
    before: Option<u64>,
) -> Request {
    let query = [
        ("queue", queue.map(str::to_owned)),
        ("limit", limit.map(|limit| limit.to_string())),
        ("before", before.map(|before| before.to_string())),
    ];
    Request {
        query: query.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
        ..read(path)
    }
}

pub fn mode(name: &str, mode: &str) -> Request {
    write(Method::PUT, format!("/admin/queues/{name}/policy"), &json!({"mode": mode}))
}

pub fn patch(flags: &PolicyFlags) -> Value {
    let count = |count: Option<u64>| count.map(Value::from);
    let text = |text: &Option<String>| text.as_ref().map(|text| json!(text));
    object([
        ("rate_per_second", flags.rate_per_second.clone()),
        ("burst", flags.burst.clone()),
        ("active_max", count(flags.active_max)),
        ("session_seconds", count(flags.session_seconds)),
        ("claim_seconds", count(flags.claim_seconds)),
        ("hold_seconds", count(flags.hold_seconds)),
        ("seats_per_booking_max", count(flags.seats_per_booking_max)),
        ("seats_per_user_max", flags.seats_per_user_max.clone()),
        ("mode", text(&flags.mode)),
        ("message", text(&flags.message)),
    ])
}

/// An object of the fields that were given: one given as null is sent, one not given is not.
pub fn object<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    let given = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(given.collect::<Map<_, _>>())
}

pub fn read(path: impl Into<String>) -> Request {
    Request {
        method: Method::GET,
        path: path.into(),
        query: Vec::new(),
        body: None,
        if_match: None,
        idempotency_key: None,
    }
}

pub fn write(method: Method, path: impl Into<String>, body: &Value) -> Request {
    Request { method, body: Some(body.to_string()), ..read(path) }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};
    use serde_json::{Value, json};

    use super::super::args::{Command, Ctl, Output};
    use super::Request;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        ctl: Ctl,
    }

    fn parse(line: &str) -> Result<Ctl, clap::Error> {
        Cli::try_parse_from(line.split(' ')).map(|cli| cli.ctl)
    }

    fn request(line: &str) -> Request {
        match parse(line).unwrap().command {
            Command::Ask(ask) => super::of(&ask).unwrap(),
            more => panic!("not one request: {more:?}"),
        }
    }

    fn body(line: &str) -> Value {
        serde_json::from_str(&request(line).body.unwrap()).unwrap()
    }

    /// The request as one line: what an operator would find in an access log, and the body.
    fn sent(line: &str) -> String {
        let request = request(line);
        let body = request.body.unwrap_or_default();
        format!("{} {} {body}", request.method, request.path).trim_end().to_owned()
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_is_one_request() {
        for (line, expected) in [
            ("ctl queues list", "GET /admin/queues"),
            ("ctl queues show main", "GET /admin/queues/main"),
            ("ctl queues create vip", "POST /admin/queues/vip {}"),
            ("ctl queues create vip --active-max 9", r#"POST /admin/queues/vip {"active_max":9}"#),
            ("ctl policy show main", "GET /admin/queues/main/policy"),
            (
                "ctl policy set main --mode draining",
                r#"PUT /admin/queues/main/policy {"mode":"draining"}"#,
            ),
            ("ctl schedule list main --before 9", "GET /admin/queues/main/schedule"),
            (
                "ctl schedule add main --at 2031-05-01T20:00:00Z --mode open",
                r#"POST /admin/queues/main/schedule {"at":"2031-05-01T20:00:00Z","policy":{"mode":"open"}}"#,
            ),
            (
                "ctl schedule change main 3 --at 2031-05-01T20:00:00Z --rate-per-second 9 --ramp 60",
                r#"PUT /admin/queues/main/schedule/3 {"at":"2031-05-01T20:00:00Z","policy":{"rate_per_second":9},"ramp_seconds":60}"#,
            ),
            ("ctl schedule cancel main 3", "DELETE /admin/queues/main/schedule/3"),
            ("ctl admit main 5", r#"POST /admin/queues/main/admit {"count":5}"#),
            ("ctl pause main", r#"PUT /admin/queues/main/policy {"mode":"paused"}"#),
            ("ctl resume main", r#"PUT /admin/queues/main/policy {"mode":"open"}"#),
            ("ctl report main --html sale.html", "GET /admin/queues/main/report"),
            ("ctl concerts list", "GET /admin/concerts"),
            ("ctl concerts show 7", "GET /admin/concerts/7"),
            ("ctl concerts change 7 --place Hall", r#"PUT /admin/concerts/7 {"place":"Hall"}"#),
            ("ctl audit", "GET /admin/audit"),
            ("ctl check", "GET /admin/check"),
            ("ctl health", "GET /admin/health"),
        ] {
            assert_eq!(sent(line), expected, "{line}");
        }
    }

    #[test]
    fn a_policy_is_sent_as_it_was_typed() {
        let fields = "--rate-per-second 0.5 --burst 3 --active-max 1 --session-seconds 2 \
                      --claim-seconds 3 --hold-seconds 4 --seats-per-booking-max 5 \
                      --seats-per-user-max 6 --mode open --message Soon!";
        let expected = json!({
            "rate_per_second": 0.5, "burst": 3, "active_max": 1, "session_seconds": 2,
            "claim_seconds": 3, "hold_seconds": 4, "seats_per_booking_max": 5,
            "seats_per_user_max": 6, "mode": "open", "message": "Soon!",
        });
        assert_eq!(body(&format!("ctl policy set main {fields}")), expected);
        assert_eq!(body(&format!("ctl queues create vip {fields}")), expected);
        assert_eq!(
            body("ctl policy set main --burst auto --seats-per-user-max none --message "),
            json!({"burst": null, "seats_per_user_max": null, "message": ""})
        );
    }

    #[test]
    fn a_concert_comes_from_flags() {
        let when = "--starts-at 1970-01-01T00:01:00Z";
        let seats = json!({"rows": ["A", "B"], "per_row": 2});
        assert_eq!(
            body(&format!(
                "ctl concerts create --title T --place P {when} --queue vip --tier S:5:A-B:2"
            )),
            json!({
                "title": "T", "place": "P", "starts_at": 60, "queue": "vip",
                "tiers": [{"name": "S", "price": 5, "seats": seats}],
            })
        );
    }

    #[test]
    fn headers_and_query_are_set() {
        let quoted = |line| request(line).if_match;
        assert_eq!(
            quoted("ctl policy set main --mode open --if-match 7").as_deref(),
            Some("\"7\"")
        );
        assert_eq!(
            quoted("ctl policy set main --mode open --if-match \"7\"").as_deref(),
            Some("\"7\"")
        );
        let admit = request("ctl admit main 5 --idempotency-key k1");
        assert_eq!(admit.idempotency_key.as_deref(), Some("k1"));
        let audit = request("ctl audit --queue main --before 9");
        assert_eq!(audit.query, [("queue", "main".to_owned()), ("before", "9".to_owned())]);
    }

    #[test]
    fn output_is_chosen_by_flags_anywhere() {
        assert_eq!(parse("ctl queues list").unwrap().output(), Output::Table);
        assert_eq!(parse("ctl queues list --json").unwrap().output(), Output::Json);
        assert_eq!(parse("ctl --json queues list").unwrap().output(), Output::Json);
        assert_eq!(parse("ctl policy set main --mode open --etag").unwrap().output(), Output::Etag);
    }

    #[test]
    fn what_makes_no_sense_is_refused_before_anything_is_sent() {
        for line in [
            "ctl",
            "ctl queues show ..",
            "ctl queues show Main",
            "ctl policy set main",
            "ctl policy set main --if-match 7",
            "ctl policy set main --rate-per-second NaN",
            "ctl policy set main --mode shut",
            "ctl schedule add main --at 2031-05-01T20:00:00Z",
            "ctl schedule add main --mode open",
            "ctl schedule add main --at soon --mode open",
            "ctl schedule add main --at +1h --mode open --ramp 60",
            "ctl schedule cancel main",
            "ctl admit main -1",
            "ctl emergency-pause",
            "ctl emergency-pause main --all",
            "ctl emergency-pause --all --resume",
            "ctl hold-rate main --min 1",
            "ctl hold-rate main --min 1 --max inf",
            "ctl hold-rate main --min 1 --max 9 --keep 1",
            "ctl hold-rate main --min 1 --max 9 --probe file:///etc/passwd",
            "ctl hold-rate main --min 1 --max 9 --every 0",
            "ctl concerts create",
            "ctl concerts create --title T",
            "ctl concerts create hall.json --title T",
            "ctl concerts change 7",
            "ctl concerts change 7 --starts-at tomorrow",
            "ctl check --url https://localhost",
        ] {
            let error = parse(line).map(|ctl| format!("{ctl:?}")).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn the_key_is_not_shown() {
        let ctl = parse("ctl check --key secret-word").unwrap();
        assert!(!format!("{ctl:?}").contains("secret-word"));
    }
}
