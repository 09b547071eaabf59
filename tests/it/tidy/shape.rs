//! The shape of files: what each opens with, how long it may be, and words that no file holds.

use super::rust::{modules, take_apart};
use super::{Breaches, is_in, root, rust_sources, sources, words};

const LINES_MAX: usize = 400;
const SCRIPT_LINES_MAX: usize = 60;
/// Written in two parts, so that this file does not hold what it looks for.
const UNFINISHED: [&str; 6] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("X", "XX"),
    concat!("HA", "CK"),
    concat!("st", "ub"),
    concat!("W", "IP"),
];
/// What a person writes, but for the lock file.
const WRITTEN: [&str; 15] = [
    ".rs",
    ".lua",
    ".md",
    ".toml",
    ".js",
    ".ts",
    ".css",
    ".html",
    ".yml",
    ".yaml",
    ".json",
    ".conf",
    ".cfg",
    ".service",
    "Caddyfile",
];

/// How databases tell the time. Instants are bound parameters; only the probe that compares clocks asks.
const SQL_CLOCKS: [&str; 10] = [
    "now()",
    "current_timestamp",
    "current_time",
    "current_date",
    "localtime",
    "clock_timestamp",
    "'now'",
    "unixepoch(",
    "statement_timestamp",
    "transaction_timestamp",
];

#[test]
fn every_rust_file_says_what_lives_in_it_and_ends_in_time() {
    let mut breaches = Breaches::default();
    for file in rust_sources() {
        breaches.unless(
            file.text.starts_with("//! "),
            &file.path,
            "opens with `//!`: what lives here, and what may not",
        );
        let lines = file.text.lines().count();
        breaches.unless(
            lines <= LINES_MAX,
            &file.path,
            format!("{lines} lines; split it by theme at {LINES_MAX}"),
        );
    }
    breaches.none();
}

#[test]
fn every_rust_file_is_compiled() {
    let mut breaches = Breaches::default();
    let files = rust_sources();
    for file in
        files.iter().filter(|file| is_in(&file.path, "src/") || is_in(&file.path, "tests/it/"))
    {
        let (folder, name) = file.path.rsplit_once('/').unwrap();
        let (parents, module) = match name {
            "main.rs" | "lib.rs" => continue,
            "mod.rs" => folder.rsplit_once('/').unwrap(),
            _ => (folder, name.trim_end_matches(".rs")),
        };
        let is_parent = |path: &str| {
            ["mod.rs", "lib.rs", "main.rs"].iter().any(|name| path == format!("{parents}/{name}"))
        };
        let declared = files.iter().filter(|other| is_parent(&other.path));
        let declared = declared
            .map(|parent| take_apart(&parent.text).code)
            .any(|code| modules(&code).any(|m| m == module));
        breaches.unless(declared, &file.path, "no `mod` line names it");
    }
    breaches.none();
}

#[test]
fn nothing_is_left_for_later() {
    let mut breaches = Breaches::default();
    let written = sources(&[""], "").into_iter();
    for file in written.filter(|file| {
        WRITTEN.iter().any(|ending| file.path.ends_with(ending)) || file.text.starts_with("#!")
    }) {
        for (number, line) in file.text.lines().enumerate() {
            for word in words(line).filter(|word| UNFINISHED.contains(word)) {
                breaches.add(
                    format!("{}:{}", file.path, number + 1),
                    format!("`{word}`: do it, or say what is"),
                );
            }
        }
    }
    breaches.none();
}

#[test]
fn no_statement_asks_the_database_for_the_time() {
    let mut breaches = Breaches::default();
    let places = ["*/sql.rs", "*/sql/", "migrations/"];
    for file in sources(&["src", "migrations"], ".rs") {
        for (line, text) in take_apart(&file.text).texts {
            let text = text.to_lowercase();
            let is_sql = places.iter().any(|place| is_in(&file.path, place));
            // The probe names its one column so, on both databases.
            let is_probe = file.path == "src/sql/mod.rs" && text.ends_with("as now_ms\"");
            for clock in
                SQL_CLOCKS.iter().filter(|clock| is_sql && !is_probe && text.contains(**clock))
            {
                breaches.add(
                    format!("{}:{line}", file.path),
                    format!("`{clock}`: time is a bound parameter"),
                );
            }
        }
    }
    breaches.none();
}

#[test]
fn shell_scripts_fit_a_screen_stop_at_errors_and_explain_themselves() {
    let mut breaches = Breaches::default();
    let shell = |text: &str| {
        text.lines().next().is_some_and(|first| first.starts_with("#!") && first.ends_with("sh"))
    };
    for file in sources(&[""], "").into_iter().filter(|file| shell(&file.text)) {
        let lines = file.text.lines().count();
        breaches.unless(
            lines <= SCRIPT_LINES_MAX,
            &file.path,
            format!("{lines} lines, at most {SCRIPT_LINES_MAX}"),
        );
        breaches.unless(
            file.text.contains("\nset -euo pipefail\n"),
            &file.path,
            "has `set -euo pipefail`",
        );
        let about = file
            .text
            .lines()
            .nth(1)
            .is_some_and(|line| line.starts_with("# ") && line.ends_with('.'));
        breaches.unless(about, &file.path, "says in its second line what it does");
        // What continuous integration runs is not for people.
        let explains = file.text.contains("--help") || is_in(&file.path, ".ci/");
        breaches.unless(explains, &file.path, "answers --help");
        breaches.unless(is_executable(&file.path), &file.path, "is executable");
    }
    breaches.none();
}

fn is_executable(path: &str) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(root().join(path)).is_ok_and(|about| about.permissions().mode() & 0o100 != 0)
}

/// Snapshots stand inline, beside what they are about: a file of them is one that nobody reads any more.
#[test]
fn no_snapshot_is_orphaned() {
    let mut breaches = Breaches::default();
    for file in sources(&["src", "tests", "migrations"], "") {
        let orphan = file.path.ends_with(".snap") || file.path.ends_with(".snap.new");
        breaches.unless(!orphan, &file.path, "snapshots are inline");
    }
    breaches.none();
}
