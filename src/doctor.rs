//! `usher doctor`: settings, Redis, the database and their clocks, looked over before people come, and for operators while
//! they do. It leaves no trace: no key, no database, no migration, no server that outlives it.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use comfy_table::Table;
use serde::Serialize;
use tokio::net::UnixStream;
use utoipa::ToSchema;

use crate::clock::{Clock, SKEW_MS_MAX, rfc3339};
use crate::config::{Config, Identity, RedisConfig};
use crate::embedded;
use crate::error::Error;
use crate::redis::Redis;
use crate::sql::{Look, Sql};

/// Scripts with flags came with it.
const REDIS_MAJOR_MIN: u32 = 7;
/// A listener's connections (16,384), and what else the process opens.
const FILES_MIN: u64 = 20_000;

/// Of the 32 bytes of a random key, about 30 are different; of those of a sentence, half.
const DIFFERENT_BYTES_MIN: usize = 16;
/// What nobody may serve with: places would be lost, or seats sold twice.
const FATAL: [&str; 3] = ["clock", "Redis eviction", "database"];

/// One thing that was looked at.
#[derive(Debug, Serialize, ToSchema)]
pub struct Finding {
    pub what: &'static str,
    pub ok: bool,
    pub said: String,
}

impl Finding {
    fn ok(what: &'static str, said: String) -> Self {
        Self { what, ok: true, said }
    }

    fn wrong(what: &'static str, said: String) -> Self {
        Self { what, ok: false, said }
    }

    fn of(what: &'static str, said: Result<String, Error>) -> Self {
        match said {
            Ok(said) => Self::ok(what, said),
            Err(error) => Self::wrong(what, explain(&error)),
        }
    }
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

/// What `usher serve` looks at first. It refuses what is fatal, all of it at once, and warns of the rest. A Redis that
/// is away is no reason to stay away, too.
pub async fn preflight(config: &Config) -> anyhow::Result<()> {
    let mut findings = vec![examine_clock(), examine_keys(config)];
    if let RedisConfig::Url(url) = &config.redis {
        findings.extend(examine_redis(url).await);
    }
    findings.extend(examine_sql(config).await);
    findings.extend(examine_files());
    let wrong = findings.into_iter().filter(|finding| !finding.ok);
    let (fatal, bad): (Vec<_>, Vec<_>) = wrong.partition(|one| FATAL.contains(&one.what));
    for Finding { what, said, .. } in bad {
        tracing::warn!("{what}: {said}");
    }
    let fatal: Vec<_> = fatal.iter().map(|one| format!("{}: {}", one.what, one.said)).collect();
    anyhow::ensure!(fatal.is_empty(), "{}", fatal.join("\n"));
    Ok(())
}

/// Everything that can be known without serving.
pub async fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = vec![Finding::ok("settings", "they hold".to_owned()), examine_clock()];
    findings.extend(config.strays.iter().map(|stray| Finding::wrong("settings", stray.clone())));
    let identity = match &config.auth.identity {
        Identity::Open => "open: every caller is believed (loopback only)".to_owned(),
        Identity::Jwt { key_file, .. } => format!("jwt, keys from {}", key_file.display()),
    };
    let keys = crate::auth::Identities::new(&config.auth.identity);
    findings.push(Finding::of("identity", keys.map(|_| identity)));
    findings.push(examine_keys(config));
    match &config.redis {
        RedisConfig::Private { dir, program } => {
            findings.extend(examine_private_redis(dir, program.as_deref()).await);
        }
        RedisConfig::Url(url) => findings.extend(examine_redis(url).await),
    }
    findings.extend(examine_sql(config).await);
    findings.extend(examine_files());
    findings
}

/// That keys are long enough is a matter of the settings; that they are no words, and that nobody else reads what is
/// kept, is seen here.
fn examine_keys(config: &Config) -> Finding {
    let auth = &config.auth;
    let weak = auth.token_keys.iter().filter(|key| {
        let mut bytes = key.secret.clone();
        bytes.sort_unstable();
        bytes.dedup();
        bytes.len() < DIFFERENT_BYTES_MIN
    });
    let weak = weak.map(|key| format!("the key `{}` is not random", key.kid));
    let kept = ["token.key", "admin.key", "usher.db"].map(|name| config.data_dir.join(name));
    let allows = |path: &Path, whom| {
        std::fs::metadata(path).is_ok_and(|about| about.permissions().mode() & whom != 0)
    };
    let open = kept.iter().chain(&auth.token_key_file).filter(|file| {
        allows(file, 0o077) && file.parent().is_none_or(|directory| allows(directory, 0o011))
    });
    let open = open.map(|file| format!("others may read {}", file.display()));
    let wrong: Vec<_> = weak.chain(open).collect();
    if wrong.is_empty() {
        Finding::ok("keys", "long and random enough, and nobody else's".to_owned())
    } else {
        Finding::wrong("keys", wrong.join("; "))
    }
}

async fn examine_private_redis(dir: &Path, program: Option<&Path>) -> Vec<Finding> {
    let version = embedded::version(program).await;
    let major = |version: &String| version.split('.').next().and_then(|major| major.parse().ok());
    let mut findings = vec![match version {
        Ok(old) if major(&old).is_none_or(|major: u32| major < REDIS_MAJOR_MIN) => {
            let said = format!("version {old}, at least {REDIS_MAJOR_MIN} is needed");
            Finding::wrong("Redis program", said)
        }
        version => {
            Finding::of("Redis program", version.map(|version| format!("version {version}")))
        }
    }];
    findings.push(match try_to_write(dir) {
        Ok(()) => Finding::ok("Redis directory", format!("{} can be written", dir.display())),
        Err(error) => Finding::wrong("Redis directory", format!("{}: {error}", dir.display())),
    });
    match dir.canonicalize() {
        Ok(dir) if UnixStream::connect(embedded::socket(&dir)).await.is_ok() => {
            let said = format!("a server is running here, in {}", dir.display());
            findings.push(Finding::ok("private Redis", said));
            findings.extend(examine_redis(&embedded::url(&dir)).await);
        }
        _ => {
            let said = "not running; `usher serve` starts it".to_owned();
            findings.push(Finding::ok("private Redis", said));
        }
    }
    findings
}

/// Tries a file where the directory is, or would be made.
fn try_to_write(dir: &Path) -> std::io::Result<()> {
    let there = dir.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("."));
    let file = there.join(format!(".usher-doctor-{}", std::process::id()));
    std::fs::File::create_new(&file)?;
    std::fs::remove_file(file)
}

/// A listener that runs out of file descriptors turns people away. The server raises the soft limit to the hard one.
fn examine_files() -> Option<Finding> {
    let (_, limit) = rlimit::Resource::NOFILE.get().ok()?;
    Some(if limit < FILES_MIN {
        let said =
            format!("at most {limit} open files, {FILES_MIN} are needed: raise `ulimit -Hn`");
        Finding::wrong("open files", said)
    } else {
        Finding::ok("open files", format!("at most {limit}"))
    })
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
    findings.push(clock("Redis clock", Clock::system().skew_ms(redis.clock_ms()).await));
    for (what, section, line, good, why) in [
        (
            "Redis eviction",
            "memory",
            "maxmemory_policy",
            "noeviction",
            "any other policy drops people from the line",
        ),
        (
            "Redis persistence",
            "persistence",
            "aof_enabled",
            "1",
            "without `appendonly yes` a restart empties the line",
        ),
    ] {
        findings.push(match redis.info(section, line).await {
            Ok(found) if found == good => Finding::ok(what, format!("{line} {found}")),
            Ok(found) => Finding::wrong(what, format!("{line} is `{found}`, not `{good}`: {why}")),
            Err(error) => Finding::wrong(what, explain(&error)),
        });
    }
    findings
}

async fn examine_sql(config: &Config) -> Vec<Finding> {
    let look = match Sql::look(&config.sql).await {
        Ok(Some(look)) => look,
        Ok(None) => {
            let said = "not there yet; the first start makes it".to_owned();
            return vec![Finding::ok("database", said)];
        }
        Err(error) => return vec![Finding::wrong("database", explain(&error))],
    };
    let Look { is_running, pending, missing, clock_ms } = look;
    let mut findings = vec![if !missing.is_empty() {
        Finding::wrong("database", format!("the schema lacks {}", missing.join(", ")))
    } else if pending > 0 {
        Finding::ok("database", format!("the next start makes {pending} migration(s)"))
    } else {
        Finding::ok("database", "the schema is up to date, with every constraint".to_owned())
    }];
    if is_running {
        findings.push(Finding::ok("instance", "a server is running here".to_owned()));
    }
    findings.push(clock("database clock", Ok(clock_ms - Clock::system().now_ms())));
    findings
}

/// Our own, which turns, holds and tokens go by.
fn examine_clock() -> Finding {
    let clock = Clock::system();
    Finding::of("clock", clock.check().map(|()| rfc3339(clock.now_ms())))
}

fn clock(what: &'static str, skew_ms: Result<i64, Error>) -> Finding {
    match skew_ms {
        Ok(skew_ms) => Finding {
            what,
            ok: skew_ms.abs() <= SKEW_MS_MAX,
            said: format!("{skew_ms} ms from ours, at most {SKEW_MS_MAX}"),
        },
        Err(error) => Finding { what, ok: false, said: explain(&error) },
    }
}

fn explain(error: &Error) -> String {
    let first: &dyn std::error::Error = error;
    let causes = std::iter::successors(Some(first), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
