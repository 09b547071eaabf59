//! The program as a service manager and a shell know it: signals, exit codes, and the private Redis it leaves, or not.

mod sqlite {
    use std::path::Path;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream, UnixStream};
    use tokio::process::Command;

    use usher::clock::{Clock, rfc3339};

    use crate::bad_input::{raw_to, request};
    use crate::harness::*;

    #[tokio::test]
    async fn what_was_planned_is_made_while_nobody_watches() {
        let data = tempfile::tempdir().unwrap();
        let mut shop = Shop::open(data.path(), []).await;
        let at = rfc3339(Clock::system().now_ms() + 1_000);
        let closing = json!({"at": at, "policy": {"mode": "closed"}});
        let operator = shop.operator();
        operator.send("POST", "/admin/queues/main/schedule", closing).await.created();
        shop.says("carried out what was due").await;
        shop.buyer(1, None).join().await.refused(403, "queue_closed");
        shop.stop().await;
    }

    #[tokio::test]
    async fn a_killed_shop_goes_on_and_its_redis_is_looked_after() {
        let data = tempfile::tempdir().unwrap();
        let mut shop = Shop::open(data.path(), []).await;
        shop.pause().await;
        let ann = shop.buyer(1, None);
        assert_eq!(ann.join().await.waiting(), 1);
        shop.process.kill().await.unwrap();

        let mut shop = Shop::open(data.path(), []).await;
        let ann = shop.buyer(1, Some(ann.token()));
        assert_eq!(ann.poll().await.waiting(), 1);
        assert_eq!(shop.buyer(2, None).join().await.waiting(), 2);

        signal("-KILL", redis_pid(data.path()).await).await;
        shop.says("the private Redis serves again").await;
        // The first call may find the connection broken; the next one finds another server behind the socket.
        shop.buyer(3, None).join().await.status(503);
        shop.buyer(3, None).join().await.refused(503, "queue_rebuilding");
        shop.stop().await;
        assert!(!redis_serves(data.path()).await);
    }

    async fn redis_serves(data: &Path) -> bool {
        UnixStream::connect(data.join("redis/redis.sock")).await.is_ok()
    }

    async fn redis_pid(data: &Path) -> u32 {
        let url = format!("redis+unix://{}", data.join("redis/redis.sock").display());
        let client = redis::Client::open(url).unwrap();
        let mut redis = client.get_multiplexed_async_connection().await.unwrap();
        let server: redis::InfoDict =
            redis::cmd("INFO").arg("server").query_async(&mut redis).await.unwrap();
        server.get("process_id").unwrap()
    }

    #[tokio::test]
    async fn a_start_that_fails_keeps_the_seal() {
        let data = tempfile::tempdir().unwrap();
        let shop = Shop::open(data.path(), []).await;
        shop.pause().await;
        let ann = shop.buyer(1, None);
        assert_eq!(ann.join().await.waiting(), 1);
        shop.stop().await;

        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap().to_string();
        for name in ["USHER_LISTEN", "USHER_ADMIN_LISTEN"] {
            let failed = serve(data.path(), [(name, &*address), ("USHER_LOG", "error")]);
            let failed = failed.wait_with_output().await.unwrap();
            let said = String::from_utf8(failed.stderr).unwrap();
            assert_eq!((failed.status.code(), said.lines().count()), (Some(1), 1), "{said}");
            assert!(said.contains(&format!("{name}: {address}")), "{said}");
        }
        // scripts/start looks before it builds.
        let start = Command::new("scripts/start").env("USHER_LISTEN", &address).output().await;
        let start = start.unwrap();
        let said = String::from_utf8(start.stderr).unwrap();
        assert_eq!((start.status.code(), said.lines().count()), (Some(1), 1), "{said}");
        assert!(said.contains(&address) && said.contains("USHER_LISTEN"), "{said}");
        for program in ["/bin/false", "/nowhere/redis-server"] {
            let failed = serve(data.path(), [("USHER_REDIS_SERVER", program)]).wait().await;
            assert_eq!(failed.unwrap().code(), Some(1));
        }
        assert!(!redis_serves(data.path()).await);

        let mut shop = Shop::open(data.path(), []).await;
        assert_eq!(shop.buyer(1, Some(ann.token())).poll().await.waiting(), 1);
        shop.signal("-HUP").await;
        assert_eq!(shop.end().await.code(), Some(0), "a closed terminal stops it, too");
        assert!(!redis_serves(data.path()).await);
    }

    /// The program that stands in for Redis tells Usher to stop, and only then becomes Redis.
    #[tokio::test]
    async fn a_start_that_is_told_to_stop_leaves_nothing_running() {
        use std::os::unix::fs::PermissionsExt;

        let data = tempfile::tempdir().unwrap();
        let (program, pid) = (data.path().join("program"), data.path().join("pid"));
        let text = format!(
            "#!/bin/sh\necho $$ >{}\nkill -TERM $PPID\nexec redis-server \"$@\"\n",
            pid.display()
        );
        std::fs::write(&program, text).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o700)).unwrap();

        let program = program.display().to_string();
        let ended = serve(data.path(), [("USHER_REDIS_SERVER", &*program)]).wait().await.unwrap();
        assert_eq!(ended.code(), Some(0));
        let pid = std::fs::read_to_string(pid).unwrap();
        assert!(!Path::new("/proc").join(pid.trim()).exists(), "Redis runs on");
        assert!(!redis_serves(data.path()).await);
    }

    #[tokio::test]
    async fn whoever_cannot_wait_signals_twice_and_loses_nothing() {
        let data = tempfile::tempdir().unwrap();
        let mut shop = Shop::open(data.path(), []).await;
        shop.pause().await;
        let ann = shop.buyer(1, None);
        assert_eq!(ann.join().await.waiting(), 1);
        let mut slow = TcpStream::connect(&shop.public).await.unwrap();
        let head = "POST /balance HTTP/1.1\r\nHost: usher.test\r\nContent-Type: application/json\r\n\
                    Content-Length: 99\r\nExpect: 100-continue\r\n\r\n";
        slow.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        slow.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 100");

        shop.signal("-TERM").await;
        shop.says("stopping").await;
        shop.signal("-INT").await;
        assert_eq!(shop.end().await.code(), Some(1));

        let shop = Shop::open(data.path(), []).await;
        assert_eq!(shop.buyer(1, Some(ann.token())).poll().await.waiting(), 1);
        shop.stop().await;
    }

    /// What people send stands in the log as a value, if at all: it makes no line and no colour there.
    #[tokio::test]
    async fn the_log_of_a_process_is_its_own() {
        let data = tempfile::tempdir().unwrap();
        let shop = Shop::open(data.path(), [("USHER_LOG", "debug")]).await;
        let public = shop.http();
        let forged = r#"{"level":"ERROR","fields":{"message":"forged"}}"#;
        let headers =
            format!("X-Request-Id: {forged}\r\nUser-Agent: \t{forged}\r\nToken-Auth: {forged}\r\n");
        for path in ["/%0d%0a%1b[31m", "/token/7%0aforged", "/queue", "/token/7?queue=%0d%0aforged"]
        {
            raw_to(&public, request("GET", path, &headers)).await;
        }
        for body in [r#"{"a\nforged\u001b[31m": 1}"#, "{\"user_id\": \"\n\u{85}\u{2028}forged\"}"] {
            public.request("POST", "/balance").body(body).send().await;
        }
        let mut events = 0;
        for line in shop.stop().await.lines() {
            let event: Value =
                serde_json::from_str(line).unwrap_or_else(|_| panic!("no event: {line}"));
            assert_ne!(event["level"], "ERROR", "{line}");
            assert!(!line.contains(|c: char| c.is_control()), "{line:?}");
            events += 1;
        }
        assert!(events > 6, "only {events} events: this log is not that of what was sent");
    }

    #[tokio::test]
    async fn a_gigabyte_is_not_kept() {
        let data = tempfile::tempdir().unwrap();
        let shop = Shop::open(data.path(), []).await;
        let public = shop.http();
        let before = shop.resident_kib();
        let headers = "Content-Type: application/json\r\nContent-Length: 1073741824\r\n";
        let begun = request("POST", "/balance", headers) + &" ".repeat(64 << 20);
        let replies = join_all((0..16).map(|_| raw_to(&public, &begun))).await;
        assert!(replies.iter().all(|reply| reply.status() == 413));
        let more = shop.resident_kib().saturating_sub(before);
        assert!(more < 32 << 10, "{more} KiB more for what is refused");
        shop.stop().await;
    }

    #[tokio::test]
    async fn a_variable_that_is_not_text_is_told_by_name() {
        use std::os::unix::ffi::OsStrExt;

        let data = tempfile::tempdir().unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_usher"))
            .arg("serve")
            .env("USHER_DATA_DIR", data.path())
            .env("USHER_LOG", std::ffi::OsStr::from_bytes(b"\xff"))
            .output();
        let output = output.await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("USHER_LOG is not UTF-8"), "{said}");
    }
}
