//! `rebuild_fill`: write turns that SQL has open, and people who left the draw.

use super::stage::{NOW, in_each_epoch, on_an_open_queue, user};

#[tokio::test]
async fn turns_and_those_who_left_are_written_and_twice_is_once() {
    in_each_epoch(async |stage| {
        let line = stage.line();
        assert!(line.rebuild_begin().await.unwrap());
        let open = [(user(1), stage.nth(7)), (user(2), stage.nth(8))];
        for _ in 0..2 {
            assert!(line.rebuild_fill(&open, &[(user(3), stage.of_draw(5))], NOW).await.unwrap());
        }
        let shown = stage.keyspace().await;
        assert_eq!(shown["act"], "1=NOW 2=NOW");
        assert_eq!(shown["turns"], "1=#7 2=#8");
        assert_eq!(shown["left"], "3=~5");
    })
    .await;
}

#[tokio::test]
async fn only_what_is_being_rebuilt_is_filled() {
    on_an_open_queue(async |stage| {
        let before = stage.keyspace().await;
        let turns = [(user(1), stage.nth(7))];
        assert!(!stage.line().rebuild_fill(&turns, &[], NOW).await.unwrap(), "it is published");
        let later = stage.line_of(stage.epoch + 1);
        assert!(!later.rebuild_fill(&turns, &[], NOW).await.unwrap(), "it was not begun");
        assert_eq!(stage.keyspace().await, before);
    })
    .await;
}
