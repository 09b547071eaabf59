//! `draw_join`: the number a person has, or the next one of the draw.

use usher::queue::redis::{Asked, Joined};

use super::stage::{NOW, Stage, in_each_epoch, on_an_open_queue, user};

const MANY: i64 = 1_000;

/// On a line whose draw is on.
async fn on_a_draw(story: impl AsyncFn(&Stage)) {
    on_an_open_queue(async |stage| {
        stage.line().draw_announce().await.unwrap();
        story(stage).await;
    })
    .await;
}

/// Joins these, when so many numbers were given as far as the caller knows and the next ones are worth this.
async fn asks<const P: usize, const N: usize>(
    stage: &Stage,
    people: [i64; P],
    (known, places): (i64, [i64; N]),
) -> Asked {
    let drawn = stage.drawn(known, places);
    stage.line().draw_join(&people.map(user), &drawn, MANY, NOW).await.unwrap()
}

#[tokio::test]
async fn each_new_person_gets_the_next_number_of_the_draw_and_who_asks_twice_has_one() {
    on_a_draw(async |stage| {
        let place = |place| stage.of_draw(place);
        let first = asks(stage, [1, 2, 1], (0, [50, 20, 90])).await;
        let (ann, bob) = (place(50), place(20));
        let expected = [Joined::New(ann), Joined::New(bob), Joined::Waiting(ann)];
        assert_eq!(first, Asked::Joined(expected.into()));
        let line = "drawing=1 drawn=2 idle_ms=NOW n=0";
        stage.holds([("line", line), ("wait", "2=~20 1=~50")]).await;

        let then = asks(stage, [2, 3], (2, [90, 10])).await;
        let expected = [Joined::Waiting(bob), Joined::New(place(90))];
        assert_eq!(then, Asked::Joined(expected.into()));
        assert_eq!(stage.shown("wait").await, "2=~20 1=~50 3=~90");
    })
    .await;
}

/// Another instance was faster: nobody gets a number that was given, and none is passed over.
#[tokio::test]
async fn who_knows_of_too_few_is_told_how_many_there_are() {
    on_a_draw(async |stage| {
        asks(stage, [1, 2], (0, [50, 20])).await;
        let before = stage.keyspace().await;
        assert_eq!(asks(stage, [3], (0, [50])).await, Asked::Behind(2));
        assert_eq!(asks(stage, [3, 4], (1, [20, 90])).await, Asked::Behind(2));
        assert_eq!(asks(stage, [3], (3, [10])).await, Asked::Behind(2), "more than there are");
        assert_eq!(stage.keyspace().await, before);
        // With numbers to spare it is enough to know of some.
        let spare = asks(stage, [3], (1, [20, 90, 10])).await;
        assert_eq!(spare, Asked::Joined(vec![Joined::New(stage.of_draw(90))]));
        assert_eq!(stage.shown("line").await, "drawing=1 drawn=3 idle_ms=NOW n=0");
    })
    .await;
}

#[tokio::test]
async fn who_left_the_draw_comes_behind_it() {
    on_a_draw(async |stage| {
        asks(stage, [1, 2], (0, [50, 20])).await;
        stage.line().leave(user(1), stage.of_draw(50)).await.unwrap();
        let again = asks(stage, [1, 3], (2, [90, 10])).await;
        let expected = [Joined::New(stage.nth(1)), Joined::New(stage.of_draw(90))];
        assert_eq!(again, Asked::Joined(expected.into()));
        let twice = asks(stage, [1], (3, [10])).await;
        assert_eq!(twice, Asked::Joined(vec![Joined::Waiting(stage.nth(1))]));
        assert_eq!(stage.shown("wait").await, "2=~20 3=~90 1=#1");
        assert_eq!(stage.shown("line").await, "drawing=1 drawn=3 idle_ms=NOW n=1");
    })
    .await;
}

#[tokio::test]
async fn a_full_line_takes_nobody_new_and_knows_who_is_in_it() {
    on_a_draw(async |stage| {
        let drawn = stage.drawn(0, [50, 20, 90]);
        let people = [1, 2, 1].map(user);
        let joined = stage.line().draw_join(&people, &drawn, 1, NOW).await.unwrap();
        let ann = stage.of_draw(50);
        let expected = [Joined::New(ann), Joined::Full, Joined::Waiting(ann)];
        assert_eq!(joined, Asked::Joined(expected.into()));
        let nobody = stage.drawn(1, [20]);
        let joined = stage.line().draw_join(&[user(2)], &nobody, 0, NOW).await.unwrap();
        assert_eq!(joined, Asked::Joined(vec![Joined::Full]));
        assert_eq!(stage.shown("wait").await, "1=~50");
    })
    .await;
}

#[tokio::test]
async fn without_a_draw_nobody_is_drawn() {
    on_an_open_queue(async |stage| {
        assert_eq!(asks(stage, [1], (0, [50])).await, Asked::Unannounced);
        stage.holds([]).await;
        stage.line().draw_announce().await.unwrap();
        stage.line().draw_open().await.unwrap();
        assert_eq!(asks(stage, [1], (0, [50])).await, Asked::Opened);
        stage.holds([("line", "drawing=0")]).await;
    })
    .await;
}

#[tokio::test]
async fn an_absent_or_another_generation_is_stale() {
    in_each_epoch(async |stage| {
        assert_eq!(asks(stage, [1], (0, [50])).await, Asked::Stale);
        assert!(stage.keyspace().await.is_empty());
    })
    .await;
}
