//! `rebuild_publish`: say that this state is the epoch's.

use super::stage::{NOW, in_each_epoch, published, tuned, user};

#[tokio::test]
async fn a_published_line_says_where_it_stands_and_begins_with_no_credit() {
    in_each_epoch(async |stage| {
        let line = stage.line();
        assert!(line.rebuild_begin().await.unwrap());
        assert!(line.rebuild_publish(&published(stage.nth(4)), NOW).await.unwrap());
        let line_shown =
            "at_ms=NOW last_ms=NOW manual_used=3 pause_until=NOW+1000 served=#4 serving=#4";
        stage.holds([("line", line_shown)]).await;
        assert!(!line.rebuild_publish(&published(stage.nth(9)), NOW).await.unwrap(), "once");
    })
    .await;
}

/// The pause holds whatever rate, mode and hand would let in.
#[tokio::test]
async fn nobody_is_taken_during_the_pause() {
    in_each_epoch(async |stage| {
        stage.is_rebuilt(stage.nth(0)).await;
        stage.joins(1).await;
        let mut tuned = tuned(1_000.0, 1_000.0);
        tuned.manual_total = 9;
        assert_eq!(stage.takes(&tuned, NOW + 999).await, [0; 0]);
        stage.line().rebuild_resume(NOW + 1_000, None).await.unwrap();
        tuned.manual_total = 3;
        assert_eq!(
            stage.takes(&tuned, NOW + 1_000).await,
            [0; 0],
            "what was earned meanwhile is not given"
        );
        assert_eq!(stage.takes(&tuned, NOW + 1_001).await, [1]);
        assert_eq!(stage.shown("pend").await, "1=#1");
    })
    .await;
}

#[tokio::test]
async fn an_overtaken_epoch_is_not_published() {
    in_each_epoch(async |stage| {
        assert!(!stage.line().rebuild_publish(&published(stage.nth(4)), NOW).await.unwrap());
        assert!(stage.line().rebuild_begin().await.unwrap());
        assert!(stage.line_of(stage.epoch + 1).rebuild_begin().await.unwrap());
        assert!(!stage.line().rebuild_publish(&published(stage.nth(4)), NOW).await.unwrap());
        let turns = [(user(1), stage.nth(7))];
        assert!(!stage.line().rebuild_fill(&turns, &[], NOW).await.unwrap());
    })
    .await;
}
