//! `leave`: a number out of the line and out of its turn.

use usher::ids::QueueNumber;
use usher::queue::redis::{Asked, Joined};
use usher::queue::sql::Admitted;

use super::stage::{NOW, Tuned, in_each_epoch, on_an_open_queue, tuned, turn, user};

#[tokio::test]
async fn leaving_takes_exactly_one_number_out_and_twice_is_once() {
    on_an_open_queue(async |stage| {
        let (ann, bob) = (stage.joins(1).await, stage.joins(2).await);
        for _ in 0..2 {
            assert!(stage.line().leave(user(1), ann).await.unwrap());
            stage.holds([("line", "idle_ms=NOW n=2"), ("wait", "2=#2")]).await;
        }
        stage.is_pending(user(2), bob).await;
        for _ in 0..2 {
            assert!(stage.line().leave(user(2), bob).await.unwrap());
            stage.holds([("line", "idle_ms=NOW n=2")]).await;
        }
    })
    .await;
}

/// Reserved, and gone before SQL opened it: the next one comes in its stead, once. A turn granted by hand cost nothing.
#[tokio::test]
async fn leaving_on_the_way_gives_the_credit_back_that_it_cost() {
    on_an_open_queue(async |stage| {
        for id in 1..=5 {
            stage.joins(id).await;
        }
        let by_hand = Tuned { manual_total: 1, ..tuned(0.0, 2.0) };
        assert_eq!(stage.takes(&by_hand, NOW).await, [1, 2, 3]);
        for id in [1, 1, 3] {
            assert!(stage.line().leave(user(id), stage.nth(id)).await.unwrap());
        }
        let numbers = [1, 2, 3].map(|n| (user(n), stage.nth(n)));
        let (opened, dropped) =
            (vec![turn(2, stage.nth(2), NOW + 60)], vec![numbers[0], numbers[2]]);
        stage.commits(Admitted { opened, dropped, ..Admitted::default() }).await;
        assert_eq!(stage.admits(&by_hand, NOW).await, [4]);
        assert!(stage.admits(&by_hand, NOW).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn leaving_a_turn_frees_its_place() {
    on_an_open_queue(async |stage| {
        let (ann, bob) = (stage.joins(1).await, stage.joins(2).await);
        stage.is_admitted(user(1), ann).await;
        stage.is_admitted(user(2), bob).await;
        for _ in 0..2 {
            assert!(stage.line().leave(user(1), ann).await.unwrap());
            let left = [("act", "2=NOW+10000"), ("line", "idle_ms=NOW n=2"), ("turns", "2=#2")];
            stage.holds(left).await;
        }
    })
    .await;
}

/// A message that comes late, when the same person has joined again, removes nothing.
#[tokio::test]
async fn a_late_leave_does_not_touch_a_newer_number() {
    on_an_open_queue(async |stage| {
        let number = stage.joins(1).await;
        let late =
            async |other| assert!(stage.line().leave(user(1), QueueNumber(other)).await.unwrap());
        let waiting = stage.keyspace().await;
        late(number.0 - 1).await;
        late(number.0 + 1).await;
        assert_eq!(stage.keyspace().await, waiting);
        stage.is_pending(user(1), number).await;
        let pending = stage.keyspace().await;
        late(number.0 - 1).await;
        assert_eq!(stage.keyspace().await, pending);
        stage.is_admitted(user(1), number).await;
        let active = stage.keyspace().await;
        late(number.0 - 1).await;
        late(number.0 + 1).await;
        assert_eq!(stage.keyspace().await, active);
    })
    .await;
}

/// Who leaves a draw is remembered until it opens, and who leaves after that is not.
#[tokio::test]
async fn leaving_a_draw_is_remembered_until_it_opens() {
    on_an_open_queue(async |stage| {
        let line = stage.line();
        line.draw_announce().await.unwrap();
        let (people, drawn) = ([user(1), user(2)], stage.drawn(0, [70, 30]));
        let new = [70, 30].map(|place| Joined::New(stage.of_draw(place)));
        let joined = line.draw_join(&people, &drawn, 10, NOW).await.unwrap();
        assert_eq!(joined, Asked::Joined(new.into()));
        for _ in 0..2 {
            assert!(line.leave(user(1), stage.of_draw(70)).await.unwrap());
            assert!(line.leave(user(2), stage.of_draw(31)).await.unwrap(), "not his number");
            assert_eq!(stage.shown("left").await, "1=~70");
            assert_eq!(stage.shown("wait").await, "2=~30");
        }
        line.draw_open().await.unwrap();
        assert!(line.leave(user(2), stage.of_draw(30)).await.unwrap());
        stage.holds([("line", "drawing=0 drawn=2 idle_ms=NOW n=0")]).await;
    })
    .await;
}

#[tokio::test]
async fn an_absent_or_another_generation_is_left_alone() {
    in_each_epoch(async |stage| {
        assert!(!stage.line().leave(user(1), stage.nth(1)).await.unwrap());
        stage.open().await;
        let ann = stage.joins(1).await;
        let before = stage.keyspace().await;
        assert!(!stage.line_of(stage.epoch + 1).leave(user(1), ann).await.unwrap());
        assert_eq!(stage.keyspace().await, before);
    })
    .await;
}
