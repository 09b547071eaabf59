//! `settle`: what SQL says of seats.

use usher::booking::sql::Owner;

use super::stage::{NOW, in_each_epoch, on_an_open_queue, seat, user};

#[tokio::test]
async fn the_word_of_sql_replaces_a_mark_and_twice_is_once() {
    on_an_open_queue(async |stage| {
        stage.marks("A1", user(1), NOW + 1).await;
        stage.marks("A2", user(1), NOW + 1).await;
        let held = |id| Owner::Held { user: user(id), until: NOW + 7 };
        let owners = [(seat("A1"), held(2)), (seat("A2"), Owner::Sold), (seat("A3"), held(3))];
        for _ in 0..2 {
            assert!(stage.seats().settle(&owners, 2_000).await.unwrap());
            stage.holds([("seats:9", "A1=2|NOW+2007 A2=sold A3=3|NOW+2007")]).await;
        }
    })
    .await;
}

#[tokio::test]
async fn sold_is_for_ever_whatever_comes_late() {
    on_an_open_queue(async |stage| {
        stage.seats().settle(&[(seat("A1"), Owner::Sold)], 0).await.unwrap();
        let late = [(seat("A1"), Owner::Held { user: user(1), until: NOW + 7 })];
        assert!(stage.seats().settle(&late, 0).await.unwrap());
        stage.holds([("seats:9", "A1=sold")]).await;
        assert!(stage.seats().settle(&[(seat("A1"), Owner::Sold)], 0).await.unwrap());
        stage.holds([("seats:9", "A1=sold")]).await;
    })
    .await;
}

#[tokio::test]
async fn an_absent_or_another_generation_is_left_alone() {
    in_each_epoch(async |stage| {
        let sold = [(seat("A1"), Owner::Sold)];
        assert!(!stage.seats().settle(&sold, 0).await.unwrap());
        assert!(stage.keyspace().await.is_empty());
        stage.open().await;
        assert!(!stage.seats_of(stage.epoch + 1).settle(&sold, 0).await.unwrap());
        stage.holds([]).await;
    })
    .await;
}
