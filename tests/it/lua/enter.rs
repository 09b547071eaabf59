//! `enter`: give people back the places that their tokens say.

use usher::queue::redis::rebuild::{Entering, Instead, Standing};

use super::stage::{NOW, Stage, back, on_an_open_queue, user};

async fn enters(stage: &Stage, entering: Entering) -> Standing {
    stage.line().enter(&[entering], NOW).await.unwrap().unwrap()[0]
}

#[tokio::test]
async fn people_stand_where_their_numbers_say_and_twice_is_once() {
    on_an_open_queue(async |stage| {
        let people = [back(1, stage.nth(9)), back(2, stage.nth(4))];
        for _ in 0..2 {
            let standings = stage.line().enter(&people, NOW).await.unwrap().unwrap();
            assert_eq!(standings, [Standing::Waiting; 2]);
        }
        assert_eq!(stage.shown("wait").await, "2=#4 1=#9");
    })
    .await;
}

#[tokio::test]
async fn the_lower_number_stays() {
    on_an_open_queue(async |stage| {
        enters(stage, back(1, stage.nth(5))).await;
        let higher = enters(stage, back(1, stage.nth(6))).await;
        assert_eq!(higher, Standing::Other(stage.nth(5)));
        let lower = enters(stage, back(1, stage.nth(4))).await;
        assert_eq!(lower, Standing::Instead(stage.nth(5)));
        assert_eq!(stage.shown("wait").await, "1=#4");
    })
    .await;
}

/// Of a draw, and of a ghost, the caller knows which number gives way: that one and no other.
#[tokio::test]
async fn a_number_that_was_named_gives_way() {
    on_an_open_queue(async |stage| {
        let drawn =
            |place, instead| Entering { user: user(1), number: stage.of_draw(place), instead };
        enters(stage, drawn(50, Instead::None)).await;
        let other = enters(stage, drawn(20, Instead::None)).await;
        assert_eq!(other, Standing::Other(stage.of_draw(50)));
        let missed = drawn(20, Instead::Only(stage.of_draw(51)));
        assert_eq!(enters(stage, missed).await, Standing::Other(stage.of_draw(50)));
        let named = drawn(70, Instead::Only(stage.of_draw(50)));
        assert_eq!(enters(stage, named).await, Standing::Instead(stage.of_draw(50)));
        assert_eq!(stage.shown("wait").await, "1=~70");
    })
    .await;
}

#[tokio::test]
async fn whoever_is_on_the_way_or_inside_is_not_put_into_the_line() {
    on_an_open_queue(async |stage| {
        let (ann, bob) = (stage.joins(1).await, stage.joins(2).await);
        stage.is_pending(user(1), ann).await;
        assert_eq!(enters(stage, back(1, ann)).await, Standing::Waiting);
        stage.is_admitted(user(2), bob).await;
        assert_eq!(enters(stage, back(2, bob)).await, Standing::Active);
        assert_eq!(stage.shown("wait").await, "");
    })
    .await;
}
