//! `rebuild_resume`: end the pause once it is over.

use usher::ids::QueueNumber;
use usher::queue::redis::rebuild::Resumed::{NotYet, Stale, Yes};

use super::stage::{NOW, back, in_each_epoch, on_an_open_queue};

#[tokio::test]
async fn it_ends_at_its_instant_and_once() {
    in_each_epoch(async |stage| {
        stage.is_rebuilt(stage.nth(0)).await;
        let line = stage.line();
        assert_eq!(line.rebuild_resume(NOW + 999, None).await.unwrap(), NotYet);
        assert_eq!(line.rebuild_resume(NOW + 1_000, None).await.unwrap(), Yes);
        let after = stage.keyspace().await;
        assert_eq!(line.rebuild_resume(NOW + 1_001, Some(NOW + 9_000)).await.unwrap(), Yes);
        assert_eq!(stage.keyspace().await, after);
        assert_eq!(line.watch().await.unwrap().unwrap().pause_until, 0);
    })
    .await;
}

#[tokio::test]
async fn whoever_was_turned_away_is_waited_for_at_most_three_times() {
    in_each_epoch(async |stage| {
        stage.is_rebuilt(stage.nth(0)).await;
        let line = stage.line();
        for until in [2_000, 3_000, 4_000] {
            let longer = Some(NOW + until);
            assert_eq!(line.rebuild_resume(NOW + until - 1_000, longer).await.unwrap(), NotYet);
        }
        assert_eq!(line.rebuild_resume(NOW + 4_000, Some(NOW + 5_000)).await.unwrap(), Yes);
    })
    .await;
}

/// Who is back is counted for each epoch that is still to come, newest first.
#[tokio::test]
async fn those_before_each_epoch_are_counted() {
    in_each_epoch(async |stage| {
        if stage.epoch < 4 {
            return;
        }
        let earlier = |back: i64, n| QueueNumber(QueueNumber::base(stage.epoch - back) + n);
        stage.is_rebuilt(earlier(2, 1)).await;
        let people = [back(1, earlier(2, 2)), back(2, earlier(2, 3)), back(3, earlier(1, 1))];
        stage.line().enter(&people, NOW).await.unwrap();
        stage.joins(4).await;
        stage.line().rebuild_resume(NOW + 1_000, None).await.unwrap();
        let figures = stage.line().watch().await.unwrap().unwrap();
        assert_eq!(figures.ahead[..3], [Some(3), Some(2), None]);
        assert_eq!((figures.waiting, figures.taken), (4, 0));
    })
    .await;
}

#[tokio::test]
async fn a_line_that_was_never_rebuilt_has_no_pause() {
    on_an_open_queue(async |stage| {
        let before = stage.keyspace().await;
        assert_eq!(stage.line().rebuild_resume(NOW, Some(NOW + 9)).await.unwrap(), Yes);
        assert_eq!(stage.line_of(stage.epoch + 1).rebuild_resume(NOW, None).await.unwrap(), Stale);
        assert_eq!(stage.keyspace().await, before);
    })
    .await;
}
