//! `admit_reserve`: the next batch, as many as rate, cap and operator allow. `rate.rs` adds up many ticks.

use usher::queue::policy::Mode;
use usher::queue::redis::{BATCH_MAX, Reserved};
use usher::queue::sql::{Admitted, Batch, Look};

use super::stage::{NOW, Stage, Tuned, in_each_epoch, on_an_open_queue, tuned, user};

/// How long an unanswered batch is nobody else's business.
const RETRY_MS: i64 = 500;

async fn people(stage: &Stage, count: i64) {
    for id in 1..=count {
        stage.joins(id).await;
    }
}

async fn reserve(stage: &Stage, tuned: &Tuned, now: i64) -> (Batch, Vec<Look>, bool) {
    match stage.line().admit_reserve(&tuned.allowance(), now).await.unwrap() {
        Reserved::Batch { batch, looks, full } => (batch, looks, full),
        other => panic!("no batch: {other:?}"),
    }
}

#[tokio::test]
async fn the_first_batch_is_a_full_bucket_in_the_order_of_arrival() {
    on_an_open_queue(async |stage| {
        people(stage, 5).await;
        let (batch, looks, full) = reserve(stage, &tuned(2.0, 3.0), NOW).await;
        let numbers: Vec<_> = (1..=3).map(|n| (user(n), stage.nth(n))).collect();
        assert_eq!(batch.numbers, numbers);
        assert_eq!((batch.at_ms, batch.issued, batch.paid), (NOW, stage.nth(5), stage.nth(3)));
        assert_eq!((batch.otherwise, looks.len(), full), ("manual", 0, false));
        let line = "at_ms=NOW idle_ms=NOW last_ms=NOW manual_used=0 n=5 owed=0.000000000 pend_at=NOW pend_paid=#3 \
                    returned=0 served=0 serving=#3 tokens=0.000000000 tuned_n=0 version=1";
        stage.holds([("line", line), ("pend", "1=#1 2=#2 3=#3"), ("wait", "4=#4 5=#5")]).await;
    })
    .await;
}

#[tokio::test]
async fn an_idle_tick_writes_nothing_but_the_policy_it_saw() {
    on_an_open_queue(async |stage| {
        for now in [NOW, NOW + 200] {
            let (batch, looks, full) = reserve(stage, &tuned(2.0, 3.0), now).await;
            assert!(batch.numbers.is_empty() && looks.is_empty() && !full);
            stage.holds([("line", "tuned_n=0 version=1")]).await;
        }
    })
    .await;
}

/// One batch is out at a time. Its instant stays, whoever repeats it.
#[tokio::test]
async fn an_unanswered_batch_comes_again_after_a_while_and_nothing_else_does() {
    on_an_open_queue(async |stage| {
        people(stage, 5).await;
        assert_eq!(stage.takes(&tuned(100.0, 2.0), NOW).await, [1, 2]);
        assert!(stage.takes(&tuned(100.0, 2.0), NOW).await.is_empty());
        assert!(stage.takes(&tuned(100.0, 2.0), NOW + RETRY_MS - 1).await.is_empty());
        for again in [NOW + RETRY_MS, NOW + 2 * RETRY_MS] {
            let (batch, _, _) = reserve(stage, &tuned(100.0, 2.0), again).await;
            assert_eq!(batch.numbers, [(user(1), stage.nth(1)), (user(2), stage.nth(2))]);
            assert_eq!((batch.at_ms, batch.paid), (NOW, stage.nth(2)));
            assert!(stage.takes(&tuned(100.0, 2.0), again + 1).await.is_empty());
        }
        assert_eq!(stage.shown("wait").await, "3=#3 4=#4 5=#5");
    })
    .await;
}

/// Redis may carry out a call long after it was given up. Whoever ended his turn meanwhile made room for it, but not at
/// the instant that it speaks of; and what would have been earned since then is not given as well.
#[tokio::test]
async fn a_batch_that_was_taken_late_has_the_instant_at_which_it_is_granted() {
    on_an_open_queue(async |stage| {
        people(stage, 9).await;
        let slow = tuned(1.0, 1.0);
        assert_eq!(stage.takes(&slow, NOW).await.len(), 1);
        let late = NOW + 5_000;
        let (batch, _, _) = reserve(stage, &slow, late).await;
        assert_eq!((batch.numbers.len(), batch.at_ms), (1, late));
        let opened = vec![super::stage::turn(1, stage.nth(1), late + 9_000)];
        stage.commits(Admitted { opened, ..Admitted::default() }).await;
        assert!(stage.admits(&slow, late + 999).await.is_empty());
        assert_eq!(stage.admits(&slow, late + 1_000).await, [2]);
    })
    .await;
}

#[tokio::test]
async fn the_next_batch_waits_for_the_last_one_to_be_answered() {
    on_an_open_queue(async |stage| {
        people(stage, 4).await;
        assert_eq!(stage.admits(&tuned(10.0, 1.0), NOW).await, [1]);
        assert_eq!(stage.admits(&tuned(10.0, 1.0), NOW + 99).await, [0_i64; 0]);
        assert_eq!(stage.admits(&tuned(10.0, 1.0), NOW + 100).await, [2]);
        assert_eq!(stage.admits(&tuned(10.0, 1.0), NOW + 300).await, [3, 4]);
        assert_eq!(stage.shown("turns").await, "1=#1 2=#2 3=#3 4=#4");
    })
    .await;
}

#[tokio::test]
async fn the_cap_is_never_exceeded_and_a_turn_that_ends_makes_room() {
    on_an_open_queue(async |stage| {
        people(stage, 4).await;
        let two = Tuned { cap: 2, ..tuned(100.0, 100.0) };
        assert_eq!(stage.admits(&two, NOW).await, [1, 2]);
        assert!(stage.admits(&two, NOW + 1_000).await.is_empty());
        stage.line().leave(user(1), stage.nth(1)).await.unwrap();
        assert_eq!(stage.admits(&two, NOW + 2_000).await, [3]);
        // A cap that an operator lowers ends no turn, and opens none.
        let one = Tuned { cap: 1, version: 2, ..two.clone() };
        assert!(stage.admits(&one, NOW + 3_000).await.is_empty());
        assert_eq!(stage.shown("act").await.split(' ').count(), 2);
    })
    .await;
}

#[tokio::test]
async fn turns_granted_by_hand_come_on_top_of_the_rate_and_once() {
    on_an_open_queue(async |stage| {
        people(stage, 6).await;
        let by_hand = Tuned { manual_total: 2, ..tuned(1.0, 1.0) };
        let (batch, _, _) = reserve(stage, &by_hand, NOW).await;
        assert_eq!((batch.numbers.len(), batch.paid), (3, stage.nth(1)));
        let opened = batch.numbers.iter();
        let opened = opened.map(|(user, number)| super::stage::turn(user.0, *number, NOW + 9_000));
        stage.commits(Admitted { opened: opened.collect(), ..Admitted::default() }).await;
        assert!(stage.admits(&by_hand, NOW).await.is_empty());
        assert_eq!(stage.admits(&by_hand, NOW + 1_000).await, [4]);
    })
    .await;
}

/// Beyond the cap not even by hand: what could not be served waits.
#[tokio::test]
async fn turns_granted_by_hand_respect_the_cap_and_ignore_a_pause() {
    on_an_open_queue(async |stage| {
        people(stage, 4).await;
        let mut paused = Tuned { cap: 2, manual_total: 3, ..tuned(100.0, 100.0) };
        paused.policy.mode = Mode::Paused;
        assert_eq!(stage.admits(&paused, NOW).await, [1, 2]);
        assert!(stage.admits(&paused, NOW + 1_000).await.is_empty());
        stage.line().leave(user(1), stage.nth(1)).await.unwrap();
        stage.line().leave(user(2), stage.nth(2)).await.unwrap();
        assert_eq!(stage.admits(&paused, NOW + 2_000).await, [3]);
    })
    .await;
}

#[tokio::test]
async fn nothing_is_earned_in_a_pause() {
    on_an_open_queue(async |stage| {
        people(stage, 30).await;
        let open = tuned(10.0, 1.0);
        assert_eq!(stage.admits(&open, NOW).await, [1]);
        let mut paused = Tuned { version: 2, ..open.clone() };
        paused.policy.mode = Mode::Paused;
        for second in 1..=60 {
            assert!(stage.admits(&paused, NOW + second * 1_000).await.is_empty());
        }
        let again = Tuned { version: 3, ..open };
        assert!(stage.admits(&again, NOW + 60_000).await.is_empty());
        assert_eq!(stage.admits(&again, NOW + 60_100).await, [2]);
    })
    .await;
}

#[tokio::test]
async fn passthrough_takes_all_who_wait_a_batch_at_a_time() {
    on_an_open_queue(async |stage| {
        people(stage, BATCH_MAX + 3).await;
        let mut passing = tuned(0.0, 1.0);
        passing.policy.mode = Mode::Passthrough;
        let (batch, _, full) = reserve(stage, &passing, NOW).await;
        assert_eq!(
            (batch.numbers.len() as i64, batch.paid.0, batch.otherwise, full),
            (BATCH_MAX, 0, "passthrough", true)
        );
        let opened = batch.numbers.iter();
        let opened = opened.map(|(user, number)| super::stage::turn(user.0, *number, NOW + 9_000));
        stage.commits(Admitted { opened: opened.collect(), ..Admitted::default() }).await;
        let (batch, _, full) = reserve(stage, &passing, NOW).await;
        assert_eq!((batch.numbers.len(), full), (3, false));
    })
    .await;
}

/// The highest version seen is in force: an instance that reads late learns it here.
#[tokio::test]
async fn an_older_policy_is_refused_and_a_newer_one_remembers_who_knew_the_last() {
    on_an_open_queue(async |stage| {
        people(stage, 3).await;
        stage.takes(&Tuned { version: 5, cap: 0, ..tuned(1.0, 1.0) }, NOW).await;
        let before = stage.keyspace().await;
        let old = Tuned { version: 4, ..tuned(1.0, 1.0) };
        let reserved = stage.line().admit_reserve(&old.allowance(), NOW).await.unwrap();
        assert!(matches!(reserved, Reserved::OldPolicy));
        assert_eq!(stage.keyspace().await, before);

        let newer = Tuned { version: 6, ..tuned(1.0, 1.0) };
        let (batch, _, _) = reserve(stage, &newer, NOW).await;
        assert_eq!(batch.tuned, stage.nth(3));
        assert!(stage.shown("line").await.contains("tuned_n=3 version=6"));
    })
    .await;
}

#[tokio::test]
async fn a_turn_is_named_when_its_look_is_due_and_not_a_moment_before() {
    on_an_open_queue(async |stage| {
        people(stage, 1).await;
        assert_eq!(stage.admits(&tuned(1.0, 1.0), NOW).await, [1]);
        let due = NOW + 10_000;
        for (now, named) in [(due - 1, false), (due, true), (due + 1, false), (due + 2_000, true)] {
            let (_, looks, _) = reserve(stage, &tuned(1.0, 1.0), now).await;
            let expected: &[Look] = if named { &[(user(1), stage.nth(1))] } else { &[] };
            assert_eq!(looks, expected, "{} ms after it is due", now - due);
        }
    })
    .await;
}

/// What a late tick earned for people who turned out to be dead is not kept for those who come after them.
#[tokio::test]
async fn a_line_that_begins_anew_finds_a_bucket_that_is_full_and_no_more() {
    on_an_open_queue(async |stage| {
        people(stage, 2).await;
        let policy = tuned(2.0, 1.0);
        assert_eq!(stage.admits(&policy, NOW).await, [1]);
        let late = NOW + 1_000;
        assert_eq!(stage.takes(&policy, late).await, [2]);
        let dropped = vec![(user(2), stage.nth(2))];
        stage.commits(Admitted { dropped, ..Admitted::default() }).await;
        assert!(stage.takes(&policy, late).await.is_empty());
        for id in 3..=6 {
            stage.join(id, 10, late).await;
        }
        assert_eq!(stage.admits(&policy, late).await, [3]);
        assert_eq!(stage.admits(&policy, late + 500).await, [4]);
    })
    .await;
}

/// A clock that was ahead and is set back: credit is neither minted nor withheld for ever.
#[tokio::test]
async fn a_clock_that_goes_back_earns_nothing_and_does_not_stop_the_line() {
    on_an_open_queue(async |stage| {
        people(stage, 9).await;
        let policy = tuned(10.0, 1.0);
        assert_eq!(stage.admits(&policy, NOW + 60_000).await, [1]);
        assert!(stage.admits(&policy, NOW).await.is_empty());
        assert_eq!(stage.admits(&policy, NOW + 100).await, [2]);
        // Within two seconds it is skew between instances: time stands still for the one behind.
        assert!(stage.admits(&policy, NOW + 50).await.is_empty());
        assert!(stage.admits(&policy, NOW + 150).await.is_empty());
        let (batch, _, _) = reserve(stage, &policy, NOW + 200).await;
        assert_eq!(batch.numbers, [(user(3), stage.nth(3))]);
        assert_eq!(batch.at_ms, NOW + 60_000, "the instants of batches never fall");
    })
    .await;
}

#[tokio::test]
async fn an_absent_or_another_generation_is_stale_and_not_an_empty_line() {
    in_each_epoch(async |stage| {
        let reserve = async |epoch| {
            stage.line_of(epoch).admit_reserve(&tuned(1.0, 1.0).allowance(), NOW).await.unwrap()
        };
        assert!(matches!(reserve(stage.epoch).await, Reserved::Stale));
        assert!(stage.keyspace().await.is_empty());
        stage.open().await;
        people(stage, 2).await;
        let before = stage.keyspace().await;
        assert!(matches!(reserve(stage.epoch + 1).await, Reserved::Stale));
        assert_eq!(stage.keyspace().await, before);
    })
    .await;
}
