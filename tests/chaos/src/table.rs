//! The table of all runs: one line of JSON each, summed by fault and shown beside what the long run owes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::nemesis::kind::KINDS;

const BEGIN: &str = "<!-- runs: begin -->";
const END: &str = "<!-- runs: end -->";

/// One run, as it is kept.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Line {
    pub seed: u64,
    pub commit: String,
    pub began_at_ms: i64,
    pub database: String,
    pub minutes: f64,
    pub faults: BTreeMap<String, u64>,
    pub points: BTreeMap<String, u64>,
    pub points_known: u64,
    pub operations: u64,
    pub unknown_ratio: f64,
    /// What each invariant compared.
    #[serde(default)]
    pub looked: BTreeMap<String, u64>,
    pub violations: Vec<String>,
}

/// Adds a run, and writes the sum anew.
pub fn record(line: &Line, docs: &Path) -> anyhow::Result<()> {
    let runs = docs.join("reliability.jsonl");
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&runs)?;
    writeln!(file, "{}", serde_json::to_string(line)?)?;
    let text = std::fs::read_to_string(&runs)?;
    let lines = text.lines().map(serde_json::from_str).collect::<Result<Vec<Line>, _>>()?;
    let page = docs.join("RELIABILITY.md");
    let before = std::fs::read_to_string(&page).context("docs/RELIABILITY.md is not there")?;
    let after =
        between_the_marks(&before, &table(&lines)).context("docs/RELIABILITY.md has no marks")?;
    Ok(std::fs::write(page, after)?)
}

fn between_the_marks(page: &str, table: &str) -> Option<String> {
    let (head, rest) = page.split_once(BEGIN)?;
    let (_, tail) = rest.split_once(END)?;
    Some(format!("{head}{BEGIN}\n{table}{END}{tail}"))
}

fn table(lines: &[Line]) -> String {
    let sum = |name: &str| -> u64 { lines.iter().filter_map(|line| line.faults.get(name)).sum() };
    let mut text = String::new();
    let minutes: f64 = lines.iter().map(|line| line.minutes).sum();
    let operations: u64 = lines.iter().map(|line| line.operations).sum();
    let violations: usize = lines.iter().map(|line| line.violations.len()).sum();
    let _ = writeln!(
        text,
        "{} runs, {minutes:.0} minutes, {operations} requests, {violations} violations.\n",
        lines.len()
    );
    text.push_str("| fault | times | goal |\n|---|---:|---:|\n");
    for kind in KINDS {
        let goal = if kind.goal == 0 { String::new() } else { kind.goal.to_string() };
        let _ = writeln!(text, "| `{}` | {} | {goal} |", kind.name, sum(kind.name));
    }
    text.push_str("\n| crash point | times |\n|---|---:|\n");
    let mut points: BTreeMap<&str, u64> = BTreeMap::new();
    for (name, count) in lines.iter().flat_map(|line| &line.points) {
        *points.entry(name).or_default() += count;
    }
    for (name, count) in points {
        let _ = writeln!(text, "| `{name}` | {count} |");
    }
    text.push_str(
        "\n| seed | commit | database | minutes | requests | unknown | faults | violations |\n",
    );
    text.push_str("|---:|---|---|---:|---:|---:|---:|---:|\n");
    for line in lines {
        let faults: u64 = line.faults.values().sum();
        let _ = writeln!(
            text,
            "| {} | {} | {} | {:.0} | {} | {:.1} % | {faults} | {} |",
            line.seed,
            line.commit,
            line.database,
            line.minutes,
            line.operations,
            100.0 * line.unknown_ratio,
            line.violations.len()
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_marks_is_written_anew() {
        let page = format!("# Title\n{BEGIN}\nold\n{END}\nafter\n");
        let kept = between_the_marks(&page, "new\n").unwrap();
        assert_eq!(kept, format!("# Title\n{BEGIN}\nnew\n{END}\nafter\n"));
        assert_eq!(between_the_marks("no marks", "new"), None);
    }

    #[test]
    fn the_same_fault_of_two_runs_is_summed_beside_its_goal() {
        let run = |kills| Line { faults: [("kill".to_owned(), kills)].into(), ..Line::default() };
        let text = table(&[run(2), run(3)]);
        assert!(text.contains("| `kill` | 5 | 1000 |"), "{text}");
        assert!(text.contains("2 runs"), "{text}");
    }
}
