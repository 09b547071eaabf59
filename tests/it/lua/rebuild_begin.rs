//! `rebuild_begin`: empty what SQL will write anew, and keep who waits.

use super::stage::{NOW, in_each_epoch, on_an_open_queue, published, user};

#[tokio::test]
async fn everything_goes_but_who_waits() {
    on_an_open_queue(async |stage| {
        let (ann, bob) = (stage.joins(1).await, stage.joins(2).await);
        stage.joins(3).await;
        stage.is_admitted(user(1), ann).await;
        stage.is_pending(user(2), bob).await;
        let next = stage.line_of(stage.epoch + 1);
        assert!(next.rebuild_begin().await.unwrap());
        let staging = format!("staging={}", stage.epoch + 1);
        let left: Vec<_> = stage.keyspace().await.into_iter().collect();
        let expected = [("line", staging.as_str()), ("wait", "3=#3")];
        assert_eq!(left, expected.map(|(name, shown)| (name.to_owned(), shown.to_owned())));
        assert_eq!(stage.line().watch().await.unwrap(), None, "nobody acts on it meanwhile");
    })
    .await;
}

/// Somebody who was asleep for a while is too late: neither a later attempt nor what it made is undone.
#[tokio::test]
async fn what_is_overtaken_or_published_is_not_begun() {
    in_each_epoch(async |stage| {
        let (mine, later) = (stage.line(), stage.line_of(stage.epoch + 1));
        assert!(later.rebuild_begin().await.unwrap());
        assert!(!mine.rebuild_begin().await.unwrap());
        assert!(later.rebuild_begin().await.unwrap(), "twice is once");
        assert!(later.rebuild_publish(&published(stage.nth(0)), NOW).await.unwrap());
        assert!(!mine.rebuild_begin().await.unwrap());
        assert!(!later.rebuild_begin().await.unwrap());
    })
    .await;
}
