//! A page of the shop, asked for by curl, which knows its certificates and proxies: how slow it was and how often it
//! failed.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use futures_util::future::join_all;
use reqwest::Url;
use tokio::process::Command;

use super::figures::Since;

/// Asked for so often at a look, all at once.
const ASKED: usize = 5;

/// What the shop did just now. A page that does not come, or is an error, failed; the latency is that of the second
/// slowest, so that one outlier decides nothing.
pub async fn probe(url: &Url, patience: Duration) -> anyhow::Result<Since> {
    let answers = join_all((0..ASKED).map(|_| ask(url, patience))).await;
    let answers = answers.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    let failed = answers.iter().filter(|(status, _)| !(200..400).contains(status)).count();
    let mut seconds: Vec<f64> = answers.iter().map(|(_, seconds)| *seconds).collect();
    seconds.sort_by(f64::total_cmp);
    Ok(Since {
        latency_ms: seconds[ASKED - 2] * 1_000.0,
        errors_percent: failed as f64 * 100.0 / ASKED as f64,
    })
}

/// The status, 0 if none came, and how long it took.
async fn ask(url: &Url, patience: Duration) -> anyhow::Result<(u16, f64)> {
    let patience = patience.as_secs_f64().to_string();
    let said = Command::new("curl")
        .args(["--silent", "--output", "/dev/null", "--write-out", "%{http_code} %{time_total}"])
        .args(["--max-time", &patience, "--url", url.as_str()])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("cannot run curl, which asks for the --probe")?;
    let said = String::from_utf8_lossy(&said.stdout);
    let figures = said
        .split_once(' ')
        .and_then(|(status, seconds)| Some((status.parse().ok()?, seconds.trim().parse().ok()?)));
    figures.with_context(|| format!("curl does not say how long {url} took"))
}
