//! The promises, as the checker asks for them.

use stateright::Property;

use super::ledger::Fate;
use super::{Admission, Promise, Rule, State};

pub fn all() -> Vec<Property<Admission>> {
    vec![
        Property::always(Promise::Cap.name(), |_, state| kept(state, Promise::Cap)),
        Property::always(Promise::Covered.name(), |_, state: &State| state.covers_open_turns()),
        Property::always(Promise::Accounted.name(), |_, state| kept(state, Promise::Accounted)),
        Property::always(Promise::NumberOnce.name(), |_, state| kept(state, Promise::NumberOnce)),
        Property::always(Promise::OneTurn.name(), |_, state| kept(state, Promise::OneTurn)),
        Property::always(Promise::Order.name(), |_, state| kept(state, Promise::Order)),
        Property::sometimes("everybody is served after a rebuild", everybody_came_back),
    ]
}

fn kept(state: &State, promise: Promise) -> bool {
    state.broken != Some(promise)
}

/// Numbers of the first epoch that were opened in a later one, for everybody.
fn everybody_came_back(model: &Admission, state: &State) -> bool {
    (0..model.bounds.people).all(|user| {
        let rows = super::Number::all().map(|number| (number, state.sql.row(number)));
        let mut his = rows.filter(|(_, row)| row.was_opened() && usize::from(row.user) == user);
        his.any(|(number, row)| number.epoch() == 1 && row.issued.epoch() > 1)
    })
}

impl State {
    /// R1, in whatever Redis the epoch in force has been published.
    fn covers_open_turns(&self) -> bool {
        let epoch = self.sql.epoch;
        let lineage = self.sql.lineages[usize::from(epoch)];
        let is_in_force = |server: &&super::Redis| {
            server.up && server.generation == epoch && server.lineage == lineage
        };
        self.servers.iter().filter(is_in_force).all(|server| {
            self.sql.open().all(|number| server.knows(self.sql.row(number).user.into(), number))
        })
    }
}

impl Admission {
    /// What the opening of a turn breaks, if anything.
    pub(super) fn judge_opening(
        &self,
        state: &State,
        user: usize,
        number: super::Number,
    ) -> Option<Promise> {
        if state.sql.open().count() > self.bounds.cap {
            return Some(Promise::Cap);
        }
        if state.people[user].spent & number.bit() != 0 {
            return Some(Promise::OneTurn);
        }
        let is_passed_over = |other: usize| {
            let token = state.people[other].token;
            token.is_some()
                && token < number
                && !state.people[other].is_late
                && state.sql.open_of(other).is_none()
                && state.sql.fate(other, token, self.keeps(Rule::Issued)) == Fate::Unknown
        };
        (0..self.bounds.people).any(is_passed_over).then_some(Promise::Order)
    }

    /// Nobody polls with a number that waits.
    pub fn is_everybody_served(&self, state: &State) -> bool {
        state.people.iter().enumerate().all(|(user, person)| {
            person.token.is_none()
                || state.sql.fate(user, person.token, self.keeps(Rule::Issued)) != Fate::Unknown
        })
    }
}
