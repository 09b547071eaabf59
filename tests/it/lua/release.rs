//! `release`: one buyer's marks off his seats.

use usher::booking::sql::Owner;

use super::stage::{NOW, in_each_epoch, on_an_open_queue, seat, user};

#[tokio::test]
async fn a_buyer_takes_his_own_marks_off_and_twice_is_once() {
    on_an_open_queue(async |stage| {
        for name in ["A1", "A2", "A3"] {
            stage.marks(name, user(1), NOW + 5).await;
        }
        for _ in 0..2 {
            assert!(stage.seats().release(user(1), &[seat("A1"), seat("A2")]).await.unwrap());
            stage.holds([("seats:9", "A3=1|NOW+5")]).await;
        }
        // With its last field the key goes too.
        assert!(stage.seats().release(user(1), &[seat("A3")]).await.unwrap());
        stage.holds([]).await;
    })
    .await;
}

#[tokio::test]
async fn the_marks_of_others_and_sold_seats_stay() {
    on_an_open_queue(async |stage| {
        stage.marks("A1", user(2), NOW + 5).await;
        stage.marks("A2", user(11), NOW + 5).await;
        stage.seats().settle(&[(seat("A3"), Owner::Sold)], 0).await.unwrap();
        let seats = ["A1", "A2", "A3", "A4"].map(seat);
        assert!(stage.seats().release(user(1), &seats).await.unwrap());
        stage.holds([("seats:9", "A1=2|NOW+5 A2=11|NOW+5 A3=sold")]).await;
    })
    .await;
}

/// Giving back needs no clock: a mark that has run out is taken off like any other.
#[tokio::test]
async fn a_mark_that_has_run_out_is_taken_off() {
    on_an_open_queue(async |stage| {
        stage.marks("A1", user(1), NOW - 5).await;
        assert!(stage.seats().release(user(1), &[seat("A1")]).await.unwrap());
        stage.holds([]).await;
    })
    .await;
}

#[tokio::test]
async fn an_absent_or_another_generation_is_left_alone() {
    in_each_epoch(async |stage| {
        assert!(!stage.seats().release(user(1), &[seat("A1")]).await.unwrap());
        stage.open().await;
        stage.marks("A1", user(1), NOW + 5).await;
        let other = stage.seats_of(stage.epoch + 1);
        assert!(!other.release(user(1), &[seat("A1")]).await.unwrap());
        stage.holds([("seats:9", "A1=1|NOW+5")]).await;
    })
    .await;
}
