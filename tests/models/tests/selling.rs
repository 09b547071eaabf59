//! Selling keeps its promises, and without one of its rules it does not.

use models::selling::{Bounds, Mutant, Promise, Selling, TAKEN_OVER};
use stateright::{Checker, HasDiscoveries, Model};

fn keeps_every_promise(bounds: Bounds, states_max: usize) -> bool {
    let model = Selling { bounds, without: None };
    let checked = model
        .checker()
        .finish_when(HasDiscoveries::AnyFailures)
        .target_state_count(states_max)
        .spawn_bfs()
        .join();
    for promise in Promise::ALL {
        checked.assert_no_discovery(promise.name());
    }
    checked.discovery(TAKEN_OVER).is_some()
}

#[test]
fn whoever_keeps_every_rule_keeps_every_promise() {
    for (_, bounds) in Bounds::ALL {
        keeps_every_promise(bounds, 1_000_000);
    }
}

#[test]
fn one_seat_changes_hands_and_every_state_of_it_keeps_every_promise() {
    assert!(keeps_every_promise(Bounds::ONE_SEAT, usize::MAX), "nobody took the seat over");
}

#[test]
fn without_one_rule_a_promise_is_broken() {
    for mutant in Mutant::all() {
        assert!(mutant.counterexample().is_some(), "nothing broke: {mutant:?}");
    }
}
