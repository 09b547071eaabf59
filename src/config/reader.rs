//! What was written, understood: each setting's default, bounds and form, and every problem told together.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::Url;

use super::keys::{self, Keys};
use super::{
    AuthConfig, Config, HttpConfig, Identity, PagesConfig, Problems, QueueConfig, RedisConfig,
    SqlConfig, TracesConfig,
};

/// Libraries tell of their own affairs only when something is wrong.
const LOG_DEFAULT: &str = "warn,usher=info";

/// The settings as they are written, before they are understood.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Written {
    listen: Option<String>,
    admin_listen: Option<String>,
    admin_key: Option<String>,
    token_key: Option<String>,
    token_seconds: Option<Text>,
    auth: Option<String>,
    jwt_key_file: Option<String>,
    jwt_algorithm: Option<String>,
    jwt_issuer: Option<String>,
    jwt_audience: Option<String>,
    redis_url: Option<String>,
    redis_server: Option<String>,
    database_url: Option<String>,
    data_dir: Option<String>,
    rate_limits: Option<String>,
    trusted_proxies: Option<String>,
    stop_delay_seconds: Option<Text>,
    poll_seconds_max: Option<Text>,
    waiting_max: Option<Text>,
    targets: Option<String>,
    currency: Option<String>,
    web_dir: Option<String>,
    log: Option<String>,
    otlp_endpoint: Option<String>,
    trace_ratio: Option<Fraction>,
}

/// A number in a file, or text in the environment.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Text {
    Number(i64),
    Text(String),
}

/// The same of a number that need not be whole.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Fraction {
    Number(f64),
    Text(String),
}

/// Understands what was written, and collects what it cannot.
#[derive(Default)]
pub(super) struct Reader {
    problems: Vec<String>,
}

impl Reader {
    pub(super) fn understand(
        mut self,
        written: Written,
        missing_keys: Keys,
    ) -> Result<Config, Problems> {
        let data_dir = PathBuf::from(written.data_dir.as_deref().unwrap_or("var"));
        let listen = self.address("USHER_LISTEN", written.listen.as_deref(), "127.0.0.1:8080");
        let admin_listen =
            self.address("USHER_ADMIN_LISTEN", written.admin_listen.as_deref(), "127.0.0.1:8081");
        let identity = self.identity(&written, listen);
        let rate_limits = match written.rate_limits.as_deref() {
            None => matches!(identity, Identity::Jwt { .. }),
            Some("on") => true,
            Some("off") => false,
            Some(_) => {
                self.problem("USHER_RATE_LIMITS", "is `on` or `off`");
                false
            }
        };
        let trusted_proxies = self.addresses(written.trusted_proxies.as_deref());
        let stop_delay =
            self.number("USHER_STOP_DELAY_SECONDS", written.stop_delay_seconds, 0, 0..=300);
        let http = HttpConfig {
            listen,
            admin_listen,
            rate_limits,
            trusted_proxies,
            stop_delay: Duration::from_secs(stop_delay.unsigned_abs()),
        };
        let token_seconds =
            self.number("USHER_TOKEN_SECONDS", written.token_seconds, 86_400, 60..=31_536_000);
        let poll_seconds_max =
            self.number("USHER_POLL_SECONDS_MAX", written.poll_seconds_max, 30, 1..=300);
        let waiting_max =
            self.number("USHER_WAITING_MAX", written.waiting_max, 2_000_000, 1..=100_000_000);
        let pages = PagesConfig {
            targets: self.origins(written.targets.as_deref()),
            currency: self.currency(written.currency),
            dir: written.web_dir.map(PathBuf::from),
        };
        let traces = self.traces(written.otlp_endpoint.as_deref(), written.trace_ratio);
        let sql = self.sql(written.database_url, &data_dir, written.redis_url.is_none());
        let redis = match written.redis_url {
            Some(url) => RedisConfig::Url(url),
            None => RedisConfig::Private {
                dir: data_dir.join("redis"),
                program: written.redis_server.map(PathBuf::from),
            },
        };
        if matches!(redis, RedisConfig::Url(_)) && written.token_key.is_none() {
            self.problem(
                "USHER_TOKEN_KEY",
                "is required with USHER_REDIS_URL: every instance must sign with the same key",
            );
        }
        if !self.problems.is_empty() {
            return Err(Problems(self.problems));
        }
        let token_keys = keys::token_keys(written.token_key.as_deref(), &data_dir, missing_keys);
        let admin_key = keys::admin_key(written.admin_key.as_deref(), &data_dir, missing_keys);
        match (token_keys, admin_key) {
            (Ok((token_keys, token_key_file)), Ok(admin_key)) => Ok(Config {
                http,
                redis,
                sql,
                auth: AuthConfig { identity, token_keys, token_key_file, token_seconds, admin_key },
                queue: QueueConfig { poll_seconds_max, waiting_max },
                pages,
                data_dir,
                log: written.log.unwrap_or_else(|| LOG_DEFAULT.to_owned()),
                traces,
                strays: Vec::new(),
            }),
            (keys, key) => Err(Problems(keys.err().into_iter().chain(key.err()).collect())),
        }
    }

    /// Notes a problem and goes on, so that all problems are told together.
    fn problem(&mut self, name: &str, what: &str) {
        self.problems.push(format!("{name} {what}"));
    }

    fn address(&mut self, name: &str, written: Option<&str>, default: &str) -> SocketAddr {
        let text = written.unwrap_or(default);
        text.parse().unwrap_or_else(|_| {
            self.problems
                .push(format!("{name} is an address and a port, such as {default}, not `{text}`"));
            SocketAddr::from(([127, 0, 0, 1], 0))
        })
    }

    /// Origins as browsers write them, so that comparing them is comparing text.
    fn origins(&mut self, written: Option<&str>) -> Vec<String> {
        let mut origins = Vec::new();
        let items = written.unwrap_or_default().split(',').map(str::trim);
        for text in items.filter(|item| !item.is_empty()) {
            match Url::parse(text) {
                Ok(url) if ["http", "https"].contains(&url.scheme()) && url.path() == "/" => {
                    origins.push(url.origin().ascii_serialization());
                }
                _ => self
                    .problem("USHER_TARGETS", "is a list of origins like `https://shop.example`"),
            }
        }
        origins
    }

    fn currency(&mut self, written: Option<String>) -> String {
        let currency = written.unwrap_or_else(|| "KRW".to_owned());
        if currency.len() != 3 || !currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
            self.problem("USHER_CURRENCY", "is a code of ISO 4217 like `KRW`");
        }
        currency
    }

    fn addresses(&mut self, written: Option<&str>) -> Vec<IpAddr> {
        let items =
            written.unwrap_or_default().split(',').map(str::trim).filter(|item| !item.is_empty());
        let parsed: Result<Vec<IpAddr>, _> = items.map(str::parse).collect();
        parsed.unwrap_or_else(|_| {
            self.problem("USHER_TRUSTED_PROXIES", "is a list of addresses, separated by commas");
            Vec::new()
        })
    }

    fn number(
        &mut self,
        name: &str,
        written: Option<Text>,
        default: i64,
        range: std::ops::RangeInclusive<i64>,
    ) -> i64 {
        let value = match written {
            None => Some(default),
            Some(Text::Number(number)) => Some(number),
            Some(Text::Text(text)) => text.parse().ok(),
        };
        value.filter(|value| range.contains(value)).unwrap_or_else(|| {
            self.problem(
                name,
                &format!("is a whole number from {} to {}", range.start(), range.end()),
            );
            default
        })
    }

    fn identity(&mut self, written: &Written, listen: SocketAddr) -> Identity {
        match (written.auth.as_deref(), &written.jwt_key_file) {
            (None | Some("open"), _) if !listen.ip().is_loopback() => self.problem(
                "USHER_AUTH",
                "must be `jwt`: `open` believes every caller and is for loopback addresses only",
            ),
            (None | Some("open"), _) => (),
            (Some("jwt"), None) => {
                self.problem("USHER_JWT_KEY_FILE", "is required with USHER_AUTH=jwt");
            }
            (Some("jwt"), Some(key_file)) => {
                return Identity::Jwt {
                    key_file: PathBuf::from(key_file),
                    algorithm: written.jwt_algorithm.clone(),
                    issuer: written.jwt_issuer.clone(),
                    audience: written.jwt_audience.clone(),
                };
            }
            (Some(_), _) => self.problem("USHER_AUTH", "is `open` or `jwt`"),
        }
        Identity::Open
    }

    fn traces(&mut self, endpoint: Option<&str>, ratio: Option<Fraction>) -> Option<TracesConfig> {
        let ratio = match ratio {
            None => Some(1.0),
            Some(Fraction::Number(number)) => Some(number),
            Some(Fraction::Text(text)) => text.parse().ok(),
        };
        let ratio = ratio.filter(|ratio| (0.0..=1.0).contains(ratio));
        if ratio.is_none() {
            self.problem("USHER_TRACE_RATIO", "is a number from 0 to 1");
        }
        let endpoint = endpoint.and_then(|text| match Url::parse(text) {
            Ok(url) if url.scheme() == "http" && url.query().is_none() => {
                Some(format!("{}/v1/traces", url.as_str().trim_end_matches('/')))
            }
            _ => {
                self.problem("USHER_OTLP_ENDPOINT", "is an address like `http://127.0.0.1:4318`");
                None
            }
        });
        Some(TracesConfig { endpoint: endpoint?, ratio: ratio? })
    }

    fn sql(&mut self, written: Option<String>, data_dir: &Path, alone: bool) -> SqlConfig {
        let url =
            written.unwrap_or_else(|| format!("sqlite://{}", data_dir.join("usher.db").display()));
        if !["sqlite://", "postgres://", "postgresql://"]
            .iter()
            .any(|scheme| url.starts_with(scheme))
        {
            self.problem("USHER_DATABASE_URL", "begins with `sqlite://` or `postgres://`");
        }
        SqlConfig { url, alone }
    }
}
