//! The checker, checked: a correct shop's day passes, and each way to alter it is found out by the invariant it breaks.

mod counter;
mod order;
mod refusals;
mod shop;

use std::collections::BTreeSet;

use super::verdict;
use crate::history::{Op, Record};
use crate::rows::Rows;

/// Some seeds, for no single day has everything in every order.
const SEEDS: std::ops::Range<u64> = 1..25;

/// A way to make a day wrong. It says whether it found a place for it.
type Alter = fn(&mut Vec<Record>, &mut Rows) -> Option<()>;
/// The invariant it breaks, what was done, and how.
type Altered = (&'static str, &'static str, Alter);

#[test]
fn the_days_of_the_shop_have_something_of_everything() {
    let days: Vec<_> = SEEDS.map(shop::day).collect();
    for (history, rows) in &days {
        let unknown =
            history.iter().filter(|record| matches!(record, Record::Op(op) if op.is_unknown()));
        assert!(unknown.count() > 20);
        for epoch in 1..=3 {
            assert!(rows.turns.iter().any(|turn| turn.seq >> 40 == epoch), "epoch {epoch}");
        }
    }
    for reason in ["paid", "left", "unclaimed", "time"] {
        let has = |rows: &Rows| rows.turns.iter().any(|turn| turn.ended_for(reason));
        assert!(days.iter().any(|(_, rows)| has(rows)), "{reason}");
    }
    for status in ["paid", "expired", "cancelled"] {
        assert!(days.iter().any(|(_, rows)| rows.bookings.iter().any(|row| row.is(status))));
    }
}

#[test]
fn a_correct_day_breaks_nothing() {
    for seed in SEEDS {
        let (history, rows) = shop::day(seed);
        let verdict = verdict(&history, &rows);
        assert!(verdict.holds(), "seed {seed}: {verdict:#?}");
        assert_eq!(verdict.saw_nothing().collect::<Vec<_>>(), Vec::<&str>::new(), "seed {seed}");
    }
}

#[test]
fn each_altered_day_is_found_out() {
    let mut missed = Vec::new();
    let altered = order::ALTERED.iter().chain(counter::ALTERED).chain(refusals::WITH_EFFECT);
    for (invariant, what, alter) in altered.copied() {
        for seed in 1..4 {
            let (altered, broken) = broken_by(alter, seed);
            if !(altered && broken.contains(invariant)) {
                missed.push(format!("{invariant} {what}, seed {seed}, altered: {altered}"));
            }
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn a_wrong_refusal_breaks_its_invariant_and_no_other() {
    let mut missed = Vec::new();
    for (invariant, what, alter) in refusals::ALTERED.iter().copied() {
        for seed in 1..4 {
            let (altered, broken) = broken_by(alter, seed);
            if !(altered && broken == BTreeSet::from([invariant])) {
                let found = format!("altered: {altered}, broken: {broken:?}");
                missed.push(format!("{invariant} {what}, seed {seed}, {found}"));
            }
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

/// Whether a day could be altered, and what that broke.
fn broken_by(alter: Alter, seed: u64) -> (bool, BTreeSet<&'static str>) {
    let (mut history, mut rows) = shop::day(seed);
    let altered = alter(&mut history, &mut rows).is_some();
    let verdict = verdict(&history, &rows);
    (altered, verdict.violations.iter().map(|broken| broken.invariant).collect())
}

/// The requests of a history, to be altered.
fn ops(history: &mut [Record]) -> impl Iterator<Item = &mut Op> {
    history.iter_mut().filter_map(|record| match record {
        Record::Op(op) => Some(op),
        _ => None,
    })
}
