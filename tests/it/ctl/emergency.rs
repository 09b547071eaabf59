//! `scripts/emergency-pause`: while people stream in through three instances, and while an instance is silent.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::net::TcpListener;
use usher::clock::Clock;

use super::*;
use crate::outage::Fragile;

const PEOPLE: i64 = 900;
/// Enough that somebody is let in at every tick, few enough that many still wait when it is over.
const RATE: f64 = 150.0;

fn ms(instant: &Value) -> i128 {
    let at = OffsetDateTime::parse(instant.as_str().unwrap(), &Rfc3339).unwrap();
    at.unix_timestamp_nanos() / 1_000_000
}

stories_on_postgres! {
    async fn a_pause_takes_effect_within_a_second_on_three_instances(on: &Database) {
        let home = TestApp::by_clock(Clock::system(), *on, []).await;
        let policy = json!({"mode": "paused", "rate_per_second": RATE, "burst": 1, "active_max": 100_000});
        home.operator.tune("main", policy).await;
        let directories = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let shops = join_all(directories.iter().map(|dir| Shop::open(dir.path(), home.settings()))).await;
        let crowd: Vec<Buyer> =
            (0..PEOPLE).map(|id| shops[id as usize % 3].buyer(1_000 + id, None)).collect();
        for some in crowd.chunks(100) {
            for joined in join_all(some.iter().map(Buyer::join)).await {
                joined.waiting();
            }
        }
        home.operator.tune("main", json!({"mode": "open"})).await;

        let enough = AtomicBool::new(false);
        let polling = join_all(crowd[..60].iter().map(async |buyer| {
            while !enough.load(Ordering::Relaxed) {
                buyer.poll().await.status(200);
            }
        }));
        let pausing = async {
            while home.operator.admitted_total("main").await < 100 {}
            // Nobody listens at the first address.
            let url = format!("http://127.0.0.1:1,http://{}", shops[0].admin);
            let reach = (home.setting("USHER_ADMIN_KEY"), home.setting("USHER_DATA_DIR"));
            let pause = program_at(&url, reach, &path_of("emergency-pause"), "--all").output().await;
            enough.store(true, Ordering::Relaxed);
            Said::from(pause.unwrap()).ok()
        };
        let (_, said) = tokio::join!(polling, pausing);
        let mut out = std::io::stdout();
        writeln!(out, "{said}").unwrap();
        assert!(said.contains("main is paused, within "), "{said}");
        assert!(said.contains("; 0 later than a second after it"), "{said}");

        // What the rows say, by the clock of the instance that took the order.
        let ordered_at = ms(&home.operator.last_deed().await["at"]);
        let queue = home.operator.queue("main").await;
        let took = ms(&queue["last_admitted_at"]) - ordered_at;
        assert!((-1_000..=1_000).contains(&took), "the last was let in {took} ms after the order");
        assert!(queue["waiting"].as_i64().unwrap() > 0, "people wait to be let in: {queue}");
        for shop in shops {
            shop.stop().await;
        }
        home.finish().await;
    }
}

stories! {
    async fn a_silent_instance_is_passed_over(app: &TestApp) {
        // It takes connections, and says nothing.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{},{}", silent.local_addr().unwrap(), app.operator.http.address());
        let reach = (app.setting("USHER_ADMIN_KEY"), app.setting("USHER_DATA_DIR"));
        let pause = program_at(&url, reach, &path_of("emergency-pause"), "main").output().await;
        let said = Said::from(pause.unwrap()).ok();
        assert!(said.contains("it was open"), "{said}");
        assert_eq!(app.operator.queue("main").await["policy"]["mode"], "paused");
    }

    async fn with_a_silent_redis_every_queue_is_paused(app: &Fragile) {
        let names = ["a", "b", "c", "d", "e"];
        for name in names {
            app.operator.create_queue(name, json!({})).await;
        }
        app.redis.freeze().await;
        let said = script(app, "emergency-pause", "--all").await;
        app.redis.thaw().await;
        let said = said.ok();
        for name in names.into_iter().chain(["main"]) {
            assert!(said.contains(&format!("{name} is paused")), "{said}");
            assert_eq!(app.operator.queue(name).await["policy"]["mode"], "paused", "{name}");
        }
    }

    async fn a_queue_that_nobody_may_join_stays_so(app: &TestApp) {
        for (name, mode) in [("draining", "draining"), ("closed", "closed"), ("early", "paused")] {
            app.operator.create_queue(name, json!({"mode": mode})).await;
        }
        let at = json!({"at": "2031-05-01T20:00:00Z", "policy": {"mode": "open"}});
        app.operator.send("POST", "/admin/queues/draining/schedule", at).await.created();
        let said = script(app, "emergency-pause", "--all").await.ok();
        assert!(said.contains("early was paused already"), "{said}");
        assert!(said.contains("draining: what is planned still happens"), "{said}");
        for (name, mode) in [("draining", "closed"), ("closed", "closed"), ("early", "paused"), ("main", "paused")] {
            assert_eq!(app.operator.queue(name).await["policy"]["mode"], mode, "{name}");
        }
        assert_eq!(script(app, "emergency-pause", "--resume main").await.ok(), "main is open\n");
        assert_eq!(app.operator.queue("main").await["policy"]["mode"], "open");
        assert_eq!(app.operator.queue("early").await["policy"]["mode"], "paused");
    }

    async fn what_cannot_be_paused_is_said_and_the_rest_is_paused(app: &TestApp) {
        let said = script(app, "emergency-pause", "nowhere main").await;
        assert!(said.out.contains("main is paused"), "{said:?}");
        said.refused("nowhere: queue_not_found: ");
        let dry = script(app, "emergency-pause", "--dry-run --resume main").await.ok();
        assert_eq!(dry, "usher ctl emergency-pause --resume main\n");
        assert_eq!(app.operator.queue("main").await["policy"]["mode"], "paused");
        for words in ["", "--now main", "--all --resume", "MAIN"] {
            assert_eq!(script(app, "emergency-pause", words).await.code, Some(2), "{words}");
        }
    }
}
