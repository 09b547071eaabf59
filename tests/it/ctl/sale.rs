//! The evening of a sale by its scripts: opened, drained, told of afterwards.

use super::*;

async fn mode(app: &TestApp) -> Value {
    app.operator.get(POLICY).await.ok()["mode"].clone()
}

/// Three stalls at 500 and a box at 900.
async fn hall(app: &TestApp) -> i64 {
    let tiers = json!([{"name": "Stalls", "price": 500, "seats": ["1", "2", "3"]},
        {"name": "Box", "price": 900, "seats": ["L"]}]);
    let starts_at = app.unix_seconds() + 30 * 86_400;
    let concert =
        json!({"title": "Requiem", "place": "Dome", "starts_at": starts_at, "tiers": tiers});
    let made = app.operator.send("POST", "/admin/concerts", concert).await.created();
    made["concert_id"].as_i64().unwrap()
}

async fn buy(buyer: &Buyer, concert: i64, (seats, amount): (&str, i64)) {
    buyer.top_up_with_key(amount, "pocket money").await.ok();
    let booking = buyer.hold_list(concert, seats).await.held();
    buyer.pay(booking).await.paid();
}

/// A small sale whose every number is known. It begins at a full minute, as everything in it does.
async fn small_sale(app: &TestApp) {
    app.operator.tune("main", json!({"mode": "paused", "rate_per_second": 10})).await;
    let concert = hall(app).await;
    let gus = app.waiting_buyer().await;
    let (eve, ann) = (app.waiting_buyer().await, app.waiting_buyer().await);
    let (bob, cat) = (app.waiting_buyer().await, app.waiting_buyer().await);
    let dan = app.waiting_buyer().await;
    gus.leave().await.no_content();
    // To the middle of a minute: half of it the queue is open, for as many as there are seats.
    app.pass_ms(50_000).await;
    app.operator.tune("main", json!({"mode": "open"})).await;
    for buyer in [&ann, &bob, &cat] {
        buyer.poll().await.active();
    }
    buy(&ann, concert, ("L", 900)).await;
    buy(&bob, concert, ("1,2", 1_000)).await;
    cat.hold(concert, ["3"]).await.held();
    app.work_is_done().await;
    // Eve never comes, and the cat does not pay.
    app.pass(61).await;
    eve.poll().await.refused(410, "turn_ended");
    app.pass(301).await;
    app.app.housekeep().await.unwrap();
    cat.leave().await.no_content();
    app.pass(1).await;
    dan.poll().await.active();
    buy(&dan, concert, ("3", 500)).await;
    app.work_is_done().await;
    app.pass(1).await;
    app.waiting_buyer().await;
}

stories! {
    async fn a_report_tells_what_the_rows_tell(app: &TestApp) {
        small_sale(app).await;
        let report = app.operator.get("/admin/queues/main/report").await.ok();
        assert_eq!((&report["queue"], &report["state"]), (&json!("main"), &json!("ok")));
        assert_eq!((&report["joined"], &report["waiting"], &report["left_line"]), (&json!(7), &json!(1), &json!(1)));
        assert_eq!(report["turns"], json!({"opened": 5, "by_hand": 0, "claimed": 4, "unclaimed": 1, "paid": 3,
            "left": 1, "timed_out": 0, "open": 0}));
        assert_eq!(report["bookings"], json!({"made": 4, "paid": 3, "expired": 1, "cancelled": 0, "held": 0}));
        assert_eq!(report["amount"], 2_400);
        let tier = |name: &str, price: i64, seats: i64| json!({"concert_id": 1, "title": "Requiem", "name": name, "price": price,
            "seats": seats, "seats_sold": seats, "seats_held": 0, "amount": price * seats});
        assert_eq!(report["tiers"], json!([tier("Stalls", 500, 3), tier("Box", 900, 1)]));
        assert_eq!(report["seconds_to_sold_out"], 363.0);
        assert_eq!((&report["check"]["ok"], &report["minutes_left_off"]), (&json!(true), &json!(0)));

        let [first, last] = &report["minutes"].as_array().unwrap()[..] else { panic!("{report:#}") };
        for (name, early, late) in [("admitted", 4, 1), ("booked", 3, 1), ("paid", 2, 1), ("seats_sold", 3, 1), ("amount", 1_900, 500)] {
            assert_eq!((&first[name], &last[name]), (&json!(early), &json!(late)), "{name}: {report:#}");
        }
        assert_eq!(first["rate_set_per_second"], 5.0, "open for half of the minute: {first}");
        assert_eq!(first["rate_reached_per_second"], 4.0 / 60.0);
        assert_eq!(last["rate_set_per_second"], 10.0);
        app.operator.get("/admin/queues/nowhere/report").await.refused(404, "queue_not_found");
    }

    async fn a_queue_without_a_sale_has_a_report(app: &TestApp) {
        app.operator.create_queue("vip", json!({"mode": "paused"})).await;
        for queue in ["main", "vip"] {
            let report = app.operator.get(&format!("/admin/queues/{queue}/report")).await.ok();
            assert_eq!((&report["joined"], &report["minutes"]), (&json!(0), &json!([])));
            assert_eq!((&report["first_admitted_at"], &report["sold_out_at"]), (&Value::Null, &Value::Null));
        }
    }

    async fn a_report_is_text_json_and_a_page(app: &TestApp) {
        small_sale(app).await;
        let page = app.setting("USHER_DATA_DIR").to_owned() + "/sale.html";
        let dry = script(app, "report", &format!("--dry-run --html {page}")).await.ok();
        assert_eq!(dry, format!("usher ctl report main --html {page}\n"));
        assert!(!std::path::Path::new(&page).exists());

        let printed = script(app, "report", &format!("--json --html {page}")).await.ok();
        let served = app.operator.get("/admin/queues/main/report").await.status(200).text;
        assert_eq!(printed, format!("{served}\n"));
        let page = std::fs::read_to_string(page).unwrap();
        assert!(page.contains("Requiem") && page.contains("The books add up."), "{page}");
        let text = script(app, "report", "").await.ok();
        assert_eq!(row(&text, "joined"), ["joined", "7"]);
        assert_eq!(row(&text, "1"), ["1", "Requiem", "Stalls", "500", "3", "3", "0", "1500"]);

        app.run_sql("UPDATE account SET balance = balance + 1 WHERE user_id = 103").await;
        let wrong = script(app, "report", "main").await;
        assert!(wrong.out.contains("SOMETHING DOES NOT ADD UP"), "{wrong:?}");
        wrong.refused("violations_found: M1, M9");
        app.run_sql("UPDATE account SET balance = balance - 1 WHERE user_id = 103").await;
        assert_eq!(script(app, "report", "--html").await.code, Some(2));
    }

    async fn a_line_is_drained_and_then_closed(app: &TestApp) {
        let ann = app.one_at_a_time().await;
        let bob = app.waiting_buyer().await;
        let dry = script(app, "drain", "--dry-run").await.ok();
        assert_eq!(dry.lines().count(), 4, "{dry}");
        assert_eq!(mode(app).await, "open", "a dry run sends nothing");

        let mut drain = program(app, &path_of("drain"), "--every 1").spawn().unwrap();
        let mut lines = BufReader::new(drain.stdout.take().unwrap()).lines();
        line_with(&mut lines, "main: 1 wait, 1 are inside, 0 seats are held").await;
        app.buyer().join().await.refused(403, "queue_closed");
        ann.leave().await.no_content();
        app.pass(1).await;
        bob.poll().await.active();
        // Once more: whoever is inside keeps it from being closed.
        for _ in 0..2 {
            line_with(&mut lines, "main: 0 wait, 1 are inside").await;
        }
        bob.leave().await.no_content();
        line_with(&mut lines, "main is closed, and empty").await;
        assert_eq!(drain.wait().await.unwrap().code(), Some(0));
        assert_eq!(mode(app).await, "closed");
    }

    async fn a_drain_ends_in_time_and_yields_to_another_operator(app: &TestApp) {
        app.one_at_a_time().await;
        app.waiting_buyer().await;
        let plan = json!({"at": usher::clock::rfc3339(app.clock.now_ms() + 3_600_000), "policy": {"mode": "open"}});
        app.operator.send("POST", "/admin/queues/main/schedule", plan).await.created();
        let late = script(app, "drain", "--every 1 --until 2sec").await;
        assert_eq!((late.code, mode(app).await), (Some(3), json!("closed")), "{late:?}");
        assert!(late.err.contains("something is still planned: usher ctl schedule list main"), "{late:?}");
        assert!(late.out.ends_with("main is closed, while 1 wait and 1 are inside\n"), "{late:?}");

        // Midnight has passed today, so that of tomorrow is meant.
        let mut drain = program(app, &path_of("drain"), "--every 1 --until 00:00").spawn().unwrap();
        let mut lines = BufReader::new(drain.stdout.take().unwrap()).lines();
        for _ in 0..2 {
            line_with(&mut lines, "1 wait").await;
        }
        app.operator.tune("main", json!({"mode": "open"})).await;
        assert_eq!(drain.wait().await.unwrap().code(), Some(1));
        assert_eq!(mode(app).await, "open");
        for words in ["--until tomorrowish", "--until 2020-01-01", "--until", "--minutes", "--every 0", "a b", "--fast"] {
            assert_eq!(script(app, "drain", words).await.code, Some(2), "{words}");
        }
        assert_eq!(mode(app).await, "open", "what is refused changes nothing");
    }

    async fn what_cannot_be_opened_is_not(app: &TestApp) {
        // Another machine's settings are not looked at, and no name of this machine's is among these.
        let open = async |words: &str| {
            let mut open = program(app, &path_of("open-sale"), words);
            open.env("USHER_ADMIN_URL", format!("http://0.0.0.0:{}", app.operator.http.address().rsplit_once(':').unwrap().1));
            Said::from(open.output().await.unwrap())
        };
        let why = open("").await.refused("open-sale: main is not opened: ");
        assert!(why.contains("it is open already, no concert of it is on sale"), "{why}");
        app.operator.tune("main", json!({"mode": "paused", "rate_per_second": 0, "active_max": 0})).await;
        app.concert(["1", "2"]).await;
        let why = open("").await.refused("open-sale: main is not opened: ");
        assert!(why.contains("its rate is 0, its active_max is 0"), "{why}");
        app.operator.tune("main", json!({"active_max": 50})).await;
        let dry = open("--dry-run --ramp 0.5 100 5m --at 2031-05-01T20:00:00Z --message Soon").await.ok();
        let sent: Vec<&str> = dry.lines().collect();
        assert_eq!(sent, ["usher ctl policy show main --etag", "usher ctl queues show main --json",
            "usher ctl schedule list main --json", "usher ctl policy set main --rate-per-second 0.5 --if-match ETAG",
            "usher ctl schedule add main --at 2031-05-01T20:00:00Z --mode open --rate-per-second 100 --ramp 300 --message Soon"]);
        assert_eq!(app.operator.queue("main").await["policy"]["rate_per_second"], 0.0, "a dry run sends nothing");

        // A note is no refusal.
        let planned = open("--ramp 0.5 100 5m --at 2031-05-01T20:00:00Z").await;
        assert_eq!(planned.code, Some(0), "{planned:?}");
        assert!(planned.err.contains("at 100/s its active_max of 50 is full within a second"), "{planned:?}");
        assert!(!planned.err.contains("planned"), "{planned:?}");
        let plan = app.operator.get("/admin/queues/main/schedule").await.ok()["pending"][0].clone();
        assert_eq!((&plan["ramp_seconds"], &plan["policy"]), (&json!(300), &json!({"mode": "open", "rate_per_second": 100.0})));
        assert_eq!((mode(app).await, rate(app).await), (json!("paused"), json!(0.5)));
        let again = open("--at 2031-05-02T20:00:00Z").await;
        assert!(again.code == Some(0) && again.err.contains("something is planned for it already"), "{again:?}");
        for words in ["--rate fast", "--ramp 1 2", "--ramp 1 2 soon", "--at", "a b", "--now"] {
            assert_eq!(open(words).await.code, Some(2), "{words}");
        }
    }

    async fn a_doctor_s_word_keeps_a_sale_from_being_opened(app: &TestApp) {
        app.operator.tune("main", json!({"mode": "paused"})).await;
        app.concert(["1"]).await;
        let mut open = program(app, &path_of("open-sale"), "");
        // Nobody listens at port 1.
        let open = open.env("USHER_REDIS_URL", "redis://127.0.0.1:1").env("USHER_TOKEN_KEY", app.setting("USHER_TOKEN_KEY"));
        let said = Said::from(open.output().await.unwrap());
        assert_eq!((said.code, mode(app).await), (Some(1), json!("paused")), "{said:?}");
        assert!(said.out.contains("Redis"), "{said:?}");
    }
}

mod sqlite {
    use super::*;

    #[tokio::test]
    async fn a_sale_is_opened_on_the_machine_that_serves_it() {
        let data = tempfile::tempdir().unwrap();
        let shop = Shop::open(data.path(), []).await;
        let operator = shop.operator();
        operator.tune("main", json!({"mode": "paused", "message": "Soon"})).await;
        let tiers = json!([{"name": "all", "price": 1, "seats": ["1", "2"]}]);
        let concert =
            json!({"title": "T", "place": "P", "starts_at": 2_000_000_000, "tiers": tiers});
        operator.send("POST", "/admin/concerts", concert).await.created();
        // Seats are counted once a second.
        while operator.queue("main").await["free_seats"].is_null() {}
        let url = format!("http://{}", shop.admin);
        let dir = data.path().display().to_string();
        let open = async |words: &str| {
            let mut open = program_at(&url, (ADMIN_KEY, &dir), &path_of("open-sale"), words);
            Said::from(open.env("USHER_LISTEN", "127.0.0.1:0").output().await.unwrap())
        };
        let said = open("--ramp 5 100 5m --message Welcome").await;
        assert_eq!(said.code, Some(0), "{said:?}");
        let queue = operator.queue("main").await;
        assert_eq!(
            (&queue["policy"]["mode"], &queue["policy"]["message"]),
            (&json!("open"), &json!("Welcome"))
        );
        // Where this takes long it is done already.
        let plan = operator.get("/admin/queues/main/schedule").await.ok();
        let entries = ["pending", "done"].map(|list| plan[list][0]["ramp_seconds"].clone());
        assert!(entries.contains(&json!(300)), "{plan}");
        assert_eq!(open("").await.code, Some(1), "it is open already");
        shop.stop().await;
    }
}
