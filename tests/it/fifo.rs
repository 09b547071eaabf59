//! First come, first served, over three instances: whoever had his number before another asked has the lower one, and
//! turns are given in the order of the numbers.

use std::time::{Duration, Instant};

use crate::harness::*;

const PEOPLE: usize = 50_000;
/// Each asks the next person's number when it has the last one's, at an instance of its own.
const CONNECTIONS: usize = 24;
/// People who come at once, before the next burst.
const BURST: usize = 50;

/// When somebody asked, when he was answered, and his number.
type Joined = (Instant, Instant, i64);

async fn burst(app: &TestApp, people: usize) -> Vec<Joined> {
    let mut joined = Vec::with_capacity(people);
    for _ in 0..people.div_ceil(BURST) {
        let crowd: Vec<Buyer> = (0..BURST).map(|_| app.buyer()).collect();
        let joins = crowd.iter().map(async |buyer| {
            let asked = Instant::now();
            buyer.join().await.ok();
            (asked, Instant::now(), number_of(&buyer.token()))
        });
        joined.extend(join_all(joins).await);
    }
    joined
}

/// Whoever was answered before another asked is before him.
fn in_order(joined: &mut [Joined]) {
    joined.sort_by_key(|(.., number)| *number);
    let mut latest_asked = joined[0].0;
    for pair in joined.windows(2) {
        assert_ne!(pair[0].2, pair[1].2, "a number given twice");
        latest_asked = latest_asked.max(pair[0].0);
        assert!(
            pair[1].1 >= latest_asked,
            "{} had been answered before one ahead of him asked",
            pair[1].2
        );
    }
}

stories_on_postgres! {
    async fn fifty_thousand_are_served_in_the_order_of_their_coming(app: &TestApp) {
        let policy = json!({"rate_per_second": 20_000, "active_max": 1_000_000, "mode": "paused"});
        app.operator.tune("main", policy).await;
        let others = [app.another_instance().await, app.another_instance().await];
        let doors = [app, &others[0], &others[1]];

        let bursts = (0..CONNECTIONS).map(|n| burst(doors[n % 3], PEOPLE / CONNECTIONS));
        let mut joined: Vec<Joined> = join_all(bursts).await.into_iter().flatten().collect();
        assert!(joined.len() >= PEOPLE, "{} came", joined.len());
        in_order(&mut joined);

        app.operator.tune("main", json!({"mode": "open"})).await;
        while app.operator.queue("main").await["waiting"] != 0 {
            app.clock.advance(Duration::from_millis(200));
            for tick in join_all(doors.map(|door| door.app.admit_once())).await {
                tick.unwrap();
            }
        }

        // That the order of admission is the order of the numbers is part of the audit (Q2).
        let queue = app.operator.queue("main").await;
        assert_eq!(queue["admitted_total"], joined.len());
        for other in others {
            other.stop().await;
        }
    }
}
