//! Looks at as many states of the models as it is told to, and says what it found. `scripts/models` runs it.
#![expect(clippy::print_stdout, reason = "a report is what this program is for")]

use std::fmt::Debug;
use std::hash::Hash;
use std::process::ExitCode;
use std::time::Instant;

use models::admission::{self, Admission};
use models::selling::{self, Mutant, Selling, TAKEN_OVER};
use stateright::{Checker, HasDiscoveries, Model};

/// What is asked for on the command line.
struct Report {
    as_json: bool,
    states_max: usize,
    broken: usize,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let as_json = words.iter().any(|word| word == "--json");
    let states_max = words.iter().find_map(|word| word.parse().ok()).unwrap_or(20_000_000);
    let mut report = Report { as_json, states_max, broken: 0 };
    for (name, bounds) in [
        ("one server", admission::Bounds::ONE_SERVER),
        ("calm", admission::Bounds::CALM),
        ("alone", admission::Bounds::ALONE),
        ("whole", admission::Bounds::WHOLE),
    ] {
        report.look("admission", name, Admission { bounds, without: None });
    }
    for (name, bounds) in selling::Bounds::ALL {
        report.look("selling", name, Selling { bounds, without: None });
    }
    for mutant in Mutant::all() {
        report.look_without(mutant);
    }
    if report.broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Report {
    fn look<M>(&mut self, of: &str, name: &str, model: M)
    where
        M: Model + Send + Sync + 'static,
        M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
        M::Action: Clone + Debug + PartialEq + Send + Sync + 'static,
    {
        let began = Instant::now();
        let checked = model
            .checker()
            .threads(2)
            .finish_when(HasDiscoveries::AnyFailures)
            .target_state_count(self.states_max)
            .spawn_bfs()
            .join();
        let may_happen = |name: &str| name.starts_with("everybody is served") || name == TAKEN_OVER;
        let found = checked.discoveries().into_iter();
        let failures: Vec<_> = found.filter(|(name, _)| !may_happen(name)).collect();
        let (states, unique, depth) =
            (checked.state_count(), checked.unique_state_count(), checked.max_depth());
        let seconds = began.elapsed().as_secs();
        if self.as_json {
            println!(
                r#"{{"model":"{of}","bounds":"{name}","states":{states},"unique":{unique},"depth":{depth},"seconds":{seconds},"broken":{}}}"#,
                failures.len()
            );
        } else {
            let all = if states < self.states_max { ", all there are" } else { "" };
            println!(
                "{of}, {name}: {states} states{all}, {unique} different, depth {depth}, {seconds} s"
            );
        }
        for (promise, path) in failures {
            self.broken += 1;
            println!("  broken: {promise}");
            for action in path.into_actions() {
                println!("    {action:?}");
            }
        }
    }

    /// Without one of its rules the model is to break the promise that goes with it.
    fn look_without(&mut self, mutant: Mutant) {
        let (rule, promise) = (mutant.rule, mutant.promise.name());
        let Some(way) = mutant.counterexample() else {
            self.broken += 1;
            println!("selling without {rule:?}: nothing broke");
            return;
        };
        let steps = way.len();
        if self.as_json {
            println!(
                r#"{{"model":"selling","without":"{rule:?}","breaks":"{promise}","steps":{steps}}}"#
            );
            return;
        }
        println!("selling without {rule:?}: not \"{promise}\", after {steps} steps");
        for action in way {
            println!("    {action:?}");
        }
    }
}
