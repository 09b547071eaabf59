//! The protocol keeps its promises, and without one of its rules it does not.

use std::collections::BTreeSet;

use models::admission::{Admission, Bounds, Promise, Rule};
use stateright::{Checker, HasDiscoveries, Model};

fn breaks(rule: Rule, bounds: Bounds, promise: Promise) {
    let model = Admission { bounds, without: Some(rule) };
    let wanted = HasDiscoveries::AllOf(BTreeSet::from([promise.name()]));
    let checked =
        model.checker().finish_when(wanted).target_state_count(2_000_000).spawn_bfs().join();
    assert!(checked.discovery(promise.name()).is_some(), "without {rule:?}: nothing broke");
}

fn keeps_every_promise(bounds: Bounds) {
    let model = Admission { bounds, without: None };
    let checked = model
        .checker()
        .finish_when(HasDiscoveries::AnyFailures)
        .target_state_count(500_000)
        .spawn_bfs()
        .join();
    for promise in Promise::ALL.into_iter().filter(|promise| *promise != Promise::Served) {
        checked.assert_no_discovery(promise.name());
    }
}

#[test]
fn whoever_keeps_every_rule_keeps_every_promise() {
    for bounds in [Bounds::ONE_SERVER, Bounds::CALM, Bounds::ALONE, Bounds::WHOLE] {
        keeps_every_promise(bounds);
    }
}

#[test]
fn everybody_can_still_be_served_from_every_state() {
    assert_eq!(Admission { bounds: Bounds::ONE_SERVER, without: None }.served().stuck, None);
}

#[test]
fn without_one_rule_a_promise_is_broken() {
    for (rule, promise) in [
        (Rule::Lineage, Promise::NumberOnce),
        (Rule::Fence, Promise::Covered),
        (Rule::FillTurns, Promise::Covered),
        (Rule::Pause, Promise::Order),
        (Rule::PauseFromPublish, Promise::Order),
        (Rule::Rearm, Promise::Order),
        (Rule::PauseOutlastsIgnorance, Promise::Order),
        (Rule::LeaveByNumber, Promise::Covered),
        (Rule::SqlFirst, Promise::Covered),
        (Rule::PayEnds, Promise::Covered),
    ] {
        breaks(rule, Bounds::WHOLE, promise);
    }
    for rule in [Rule::SqlBeforeEnter, Rule::EnterInTime] {
        breaks(rule, Bounds::ALONE, Promise::Order);
    }
    breaks(Rule::Issued, Bounds::ALONE, Promise::OneTurn);
    breaks(Rule::GoneByNumber, Bounds::CALM, Promise::Covered);
    let both_come = Bounds { arrivals: 2, mail: 0, ..Bounds::ONE_SERVER };
    breaks(Rule::BeginShuts, both_come, Promise::Cap);
}
