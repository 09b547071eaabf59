//! Answers as tables for people.
//!
//! May not live here: anything a script relies on (`--json` is for scripts), and any reading of an
//! answer that fails: what is absent shows as `-`.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde_json::Value;

use super::args::{Ask, Concerts, Policy, Queues};
use super::report;
use super::schedule::Schedule;
use crate::clock::rfc3339;

/// A longer value makes a line of the audit unreadable; `--json` has all of it.
const VALUE_CHARS_MAX: usize = 60;

/// A column: its heading and where a row has its value (a JSON pointer).
pub type Column = (&'static str, &'static str);

const QUEUES: [Column; 12] = [
    ("QUEUE", "/name"),
    ("MODE", "/policy/mode"),
    ("STATE", "/state"),
    ("REASON", "/reason"),
    ("RATE/S", "/rate_now_per_second"),
    ("MEASURED/S", "/measured_rate_per_second"),
    ("WAITING", "/waiting"),
    ("ACTIVE", "/active"),
    ("ALLOWED", "/active_allowed"),
    ("ACTIVE MAX", "/policy/active_max"),
    ("ADMITTED", "/admitted_total"),
    ("FREE SEATS", "/free_seats"),
];

const CONCERTS: [Column; 9] = [
    ("ID", "/concert_id"),
    ("TITLE", "/title"),
    ("PLACE", "/place"),
    ("STARTS AT", "/starts_at"),
    ("QUEUE", "/queue"),
    ("SEATS", "/seats_total"),
    ("FREE", "/seats_free"),
    ("HELD", "/seats_held"),
    ("SOLD", "/seats_sold"),
];

const TIERS: [Column; 6] = [
    ("TIER", "/name"),
    ("PRICE", "/price"),
    ("SEATS", "/seats"),
    ("FREE", "/seats_free"),
    ("HELD", "/seats_held"),
    ("SOLD", "/seats_sold"),
];

const CHECKS: [Column; 3] =
    [("CHECK", "/id"), ("VIOLATIONS", "/violations"), ("WHAT HOLDS", "/what")];

const FINDINGS: [Column; 3] = [("WELL", "/ok"), ("WHAT", "/what"), ("FOUND", "/said")];

const CHECKED_QUEUES: [Column; 4] = [
    ("QUEUE", "/name"),
    ("ACTIVE MAX", "/active_max"),
    ("ACTIVE PEAK", "/active_peak"),
    ("ADMITTED", "/admitted_total"),
];

pub fn answer(ask: &Ask, body: &Value, etag: Option<&str>) -> String {
    let text = match ask {
        Ask::Queues(Queues::List) => rows(&body["queues"], &QUEUES),
        Ask::Queues(Queues::Show { .. } | Queues::Create { .. }) => fields(body),
        Ask::Policy(Policy::Show { .. } | Policy::Set { .. })
        | Ask::Pause { .. }
        | Ask::Resume { .. } => policy(body, etag),
        Ask::Concerts(Concerts::List) => {
            let concerts: Value = list(&body["concerts"]).iter().map(dated).collect();
            rows(&concerts, &CONCERTS)
        }
        Ask::Concerts(Concerts::Show { .. } | Concerts::Change { .. }) => concert(body),
        Ask::Concerts(Concerts::Create(_)) | Ask::Admit { .. } | Ask::Draw(_) => fields(body),
        Ask::Report { .. } => report::text(body),
        Ask::Schedule(Schedule::List { .. }) => schedule(body),
        Ask::Schedule(Schedule::Add { .. } | Schedule::Change { .. }) => fields(body),
        Ask::Schedule(Schedule::Cancel { entry, .. }) => format!("entry {entry} is cancelled"),
        Ask::Audit { .. } => audit(body),
        Ask::Check => check(body),
        Ask::Health => health(body),
    };
    // A table pads its last column too.
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// Text that came from somewhere else, fit for a terminal: a title must not move the cursor.
pub fn plain(text: &str) -> String {
    text.chars()
        .map(|letter| if letter.is_control() { char::REPLACEMENT_CHARACTER } else { letter })
        .collect()
}

fn policy(body: &Value, etag: Option<&str>) -> String {
    match etag {
        Some(etag) => format!("{}\n etag {}", fields(body), plain(etag)),
        None => fields(body),
    }
}

/// A concert whose beginning people can read.
fn dated(concert: &Value) -> Value {
    let mut told = concert.clone();
    if let Some(seconds) = concert["starts_at"].as_i64() {
        told["starts_at"] = rfc3339(seconds.saturating_mul(1_000)).into();
    }
    told
}

fn concert(body: &Value) -> String {
    let (mut table, told) = (pairs(), dated(body));
    for (heading, pointer) in CONCERTS {
        table.add_row([heading.to_lowercase(), at(&told, pointer)]);
    }
    format!("{table}\n\n{}", rows(&body["tiers"], &TIERS))
}

pub fn check(body: &Value) -> String {
    let verdict = if body["ok"] == true { "all checks hold" } else { "SOMETHING DOES NOT ADD UP" };
    let (checks, queues) = (rows(&body["checks"], &CHECKS), rows(&body["queues"], &CHECKED_QUEUES));
    format!("{checks}\n\n{queues}\n\n{verdict}")
}

fn health(body: &Value) -> String {
    let mut table = pairs();
    for name in ["version", "started_at", "now", "ready", "redis", "database", "clock", "queue"] {
        table.add_row([name.to_owned(), at(body, &format!("/{name}"))]);
    }
    format!("{table}\n\n{}", rows(&body["findings"], &FINDINGS))
}

fn schedule(body: &Value) -> String {
    let mut table = headed(["ID", "AT", "CHANGE", "RAMP SECONDS", "MADE BY", "DONE AT", "OUTCOME"]);
    for entry in [list(&body["pending"]), list(&body["done"])].concat() {
        let named = entry["policy"].as_object().into_iter().flatten();
        let named = named.map(|(name, value)| format!("{} {}", plain(name), short(value)));
        let change = named.collect::<Vec<_>>().join(", ");
        let [id, when, ramp, who, done, outcome] =
            ["/entry_id", "/at", "/ramp_seconds", "/made_by", "/done_at", "/outcome"]
                .map(|pointer| at(&entry, pointer));
        table.add_row([id, when, change, ramp, who, done, outcome]);
    }
    older(&table, &body["next"])
}

fn audit(body: &Value) -> String {
    let mut table = headed(["ID", "AT", "OPERATOR", "ACTION", "TARGET", "CHANGE"]);
    for entry in list(&body["entries"]) {
        let [id, when, who, action, target] =
            ["/audit_id", "/at", "/operator", "/action", "/target"]
                .map(|pointer| at(entry, pointer));
        table.add_row([id, when, who, action, target, change(&entry["before"], &entry["after"])]);
    }
    older(&table, &body["next"])
}

/// A page, and where the next one is.
fn older(page: &Table, next: &Value) -> String {
    match next.as_u64() {
        Some(next) => format!("{page}\n\nolder entries: --before {next}"),
        None => page.to_string(),
    }
}

/// Only the fields that differ: `rate_per_second 50 → 80`.
fn change(before: &Value, after: &Value) -> String {
    let (Some(old), Some(new)) = (before.as_object(), after.as_object()) else {
        return if before.is_null() {
            short(after)
        } else {
            format!("{} → {}", short(before), short(after))
        };
    };
    let changed = new.iter().filter_map(|(name, value)| {
        let was = old.get(name).unwrap_or(&Value::Null);
        (was != value).then(|| format!("{} {} → {}", plain(name), short(was), short(value)))
    });
    changed.collect::<Vec<_>>().join(", ")
}

fn short(value: &Value) -> String {
    let text = if value == "" { "''".to_owned() } else { cell(value) };
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Every field of an object, those of an object within it (the policy) below, indented.
pub fn fields(body: &Value) -> String {
    let mut table = pairs();
    let mut later = Vec::new();
    for (name, value) in body.as_object().into_iter().flatten() {
        match value.as_object() {
            Some(inner) => later.push((name, inner)),
            None => {
                table.add_row([plain(name), cell(value)]);
            }
        }
    }
    for (name, inner) in later {
        table.add_row([format!("{}:", plain(name)), String::new()]);
        for (name, value) in inner {
            table.add_row([format!("  {}", plain(name)), cell(value)]);
        }
    }
    table.to_string()
}

pub fn rows<const N: usize>(items: &Value, columns: &[Column; N]) -> String {
    let mut table = headed(columns.map(|(heading, _)| heading));
    for item in list(items) {
        table.add_row(columns.map(|(_, pointer)| at(item, pointer)));
    }
    for (index, (_, pointer)) in columns.iter().enumerate() {
        let numbers =
            list(items).iter().any(|item| item.pointer(pointer).is_some_and(Value::is_number));
        if let Some(column) = table.column_mut(index).filter(|_| numbers) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

fn headed<const N: usize>(headings: [&str; N]) -> Table {
    let mut table = pairs();
    table.set_header(headings);
    table
}

/// No lines and no wrapping: what is printed can be searched with grep.
fn pairs() -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table
}

fn list(items: &Value) -> &[Value] {
    items.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn at(item: &Value, pointer: &str) -> String {
    item.pointer(pointer).map_or_else(|| "-".to_owned(), cell)
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => plain(text),
        Value::Number(number) if number.is_f64() => decimal(number.as_f64().unwrap_or_default()),
        other => plain(&other.to_string()),
    }
}

/// Three decimals say enough of a rate; one a minute still shows.
fn decimal(number: f64) -> String {
    let text = format!("{number:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        CONCERTS, QUEUES, audit, change, check, concert, decimal, fields, plain, rows, schedule,
    };

    #[test]
    fn a_row_shows_what_is_there_and_a_dash_for_the_rest() {
        let policy = json!({"mode": "open"});
        let queue =
            json!({"name": "main", "policy": policy, "rate_now_per_second": 50.0, "waiting": 12});
        let queues = json!([queue]);
        let table = rows(&queues, &QUEUES);
        let found: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(found, ["main", "open", "-", "-", "50", "-", "12", "-", "-", "-", "-", "-"]);
    }

    #[test]
    fn no_concert_is_an_empty_table_with_its_headings() {
        assert!(rows(&json!([]), &CONCERTS).contains("TITLE"));
        assert!(rows(&json!(null), &CONCERTS).contains("TITLE"));
    }

    #[test]
    fn people_read_when_a_concert_begins() {
        let told = concert(&json!({"title": "Requiem", "starts_at": 1_935_486_000}));
        assert!(told.contains("2031-05-02T11:00:00.000Z"), "{told}");
    }

    #[test]
    fn an_audit_shows_the_change_and_the_next_page() {
        let table = audit(&json!({"next": 4, "entries": [{
            "audit_id": 5, "at": "2031-05-01T20:00:00.000Z", "operator": "key",
            "action": "tune", "target": "main",
            "before": {"mode": "open", "rate_per_second": 50.0},
            "after": {"mode": "open", "rate_per_second": 80.5},
        }]}));
        assert!(table.contains("rate_per_second 50 → 80.5"), "{table}");
        assert!(!table.contains("mode"), "{table}");
        assert!(table.contains("--before 4"), "{table}");
    }

    #[test]
    fn a_schedule_shows_what_is_planned_and_then_what_is_done() {
        let entry = |id: u64, outcome: Option<&str>| {
            json!({"entry_id": id, "at": "2031-05-01T20:00:00.000Z", "made_by": "operator",
                "policy": {"mode": "open", "rate_per_second": 80.5}, "outcome": outcome})
        };
        let (planned, done) = (entry(4, None), entry(9, Some("applied")));
        let table = schedule(&json!({"pending": [planned], "done": [done], "next": 9}));
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[1].contains("mode open, rate_per_second 80.5"), "{table}");
        assert!(lines[1].trim_start().starts_with('4') && lines[2].contains("applied"), "{table}");
        assert!(table.contains("--before 9"), "{table}");
    }

    #[test]
    fn a_change_from_nothing_is_cut_to_a_line() {
        let long = "x".repeat(200);
        assert_eq!(change(&json!(null), &json!(long)).chars().count(), 61);
        assert_eq!(change(&json!({}), &json!({"count": 5})), "count - → 5");
        assert_eq!(
            change(&json!({"message": ""}), &json!({"message": "Soon"})),
            "message '' → Soon"
        );
    }

    #[test]
    fn fields_of_the_policy_stand_below() {
        let text = fields(&json!({"name": "main", "policy": {"burst": null}, "version": 3}));
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(lines[3].starts_with("burst"), "{text}");
    }

    #[test]
    fn a_failed_check_is_loud() {
        assert!(
            check(&json!({"ok": false, "checks": [], "queues": []})).contains("DOES NOT ADD UP")
        );
        assert!(
            check(&json!({"ok": true, "checks": [], "queues": []})).contains("all checks hold")
        );
    }

    #[test]
    fn text_cannot_drive_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\nc"), "a\u{fffd}[2Jb\u{fffd}c");
    }

    #[test]
    fn rates_are_short() {
        assert_eq!([50.0, 0.016_7, 99.987_6, 0.0].map(decimal), ["50", "0.017", "99.988", "0"]);
    }
}
