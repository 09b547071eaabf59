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
        for (id, number) in [(1, ann), (2, bob), (3, cy)] {
            for other in [number.0 - 1, number.0 + 1] {
                let place = stage.line().place(user(id), QueueNumber(other)).await.unwrap();
                assert_eq!(place, Standing::Absent, "user {id}");
            }
        }
        assert_eq!(stage.line().place(user(4), ann).await.unwrap(), Standing::Absent);
    })
    .await;
}

#[tokio::test]
async fn an_absent_or_another_generation_is_stale_and_not_absent() {
    in_each_epoch(async |stage| {
        let place = async |epoch| stage.line_of(epoch).place(user(1), stage.nth(1)).await.unwrap();
        assert_eq!(place(stage.epoch).await, Standing::Stale);
        stage.open().await;
        assert_eq!(place(stage.epoch).await, Standing::Absent);
        assert_eq!(place(stage.epoch + 1).await, Standing::Stale);
    })
    .await;
}
