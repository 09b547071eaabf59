//! `draw_announce`: a draw begins on a line that nobody has joined.

use usher::queue::redis::Announced;

use super::stage::{in_each_epoch, on_an_open_queue, user};

#[tokio::test]
async fn announcing_twice_is_announcing_once() {
    on_an_open_queue(async |stage| {
        for _ in 0..2 {
            assert_eq!(stage.line().draw_announce().await.unwrap(), Announced::Yes);
            stage.holds([("line", "drawing=1")]).await;
        }
        stage.line().draw_open().await.unwrap();
        assert_eq!(stage.line().draw_announce().await.unwrap(), Announced::Yes);
        stage.holds([("line", "drawing=0")]).await;
    })
    .await;
}

/// Also when whoever joined has left again: his number was before the draw.
#[tokio::test]
async fn a_line_that_somebody_joined_has_no_draw() {
    on_an_open_queue(async |stage| {
        let ann = stage.joins(1).await;
        let before = stage.keyspace().await;
        assert_eq!(stage.line().draw_announce().await.unwrap(), Announced::InUse);
        assert_eq!(stage.keyspace().await, before);
        stage.line().leave(user(1), ann).await.unwrap();
        assert_eq!(stage.line().draw_announce().await.unwrap(), Announced::InUse);
    })
    .await;
}

/// People of an earlier epoch may still wait in it.
#[tokio::test]
async fn a_line_that_is_not_empty_has_no_draw() {
    on_an_open_queue(async |stage| {
        stage.run(&["ZADD", &stage.keys.wait, "5", "1"]).await;
        assert_eq!(stage.line().draw_announce().await.unwrap(), Announced::InUse);
    })
    .await;
}

#[tokio::test]
async fn an_absent_or_another_generation_is_stale() {
    in_each_epoch(async |stage| {
        assert_eq!(stage.line().draw_announce().await.unwrap(), Announced::Stale);
        stage.open().await;
        let other = stage.line_of(stage.epoch + 1);
        assert_eq!(other.draw_announce().await.unwrap(), Announced::Stale);
        stage.holds([]).await;
    })
    .await;
}
