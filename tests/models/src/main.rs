use models::admission::*;
use stateright::{Checker, HasDiscoveries, Model};
fn main() {
    let a: Vec<u64> = std::env::args().skip(1).map(|x| x.parse().unwrap()).collect();
    let bounds = Bounds { people: a[0] as usize, cap: a[1] as usize, batch: a[2] as usize, epochs: a[3] as u8, arrivals: a[4] as u8, faults: a[5] as u8, mail: a[6] as usize % 10, instances: 2 - (a[6] as usize / 100), forks: a[6] / 10 % 10 == 0 };
    let (cap, which) = (a[7] as usize, a.get(8).copied());
    let rules: Vec<Option<Rule>> = match which { None | Some(98) => vec![None], Some(99) => Rule::ALL.iter().map(|r| Some(r.0)).collect(), Some(k) => vec![Some(Rule::ALL[k as usize].0)] };
    let graph = a.len() > 9;
    for without in rules {
        if graph { let m = Admission { bounds, without }; let s = m.served(); println!("== {without:?} graph {} stuck {}", s.states, s.stuck.is_some()); for a in s.stuck.into_iter().flatten() { println!("     {a:?}"); } continue; }
        let began = std::time::Instant::now();
        let m = Admission { bounds, without };
        let c = m.checker().finish_when(HasDiscoveries::AnyFailures).target_state_count(cap).spawn_bfs().join();
        println!("== {without:?}: states {} unique {} depth {} {:?}", c.state_count(), c.unique_state_count(), c.max_depth(), began.elapsed());
        for (name, path) in c.discoveries() {
            println!("  {name}");
            if name.starts_with("everybody is") { continue; }
            for action in path.into_actions() { println!("     {action:?}"); }
        }
    }
}
