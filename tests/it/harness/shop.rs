//! The program itself, as a service manager starts it: its settings, its log, its signals.

use std::path::Path;
use std::process::{ExitStatus, Stdio};

use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{Buyer, Http, Operator};

pub const ADMIN_KEY: &str = "the-key-of-the-operators-in-tests-0123456789";

/// `usher serve` on this directory, with these settings and none of the machine's.
pub fn serve<'a>(data: &Path, settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> Child {
    Command::new(env!("CARGO_BIN_EXE_usher"))
        .arg("serve")
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .env("USHER_LISTEN", "127.0.0.1:0")
        .env("USHER_ADMIN_LISTEN", "127.0.0.1:0")
        .env("USHER_ADMIN_KEY", ADMIN_KEY)
        .envs(settings)
        .env("USHER_DATA_DIR", data)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

pub async fn signal(name: &str, pid: impl std::fmt::Display) {
    let sent = Command::new("kill").args([name, &pid.to_string()]).status().await.unwrap();
    assert!(sent.success());
}

/// A process that serves.
pub struct Shop {
    pub process: Child,
    log: UnboundedReceiver<String>,
    pub public: String,
    pub admin: String,
}

impl Shop {
    pub async fn open<'a>(
        data: &Path,
        settings: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Shop {
        Shop::opened(serve(data, settings)).await
    }

    /// One that may open no more files than these.
    pub async fn open_with_files<'a>(
        data: &Path,
        files: u32,
        settings: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Shop {
        let process = serve(data, settings);
        let limit = format!("--nofile={files}:{files}");
        let pid = process.id().unwrap().to_string();
        let set = Command::new("prlimit").args(["--pid", &pid, &limit]).status().await.unwrap();
        assert!(set.success());
        Shop::opened(process).await
    }

    async fn opened(mut process: Child) -> Shop {
        let mut told = BufReader::new(process.stderr.take().unwrap()).lines();
        let (teller, log) = unbounded_channel();
        // A log that nobody reads would hold up the server.
        tokio::spawn(async move {
            while let Some(line) = told.next_line().await.unwrap() {
                let _ = teller.send(line);
            }
        });
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut address = async || {
            let line = lines.next_line().await.unwrap().expect("usher says where it listens");
            line.rsplit_once("http://").unwrap().1.to_owned()
        };
        let (public, admin) = (address().await, address().await);
        Shop { process, log, public, admin }
    }

    pub fn http(&self) -> Http {
        Http::to(self.public.parse().unwrap())
    }

    pub fn buyer(&self, user_id: i64, token: Option<String>) -> Buyer {
        let buyer = Buyer::new(user_id, self.http(), None);
        token.into_iter().for_each(|token| buyer.takes(token));
        buyer
    }

    /// Nobody is let in, so that everybody's place stays what it is.
    pub async fn pause(&self) {
        self.operator().tune("main", json!({"mode": "paused"})).await;
    }

    /// Memory that it has in use, in KiB.
    pub fn resident_kib(&self) -> u64 {
        let about = format!("/proc/{}/status", self.process.id().unwrap());
        let about = std::fs::read_to_string(about).unwrap();
        let line = about.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    pub fn operator(&self) -> Operator {
        Operator::new(Http::to(self.admin.parse().unwrap()), ADMIN_KEY)
    }

    /// Reads the log up to a line that says this; returns what was read.
    pub async fn says(&mut self, what: &str) -> String {
        let mut said = String::new();
        while !said.contains(what) {
            said += &self.log.recv().await.expect("usher runs");
            said.push('\n');
        }
        said
    }

    pub async fn signal(&self, name: &str) {
        signal(name, self.process.id().unwrap()).await;
    }

    pub async fn end(&mut self) -> ExitStatus {
        self.process.wait().await.unwrap()
    }

    /// Stops it; returns what else its log said.
    pub async fn stop(mut self) -> String {
        self.signal("-TERM").await;
        let mut said = String::new();
        while let Some(line) = self.log.recv().await {
            said += &line;
            said.push('\n');
        }
        assert_eq!(self.end().await.code(), Some(0), "{said}");
        said
    }
}
