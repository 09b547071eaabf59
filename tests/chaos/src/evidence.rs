//! What needs no model to be wrong: a 500, a panic, an error in a log, an accepted request that a stopping server dropped.

use std::collections::BTreeMap;
use std::path::Path;

use crate::history::{Op, Outcome, Record};

/// A request that was sent so shortly before the signal may still have been on its way.
const ON_ITS_WAY_US: i64 = 100_000;
/// No answer takes longer: the server's deadline, and the way back.
const ANSWER_US_MAX: i64 = 9_000_000;

/// What a server rightly calls an error when a fault is played: its line was lost.
const EXCUSED: [&str; 1] = ["the line's state in Redis is in doubt"];
const SHOWN_OF_EACH: usize = 5;

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

/// Lines of a server's log that no fault excuses.
pub fn of_log(name: &str, log: &Path) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read(log)?;
    let text = String::from_utf8_lossy(&text);
    let told = |line: &&str| EXCUSED.iter().any(|words| line.contains(words));
    let bad = |line: &&str| {
        line.contains("panicked at") || line.contains("\"level\":\"ERROR\"") && !told(line)
    };
    Ok(text.lines().filter(bad).map(|line| format!("O1: {name} logs {line}")).collect())
}

/// The first of each sort, and how many more there are: one broken promise is often broken a thousand times.
pub fn few_of_each(violations: Vec<String>) -> Vec<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut few = Vec::new();
    for violation in violations {
        let sort = violation.split(':').next().unwrap_or_default().to_owned();
        let times = seen.entry(sort).or_default();
        *times += 1;
        if *times <= SHOWN_OF_EACH {
            few.push(violation);
        }
    }
    let more = seen.into_iter().filter(|(_, times)| *times > SHOWN_OF_EACH);
    few.extend(more.map(|(sort, times)| format!("{sort}: {times} in all")));
    few
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_alike_a_few_are_shown_and_all_are_counted() {
        let many = (0..20).map(|place| format!("Q6: request {place}"));
        let few = few_of_each(many.chain(["S1: twice".to_owned()]).collect());
        assert_eq!(few.len(), SHOWN_OF_EACH + 2);
        assert!(few.contains(&"S1: twice".to_owned()) && few.contains(&"Q6: 20 in all".to_owned()));
    }
}
