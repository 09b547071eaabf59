//! Settings: read once, from the environment over a TOML file over defaults. The only reader of the environment.
//! What an operator changes while the shop is open is not here: that is policy, and lives in SQL.

mod keys;
mod reader;
mod settings;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::Figment;
use figment::providers::{Format, Serialized, Toml};

use keys::Keys;
pub use keys::{KeyState, Secret, TokenKey, token_key_list};
use reader::{Reader, Written};
pub use settings::{SETTINGS, Setting};

const PREFIX: &str = "USHER_";
const FILE_DEFAULT: &str = "usher.toml";

/// Everything the server is told at start-up.
#[derive(Clone, Debug)]
pub struct Config {
    pub http: HttpConfig,
    pub redis: RedisConfig,
    pub sql: SqlConfig,
    pub auth: AuthConfig,
    pub queue: QueueConfig,
    pub pages: PagesConfig,
    pub data_dir: PathBuf,
    /// What the log shows, in the syntax of `tracing`.
    pub log: String,
    /// Who is told of spans, if anybody is.
    pub traces: Option<TracesConfig>,
    /// Variables that look like settings and are none, each with what to say of it.
    pub strays: Vec<String>,
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
    /// How long it still takes connections once it is told to stop and is no longer ready.
    pub stop_delay: Duration,
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
    /// The line is in a private Redis, which a second instance could not share.
    pub alone: bool,
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
    /// Where they are, if they may change.
    pub token_key_file: Option<PathBuf>,
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

/// The pages for people.
#[derive(Clone, Debug)]
pub struct PagesConfig {
    /// Origins to which the waiting room may send people on.
    pub targets: Vec<String>,
    /// Of all money, by ISO 4217.
    pub currency: String,
    /// Files that replace those of the binary.
    pub dir: Option<PathBuf>,
}

/// A collector of traces.
#[derive(Clone, Debug)]
pub struct TracesConfig {
    /// Where it takes spans.
    pub endpoint: String,
    /// How many of the traces that begin here are told of, of 1.
    pub ratio: f64,
}

/// Everything that is wrong with the settings, one line each.
#[derive(Debug, thiserror::Error)]
#[error("the settings do not hold:\n  {}", .0.join("\n  "))]
pub struct Problems(Vec<String>);

impl Config {
    /// Reads the process's environment and, if there is one, the file it names.
    pub fn load(file: Option<&Path>) -> Result<Self, Problems> {
        Self::read(file, environment()?, Keys::Make)
    }

    /// Reads the same, and makes nothing: a key that a start would make is one of this moment.
    pub fn look(file: Option<&Path>) -> Result<Self, Problems> {
        Self::read(file, environment()?, Keys::Look)
    }

    /// Reads settings given by name, as a test or an embedder has them.
    pub fn from_settings(
        settings: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Problems> {
        Self::read(None, settings, Keys::Make)
    }

    fn read(
        file: Option<&Path>,
        settings: impl IntoIterator<Item = (String, String)>,
        missing_keys: Keys,
    ) -> Result<Self, Problems> {
        let settings: Vec<_> = settings.into_iter().collect();
        let strays = settings.iter().filter_map(|(name, _)| settings::stray(name)).collect();
        let known: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
        let mut given: std::collections::BTreeMap<String, String> = settings
            .into_iter()
            // A variable that is set to nothing is how many tools unset one.
            .filter(|(name, value)| known.contains(&name.as_str()) && !value.is_empty())
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
        let config = Reader::default().understand(written, missing_keys)?;
        Ok(Self { strays, ..config })
    }
}

/// Where this process is to die, for a test of what is left then.
#[cfg(debug_assertions)]
pub fn crash_at() -> Option<String> {
    std::env::var("CRASH_AT").ok()
}

/// Which promise this process is to break, for a load test that has to notice.
#[cfg(feature = "broken")]
pub fn broken() -> Option<String> {
    std::env::var("USHER_BROKEN").ok()
}

/// The settings of the process's environment, and whatever else has their prefix.
fn environment() -> Result<Vec<(String, String)>, Problems> {
    let (mut settings, mut problems) = (Vec::new(), Vec::new());
    for (name, value) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        match value.into_string() {
            _ if !name.starts_with(PREFIX) => {}
            Ok(value) => settings.push((name, value)),
            Err(_) => problems.push(format!("{name} is not UTF-8")),
        }
    }
    if problems.is_empty() { Ok(settings) } else { Err(Problems(problems)) }
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
    fn traces_go_where_a_collector_takes_them_and_nowhere_by_default() {
        assert!(read(&[("USHER_TRACE_RATIO", "0.5")]).unwrap().traces.is_none());
        for (given, endpoint) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://collector/otlp/", "http://collector/otlp/v1/traces"),
        ] {
            let config = read(&[("USHER_OTLP_ENDPOINT", given)]).unwrap();
            let traces = config.traces.unwrap();
            assert_eq!((traces.endpoint.as_str(), traces.ratio), (endpoint, 1.0));
        }
        for (name, value) in [
            ("USHER_OTLP_ENDPOINT", "127.0.0.1:4318"),
            ("USHER_OTLP_ENDPOINT", "https://collector"),
            ("USHER_TRACE_RATIO", "1.5"),
            ("USHER_TRACE_RATIO", "NaN"),
        ] {
            let problems = read(&[(name, value)]).unwrap_err().to_string();
            assert!(problems.contains(name), "{name}={value}: {problems}");
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
    fn a_variable_that_is_set_to_nothing_is_not_set() {
        let config = read(&[("USHER_LISTEN", ""), ("USHER_REDIS_URL", "")]).unwrap();
        assert_eq!(config.http.listen.port(), 8080);
        assert!(matches!(config.redis, RedisConfig::Private { .. }));
    }

    #[test]
    fn a_mistyped_variable_is_told_by_name_and_a_neighbour_is_not() {
        let config = read(&[
            ("USHER_LISTENN", "127.0.0.1:1"),
            ("USHER_QWZ", "1"),
            ("USHER_TEST_REDIS_URL", "x"),
            ("USHER_ADMIN_URL", "x"),
            ("USHER_PORT_8080_TCP", "x"),
        ]);
        assert_eq!(
            config.unwrap().strays,
            ["USHER_LISTENN is no setting; is USHER_LISTEN meant?", "USHER_QWZ is no setting"]
        );
    }

    #[test]
    fn whoever_only_looks_makes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let settings = [("USHER_DATA_DIR".to_owned(), data.display().to_string())];
        Config::read(None, settings, Keys::Look).unwrap();
        assert!(!data.exists());
    }

    #[test]
    fn an_unknown_key_in_the_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("usher.toml");
        std::fs::write(&file, "lisen = \"127.0.0.1:1\"\n").unwrap();
        assert!(Config::load(Some(&file)).unwrap_err().to_string().contains("lisen"));
    }
}
