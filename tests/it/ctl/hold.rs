//! `scripts/hold-rate` against a server of its own, whose figures are nobody else's, and a shop that fares as it is told.

use usher::clock::Clock;

use super::*;

const WORDS: &str = "main --latency-max-ms 60000 --every 1";

stories_on_postgres! {
    async fn figures_of_another_instance_are_no_measure(on: &Database) {
        let home = TestApp::by_clock(Clock::system(), *on, []).await;
        let directories = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let open = directories.iter().map(|dir| Shop::open(dir.path(), home.settings()));
        let [first, second] = <[Shop; 2]>::try_from(join_all(open).await).ok().unwrap();
        let url = format!("http://{},http://{}", first.admin, second.admin);
        let reach = (home.setting("USHER_ADMIN_KEY"), home.setting("USHER_DATA_DIR"));
        let words = format!("{WORDS} --min 0.1 --max 100");
        let mut hold = program_at(&url, reach, &path_of("hold-rate"), &words).spawn().unwrap();
        let mut lines = BufReader::new(hold.stdout.take().unwrap()).lines();
        line_with(&mut lines, "nothing to measure").await;
        // Whoever books without a token is answered, and each instance counts its own answers.
        for shop in [&second, &second, &second, &first] {
            shop.buyer(1, None).hold(1, ["1"]).await.status(401);
        }
        line_with(&mut lines, " ms, 0.0 % errors; ").await;
        first.stop().await;
        for _ in 0..2 {
            let line = line_with(&mut lines, "main: ").await;
            assert!(line.contains("nothing to measure"), "{line}");
        }
        second.stop().await;
        home.finish().await;
    }
}

mod sqlite {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU16, Ordering};

    use tempfile::TempDir;
    use tokio::net::TcpListener;
    use tokio::process::{Child, ChildStdout};

    use super::super::*;
    use super::WORDS;

    /// A shop whose every answer has this status.
    async fn shop_behind(status: &Arc<AtomicU16>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let status = status.clone();
        tokio::spawn(async move {
            while let Ok((mut buyer, _)) = listener.accept().await {
                let _ = buyer.read(&mut [0; 4_096]).await;
                let status = status.load(Ordering::Relaxed);
                let answer = format!(
                    "HTTP/1.1 {status} So\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                );
                let _ = buyer.write_all(answer.as_bytes()).await;
            }
        });
        url
    }

    struct Stage {
        data: TempDir,
        shop: Shop,
    }

    impl Stage {
        /// Some were let in a moment ago and some still wait.
        async fn begin() -> Stage {
            let data = tempfile::tempdir().unwrap();
            let shop = Shop::open(data.path(), []).await;
            let policy = json!({"rate_per_second": 0.4, "burst": 8, "active_max": 100});
            shop.operator().tune("main", policy).await;
            let crowd: Vec<Buyer> = (1..=40).map(|id| shop.buyer(id, None)).collect();
            join_all(crowd.iter().map(Buyer::join)).await;
            Stage { data, shop }
        }

        fn hold(&self, words: &str) -> Command {
            let words = format!("{WORDS} {words}");
            let data = self.data.path().display().to_string();
            let url = format!("http://{}", self.shop.admin);
            program_at(&url, (ADMIN_KEY, &data), &path_of("hold-rate"), &words)
        }

        async fn rate(&self) -> f64 {
            self.shop.operator().queue("main").await["policy"]["rate_per_second"].as_f64().unwrap()
        }
    }

    fn lines_of(hold: &mut Child) -> Lines<BufReader<ChildStdout>> {
        BufReader::new(hold.stdout.take().unwrap()).lines()
    }

    #[tokio::test]
    async fn the_rate_rises_while_all_is_well_and_is_halved_when_it_is_not() {
        let (stage, status) = (Stage::begin().await, Arc::new(AtomicU16::new(200)));
        let probe = shop_behind(&status).await;
        let words = format!("--min 0.3 --max 2 --step 0.1 --probe {probe}");
        let watched =
            Said::from(stage.hold(&format!("{words} --watch --looks 1")).output().await.unwrap());
        assert!(watched.ok().contains("up to 0.5/s (--watch: not set)"));
        assert!((stage.rate().await - 0.4).abs() < 1e-9);

        let mut hold = stage.hold(&words).spawn().unwrap();
        let mut lines = lines_of(&mut hold);
        line_with(&mut lines, "0.4/s, ").await;
        assert!(stage.rate().await > 0.45);
        status.store(503, Ordering::Relaxed);
        let down = line_with(&mut lines, "100.0 % errors; down to 0.").await;
        assert!(down.starts_with("main: 0."), "{down}");
        line_with(&mut lines, "main: 0.3/s, ").await;
        line_with(&mut lines, "too much, but at --min").await;
        assert!((stage.rate().await - 0.3).abs() < 1e-9);

        stage.shop.operator().tune("main", json!({"mode": "paused"})).await;
        let mut complaint = String::new();
        hold.stderr.take().unwrap().read_to_string(&mut complaint).await.unwrap();
        assert!(complaint.starts_with("somebody else changed the policy of main"), "{complaint}");
        assert_eq!(hold.wait().await.unwrap().code(), Some(1));
        stage.shop.stop().await;
    }

    #[tokio::test]
    async fn whoever_is_let_in_by_hand_leaves_the_rate_to_it() {
        let stage = Stage::begin().await;
        let probe = shop_behind(&Arc::new(AtomicU16::new(200))).await;
        let words = format!("--min 0.3 --max 2 --step 0.1 --probe {probe}");
        let mut hold = stage.hold(&words).spawn().unwrap();
        let mut lines = lines_of(&mut hold);
        line_with(&mut lines, "main: 0.4/s, ").await;
        let by_hand = json!({"count": 1});
        stage.shop.operator().send("POST", "/admin/queues/main/admit", by_hand).await.ok();
        line_with(&mut lines, "main: 0.6/s, ").await;
        line_with(&mut lines, "main: 0.").await;
        stage.shop.stop().await;
    }

    #[tokio::test]
    async fn nothing_is_raised_without_a_measure() {
        let stage = Stage::begin().await;
        let held = Said::from(stage.hold("--min 0.1 --max 2 --looks 1").output().await.unwrap());
        let held = held.ok();
        assert_eq!(
            held,
            "main: 0.4/s, nothing to measure; a measure is missing, so the rate stays\n"
        );
        // Nobody listens at port 1.
        let words = "--min 0.1 --max 2 --probe http://127.0.0.1:1/";
        Said::from(stage.hold(words).output().await.unwrap())
            .refused("the --probe http://127.0.0.1:1/ does not");
        Said::from(stage.hold("--min 2 --max 2").output().await.unwrap())
            .refused("--min is not below --max");
        let dry = Said::from(stage.hold("--min 0.1 --max 2 --dry-run").output().await.unwrap());
        let command =
            "usher ctl hold-rate main --latency-max-ms 60000 --every 1 --min 0.1 --max 2\n";
        assert_eq!(dry.ok(), command);
        assert_eq!(Said::from(stage.hold("--min 1").output().await.unwrap()).code, Some(2));
        assert!((stage.rate().await - 0.4).abs() < 1e-9);
        stage.shop.stop().await;
    }

    #[tokio::test]
    async fn usher_s_own_answers_are_a_measure() {
        let stage = Stage::begin().await;
        let mut hold = stage.hold("--min 0.1 --max 2 --step 0.1").spawn().unwrap();
        let mut lines = lines_of(&mut hold);
        line_with(&mut lines, "nothing to measure").await;
        // Whoever books what is not there is answered, and that is no failure.
        stage.shop.buyer(1, None).hold(1, ["1"]).await.status(401);
        line_with(&mut lines, " ms, 0.0 % errors; ").await;
        stage.shop.stop().await;
    }
}
