//! `place`: where a number stands.

use usher::ids::QueueNumber;
use usher::queue::redis::Standing;

use super::stage::{in_each_epoch, on_an_open_queue, user};

#[tokio::test]
async fn a_number_is_found_wherever_it_stands_and_nothing_is_written() {
    on_an_open_queue(async |stage| {
        let (ann, bob, cy) = (stage.joins(1).await, stage.joins(2).await, stage.joins(3).await);
        stage.is_pending(user(2), bob).await;
        stage.is_admitted(user(3), cy).await;
        let before = stage.keyspace().await;
        let place = async |id, number| stage.line().place(user(id), number).await.unwrap();
        for _ in 0..2 {
            assert_eq!(place(1, ann).await, Standing::Waiting);
            assert_eq!(place(2, bob).await, Standing::Pending);
            assert_eq!(place(3, cy).await, Standing::Active);
        }
        assert_eq!(stage.keyspace().await, before);
    })
    .await;
}

/// One off, at the far end of a double's digits, is another number.
#[tokio::test]
async fn another_number_of_the_same_person_is_absent() {
    on_an_open_queue(async |stage| {
        let (ann, bob, cy) = (stage.joins(1).await, stage.joins(2).await, stage.joins(3).await);
        stage.is_pending(user(2), bob).await;
        stage.is_admitted(user(3), cy).await;
        for (id, number, other) in [(1, ann, 1), (2, bob, 1), (2, bob, -1), (3, cy, -1)] {
            let place = stage.line().place(user(id), QueueNumber(number.0 + other)).await.unwrap();
            assert_eq!(place, Standing::Absent, "user {id}");
        }
        assert_eq!(stage.line().place(user(4), ann).await.unwrap(), Standing::Absent);
    })
    .await;
}

/// It was given once, or it could not have been signed: the line was put back to an older state, and nobody trusts it.
#[tokio::test]
async fn a_number_that_was_never_given_puts_the_line_in_doubt() {
    on_an_open_queue(async |stage| {
        let (ann, line) = (stage.joins(1).await, stage.line());
        assert!(!line.disown(ann).await.unwrap());
        assert_eq!(line.place(user(1), ann).await.unwrap(), Standing::Waiting);
        assert_eq!(line.place(user(2), stage.nth(2)).await.unwrap(), Standing::Ungiven);
        assert!(line.disown(stage.nth(2)).await.unwrap());
        assert_eq!(line.place(user(1), ann).await.unwrap(), Standing::Stale);
        assert!(line.watch().await.unwrap().is_none(), "whoever asks");
    })
    .await;
}

#[tokio::test]
async fn an_absent_or_another_generation_is_stale_and_not_absent() {
    in_each_epoch(async |stage| {
        let place = async |epoch| stage.line_of(epoch).place(user(1), stage.nth(1)).await.unwrap();
        assert_eq!(place(stage.epoch).await, Standing::Stale);
        stage.open().await;
        stage.joins(2).await;
        assert_eq!(place(stage.epoch).await, Standing::Absent);
        assert_eq!(place(stage.epoch + 1).await, Standing::Stale);
    })
    .await;
}
