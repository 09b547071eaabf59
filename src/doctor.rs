//! `usher doctor`: settings, Redis, the database and their clocks, looked over before people come.

use std::io::Write;
use std::path::PathBuf;

use comfy_table::Table;
use serde::Serialize;

use crate::clock::{Clock, SKEW_MS_MAX};
use crate::config::{Config, Identity, RedisConfig};
use crate::error::Error;
use crate::redis::Redis;
use crate::sql::Sql;

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub struct Finding {
    pub what: &'static str,
    pub ok: bool,
    pub said: String,
}

/// Looks everything over, prints it, and fails when something is wrong.
pub async fn run(file: Option<PathBuf>, json: bool) -> anyhow::Result<()> {
    let findings = match Config::look(file.as_deref()) {
        Ok(config) => examine(&config).await,
        Err(problems) => vec![Finding { what: "settings", ok: false, said: problems.to_string() }],
    };
    let mut out = std::io::stdout();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&findings)?)?;
    } else {
        let mut table = Table::new();
        table.set_header(["", "what", "found"]);
        for finding in &findings {
            table.add_row([if finding.ok { "ok" } else { "WRONG" }, finding.what, &finding.said]);
        }
        writeln!(out, "{table}")?;
    }
    let wrong = findings.iter().filter(|finding| !finding.ok).count();
    anyhow::ensure!(wrong == 0, "{wrong} of {} checks found something wrong", findings.len());
    Ok(())
}

/// Everything that can be known without serving.
pub async fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = vec![Finding { what: "settings", ok: true, said: "they hold".to_owned() }];
    let identity = match &config.auth.identity {
        Identity::Open => "open: every caller is believed (loopback only)".to_owned(),
        Identity::Jwt { key_file, .. } => format!("jwt, keys from {}", key_file.display()),
    };
    let keys = crate::auth::Identities::new(&config.auth.identity);
    findings.push(Finding {
        what: "identity",
        ok: keys.is_ok(),
        said: keys.err().map_or(identity, |error| explain(&error)),
    });
    match &config.redis {
        RedisConfig::Private { dir, .. } => {
            let said = format!("private, started by `usher serve` in {}", dir.display());
            findings.push(Finding { what: "Redis", ok: true, said });
        }
        RedisConfig::Url(url) => findings.extend(examine_redis(url).await),
    }
    findings.extend(examine_sql(config).await);
    findings
}

async fn examine_redis(url: &str) -> Vec<Finding> {
    let redis = match Redis::new(url) {
        Ok(redis) => redis,
        Err(error) => return vec![Finding { what: "Redis", ok: false, said: explain(&error) }],
    };
    if let Err(error) = redis.connection().await {
        return vec![Finding { what: "Redis", ok: false, said: explain(&error) }];
    }
    let mut findings =
        vec![Finding { what: "Redis", ok: true, said: "a master; every script loads".to_owned() }];
    findings.push(clock("Redis clock", redis.clock_ms().await));
    for (what, setting, good, why) in [
        (
            "Redis eviction",
            "maxmemory-policy",
            "noeviction",
            "any other policy drops people from the line",
        ),
        ("Redis persistence", "appendonly", "yes", "without it a restart empties the line"),
    ] {
        findings.push(match redis.config(setting).await {
            Ok(found) if found == good => {
                Finding { what, ok: true, said: format!("{setting} {found}") }
            }
            Ok(found) => Finding {
                what,
                ok: false,
                said: format!("{setting} is `{found}`, not `{good}`: {why}"),
            },
            Err(error) => Finding { what, ok: false, said: explain(&error) },
        });
    }
    findings
}

async fn examine_sql(config: &Config) -> Vec<Finding> {
    match Sql::connect(&config.sql).await {
        Ok(sql) => {
            let said = format!("connected, schema up to date, installation {}", sql.installation());
            let findings = vec![
                Finding { what: "database", ok: true, said },
                clock("database clock", sql.clock_ms().await),
            ];
            sql.close().await;
            findings
        }
        Err(error) => vec![Finding { what: "database", ok: false, said: explain(&error) }],
    }
}

fn clock(what: &'static str, theirs: Result<i64, Error>) -> Finding {
    match theirs {
        Ok(theirs) => {
            let skew = theirs - Clock::system().now_ms();
            Finding {
                what,
                ok: skew.abs() <= SKEW_MS_MAX,
                said: format!("{skew} ms from ours, at most {SKEW_MS_MAX}"),
            }
        }
        Err(error) => Finding { what, ok: false, said: explain(&error) },
    }
}

fn explain(error: &Error) -> String {
    let first: &dyn std::error::Error = error;
    let causes = std::iter::successors(Some(first), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
