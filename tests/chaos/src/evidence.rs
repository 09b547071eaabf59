//! What needs no model to be wrong: a 500, a panic, an error in a log, an accepted request that a stopping server dropped.

use std::path::Path;

use crate::history::{Op, Outcome, Record};

/// A request that was sent so shortly before the signal may still have been on its way.
const ON_ITS_WAY_US: i64 = 100_000;
/// No answer takes longer: the server's deadline, and the way back.
const ANSWER_US_MAX: i64 = 9_000_000;

pub fn of_history(history: &[Record]) -> Vec<String> {
    let ops = || {
        history.iter().filter_map(|record| match record {
            Record::Op(op) => Some(op),
            _ => None,
        })
    };
    let mut found: Vec<_> =
        ops().filter(|op| is_500(op)).map(|op| format!("O1: 500 {op:?}")).collect();
    for record in history {
        let Record::Fault(stop) = record else { continue };
        if stop.kind != "stop" {
            continue;
        }
        let accepted = ops().filter(|op| {
            op.instance == stop.target
                && op.begun_us + ON_ITS_WAY_US < stop.begun_us
                && op.ended_us > stop.begun_us
                && op.ended_us < op.begun_us + ANSWER_US_MAX
        });
        let dropped =
            accepted.filter(|op| matches!(op.outcome, Outcome::Unknown { status: None, .. }));
        found
            .extend(dropped.map(|op| format!("L4: accepted before SIGTERM, not answered: {op:?}")));
    }
    found
}

fn is_500(op: &Op) -> bool {
    match &op.outcome {
        Outcome::Unknown { status, .. } => *status == Some(500),
        Outcome::Refused { status, .. } => *status == 500,
        Outcome::Ok { .. } => false,
    }
}

/// Lines of a server's log that no fault excuses, each sort once.
pub fn of_log(name: &str, log: &Path) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read(log)?;
    let text = String::from_utf8_lossy(&text);
    let bad = |line: &&str| line.contains("\"level\":\"ERROR\"") || line.contains("panicked at");
    let lines: Vec<_> = text.lines().filter(bad).collect();
    let shown = lines.iter().take(5).map(|line| format!("O1: {name} logs {line}"));
    let mut found: Vec<_> = shown.collect();
    if lines.len() > found.len() {
        found.push(format!("O1: {name} logs {} such lines in all", lines.len()));
    }
    Ok(found)
}
