//! Judges a run: its history and the final rows against every invariant, each in linear passes. Nothing is read or
//! written here, and no invariant knows another.

mod admission;
mod balances;
mod facts;
mod keys;
mod money;
mod order;
mod seats;
mod service;
mod surface;
mod tokens;

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

const INVARIANTS: &[(&str, Check)] = &[
    ("S1", seats::a_seat_is_sold_once),
    ("S2", seats::what_was_sold_stays_sold),
    ("S3", seats::sales_were_asked_for),
    ("S4", seats::refusals_change_nothing),
    ("S5", seats::holds_exclude_each_other),
    ("S6", seats::bookings_are_whole),
    ("S8", seats::sales_are_within_holds),
    ("S9", seats::nobody_has_too_many_seats),
    ("S10", seats::no_seat_is_lost),
    ("M1", money::balances_are_sums),
    ("M2", money::the_books_balance),
    ("M3", money::sales_have_one_payment),
    ("M4", money::top_ups_are_there_once),
    ("M5", money::balances_are_in_bounds),
    ("M6", money::entries_form_a_chain),
    ("M7", balances::balances_are_up_to_date),
    ("M8", money::the_ledger_is_guarded),
    ("M9", money::money_comes_from_top_ups),
    ("Q1", order::numbers_follow_arrivals),
    ("Q2", service::lower_numbers_come_first),
    ("Q3", order::numbers_are_nobody_elses),
    ("Q4", order::positions_never_grow),
    ("Q5", order::one_place_each),
    ("Q6", service::no_place_is_lost),
    ("Q7", order::positions_are_honest),
    ("A1", admission::turns_stay_under_the_cap),
    ("A2", admission::turns_keep_the_rate),
    ("A3", admission::a_number_has_one_turn),
    ("A4", admission::holds_are_within_turns),
    ("A7", admission::nobody_is_admitted_without_sql),
    ("T1", tokens::forged_tokens_get_nothing),
    ("T2", tokens::nobody_gets_what_is_anothers),
    ("T3", tokens::what_is_over_stays_over),
    ("I1", keys::a_key_has_one_answer),
    ("I2", keys::a_key_is_for_one_request),
    ("I3", keys::a_key_has_one_effect),
    ("O1", surface::answers_are_known_and_in_time),
    ("L3", surface::no_hold_outlives_its_time),
];

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
    for &(invariant, check) in INVARIANTS {
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
