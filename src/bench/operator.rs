//! The operator of a bench: makes queues and concerts, sets their policy and looks at them, over the operators' API.

use std::net::SocketAddr;

use anyhow::Context;
use serde::Deserialize;
use serde_json::{Value, json};

use super::http::Door;

/// When the concerts of a bench begin: in 2100, after every bench.
const STARTS_AT: u64 = 4_102_444_800;

/// Who may do everything.
#[derive(Clone)]
pub struct Operator(Door);

/// A queue as operators see it, as far as it matters here.
#[derive(Clone, Debug, Deserialize)]
pub struct Queue {
    pub state: String,
    pub waiting: u64,
    pub admitted_total: u64,
    /// Instant of the last batch.
    pub last_admitted_at: Option<String>,
}

/// What the checker found in the rows.
#[derive(Debug, Deserialize)]
pub struct Check {
    checks: Vec<Invariant>,
    queues: Vec<Peak>,
}

#[derive(Debug, Deserialize)]
struct Invariant {
    id: String,
    what: String,
    violations: u64,
}

/// The cap of a queue, and the most turns that were ever open at once.
#[derive(Debug, Deserialize)]
pub struct Peak {
    name: String,
    pub active_max: u64,
    pub active_peak: u64,
}

impl Operator {
    pub fn at(address: SocketAddr, key: &str) -> anyhow::Result<Self> {
        Ok(Self(Door::of_operators(address, key)?))
    }

    pub async fn queue(&self, name: &str) -> anyhow::Result<Queue> {
        self.0.ask(&format!("GET /admin/queues/{name}"), None, None).await?.json()
    }

    pub async fn make_queue(&self, name: &str, policy: &Value) -> anyhow::Result<()> {
        let asked = format!("POST /admin/queues/{name}");
        self.0.ask(&asked, None, Some(policy)).await?.json::<Value>().map(drop)
    }

    /// Changes some of a policy.
    pub async fn tune(&self, name: &str, policy: &Value) -> anyhow::Result<()> {
        let asked = format!("PATCH /admin/queues/{name}/policy");
        self.0.ask(&asked, None, Some(policy)).await?.json::<Value>().map(drop)
    }

    pub async fn announce_draw(&self, queue: &str) -> anyhow::Result<()> {
        let asked = format!("POST /admin/queues/{queue}/draw");
        self.0.ask(&asked, None, None).await?.json::<Value>().map(drop)
    }

    /// A hall of one tier with so many seats, `1`, `2` and so on; the id of its concert.
    pub async fn make_concert(&self, queue: &str, seats: u64, price: u64) -> anyhow::Result<u64> {
        #[derive(Deserialize)]
        struct Made {
            concert_id: u64,
        }
        let seats: Vec<String> = (1..=seats).map(|seat| seat.to_string()).collect();
        let concert = json!({
            "title": "A bench", "place": "This machine", "starts_at": STARTS_AT, "queue": queue,
            "tiers": [{ "name": "all", "price": price, "seats": seats }],
        });
        let made = self.0.ask("POST /admin/concerts", None, Some(&concert)).await?;
        made.json().map(|Made { concert_id }| concert_id)
    }

    pub async fn seats_sold(&self, concert_id: u64) -> anyhow::Result<u64> {
        #[derive(Deserialize)]
        struct Concert {
            seats_sold: u64,
        }
        let asked = format!("GET /admin/concerts/{concert_id}");
        let concert = self.0.ask(&asked, None, None).await?.json();
        concert.map(|Concert { seats_sold }| seats_sold)
    }

    pub async fn check(&self) -> anyhow::Result<Check> {
        self.0.ask("GET /admin/check", None, None).await?.json()
    }
}

impl Check {
    /// The invariants that do not hold.
    pub fn broken(&self) -> Vec<String> {
        let violated = self.checks.iter().filter(|check| check.violations > 0);
        violated
            .map(|Invariant { id, what, violations }| {
                format!("violated {violations} times: {id}: {what}")
            })
            .collect()
    }

    pub fn peak(&self, queue: &str) -> anyhow::Result<&Peak> {
        let peak = self.queues.iter().find(|peak| peak.name == queue);
        peak.with_context(|| format!("the check does not tell of the queue {queue}"))
    }
}

impl Peak {
    /// What is wrong with it.
    pub fn broken(&self) -> Option<String> {
        let Self { name, active_max, active_peak } = self;
        (active_peak > active_max).then(|| {
            format!("{active_peak} turns at once in the queue {name}, which allows {active_max}")
        })
    }
}
