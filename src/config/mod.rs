//! Settings: read once, from the environment over a TOML file over defaults. The only reader of the environment.
//! What an operator changes while the shop is open is not here: that is policy, and lives in SQL.

mod keys;
mod settings;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::{Format, Serialized, Toml};
use serde::{Deserialize, Serialize};

pub use keys::{KeyState, Secret, TokenKey};
pub use settings::{SETTINGS, Setting};

const PREFIX: &str = "USHER_";
const FILE_DEFAULT: &str = "usher.toml";
/// Libraries tell of their own affairs only when something is wrong.
const LOG_DEFAULT: &str = "warn,usher=info";

/// Everything the server is told at start-up.
#[derive(Clone, Debug)]
pub struct Config {
    pub http: HttpConfig,
    pub redis: RedisConfig,
    pub sql: SqlConfig,
    pub auth: AuthConfig,
    pub queue: QueueConfig,
    pub data_dir: PathBuf,
    /// What the log shows, in the syntax of `tracing`.
    pub log: String,
}

/// Listeners and limits of the edge.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    pub listen: SocketAddr,
    pub admin_listen: SocketAddr,
    /// Whether requests are limited per user and per address.
    pub rate_limits: bool,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpAddr>,
}

/// Which Redis keeps the line.
#[derive(Clone, Debug)]
pub enum RedisConfig {
    /// Somebody else runs it.
    Url(String),
    /// Usher starts and supervises it in the data directory; `None` looks for a program in the search path.
    Private { dir: PathBuf, program: Option<PathBuf> },
}

/// Which database grants turns, seats and money.
#[derive(Clone, Debug)]
pub struct SqlConfig {
    pub url: String,
}

impl SqlConfig {
    /// SQLite is embedded: one instance, one writer.
    pub fn is_sqlite(&self) -> bool {
        self.url.starts_with("sqlite:")
    }
}

/// Keys, and how people prove who they are.
#[derive(Clone, Debug)]
pub struct AuthConfig {
    pub identity: Identity,
    pub token_keys: Vec<TokenKey>,
    pub token_seconds: i64,
    pub admin_key: Secret,
}

/// How the public API knows a person.
#[derive(Clone, Debug)]
pub enum Identity {
    /// The path's user id is believed: loopback only.
    Open,
    /// A bearer token of an identity provider.
    Jwt {
        key_file: PathBuf,
        algorithm: Option<String>,
        issuer: Option<String>,
        audience: Option<String>,
    },
}

/// Bounds of the line that are not policy.
#[derive(Clone, Debug)]
pub struct QueueConfig {
    /// The longest poll interval ever told to a client.
    pub poll_seconds_max: i64,
    /// People who may wait in one queue before it says `queue_full`.
    pub waiting_max: i64,
}

/// The settings as they are written, before they are understood.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Written {
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
    poll_seconds_max: Option<Text>,
    waiting_max: Option<Text>,
    log: Option<String>,
}

/// A number in a file, or text in the environment.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Text {
    Number(i64),
    Text(String),
}

/// Everything that is wrong with the settings, one line each.
#[derive(Debug, thiserror::Error)]
#[error("the settings do not hold:\n  {}", .0.join("\n  "))]
pub struct Problems(Vec<String>);

impl Config {
    /// Reads the process's environment and, if there is one, the file it names.
    pub fn load(file: Option<&Path>) -> Result<Self, Problems> {
        let environment = std::env::vars().filter(|(name, _)| name.starts_with(PREFIX));
        Self::read(file, environment)
    }

    /// Reads settings given by name, as a test or an embedder has them.
    pub fn from_settings(
        settings: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Problems> {
        Self::read(None, settings)
    }

    fn read(
        file: Option<&Path>,
        settings: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Problems> {
        let known: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
        let mut given: std::collections::BTreeMap<String, String> = settings
            .into_iter()
            .filter(|(name, _)| known.contains(&name.as_str()))
            .map(|(name, value)| (name[PREFIX.len()..].to_lowercase(), value))
            .collect();
        let named =
            file.map(Path::to_path_buf).or_else(|| given.remove("config").map(PathBuf::from));
        let mut figment = Figment::new();
        match named {
            Some(path) if !path.is_file() => {
                return Err(Problems(vec![format!(
                    "USHER_CONFIG: there is no file {}",
                    path.display()
                )]));
            }
            Some(path) => figment = figment.merge(Toml::file_exact(path)),
            None if Path::new(FILE_DEFAULT).is_file() => {
                figment = figment.merge(Toml::file_exact(FILE_DEFAULT));
            }
            None => {}
        }
        let written: Written =
            figment.merge(Serialized::defaults(given)).extract().map_err(|error| {
                Problems(error.into_iter().map(|problem| problem.to_string()).collect())
            })?;
        Reader { problems: Vec::new() }.understand(written)
    }
}

/// Understands what was written, and collects what it cannot.
struct Reader {
    problems: Vec<String>,
}

impl Reader {
    fn understand(mut self, written: Written) -> Result<Config, Problems> {
        let log = written.log.clone().unwrap_or_else(|| LOG_DEFAULT.to_owned());
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
        let token_seconds =
            self.number("USHER_TOKEN_SECONDS", written.token_seconds, 86_400, 60..=31_536_000);
        let poll_seconds_max =
            self.number("USHER_POLL_SECONDS_MAX", written.poll_seconds_max, 30, 1..=300);
        let waiting_max =
            self.number("USHER_WAITING_MAX", written.waiting_max, 2_000_000, 1..=100_000_000);
        let sql = self.sql(written.database_url, &data_dir);
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
        let token_keys = keys::token_keys(written.token_key.as_deref(), &data_dir);
        let admin_key = keys::admin_key(written.admin_key.as_deref(), &data_dir);
        match (token_keys, admin_key) {
            (Ok(token_keys), Ok(admin_key)) => Ok(Config {
                http: HttpConfig { listen, admin_listen, rate_limits, trusted_proxies },
                redis,
                sql,
                auth: AuthConfig { identity, token_keys, token_seconds, admin_key },
                queue: QueueConfig { poll_seconds_max, waiting_max },
                data_dir,
                log,
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

    fn sql(&mut self, written: Option<String>, data_dir: &Path) -> SqlConfig {
        let url =
            written.unwrap_or_else(|| format!("sqlite://{}", data_dir.join("usher.db").display()));
        if !["sqlite://", "postgres://", "postgresql://"]
            .iter()
            .any(|scheme| url.starts_with(scheme))
        {
            self.problem("USHER_DATABASE_URL", "begins with `sqlite://` or `postgres://`");
        }
        SqlConfig { url }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(settings: &[(&str, &str)]) -> Result<Config, Problems> {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = ("USHER_DATA_DIR".to_owned(), dir.path().display().to_string());
        let given = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::from_settings(given.chain([data_dir]))
    }

    #[test]
    fn every_problem_is_told_at_once_by_the_name_of_its_setting() {
        let problems =
            read(&[("USHER_LISTEN", "here"), ("USHER_AUTH", "maybe"), ("USHER_WAITING_MAX", "0")])
                .unwrap_err();
        for name in ["USHER_LISTEN", "USHER_AUTH", "USHER_WAITING_MAX"] {
            assert!(problems.to_string().contains(name), "{problems}");
        }
    }

    #[test]
    fn open_is_refused_where_others_could_reach_it() {
        let problems = read(&[("USHER_LISTEN", "0.0.0.0:8080")]).unwrap_err();
        assert!(problems.to_string().contains("USHER_AUTH"), "{problems}");
    }

    #[test]
    fn a_key_that_is_not_given_is_made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let read = || {
            Config::from_settings([("USHER_DATA_DIR".to_owned(), dir.path().display().to_string())])
                .unwrap()
        };
        let (first, second) = (read(), read());
        assert_eq!(first.auth.admin_key.expose(), second.auth.admin_key.expose());
        assert!(!format!("{first:?}").contains(first.auth.admin_key.expose()));
    }

    #[test]
    fn an_unknown_key_in_the_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("usher.toml");
        std::fs::write(&file, "lisen = \"127.0.0.1:1\"\n").unwrap();
        assert!(Config::load(Some(&file)).unwrap_err().to_string().contains("lisen"));
    }
}
