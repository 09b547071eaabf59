//! `draw_open`: the draw is over, and how many were drawn.

use usher::queue::redis::Asked;

use super::stage::{NOW, in_each_epoch, on_an_open_queue, tuned, user};

#[tokio::test]
async fn a_draw_is_opened_once_and_stays_as_it_was() {
    on_an_open_queue(async |stage| {
        let line = stage.line();
        line.draw_announce().await.unwrap();
        let drawn = stage.drawn(0, [40, 20]);
        line.draw_join(&[user(1), user(2)], &drawn, 10, NOW).await.unwrap();
        for _ in 0..2 {
            assert_eq!(line.draw_open().await.unwrap(), Some(2));
            let asked = line.draw_join(&[user(3)], &stage.drawn(2, [10]), 10, NOW).await;
            assert_eq!(asked.unwrap(), Asked::Opened);
            stage.joins(4).await;
            let (line, wait) = ("drawing=0 drawn=2 idle_ms=NOW n=1", "2=~20 1=~40 4=#1");
            stage.holds([("line", line), ("wait", wait)]).await;
            stage.line().leave(user(4), stage.nth(1)).await.unwrap();
            stage.run(&["HSET", &stage.keys.line, "n", "0"]).await;
        }
    })
    .await;
}

/// Whoever ticks before the opening, with whatever policy and credit, takes nobody.
#[tokio::test]
async fn nobody_is_taken_before_the_opening_and_then_all_in_drawn_order() {
    on_an_open_queue(async |stage| {
        let line = stage.line();
        line.draw_announce().await.unwrap();
        let people = [1, 2, 3].map(user);
        line.draw_join(&people, &stage.drawn(0, [9, 5, 7]), 10, NOW).await.unwrap();
        let mut generous = tuned(50.0, 50.0);
        generous.manual_total = 3;
        assert!(stage.takes(&generous, NOW).await.is_empty());
        assert_eq!(line.draw_open().await.unwrap(), Some(3));
        stage.joins(4).await;
        let base = stage.nth(0).0;
        let drawn = [5, 7, 9].map(|place| stage.of_draw(place).0 - base);
        let taken = stage.takes(&generous, NOW + 1).await;
        assert_eq!(taken, [drawn[0], drawn[1], drawn[2], 1]);
    })
    .await;
}

#[tokio::test]
async fn an_absent_or_another_generation_is_stale() {
    in_each_epoch(async |stage| {
        assert_eq!(stage.line().draw_open().await.unwrap(), None);
        stage.open().await;
        assert_eq!(stage.line_of(stage.epoch + 1).draw_open().await.unwrap(), None);
        stage.holds([]).await;
    })
    .await;
}
