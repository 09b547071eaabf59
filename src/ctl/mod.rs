//! `usher ctl`: the operators' command line over the operators' listener.
//!
//! Lives here: one command from its arguments to what is printed. May not live here: rules of the
//! box office (the server judges every value), and anything that reaches Redis or SQL.
//!
//! `args` is what may be typed, `request` turns it into one HTTP request, `client` sends it,
//! `show` draws tables, `report` a sale. Only `emergency` and `lead` are more than one request.

mod args;
mod client;
mod concert;
mod emergency;
mod lead;
mod report;
mod request;
mod schedule;
mod show;

use std::io::{ErrorKind, Write};

use anyhow::{Context, bail};
use serde_json::Value;

pub use args::Ctl;
use args::{Ask, Command, Output};
use client::{Answer, Api};

/// Carries out one command. The error is one line for stderr: `code: detail` when the server
/// refused.
pub async fn run(ctl: Ctl) -> anyhow::Result<()> {
    let output = ctl.output();
    match &ctl.command {
        Command::Ask(ask) => once(&Api::new(&ctl.reach, client::DEADLINE)?, ask, output).await,
        Command::HoldRate(wish) => lead::run(&Api::new(&ctl.reach, client::DEADLINE)?, wish).await,
        Command::EmergencyPause(wish) => {
            emergency::run(&Api::new(&ctl.reach, emergency::DEADLINE)?, wish).await
        }
    }
}

async fn once(api: &Api, ask: &Ask, output: Output) -> anyhow::Result<()> {
    let answer = api.send(&request::of(ask)?).await?;
    print(&text(ask, output, &answer)?)?;
    match ask {
        Ask::Check => verdict(&json(&answer)?),
        Ask::Report { html, .. } => {
            let report = json(&answer)?;
            if let Some(file) = html {
                report::write(file, &report)?;
            }
            verdict(&report["check"])
        }
        _ => Ok(()),
    }
}

fn text(ask: &Ask, output: Output, answer: &Answer) -> anyhow::Result<String> {
    Ok(match output {
        Output::Json => answer.body.clone(),
        Output::Etag => answer.etag.clone().context("the server sent no ETag")?,
        Output::Table => show::answer(ask, &json(answer)?, answer.etag.as_deref()),
    })
}

fn json(answer: &Answer) -> anyhow::Result<Value> {
    if answer.body.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(&answer.body)
        .context("the answer is not JSON; is --url the operators' listener?")
}

/// A check that finds something fails the command, so that a script can stop on it.
fn verdict(report: &Value) -> anyhow::Result<()> {
    let checks = report["checks"].as_array().map(Vec::as_slice).unwrap_or_default();
    let broken: Vec<&str> = checks
        .iter()
        .filter(|check| check["violations"].as_u64() != Some(0))
        .filter_map(|check| check["id"].as_str())
        .collect();
    if !broken.is_empty() {
        bail!("violations_found: {}", broken.join(", "));
    }
    if report["ok"] != true {
        bail!("check_failed: the server does not call the check passed");
    }
    Ok(())
}

/// What the server says nothing to is done. A reader that has seen enough (`usher ctl … | head`) is not an error.
fn print(text: &str) -> anyhow::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.context("cannot write to stdout"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::verdict;

    #[test]
    fn a_clean_report_passes() {
        verdict(&json!({"ok": true, "checks": [{"id": "S1", "what": "…", "violations": 0}]}))
            .unwrap();
    }

    #[test]
    fn a_violation_fails_and_is_named() {
        let checks = json!([{"id": "S1", "violations": 0}, {"id": "M3", "violations": 2}]);
        let report = json!({"ok": false, "checks": checks});
        assert_eq!(verdict(&report).unwrap_err().to_string(), "violations_found: M3");
    }

    #[test]
    fn a_report_that_is_not_ok_fails_without_checks_too() {
        verdict(&json!({"ok": false, "checks": []})).unwrap_err();
        verdict(&json!({"checks": []})).unwrap_err();
    }
}
