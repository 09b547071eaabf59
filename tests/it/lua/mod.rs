//! Every script on a real Redis, under a prefix of its own and without a server: each reply word, the instant on the
//! edge and its neighbours, the same call twice, and what is in the keyspace afterwards, in an early and a late epoch.
//! One file per script, of the same name; `rate.rs` is about many ticks in a row. Nothing here asks SQL.

mod admit_commit;
mod admit_reserve;
mod draw_announce;
mod draw_join;
mod draw_open;
mod enter;
mod hold;
mod join;
mod leave;
mod open;
mod place;
mod rate;
mod rebuild_begin;
mod rebuild_fill;
mod rebuild_publish;
mod rebuild_resume;
mod release;
mod settle;
mod stage;
mod watch;

use usher::queue::policy::Mode;
use usher::queue::redis::rebuild::Resumed;
use usher::queue::redis::{Announced, Asked};

use self::stage::{NOW, Stage, back, published, seat, tuned, turn, user};
use crate::harness::PrivateRedis;

/// A Redis out of memory lets nobody in, and everybody out.
#[tokio::test]
async fn a_full_redis_refuses_to_take_and_still_gives_back() {
    let redis = PrivateRedis::start().await;
    let stage = Stage::on(&redis.url(), 1).await;
    stage.open().await;
    let (ann, bob) = (stage.joins(1).await, stage.joins(2).await);
    stage.is_admitted(user(1), ann).await;
    stage.marks("A1", user(1), NOW + 5).await;
    stage.run(&["CONFIG", "SET", "maxmemory", "1"]).await;

    let line = stage.line();
    assert!(line.join(&[user(3)], 10, NOW).await.is_err());
    assert!(stage.seats().hold((user(1), ann), NOW, NOW + 9, &[seat("A2")]).await.is_err());
    assert!(line.admit_reserve(&tuned(1.0, 1.0).allowance(), NOW).await.is_err());

    assert!(line.place(user(2), bob).await.is_ok());
    assert!(line.watch().await.is_ok());
    assert!(stage.seats().release(user(1), &[seat("A1")]).await.unwrap());
    assert!(
        stage.seats().settle(&[(seat("A2"), usher::booking::sql::Owner::Sold)], 0).await.unwrap()
    );
    assert!(line.leave(user(2), bob).await.unwrap());
    let ended = usher::queue::sql::Admitted { gone: vec![(user(1), ann)], ..Default::default() };
    assert!(line.admit_commit(&ended, 0.0, NOW).await.unwrap());
    assert_eq!(stage.shown("wait").await, "");
}

/// What one instance marked in an epoch that is over is of no concern to anybody.
#[tokio::test]
async fn no_script_touches_the_state_of_another_epoch() {
    let stage = Stage::at(7).await;
    stage.open().await;
    let ann = stage.joins(1).await;
    stage.is_admitted(user(1), ann).await;
    let before = stage.keyspace().await;
    for epoch in [6, 8] {
        let line = stage.line_of(epoch);
        assert!(!line.open().await.unwrap());
        assert_eq!(line.join(&[user(2)], 10, NOW).await.unwrap(), Asked::Stale);
        assert_eq!(line.draw_announce().await.unwrap(), Announced::Stale);
        let drawn = stage.drawn(0, [5]);
        assert_eq!(line.draw_join(&[user(2)], &drawn, 10, NOW).await.unwrap(), Asked::Stale);
        assert_eq!(line.draw_open().await.unwrap(), None);
        assert!(!line.leave(user(1), ann).await.unwrap());
        assert_eq!(line.enter(&[back(2, ann)], NOW).await.unwrap(), None);
        assert_eq!(line.rebuild_resume(NOW, None).await.unwrap(), Resumed::Stale);
        assert!(!line.rebuild_fill(&[(user(2), ann)], &[], NOW).await.unwrap());
        assert!(!line.rebuild_publish(&published(ann), NOW).await.unwrap());
        let mut passing = tuned(50.0, 50.0);
        passing.policy.mode = Mode::Passthrough;
        let reserved = line.admit_reserve(&passing.allowance(), NOW).await.unwrap();
        assert!(matches!(reserved, usher::queue::redis::Reserved::Stale));
        let opened =
            usher::queue::sql::Admitted { opened: vec![turn(2, ann, NOW)], ..Default::default() };
        assert!(!line.admit_commit(&opened, 0.0, NOW).await.unwrap());
    }
    assert_eq!(stage.keyspace().await, before);
    stage.strike().await;
}
