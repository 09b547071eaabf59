//! A line that is not what it was: who notices, and who may make it anew.

use usher::clock::Clock;

use super::{LEASE, PAUSE, line_of, of};
use crate::harness::*;
use crate::outage::{Fragile, rebuilding};

/// Redis is as it was before `ann` came; somebody has noticed, and the line is rebuilt.
async fn put_back(app: &Fragile, copy: Vec<(String, Vec<u8>)>, ann: &Buyer) {
    app.redis.put_back(copy).await;
    app.clock.advance(std::time::Duration::from_secs(LEASE));
    app.app.admit_once().await.unwrap_err();
    rebuilding(&ann.poll().await.ok());
    app.app.admit_once().await.unwrap();
}

stories! {
    /// Whoever gave a number knows better than a line that has forgotten it.
    async fn a_line_that_was_put_back_gives_no_number_twice(app: &Fragile) {
        let (_inside, line) = line_of(app, 1).await;
        let copy = app.redis.copy().await;
        let ann = app.waiting_buyer().await;
        put_back(app, copy, &ann).await;

        let bob = app.buyer();
        bob.join().await.ok();
        for buyer in [&line[0], &ann, &bob] {
            rebuilding(&buyer.poll().await.ok());
        }
        app.pass(PAUSE).await;
        let places = [line[0].poll().await.waiting(), ann.poll().await.waiting(), bob.poll().await.waiting()];
        assert_eq!(places, [1, 2, 3]);
    }

    /// Nobody waits, so nobody would ask: an operator who looks must not find the same an hour later.
    async fn whoever_looks_at_a_lost_line_has_it_made_anew(app: &Fragile) {
        app.active_buyer().await;
        app.redis.flush_all().await;
        app.clock.advance(std::time::Duration::from_secs(3_600));
        assert!(app.app.queue.lines_asked_for().is_empty());

        assert_eq!(app.operator.queue("main").await["state"], "rebuilding");
        let asked_for = app.app.queue.lines_asked_for();
        app.app.queue.tick(&asked_for[0]).await.unwrap();
        app.clock.advance(std::time::Duration::from_secs(PAUSE));
        app.app.queue.tick(&asked_for[0]).await.unwrap();
        assert_eq!(app.operator.queue("main").await["state"], "ok");
    }

    /// Else it would use up one epoch every five seconds.
    async fn a_redis_that_refuses_to_write_begins_no_epoch(app: &Fragile) {
        let (_inside, line) = line_of(app, 1).await;
        app.redis.kill().await;
        app.redis.start_again().await;
        app.redis.set("min-replicas-to-write", "1").await;
        for _ in 0..3 {
            app.clock.advance(std::time::Duration::from_secs(LEASE));
            rebuilding(&line[0].poll().await.ok());
            app.app.admit_once().await.unwrap_err();
        }
        assert_eq!(app.app.queue.lines()[0].epoch(), 1);

        app.redis.set("min-replicas-to-write", "0").await;
        app.app.admit_once().await.unwrap();
        assert_eq!(app.app.queue.lines()[0].epoch(), 2);
        line[0].poll().await.ok();
        app.pass(PAUSE).await;
        assert_eq!(line[0].poll().await.waiting(), 1);
    }
}

stories_on_postgres! {
    /// Its pause would end by a clock that nobody else has.
    async fn an_instance_whose_clock_is_off_rebuilds_nothing(on: &Database) {
        let redis = PrivateRedis::start().await;
        let settings = [("USHER_REDIS_URL", redis.url())];
        let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
        let right = TestApp::by_clock(Clock::system(), *on, settings).await;
        let off = right.another_instance_by(Clock::shifted()).await;
        right.buyer().join().await.ok();
        off.clock.advance(std::time::Duration::from_secs(3_600));
        redis.flush_all().await;

        off.buyer().join().await.refused(503, "queue_rebuilding");
        off.app.admit_once().await.unwrap_err();
        assert_eq!(off.app.queue.lines()[0].epoch(), 1);
        off.stop().await;
        right.finish().await;
    }

    /// The instance that gave the number is gone; a token that is newer than the line says enough.
    async fn a_newer_token_proves_that_a_line_was_put_back(app: &Fragile) {
        let (_inside, _line) = line_of(app, 1).await;
        let other = of(app).another_instance().await;
        let copy = app.redis.copy().await;
        let ann = app.buyer().at(&other);
        ann.join().await.waiting();
        other.stop().await;
        app.redis.put_back(copy).await;

        app.clock.advance(std::time::Duration::from_secs(LEASE));
        app.app.admit_once().await.unwrap();
        rebuilding(&ann.at(app).poll().await.ok());
        app.app.admit_once().await.unwrap();
        app.buyer().join().await.ok();
        app.pass(PAUSE).await;
        assert_eq!(ann.at(app).poll().await.waiting(), 2);
    }
}

stories_on_postgres! {
    /// An older state of Redis still has him, and SQL, which knows that he left, does not answer in time.
    async fn whoever_left_is_not_told_his_old_place(app: &Fragile) {
        let (_inside, line) = line_of(app, 1).await;
        let copy = app.redis.copy().await;
        line[0].leave().await.no_content();
        let ann = app.waiting_buyer().await;
        put_back(app, copy, &ann).await;

        let other = of(app).another_instance().await;
        let again = app.buyer_named(line[0].user_id).at(&other);
        app.let_sql_connect(false).await;
        again.join().await.refused(503, "queue_rebuilding");
        app.let_sql_connect(true).await;
        rebuilding(&again.join().await.ok());
        assert_ne!(number_of(&again.token()), number_of(&line[0].token()));
        other.stop().await;
    }
}
