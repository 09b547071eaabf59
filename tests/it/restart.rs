//! Stopping and starting again: what was asked for is done, and with the private Redis, as `scripts/start` has it, the
//! line is what it was.

mod sqlite {
    use std::path::Path;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
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
    const TOP_UP: &str = r#"{"user_id": 7, "balance": 100}"#;

    /// The status of readiness, asked on a connection that is kept.
    async fn readiness(stream: &mut TcpStream) -> String {
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = [0; 4_096];
        let length = stream.read(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer[..length]).split(' ').nth(1).unwrap_or_default().to_owned()
    }

    /// On a connection that is kept somebody still asks for something, and hangs up. Everything runs on this one thread, so
    /// the server has gone on as far as it can whenever the story does.
    #[tokio::test]
    async fn what_is_asked_for_in_the_farewell_is_done() {
        let app = TestApp::with(Database::Sqlite, []).await;
        let address = app.public.address().strip_prefix("http://").unwrap();
        let mut probe = TcpStream::connect(address).await.unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        assert_eq!((&*readiness(&mut probe).await, &*readiness(&mut client).await), ("200", "200"));
        let server = app.app.clone();
        let back = tokio::spawn(app.back_after(0));
        server.stopping.cancelled().await;
        assert_eq!(readiness(&mut probe).await, "503", "at once, whatever was found before");

        // SQLite has one writer: the work waits for this one.
        let writer = server.sql.begin("a fault").await.unwrap();
        let length = TOP_UP.len();
        let asked = format!(
            "POST /balance HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{TOP_UP}"
        );
        client.write_all(asked.as_bytes()).await.unwrap();
        while server.work.is_empty() {
            tokio::task::yield_now().await;
        }
        client.shutdown().await.unwrap();
        assert_eq!(
            client.read(&mut [0]).await.unwrap(),
            0,
            "nobody is there any more to be answered"
        );
        drop((client, probe));
        for _ in 0..100 {
            server.sql.clock_ms().await.expect("the database is open while somebody works");
        }
        drop(writer);
        let app = back.await.unwrap();
        assert_eq!(app.buyer_named(7).balance().await, 100);
        app.finish().await;
    }
}
