//! `hold`: every requested seat marked for one buyer, or none.

use usher::booking::redis::Marked;
use usher::booking::sql::Owner;
use usher::ids::QueueNumber;

use super::stage::{NOW, Stage, in_each_epoch, on_an_open_queue, seat, user};

const UNTIL: i64 = NOW + 300_000;

/// Three people with a turn each.
async fn admitted(stage: &Stage) -> [QueueNumber; 3] {
    let numbers = [stage.joins(1).await, stage.joins(2).await, stage.joins(3).await];
    for (id, number) in (1..).zip(numbers) {
        stage.is_admitted(user(id), number).await;
    }
    numbers
}

#[tokio::test]
async fn all_seats_are_marked_in_one_step() {
    on_an_open_queue(async |stage| {
        let [ann, ..] = admitted(stage).await;
        let seats = [seat("A1"), seat("A2")];
        let before = stage.keyspace().await;
        // The same request again, and later, is the same hold with its newer deadline.
        for (now, until, shown) in [
            (NOW, UNTIL, "A1=1|NOW+300000 A2=1|NOW+300000"),
            (NOW, UNTIL, "A1=1|NOW+300000 A2=1|NOW+300000"),
            (NOW + 1, UNTIL + 1, "A1=1|NOW+300001 A2=1|NOW+300001"),
        ] {
            let marked = stage.seats().hold((user(1), ann), now, until, &seats).await.unwrap();
            assert_eq!(marked, Marked::Held);
            assert_eq!(stage.shown("seats:9").await, shown);
        }
        let mut after = stage.keyspace().await;
        after.remove("seats:9");
        assert_eq!(after, before);
    })
    .await;
}

#[tokio::test]
async fn every_taken_seat_is_named_and_none_is_marked() {
    on_an_open_queue(async |stage| {
        let [ann, bob, _] = admitted(stage).await;
        let hold = async |who, names: &[&str]| {
            let seats: Vec<_> = names.iter().map(|name| seat(name)).collect();
            stage.seats().hold(who, NOW, UNTIL, &seats).await.unwrap()
        };
        assert_eq!(hold((user(1), ann), &["A1", "A3"]).await, Marked::Held);
        let mark = Owner::Held { user: user(1), until: UNTIL };
        let before = stage.keyspace().await;
        for _ in 0..2 {
            let taken = hold((user(2), bob), &["A1", "A2", "A3", "A4"]).await;
            assert_eq!(taken, Marked::Taken(vec![(seat("A1"), mark), (seat("A3"), mark)]));
            assert_eq!(stage.keyspace().await, before);
        }
    })
    .await;
}

/// Up to its last millisecond a mark stands; from its end on, whoever asks may have the seat.
#[tokio::test]
async fn a_mark_stands_before_its_end_and_not_at_it() {
    on_an_open_queue(async |stage| {
        let [ann, bob, cy] = admitted(stage).await;
        for (now, free) in [(UNTIL - 1, false), (UNTIL, true), (UNTIL + 1, true)] {
            stage.marks("A1", user(1), UNTIL).await;
            let marked = stage.seats().hold((user(2), bob), now, now + 9, &[seat("A1")]).await;
            let mark = Owner::Held { user: user(1), until: UNTIL };
            let expected =
                if free { Marked::Held } else { Marked::Taken(vec![(seat("A1"), mark)]) };
            assert_eq!(marked.unwrap(), expected, "{} ms after the end", now - UNTIL);
        }
        // Who comes late for his own seat finds it taken.
        let marked = stage.seats().hold((user(1), ann), UNTIL + 1, UNTIL + 9, &[seat("A1")]).await;
        let mark = Owner::Held { user: user(2), until: UNTIL + 10 };
        assert_eq!(marked.unwrap(), Marked::Taken(vec![(seat("A1"), mark)]));
        let marked = stage.seats().hold((user(3), cy), UNTIL + 10, UNTIL + 19, &[seat("A1")]).await;
        assert_eq!(marked.unwrap(), Marked::Held);
        assert_eq!(stage.shown("seats:9").await, "A1=3|NOW+300019");
    })
    .await;
}

#[tokio::test]
async fn a_sold_seat_is_taken_for_everybody_and_for_ever() {
    on_an_open_queue(async |stage| {
        let [ann, ..] = admitted(stage).await;
        stage.seats().settle(&[(seat("A1"), Owner::Sold)], 0).await.unwrap();
        let later = NOW + 900_000;
        for now in [NOW, later] {
            let marked = stage.seats().hold((user(1), ann), now, now + 1, &[seat("A1")]).await;
            assert_eq!(marked.unwrap(), Marked::Taken(vec![(seat("A1"), Owner::Sold)]));
        }
        assert_eq!(stage.shown("seats:9").await, "A1=sold");
    })
    .await;
}

/// User 1 is not user 11: the owner of a mark is compared whole.
#[tokio::test]
async fn nobody_is_taken_for_somebody_with_a_similar_id() {
    on_an_open_queue(async |stage| {
        let [ann, ..] = admitted(stage).await;
        stage.marks("A1", user(11), UNTIL).await;
        let marked = stage.seats().hold((user(1), ann), NOW, UNTIL, &[seat("A1")]).await;
        let mark = Owner::Held { user: user(11), until: UNTIL };
        assert_eq!(marked.unwrap(), Marked::Taken(vec![(seat("A1"), mark)]));
    })
    .await;
}

#[tokio::test]
async fn only_the_number_with_the_turn_may_hold() {
    on_an_open_queue(async |stage| {
        let [ann, ..] = admitted(stage).await;
        let waiting = stage.joins(4).await;
        let pending = stage.joins(5).await;
        stage.is_pending(user(5), pending).await;
        let before = stage.keyspace().await;
        let others = [
            (user(4), waiting),
            (user(5), pending),
            (user(6), ann),
            (user(1), QueueNumber(ann.0 - 1)),
            (user(1), QueueNumber(ann.0 + 1)),
        ];
        for who in others {
            let marked = stage.seats().hold(who, NOW, UNTIL, &[seat("A1")]).await.unwrap();
            assert_eq!(marked, Marked::NotActive, "{who:?}");
        }
        assert_eq!(stage.keyspace().await, before);
    })
    .await;
}

#[tokio::test]
async fn an_absent_or_another_generation_is_stale_and_not_a_free_seat() {
    in_each_epoch(async |stage| {
        let hold = async |epoch| {
            let who = (user(1), stage.nth(1));
            stage.seats_of(epoch).hold(who, NOW, UNTIL, &[seat("A1")]).await.unwrap()
        };
        assert_eq!(hold(stage.epoch).await, Marked::Stale);
        stage.open().await;
        admitted(stage).await;
        let before = stage.keyspace().await;
        assert_eq!(hold(stage.epoch + 1).await, Marked::Stale);
        assert_eq!(stage.keyspace().await, before);
    })
    .await;
}
