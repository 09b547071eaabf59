//! `rebuild_resume`: end the pause once it is over.

use usher::queue::redis::rebuild::Resumed::{NotYet, Stale, Yes};

use super::stage::{NOW, in_each_epoch, on_an_open_queue};

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
            // However often it is asked for meanwhile, and by whomever: it counts once.
            for earlier in [900, 500, 100, 1] {
                let asked = Some(NOW + until - earlier);
                let now = NOW + until - 1_000 - earlier;
                assert_eq!(line.rebuild_resume(now, asked).await.unwrap(), NotYet);
            }
            let end = NOW + until - 1_000;
            assert_eq!(line.rebuild_resume(end, Some(NOW + until)).await.unwrap(), NotYet);
            assert_eq!(line.watch().await.unwrap().unwrap().pause_until, NOW + until);
        }
        assert_eq!(line.rebuild_resume(NOW + 4_000, Some(NOW + 5_000)).await.unwrap(), Yes);
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
