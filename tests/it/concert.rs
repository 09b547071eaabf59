//! The catalogue as buyers read it: what plays, which seats are left, and answers that need not be sent twice.

use crate::harness::*;

stories! {
    async fn a_concert_is_on_sale_as_soon_as_it_is_announced(app: &TestApp) {
        app.get("/concerts").await.ok();
        app.active_buyer().await.leave().await.no_content();

        let concert = app.concert(["1", "2"]).await;

        app.get(&format!("/concerts/{concert}/seats")).await.ok();
        for _ in 0..5 {
            app.buyer().join().await.ok();
        }
        assert_eq!(app.operator.queue("main").await["active"], 2, "one for each seat");
    }

    async fn the_list_shows_what_is_free_held_and_sold(app: &TestApp) {
        let concert = app.concert(["1", "2", "3"]).await;
        let ann = app.rich_buyer(PRICE).await;
        ann.hold(concert, ["2"]).await.held();
        let booking = ann.hold(concert, ["3"]).await.held();
        ann.pay(booking).await.paid();

        app.pass(1).await;
        let seats = app.get("/concerts").await.ok()["concerts"][0]["seats"].clone();
        assert_eq!(seats, json!([
            {"seat_id": "1", "seat_status": "AVAILABLE"},
            {"seat_id": "2", "seat_status": "HELD"},
            {"seat_id": "3", "seat_status": "SOLD"},
        ]));
    }

    async fn a_concert_that_has_begun_leaves_the_list(app: &TestApp) {
        app.concert(["1"]).await;
        assert_eq!(app.get("/concerts").await.ok()["concerts"].as_array().unwrap().len(), 1);

        app.pass(30 * 86_400 + 1).await;
        assert_eq!(app.get("/concerts").await.ok()["concerts"], json!([]));
    }

    async fn one_concert_may_be_asked_for(app: &TestApp) {
        let (_first, second) = (app.concert(["1"]).await, app.concert(["1", "2"]).await);
        let list = app.get(&format!("/concerts?concert_id={second}")).await.ok();
        let concerts = list["concerts"].as_array().unwrap();
        assert_eq!(concerts.len(), 1);
        assert_eq!(concerts[0]["concert_id"], second);
    }

    async fn what_has_not_changed_is_not_sent_again(app: &TestApp) {
        let concert = app.concert(["1", "2"]).await;
        let ann = app.active_buyer().await;
        for path in ["/concerts".to_owned(), format!("/concerts/{concert}/seats")] {
            app.pass(1).await;
            let first = app.get(&path).await;
            assert!(first.header("cache-control").unwrap().contains("max-age=1"));
            let etag = first.header("etag").unwrap();
            let again = async || {
                app.public.request("GET", &path).header("if-none-match", etag).send().await
            };
            let unchanged = again().await.status(304);
            assert!(unchanged.text.is_empty());
            assert_eq!(unchanged.header("etag"), Some(etag));

            let booking = ann.hold(concert, ["1"]).await.held();
            app.pass(1).await;
            again().await.ok();
            ann.cancel(booking).await.no_content();
        }
    }

    async fn the_seat_map_is_one_letter_a_seat(app: &TestApp) {
        let concert = app.concert(["B-2", "A-10", "A-9"]).await;
        let ann = app.rich_buyer(PRICE).await;
        ann.hold(concert, ["A-10"]).await.held();
        let booking = ann.hold(concert, ["B-2"]).await.held();
        ann.pay(booking).await.paid();

        assert_eq!(app.seats(concert).await, "SHA", "in the order of the catalogue");
        let map = app.get(&format!("/concerts/{concert}/seats")).await.ok();
        assert_eq!(kinds(&map), json!({"concert_id": "int", "as_of": "string", "seats": "string"}));
    }

    async fn the_detail_names_tiers_prices_and_seats_in_order(app: &TestApp) {
        let concert = app.concert(["B-2", "A-10", "A-9"]).await;
        let detail = app.get(&format!("/concerts/{concert}")).await.ok();
        assert_eq!(detail["concert_id"], concert);
        assert_eq!(detail["title"], "Nachtmusik");
        assert_eq!(detail["queue"], "main");
        let tier = &detail["tiers"][0];
        assert_eq!((&tier["name"], &tier["price"]), (&json!("stalls"), &json!(PRICE)));
        assert!(detail.to_string().contains(r#"["B-2","A-10","A-9"]"#), "{detail}");
    }

    async fn what_is_announced_anew_is_shown(app: &TestApp) {
        let concert = app.concert(["1"]).await;
        let path = format!("/concerts/{concert}");
        let before = app.get(&path).await.status(200);
        let change = json!({"place": "Barn"});
        app.operator.send("PUT", &format!("/admin/concerts/{concert}"), change).await.ok();

        let after = app.get(&path).await.status(200);
        assert_ne!(after.header("etag"), before.header("etag"));
        assert_eq!(after.ok()["place"], "Barn");
    }

    async fn an_unknown_concert_is_not_found(app: &TestApp) {
        for path in ["/concerts/999", "/concerts/999/seats"] {
            app.get(path).await.refused(404, "concert_not_found");
        }
        let ann = app.active_buyer().await;
        ann.hold(999, ["1"]).await.refused(404, "concert_not_found");
    }

    async fn what_is_large_travels_packed(app: &TestApp) {
        let small = app.concert(["1"]).await;
        let large = app.hall().await;
        let path = |id: i64, rest: &str| format!("/concerts/{id}{rest}");
        for (path, packed) in [
            ("/concerts".to_owned(), true),
            (path(large, ""), true),
            (path(large, "/seats"), true),
            (path(small, ""), false),
            (path(small, "/seats"), false),
        ] {
            let ask = async |headers: &[(&str, &str)]| {
                let request = app.public.request("GET", &path);
                headers.iter().fold(request, |request, (name, value)| request.header(name, value)).send().await
            };
            let plain = ask(&[]).await.status(200);
            let zipped = ask(&[("accept-encoding", "gzip")]).await.status(200);
            assert_eq!(plain.header("content-encoding"), None, "{path}");
            assert_eq!(zipped.header("content-encoding"), packed.then_some("gzip"), "{path}");
            // Both mean the same and are not the same bytes: a weak tag, and caches keep them apart.
            let tag = plain.header("etag").unwrap();
            assert!(tag.starts_with("W/\""), "{path}: {tag}");
            assert_eq!(zipped.header("etag"), Some(tag), "{path}");
            let strong = tag.trim_start_matches("W/");
            let unchanged = [tag, strong, "*", &format!("\"x\", {strong}"), &format!("W/\"x\",{tag}")];
            for tags in unchanged {
                let answer = ask(&[("if-none-match", tags), ("accept-encoding", "gzip")]).await.status(304);
                assert_eq!(answer.header("etag"), Some(tag), "{path}");
                assert_eq!(answer.header("content-encoding"), None, "{path}");
                for answer in [&plain, &zipped, &answer] {
                    assert_eq!(answer.header("vary"), Some("accept-encoding"), "{path}");
                    assert_eq!(answer.header("cache-control"), Some("public, max-age=1"), "{path}");
                }
            }
            ask(&[("if-none-match", "\"x\"")]).await.status(200);
            let neither = ask(&[("accept-encoding", "gzip;q=0, identity;q=0")]).await.status(200);
            assert_eq!(neither.text, plain.text, "{path}: plain is better than nothing");
        }
    }
}

stories_on_postgres! {
    /// The second instance has looked at the concert a moment ago, and looks no more.
    async fn what_another_instance_announces_counts_when_seats_are_given(app: &TestApp) {
        app.operator.create_queue("vip", json!({})).await;
        let (concert, second) = (app.concert(["1"]).await, app.another_instance().await);
        let ann = app.active_buyer().await.at(&second);
        ann.hold(concert, ["2"]).await.refused(404, "seat_not_found");
        let path = format!("/admin/concerts/{concert}");
        let change = async |change: Value| app.operator.send("PUT", &path, change).await.ok();

        change(json!({"queue": "vip"})).await;
        ann.hold(concert, ["1"]).await.refused(403, "wrong_queue");
        change(json!({"queue": "main", "starts_at": 1})).await;
        ann.hold(concert, ["1"]).await.refused(410, "sale_closed");
        second.stop().await;
    }

    async fn who_waits_for_a_concert_that_moves_is_sent_where_it_went(app: &TestApp) {
        app.operator.create_queue("vip", json!({})).await;
        let concert = app.concert(["1"]).await;
        let ann = app.active_buyer().await;

        let mover = async {
            app.run_sql(&format!(
                "BEGIN; SET LOCAL statement_timeout = '10s';
                 SELECT FROM concert FOR UPDATE;
                 UPDATE concert SET queue_id = (SELECT id FROM queue WHERE name = 'vip');
                 SELECT pg_advisory_xact_lock(1); {SOMEBODY_WAITS}; COMMIT"
            ))
            .await;
        };
        let buyer = async {
            app.run_sql(A_MOVER_IS_AT_WORK).await;
            ann.hold(concert, ["1"]).await
        };
        let ((), answer) = tokio::join!(mover, buyer);
        assert_eq!(answer.refused(403, "wrong_queue")["queue"], "vip");
    }
}

const SOMEBODY_WAITS: &str = "DO $$ BEGIN
    WHILE NOT EXISTS (SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid)
                      WHERE NOT l.granted AND a.datname = current_database()) LOOP
        PERFORM pg_sleep(0.01), pg_stat_clear_snapshot();
    END LOOP; END $$";

const A_MOVER_IS_AT_WORK: &str = "DO $$ BEGIN
    WHILE NOT EXISTS (SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                      WHERE l.locktype = 'advisory' AND d.datname = current_database()) LOOP
        PERFORM pg_sleep(0.01);
    END LOOP; END $$";
