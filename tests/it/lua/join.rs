//! `join`: the number a person has, or the next one.

use usher::queue::redis::{Announced, Asked, Joined};

use super::stage::{NOW, in_each_epoch, on_an_open_queue, user};

const MANY: i64 = 1_000;

#[tokio::test]
async fn each_new_person_gets_the_next_number() {
    on_an_open_queue(async |stage| {
        for n in 1..=3 {
            let joined = stage.join(10 * n, MANY, NOW + n).await;
            assert_eq!(joined, Joined::New(stage.nth(n)));
        }
        stage.holds([("line", "idle_ms=NOW+1 n=3"), ("wait", "10=#1 20=#2 30=#3")]).await;
    })
    .await;
}

/// In one call as in many: each has the number of his coming, and who stands in it twice has one.
#[tokio::test]
async fn many_join_in_the_order_of_their_coming() {
    on_an_open_queue(async |stage| {
        let (ann, bob) = (stage.joins(1).await, stage.joins(2).await);
        stage.is_pending(user(1), ann).await;
        let people = [4, 1, 2, 3, 4, 5].map(user);
        let joined = stage.line().join(&people, 3, NOW).await.unwrap();
        let (third, fourth) = (stage.nth(3), stage.nth(4));
        let expected = [
            Joined::New(third),
            Joined::Pending(ann),
            Joined::Waiting(bob),
            Joined::New(fourth),
            Joined::Waiting(third),
            Joined::Full,
        ];
        assert_eq!(joined, Asked::Joined(expected.into()));
        assert_eq!(stage.shown("wait").await, "2=#2 4=#3 3=#4");
        assert_eq!(stage.shown("line").await, "idle_ms=NOW n=4");
    })
    .await;
}

#[tokio::test]
async fn joining_twice_is_joining_once() {
    on_an_open_queue(async |stage| {
        let ann = stage.joins(1).await;
        let before = stage.keyspace().await;
        let again = stage.join(1, MANY, NOW + 5).await;
        assert_eq!(again, Joined::Waiting(ann));
        assert_eq!(stage.keyspace().await, before);
    })
    .await;
}

#[tokio::test]
async fn a_number_is_kept_on_its_way_into_a_turn() {
    on_an_open_queue(async |stage| {
        let (ann, bob) = (stage.joins(1).await, stage.joins(2).await);
        stage.is_pending(user(1), ann).await;
        stage.is_admitted(user(2), bob).await;
        let before = stage.keyspace().await;
        let join = async |id| stage.join(id, MANY, NOW).await;
        assert_eq!(join(1).await, Joined::Pending(ann));
        assert_eq!(join(2).await, Joined::Active(bob));
        assert_eq!(stage.keyspace().await, before);
    })
    .await;
}

#[tokio::test]
async fn a_full_line_takes_nobody_new_and_knows_who_is_in_it() {
    on_an_open_queue(async |stage| {
        let join = async |id, waiting_max| stage.join(id, waiting_max, NOW).await;
        assert_eq!(join(1, 1).await, Joined::New(stage.nth(1)));
        let before = stage.keyspace().await;
        assert_eq!(join(2, 1).await, Joined::Full);
        assert_eq!(join(2, 0).await, Joined::Full);
        assert_eq!(join(1, 1).await, Joined::Waiting(stage.nth(1)));
        assert_eq!(stage.keyspace().await, before);
        assert_eq!(join(2, 2).await, Joined::New(stage.nth(2)));
    })
    .await;
}

#[tokio::test]
async fn a_number_is_never_given_again() {
    on_an_open_queue(async |stage| {
        let ann = stage.joins(1).await;
        assert!(stage.line().leave(user(1), ann).await.unwrap());
        assert_eq!(stage.joins(1).await, stage.nth(2));
        assert_eq!(stage.joins(2).await, stage.nth(3));
    })
    .await;
}

/// From this instant on the line was not idle: credit is earned from here, whenever the next tick comes.
#[tokio::test]
async fn only_the_first_of_a_line_says_when_it_began() {
    on_an_open_queue(async |stage| {
        let join = async |id, now| stage.join(id, MANY, now).await;
        join(1, NOW + 1).await;
        join(2, NOW + 2).await;
        assert_eq!(stage.shown("line").await, "idle_ms=NOW+1 n=2");
        stage.line().leave(user(1), stage.nth(1)).await.unwrap();
        stage.line().leave(user(2), stage.nth(2)).await.unwrap();
        join(3, NOW + 7).await;
        assert_eq!(stage.shown("line").await, "idle_ms=NOW+7 n=3");
    })
    .await;
}

#[tokio::test]
async fn an_absent_or_another_generation_is_stale_and_not_an_empty_line() {
    in_each_epoch(async |stage| {
        let join = async |epoch| stage.line_of(epoch).join(&[user(1)], MANY, NOW).await.unwrap();
        assert_eq!(join(stage.epoch).await, Asked::Stale);
        assert!(stage.keyspace().await.is_empty());
        stage.open().await;
        assert_eq!(join(stage.epoch - 1).await, Asked::Stale);
        assert_eq!(join(stage.epoch + 1).await, Asked::Stale);
        stage.holds([]).await;
    })
    .await;
}

/// An instance that has not heard of the draw puts nobody beside it.
#[tokio::test]
async fn nobody_joins_past_a_draw_that_is_on() {
    on_an_open_queue(async |stage| {
        assert_eq!(stage.line().draw_announce().await.unwrap(), Announced::Yes);
        let before = stage.keyspace().await;
        let joined = stage.line().join(&[user(1)], MANY, NOW).await.unwrap();
        assert_eq!(joined, Asked::Drawing);
        assert_eq!(stage.keyspace().await, before);
        assert_eq!(stage.line().draw_open().await.unwrap(), Some(0));
        assert_eq!(stage.joins(1).await, stage.nth(1));
    })
    .await;
}

/// Ids have up to 16 digits; none is lost on the way through Lua.
#[tokio::test]
async fn the_longest_user_id_is_kept_to_the_last_digit() {
    on_an_open_queue(async |stage| {
        let longest = (1 << 53) - 1;
        stage.joins(longest).await;
        stage.joins(longest - 1).await;
        assert_eq!(stage.shown("wait").await, "9007199254740991=#1 9007199254740990=#2");
    })
    .await;
}
