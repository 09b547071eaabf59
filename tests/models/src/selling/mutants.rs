//! The protocol without one of its rules, and how soon that breaks a promise.

use std::collections::BTreeSet;

use stateright::{Checker, HasDiscoveries, Model};

use super::{Action, Bounds, Promise, Rule, Selling};

/// No promise needs more steps to be broken.
const STEPS_MAX: usize = 12;

/// A rule that is left out, within some bounds, and a promise that goes with it.
#[derive(Clone, Copy, Debug)]
pub struct Mutant {
    pub rule: Rule,
    pub bounds: Bounds,
    pub promise: Promise,
}

impl Mutant {
    pub fn all() -> impl Iterator<Item = Self> {
        [
            (Rule::SqlGrants, Bounds::ONE_SEAT, Promise::Exclusive),
            (Rule::ClocksAgree, Bounds::BEYOND, Promise::Exclusive),
            (Rule::ClocksAgree, Bounds::BEYOND, Promise::Lasts),
            (Rule::TakeOverGrace, Bounds::ONE_SEAT, Promise::Exclusive),
            (Rule::TakeOverGrace, Bounds::ONE_SEAT, Promise::Lasts),
            (Rule::SweepGrace, Bounds::ONE_SEAT, Promise::Lasts),
            (Rule::SeatKey, Bounds::ONE_SEAT, Promise::SoldOnce),
            (Rule::BookingLock, Bounds::ONE_SEAT, Promise::PaidOnce),
            (Rule::SeatLock, Bounds::ONE_SEAT, Promise::Owned),
            (Rule::SeatLock, Bounds::ONE_SEAT, Promise::SoldOnce),
            (Rule::SeatsCounted, Bounds::BEYOND, Promise::SoldOnce),
            (Rule::AccountLock, Bounds::MONEY, Promise::Ledger),
            (Rule::ClockAfterLocks, Bounds::ONE_SEAT, Promise::InTime),
            (Rule::BalanceGuard, Bounds::MONEY, Promise::Solvent),
            (Rule::OneCommit, Bounds::ONE_SEAT, Promise::PaidOnce),
            (Rule::HoldKey, Bounds::ONE_SEAT, Promise::KeyOnce),
            (Rule::PayKey, Bounds::MONEY, Promise::KeyOnce),
            (Rule::TopUpKey, Bounds::MONEY, Promise::KeyOnce),
            (Rule::UnknownIsUnknown, Bounds::ONE_SEAT, Promise::Definite),
        ]
        .map(|(rule, bounds, promise)| Self { rule, bounds, promise })
        .into_iter()
    }

    /// The shortest way to the broken promise. The checker's own is only nearly so: it looks at many states at a time.
    pub fn counterexample(self) -> Option<Vec<Action>> {
        (0..=STEPS_MAX).find_map(|steps| {
            let model = Selling { bounds: self.bounds, without: Some(self.rule) };
            let wanted = HasDiscoveries::AllOf(BTreeSet::from([self.promise.name()]));
            let checker = model.checker().finish_when(wanted);
            // The first state has depth 1, and those of the last depth are not looked at.
            let checked = checker.target_max_depth(steps + 2).spawn_bfs().join();
            checked.discovery(self.promise.name()).map(stateright::Path::into_actions)
        })
    }
}
