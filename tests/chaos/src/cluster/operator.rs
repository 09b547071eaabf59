//! The operator of a run: makes the queue and the concerts through the operators' API, before anybody comes.

use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use super::server::Server;
use crate::history::Run;
use crate::people::Sale;

const PRICE: i64 = 1_000;
/// A hall that many want, and that is soon sold out.
const SMALL_HALL: i64 = 60;
/// Seats in one row of a large hall.
const PER_ROW: i64 = 100;
const ROWS_MAX: i64 = 900;
const LARGE_HALLS: i64 = 2;

/// A server that stands still answers nobody.
const PATIENCE: Duration = Duration::from_secs(5);

pub struct Operator<'a> {
    pub server: &'a Server,
    pub key: &'a str,
}

impl Operator<'_> {
    /// The line as the run wants it.
    pub async fn tune(&self, run: &Run) -> anyhow::Result<()> {
        let policy = json!({
            "rate_per_second": run.rate_per_second,
            "burst": run.burst,
            "active_max": run.active_max,
            "session_seconds": run.session_ms / 1_000,
            "claim_seconds": run.claim_ms / 1_000,
            "hold_seconds": run.hold_ms / 1_000,
            "seats_per_booking_max": run.seats_per_booking_max,
            "seats_per_user_max": run.seats_per_user_max,
            "mode": "open",
        });
        self.ask("PUT", &format!("/admin/queues/{}/policy", run.queue), &policy).await.map(drop)
    }

    /// A hall that is sold out early, and others with more seats than the run can sell.
    pub async fn announce(&self, run: &Run, seats: i64) -> anyhow::Result<Vec<Sale>> {
        let mut sales = vec![self.hall(run, "small", (1, SMALL_HALL)).await?];
        let rows = (seats / PER_ROW / LARGE_HALLS + 1).min(ROWS_MAX);
        for hall in 1..=LARGE_HALLS {
            sales.push(self.hall(run, &format!("large {hall}"), (rows, PER_ROW)).await?);
        }
        Ok(sales)
    }

    /// How many people wait.
    pub async fn waiting(&self, queue: &str) -> anyhow::Result<i64> {
        let shown = self.ask("GET", &format!("/admin/queues/{queue}"), &Value::Null).await?;
        shown["waiting"].as_i64().context("a queue shows how many wait")
    }

    async fn hall(&self, run: &Run, title: &str, size: (i64, i64)) -> anyhow::Result<Sale> {
        let (rows, per_row) = size;
        let rows: Vec<_> = (1..=rows).map(|row| format!("R{row}")).collect();
        let hall = json!({"rows": &rows, "per_row": per_row});
        let body = json!({
            "title": title,
            "place": "loopback",
            "starts_at": run.began_at_ms / 1_000 + 30 * 86_400,
            "queue": &run.queue,
            "tiers": [{"name": "all", "price": PRICE, "seats": hall}],
        });
        let made = self.ask("POST", "/admin/concerts", &body).await?;
        let concert = made["concert_id"].as_i64().context("a concert has an id")?;
        let in_row =
            |row: &String| (1..=per_row).map(move |seat| format!("{row}-{seat}")).collect();
        let seats: Vec<Vec<String>> = rows.iter().map(in_row).collect();
        Ok(Sale { concert, seats: seats.concat(), price: PRICE })
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
        let url = format!("http://{}{path}", self.server.admin());
        let mut request = reqwest::Client::new()
            .request(method.parse()?, url)
            .bearer_auth(self.key)
            .timeout(PATIENCE);
        if !body.is_null() {
            request = request.json(body);
        }
        let answer = request.send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        anyhow::ensure!(status.is_success(), "{method} {path}: {status} {text}");
        Ok(serde_json::from_str(&text)?)
    }
}
