//! Judges a run: its history and the final rows against every invariant, each in linear passes. Nothing is read or
//! written here, and no invariant knows another.

mod facts;

use std::collections::BTreeMap;

use crate::history::{Op, Outcome, Record};
use crate::rows::Rows;
use facts::Facts;

/// A promise that was broken, or that could not be decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    pub invariant: &'static str,
    /// The evidence: ids of requests, numbers, rows.
    pub what: String,
}

/// What one invariant saw.
#[derive(Debug, Default)]
pub struct Finding {
    /// How many things it compared: a check that saw nothing proves nothing.
    pub looked: u64,
    pub broken: Vec<String>,
}

/// What a run comes to.
#[derive(Debug)]
pub struct Verdict {
    pub violations: Vec<Violation>,
    /// What each invariant looked at.
    pub counts: BTreeMap<&'static str, u64>,
    /// The part of requests whose outcome nobody knows.
    pub unknown_ratio: f64,
}

/// With more unknown outcomes than this nearly everything is allowed, and a run proves nothing.
const UNKNOWN_RATIO_MAX: f64 = 0.3;

type Check = fn(&Facts) -> Finding;

const INVARIANTS: [(&str, Check); 0] = [];

/// Every broken promise of a run.
pub fn check(history: &[Record], rows: &Rows) -> Vec<Violation> {
    verdict(history, rows).violations
}

/// Judges a run. What cannot be decided counts as broken.
pub fn verdict(history: &[Record], rows: &Rows) -> Verdict {
    let mut verdict = Verdict {
        violations: Vec::new(),
        counts: BTreeMap::new(),
        unknown_ratio: unknown_ratio(history),
    };
    let facts = match Facts::new(history, rows) {
        Ok(facts) => facts,
        Err(what) => {
            verdict.violations.push(Violation { invariant: "run", what });
            return verdict;
        }
    };
    if INVARIANTS.is_empty() {
        let what = "no invariant is checked".to_owned();
        verdict.violations.push(Violation { invariant: "run", what });
    }
    for (invariant, check) in INVARIANTS {
        let Finding { looked, broken } = check(&facts);
        verdict.counts.insert(invariant, looked);
        verdict.violations.extend(broken.into_iter().map(|what| Violation { invariant, what }));
    }
    verdict
}

impl Verdict {
    /// Enough outcomes are known for the run to prove anything.
    pub fn counts_as_run(&self) -> bool {
        self.unknown_ratio <= UNKNOWN_RATIO_MAX
    }

    /// A verdict that no invariant took part in is no pass.
    pub fn holds(&self) -> bool {
        self.counts_as_run() && !self.counts.is_empty() && self.violations.is_empty()
    }

    /// The invariants that had nothing to look at.
    pub fn saw_nothing(&self) -> impl Iterator<Item = &'static str> {
        self.counts.iter().filter(|(_, looked)| **looked == 0).map(|(invariant, _)| *invariant)
    }
}

impl Finding {
    fn looked(&mut self) {
        self.looked += 1;
    }

    /// One comparison, and the words for it when it fails.
    fn unless(&mut self, holds: bool, what: impl FnOnce() -> String) {
        self.looked += 1;
        if !holds {
            self.broken.push(what());
        }
    }
}

fn unknown_ratio(history: &[Record]) -> f64 {
    let is_unknown = |record: &&Record| {
        matches!(record, Record::Op(Op { outcome: Outcome::Unknown { .. }, .. }))
    };
    let ops = history.iter().filter(|record| matches!(record, Record::Op(_))).count();
    let unknown = history.iter().filter(is_unknown).count();
    if ops == 0 { 1.0 } else { unknown as f64 / ops as f64 }
}

#[cfg(test)]
mod tests;
