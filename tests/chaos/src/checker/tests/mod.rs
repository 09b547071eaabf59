//! The checker, checked: a correct shop's day passes, and each way to alter it is found out by the invariant it breaks.

mod shop;

use super::verdict;
use crate::history::{Op, Record};

/// Some seeds, for no single day has everything in every order.
const SEEDS: std::ops::Range<u64> = 1..13;

#[test]
fn a_day_of_the_shop_has_something_of_everything() {
    for seed in SEEDS {
        let (history, rows) = shop::day(seed);
        let unknown =
            history.iter().filter(|record| matches!(record, Record::Op(op) if op.is_unknown()));
        assert!(unknown.count() > 20, "seed {seed}");
        assert!(
            history.iter().any(|record| matches!(record, Record::Op(Op { adversary: true, .. })))
        );
        for reason in ["paid", "left", "unclaimed", "time"] {
            assert!(rows.turns.iter().any(|turn| turn.ended_for(reason)), "{reason}, seed {seed}");
        }
        for status in ["paid", "expired", "cancelled"] {
            assert!(rows.bookings.iter().any(|row| row.is(status)), "{status}, seed {seed}");
        }
        for epoch in 1..=3 {
            assert!(rows.turns.iter().any(|turn| turn.seq >> 40 == epoch), "seed {seed}");
        }
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
