//! `watch`: the figures of the line.

use usher::queue::redis::Figures;

use super::stage::{NOW, in_each_epoch, on_an_open_queue, tuned};

#[tokio::test]
async fn an_empty_line_has_figures_of_nothing() {
    on_an_open_queue(async |stage| {
        assert_eq!(stage.line().watch().await.unwrap(), Some(Figures::default()));
    })
    .await;
}

#[tokio::test]
async fn the_figures_are_those_of_one_moment_and_nothing_is_written() {
    on_an_open_queue(async |stage| {
        for id in 1..=5 {
            stage.joins(id).await;
        }
        assert_eq!(stage.admits(&tuned(1.0, 2.0), NOW).await, [1, 2]);
        let before = stage.keyspace().await;
        let figures = Figures {
            serving: stage.nth(2),
            arrivals: 5,
            waiting: 3,
            pending: 0,
            active: 2,
            pause_until: 0,
        };
        for _ in 0..2 {
            assert_eq!(stage.line().watch().await.unwrap(), Some(figures));
        }
        assert_eq!(stage.keyspace().await, before);
    })
    .await;
}

/// A batch on its way into SQL is not served yet: if it is lost, places must not rise. Nobody is missed meanwhile.
#[tokio::test]
async fn a_pending_batch_waits_and_is_not_served() {
    on_an_open_queue(async |stage| {
        for id in 1..=3 {
            stage.joins(id).await;
        }
        assert_eq!(stage.admits(&tuned(1.0, 1.0), NOW).await, [1]);
        assert_eq!(stage.takes(&tuned(1.0, 1.0), NOW + 1_000).await, [2]);
        let figures = Figures {
            serving: stage.nth(1),
            arrivals: 3,
            waiting: 2,
            pending: 1,
            active: 1,
            pause_until: 0,
        };
        assert_eq!(stage.line().watch().await.unwrap(), Some(figures));
    })
    .await;
}

#[tokio::test]
async fn an_absent_or_another_generation_has_no_figures() {
    in_each_epoch(async |stage| {
        assert_eq!(stage.line().watch().await.unwrap(), None);
        stage.open().await;
        assert_eq!(stage.line_of(stage.epoch + 1).watch().await.unwrap(), None);
    })
    .await;
}
