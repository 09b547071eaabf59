//! Whether everybody can still be served, from every state. A checker that walks forward cannot tell where a state can
//! lead to in the end; so the whole graph is kept, and walked backwards from where everybody is served.

use std::collections::{HashMap, VecDeque};

use stateright::Model;

use super::{Action, Admission, EPOCHS_MAX, Rule, State};

/// What looking at the whole graph gave.
#[derive(Debug)]
pub struct Served {
    pub states: usize,
    /// The way to the nearest state from which somebody can never be served.
    pub stuck: Option<Vec<Action>>,
}

/// The graph: how each state was found, and from where calm steps lead to it.
#[derive(Default)]
struct Graph {
    index: HashMap<State, u32>,
    found_by: Vec<Option<(u32, Action)>>,
    calm_from: Vec<Vec<u32>>,
    goals: Vec<u32>,
}

impl Admission {
    /// Looks at every state within the bounds. In the calm there are no faults, no adversary and nobody new; people poll,
    /// instances go on, turns end.
    pub fn served(&self) -> Served {
        let graph = self.graph();
        let mut is_served = vec![false; graph.found_by.len()];
        let mut next: VecDeque<u32> = graph.goals.iter().copied().collect();
        while let Some(at) = next.pop_front() {
            if !std::mem::replace(&mut is_served[at as usize], true) {
                next.extend(&graph.calm_from[at as usize]);
            }
        }
        let stuck = is_served.iter().position(|served| !served).map(|at| graph.way_to(at));
        Served { states: is_served.len(), stuck }
    }

    fn graph(&self) -> Graph {
        let (mut graph, mut next) = (Graph::default(), VecDeque::new());
        for state in self.init_states() {
            graph.add(state, None, &mut next);
        }
        let mut actions = Vec::new();
        while let Some((at, state)) = next.pop_front() {
            if self.is_everybody_served(&state) || self.is_out_of_epochs(&state) {
                graph.goals.push(at);
            }
            self.actions(&state, &mut actions);
            for action in actions.drain(..) {
                let Some(after) = self.next_state(&state, action) else { continue };
                let to = graph.add(after, Some((at, action)), &mut next);
                if self.is_calm(&state, action) {
                    graph.calm_from[to as usize].push(at);
                }
            }
        }
        graph
    }

    /// A dead rebuild of the last epoch that the bounds know: the protocol would begin another.
    fn is_out_of_epochs(&self, state: &State) -> bool {
        let is_in_doubt = |server| state.is_doubted(server, self.keeps(Rule::Lineage));
        usize::from(state.sql.epoch) == EPOCHS_MAX && (0..2).all(is_in_doubt)
    }

    fn is_calm(&self, state: &State, action: Action) -> bool {
        match action {
            Action::Poll { user, number, .. } => state.people[user].token == number,
            Action::Bump { server, .. } => state.is_doubted(server, self.keeps(Rule::Lineage)),
            Action::Deliver { .. }
            | Action::Lose { .. }
            | Action::Reserve { .. }
            | Action::Grant { .. }
            | Action::Commit { .. }
            | Action::Adopt { .. }
            | Action::Crash { .. }
            | Action::Begin { .. }
            | Action::Read { .. }
            | Action::Fill { .. }
            | Action::Publish { .. } => true,
            _ => false,
        }
    }
}

impl Graph {
    fn add(
        &mut self,
        state: State,
        by: Option<(u32, Action)>,
        next: &mut VecDeque<(u32, State)>,
    ) -> u32 {
        let new = self.found_by.len() as u32;
        let at = *self.index.entry(state).or_insert(new);
        if at == new {
            self.found_by.push(by);
            self.calm_from.push(Vec::new());
            next.push_back((at, state));
        }
        at
    }

    fn way_to(&self, at: usize) -> Vec<Action> {
        let mut way = Vec::new();
        let mut at = at;
        while let Some((before, action)) = self.found_by[at] {
            way.push(action);
            at = before as usize;
        }
        way.reverse();
        way
    }
}
