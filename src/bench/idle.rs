//! `usher bench idle`: what queues cost that nobody asks for.

use std::time::Duration;

use clap::{Args, value_parser};
use serde::Serialize;
use serde_json::json;
use tokio::time::sleep;

use super::meter::Meter;
use super::progress;
use super::report::{Report, rounded, table};
use super::server::Site;

/// What a server does when it is young is not what it does when nobody comes.
const SETTLING: Duration = Duration::from_secs(3);

#[derive(Debug, Args)]
pub struct Idle {
    /// Queues in the end; `main` is one of them.
    #[arg(long, value_name = "COUNT", default_value_t = 1_000)]
    #[arg(value_parser = value_parser!(u64).range(2..=10_000))]
    queues: u64,
    /// How long nothing is done, with one queue and with all.
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    #[arg(value_parser = value_parser!(u64).range(1..=3_600))]
    seconds: u64,
}

#[derive(Debug, Serialize)]
struct Found {
    queues: u64,
    server_cpu_per_cent: f64,
    redis_cpu_per_cent: f64,
    redis_commands_per_second: f64,
    server_rss_bytes: u64,
}

impl Idle {
    pub async fn measure(&self, site: &mut Site) -> anyhow::Result<Report> {
        let shop = site.open(&[]).await?;
        let mut meter = Meter::new(shop.process()?, shop.redis().await?).await?;
        let about = 2 * (SETTLING + Duration::from_secs(self.seconds));
        let measuring = async {
            let one = self.watch(&mut meter, 1).await?;
            for queue in 1..self.queues {
                shop.operator.make_queue(&format!("idle-{queue}"), &json!({})).await?;
            }
            anyhow::Ok([one, self.watch(&mut meter, self.queues).await?])
        };
        let found = progress::timed("nothing is done", about, measuring).await?;
        let rows = found.iter().map(|found| {
            [
                found.queues.to_string(),
                format!("{:.2} %", found.server_cpu_per_cent),
                format!("{:.2} %", found.redis_cpu_per_cent),
                format!("{:.1}", found.redis_commands_per_second),
                format!("{:.1}", found.server_rss_bytes as f64 / 1_048_576.0),
            ]
        });
        let head = [
            "Queues that nobody asks for",
            "server, of a core",
            "Redis, of a core",
            "Redis commands/s",
            "server RSS MiB",
        ];
        let table = table(head, rows);
        let how = format!("{} s each", self.seconds);
        Report::of(site, &how, &json!({ "idle": found }), &[table], Vec::new())
    }

    async fn watch(&self, meter: &mut Meter, queues: u64) -> anyhow::Result<Found> {
        sleep(SETTLING).await;
        let before = meter.read().await?;
        sleep(Duration::from_secs(self.seconds)).await;
        let spent = meter.read().await?.since(before);
        let seconds = self.seconds as f64;
        let per_cent = |cpu: Duration| rounded(cpu.as_secs_f64() * 100.0 / seconds);
        Ok(Found {
            queues,
            server_cpu_per_cent: per_cent(spent.server_cpu),
            redis_cpu_per_cent: per_cent(spent.redis_cpu),
            redis_commands_per_second: rounded(spent.redis_commands as f64 / seconds),
            server_rss_bytes: meter.server.rss_bytes()?,
        })
    }
}
