//! `open`: the first generation of a queue, made once.

use super::stage::in_each_epoch;

#[tokio::test]
async fn a_new_queue_says_aloud_that_it_is_empty() {
    in_each_epoch(async |stage| {
        assert!(stage.keyspace().await.is_empty());
        for _ in 0..2 {
            assert!(stage.line().open().await.unwrap());
            stage.holds([]).await;
        }
    })
    .await;
}

#[tokio::test]
async fn opening_again_changes_nothing_that_has_happened_since() {
    in_each_epoch(async |stage| {
        stage.open().await;
        stage.joins(1).await;
        let before = stage.keyspace().await;
        assert!(stage.line().open().await.unwrap());
        assert_eq!(stage.keyspace().await, before);
    })
    .await;
}

#[tokio::test]
async fn another_generation_stays_what_it_is() {
    in_each_epoch(async |stage| {
        stage.open().await;
        for other in [stage.epoch - 1, stage.epoch + 1] {
            assert!(!stage.line_of(other).open().await.unwrap());
        }
        stage.holds([]).await;
    })
    .await;
}
