//! Looks at as many states of the models as it is told to, and says what it found. `scripts/models` runs it.
#![expect(clippy::print_stdout, reason = "a report is what this program is for")]

use std::process::ExitCode;
use std::time::Instant;

use models::admission::{Admission, Bounds};
use stateright::{Checker, HasDiscoveries, Model};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let as_json = words.iter().any(|word| word == "--json");
    let states_max = words.iter().find_map(|word| word.parse().ok()).unwrap_or(20_000_000);
    let mut broken = 0;
    for (name, bounds) in [
        ("one server", Bounds::ONE_SERVER),
        ("calm", Bounds::CALM),
        ("alone", Bounds::ALONE),
        ("whole", Bounds::WHOLE),
    ] {
        let began = Instant::now();
        let model = Admission { bounds, without: None };
        let checked = model
            .checker()
            .threads(2)
            .finish_when(HasDiscoveries::AnyFailures)
            .target_state_count(states_max)
            .spawn_bfs()
            .join();
        let failures: Vec<_> = checked
            .discoveries()
            .into_iter()
            .filter(|(name, _)| !name.starts_with("everybody is served"))
            .collect();
        let (states, unique, depth) =
            (checked.state_count(), checked.unique_state_count(), checked.max_depth());
        let seconds = began.elapsed().as_secs();
        if as_json {
            println!(
                r#"{{"model":"admission","bounds":"{name}","states":{states},"unique":{unique},"depth":{depth},"seconds":{seconds},"broken":{}}}"#,
                failures.len()
            );
        } else {
            println!(
                "admission, {name}: {states} states, {unique} different, depth {depth}, {seconds} s"
            );
        }
        for (promise, path) in failures {
            broken += 1;
            println!("  broken: {promise}");
            for action in path.into_actions() {
                println!("    {action:?}");
            }
        }
    }
    if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
