//! Stopping and starting again with the private Redis, as `scripts/start` does.

mod sqlite {
    use std::path::Path;

    use tokio_util::sync::CancellationToken;
    use usher::app::App;
    use usher::clock::Clock;
    use usher::config::Config;
    use usher::server::{Doors, Loops, Running};

    use crate::harness::*;

    const ADMIN_KEY: &str = "the-key-of-the-operators-in-tests-0123456789";

    struct Shop {
        app: App,
        running: Running,
    }

    /// Everything is in the directory: keys, SQLite, Redis.
    async fn open(data: &Path) -> Shop {
        let data = data.display().to_string();
        let settings = [
            ("USHER_LISTEN", "127.0.0.1:0"),
            ("USHER_ADMIN_LISTEN", "127.0.0.1:0"),
            ("USHER_ADMIN_KEY", ADMIN_KEY),
            ("USHER_DATA_DIR", data.as_str()),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let config = Config::from_settings(settings).unwrap();
        let doors = Doors::bind(&config.http).await.unwrap();
        let stop = CancellationToken::new();
        let app = App::build(config, Clock::system(), &stop).await.unwrap();
        let running = usher::server::start(app.clone(), doors, Loops::Called).await.unwrap();
        Shop { app, running }
    }

    impl Shop {
        fn public(&self) -> Http {
            Http::to(self.running.public)
        }

        fn operator(&self) -> Operator {
            Operator::new(Http::to(self.running.admin), ADMIN_KEY)
        }

        /// The same person, coming back to this shop with the token of the last.
        fn buyer(&self, user_id: i64, token: Option<String>) -> Buyer {
            let buyer = Buyer::new(user_id, self.public(), None);
            token.into_iter().for_each(|token| buyer.takes(token));
            buyer
        }
    }

    #[tokio::test]
    async fn a_clean_restart_keeps_every_place() {
        let data = tempfile::tempdir().unwrap();
        let shop = open(data.path()).await;
        shop.operator().tune("main", json!({"mode": "paused"})).await;
        let (ann, bob) = (shop.buyer(1, None), shop.buyer(2, None));
        assert_eq!((ann.join().await.waiting(), bob.join().await.waiting()), (1, 2));
        shop.running.stop().await;

        let shop = open(data.path()).await;
        let (ann, bob) = (shop.buyer(1, Some(ann.token())), shop.buyer(2, Some(bob.token())));
        assert_eq!((ann.poll().await.waiting(), bob.poll().await.waiting()), (1, 2));
        assert_eq!(shop.buyer(3, None).join().await.waiting(), 3);
        shop.operator().tune("main", json!({"mode": "open"})).await;
        shop.app.admit_once().await.unwrap();
        ann.poll().await.active();
        shop.running.stop().await;
    }

    /// An empty Redis never looks like an empty line, not even after a clean stop.
    #[tokio::test]
    async fn a_redis_that_comes_back_empty_is_doubted() {
        let data = tempfile::tempdir().unwrap();
        let shop = open(data.path()).await;
        shop.operator().tune("main", json!({"mode": "paused"})).await;
        let ann = shop.buyer(1, None);
        ann.join().await.waiting();
        shop.running.stop().await;
        std::fs::remove_dir_all(data.path().join("redis")).unwrap();

        let shop = open(data.path()).await;
        let ann = shop.buyer(1, Some(ann.token()));
        assert_eq!(ann.poll().await.ok()["reason"], "rebuilding");
        shop.buyer(2, None).join().await.refused(503, "queue_rebuilding");
        shop.running.stop().await;
    }
}
