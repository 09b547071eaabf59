//! `admit_commit`: the line made to agree with what SQL has written.

use usher::ids::QueueNumber;
use usher::queue::policy::Mode;
use usher::queue::sql::Admitted;

use super::stage::{NOW, Tuned, in_each_epoch, on_an_open_queue, tuned, turn, user};

/// Looks are never further away than this, so that a lost message costs no more.
const LOOK_MS_MAX: i64 = 30_000;

#[tokio::test]
async fn what_sql_opened_becomes_a_turn_and_twice_is_once() {
    on_an_open_queue(async |stage| {
        for id in 1..=3 {
            stage.joins(id).await;
        }
        stage.takes(&tuned(1.0, 2.0), NOW).await;
        let line = stage.shown("line").await;
        for _ in 0..2 {
            let opened = vec![turn(1, stage.nth(1), NOW + 60), turn(2, stage.nth(2), NOW + 90_000)];
            stage.commits(Admitted { opened, ..Admitted::default() }).await;
            let act = "1=NOW+60 2=NOW+30000";
            let expected =
                [("act", act), ("line", &line), ("turns", "1=#1 2=#2"), ("wait", "3=#3")];
            stage.holds(expected).await;
        }
    })
    .await;
}

/// Who left, or had finished before, takes nothing from those behind: the credit comes back, once.
#[tokio::test]
async fn a_dropped_number_gives_its_credit_back_once() {
    on_an_open_queue(async |stage| {
        for id in 1..=5 {
            stage.joins(id).await;
        }
        assert_eq!(stage.takes(&tuned(0.0, 2.0), NOW).await, [1, 2]);
        for _ in 0..2 {
            let opened = vec![turn(2, stage.nth(2), NOW + 60)];
            let dropped = vec![(user(1), stage.nth(1))];
            stage.commits(Admitted { opened, dropped, ..Admitted::default() }).await;
            let line = stage.shown("line").await;
            assert!(line.contains(" returned=1 "), "{line}");
        }
        assert_eq!(stage.shown("pend").await, "");
        assert_eq!(stage.shown("turns").await, "2=#2");
        assert_eq!(stage.admits(&tuned(0.0, 2.0), NOW).await, [3]);
        assert!(stage.admits(&tuned(0.0, 2.0), NOW).await.is_empty());
    })
    .await;
}

/// Credit that nobody spent does not come back: by hand, and where the rate is not applied.
#[tokio::test]
async fn a_dropped_number_that_cost_no_credit_gives_none_back() {
    on_an_open_queue(async |stage| {
        for id in 1..=5 {
            stage.joins(id).await;
        }
        let by_hand = Tuned { manual_total: 1, ..tuned(0.0, 1.0) };
        assert_eq!(stage.takes(&by_hand, NOW).await, [1, 2]);
        let opened = vec![turn(1, stage.nth(1), NOW + 60)];
        let dropped = vec![(user(2), stage.nth(2))];
        stage.commits(Admitted { opened, dropped, ..Admitted::default() }).await;
        assert!(stage.takes(&by_hand, NOW).await.is_empty());

        let mut passing = Tuned { version: 2, ..by_hand.clone() };
        passing.policy.mode = Mode::Passthrough;
        assert_eq!(stage.takes(&passing, NOW).await, [3, 4, 5]);
        let dropped = (3..=5).map(|n| (user(n), stage.nth(n))).collect();
        stage.commits(Admitted { dropped, ..Admitted::default() }).await;
        stage.joins(6).await;
        assert!(stage.takes(&Tuned { version: 3, ..by_hand }, NOW).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_turn_that_is_over_frees_its_place_and_one_that_goes_on_is_looked_at_later() {
    on_an_open_queue(async |stage| {
        for id in 1..=2 {
            stage.joins(id).await;
        }
        stage.admits(&tuned(1.0, 2.0), NOW).await;
        for _ in 0..2 {
            let gone = vec![(user(1), stage.nth(1))];
            let looked = vec![turn(2, stage.nth(2), NOW + 2 * LOOK_MS_MAX)];
            stage.commits(Admitted { gone, looked, ..Admitted::default() }).await;
            assert_eq!(stage.shown("act").await, "2=NOW+30000");
            assert_eq!(stage.shown("turns").await, "2=#2");
        }
    })
    .await;
}

/// The boundary of a look: whichever comes first, the turn's end or the longest interval.
#[tokio::test]
async fn the_next_look_is_at_the_end_of_the_turn_but_never_far_away() {
    on_an_open_queue(async |stage| {
        let number = stage.joins(1).await;
        stage.is_admitted(user(1), number).await;
        let far = LOOK_MS_MAX;
        for (closes_in, look_in) in [(far - 1, far - 1), (far, far), (far + 1, far), (-5, -5)] {
            let looked = vec![turn(1, number, NOW + closes_in)];
            stage.commits(Admitted { looked, ..Admitted::default() }).await;
            assert_eq!(stage.shown("act").await, format!("1=NOW{look_in:+}"));
        }
    })
    .await;
}

/// Nobody came for his turn: the rate makes up for it, to a limit, and only for turns that end here.
#[tokio::test]
async fn unclaimed_turns_are_owed_once_and_to_a_limit() {
    on_an_open_queue(async |stage| {
        for id in 1..=3 {
            stage.joins(id).await;
        }
        stage.admits(&tuned(1.0, 3.0), NOW).await;
        let ends = async |ids: &[i64], unclaimed, owed_max| {
            let gone = ids.iter().map(|id| (user(*id), stage.nth(*id))).collect();
            let admitted = Admitted { gone, unclaimed, ..Admitted::default() };
            assert!(stage.line().admit_commit(&admitted, owed_max, NOW).await.unwrap());
            let line = stage.shown("line").await;
            let owed = line.split("owed=").nth(1).unwrap().split(' ').next().unwrap();
            owed.parse::<f64>().unwrap()
        };
        assert!((ends(&[1], 1, 60.0).await - 1.0).abs() < 1e-9);
        assert!((ends(&[1], 1, 60.0).await - 1.0).abs() < 1e-9, "a second commit owes nothing");
        assert!((ends(&[2, 3], 2, 1.5).await - 1.5).abs() < 1e-9, "no more than the limit");
    })
    .await;
}

/// A commit of an instance that was asleep meets people who have joined again since.
#[tokio::test]
async fn a_late_commit_touches_no_newer_number() {
    on_an_open_queue(async |stage| {
        let (waiting, pending) = (stage.joins(1).await, stage.joins(2).await);
        let active = stage.joins(3).await;
        stage.is_pending(user(2), pending).await;
        stage.is_admitted(user(3), active).await;
        let before = stage.keyspace().await;
        let (one, two) =
            (|n: QueueNumber| QueueNumber(n.0 - 1), |n: QueueNumber| QueueNumber(n.0 + 1));
        for other in [one, two] {
            let people = [(1, waiting), (2, pending), (3, active)];
            let turns = people.map(|(id, number)| turn(id, other(number), NOW + 1)).to_vec();
            let looks = people.map(|(id, number)| (user(id), other(number))).to_vec();
            let (opened, looked) = (turns.clone(), turns);
            let (dropped, gone) = (looks.clone(), looks);
            stage.commits(Admitted { opened, dropped, gone, unclaimed: 3, looked }).await;
            assert_eq!(stage.keyspace().await, before);
        }
        // Nor does it lift anybody out of the line who is not pending.
        let opened = vec![turn(1, waiting, NOW + 1)];
        stage.commits(Admitted { opened, ..Admitted::default() }).await;
        assert_eq!(stage.keyspace().await, before);
    })
    .await;
}

#[tokio::test]
async fn an_absent_or_another_generation_is_left_alone() {
    in_each_epoch(async |stage| {
        let opened = vec![turn(1, stage.nth(1), NOW)];
        let admitted = Admitted { opened, ..Admitted::default() };
        assert!(!stage.line().admit_commit(&admitted, 1.0, NOW).await.unwrap());
        assert!(stage.keyspace().await.is_empty());
        stage.open().await;
        let number = stage.joins(1).await;
        stage.is_pending(user(1), number).await;
        let before = stage.keyspace().await;
        let other = stage.line_of(stage.epoch + 1);
        assert!(!other.admit_commit(&admitted, 1.0, NOW).await.unwrap());
        assert_eq!(stage.keyspace().await, before);
    })
    .await;
}
