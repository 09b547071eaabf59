//! The names of all settings, with their defaults and meanings: what the documents show and the reader accepts.

/// One setting, as the documents list it.
pub struct Setting {
    pub name: &'static str,
    pub default: &'static str,
    pub meaning: &'static str,
}

/// Every setting; a test holds the documents and the reader below against this list.
pub const SETTINGS: &[Setting] = &[
    setting("USHER_LISTEN", "127.0.0.1:8080", "address of the public API"),
    setting("USHER_ADMIN_LISTEN", "127.0.0.1:8081", "address of the operators' API"),
    setting("USHER_ADMIN_KEY", "made once", "bearer key of operators, at least 16 characters"),
    setting(
        "USHER_TOKEN_KEY",
        "made once",
        "base64 of 32 bytes, or `@FILE`: a list of keys with states",
    ),
    setting("USHER_TOKEN_SECONDS", "86400", "life of a queue token"),
    setting("USHER_AUTH", "open on loopback", "`open` or `jwt`: how people prove who they are"),
    setting(
        "USHER_JWT_KEY_FILE",
        "none",
        "PEM public key, HMAC secret or JWKS (`.json`) of the identity provider",
    ),
    setting("USHER_JWT_ALGORITHM", "by the key", "`HS256`, `RS256`, `ES256` or `EdDSA`"),
    setting("USHER_JWT_ISSUER", "any", "required `iss` of identity tokens"),
    setting("USHER_JWT_AUDIENCE", "any", "required `aud` of identity tokens"),
    setting("USHER_REDIS_URL", "a private Redis", "`redis://host:port/db` or `redis+unix:///path`"),
    setting("USHER_REDIS_SERVER", "found in PATH", "program of the private Redis"),
    setting(
        "USHER_DATABASE_URL",
        "SQLite in the data directory",
        "`sqlite://PATH` or `postgres://…`",
    ),
    setting("USHER_DATA_DIR", "./var", "keys, SQLite and the private Redis"),
    setting("USHER_RATE_LIMITS", "on with jwt", "`on` or `off`: limits per user and address"),
    setting(
        "USHER_TRUSTED_PROXIES",
        "none",
        "addresses whose X-Forwarded-For is believed, comma separated",
    ),
    setting(
        "USHER_STOP_DELAY_SECONDS",
        "0",
        "how long it serves on, not ready, when it is told to stop",
    ),
    setting("USHER_POLL_SECONDS_MAX", "30", "the longest poll interval told to a client"),
    setting("USHER_WAITING_MAX", "2000000", "people who may wait in one queue"),
    setting(
        "USHER_TARGETS",
        "none",
        "origins to which the waiting room may send people on, e.g. `https://shop.example`, comma separated",
    ),
    setting("USHER_CURRENCY", "KRW", "ISO 4217 code of all money, for pages"),
    setting(
        "USHER_WEB_DIR",
        "none",
        "a folder whose templates, words and files replace those of the binary",
    ),
    setting("USHER_LOG", "warn,usher=info", "filter of the log, e.g. `usher=debug`"),
    setting(
        "USHER_OTLP_ENDPOINT",
        "none",
        "an OpenTelemetry collector that takes traces over HTTP, e.g. `http://127.0.0.1:4318`",
    ),
    setting("USHER_TRACE_RATIO", "1", "how many of the traces that begin here are told of, 0 … 1"),
    setting(
        "USHER_CONFIG",
        "./usher.toml",
        "the TOML file; keys are these names in lower case without `USHER_`",
    ),
];

const fn setting(name: &'static str, default: &'static str, meaning: &'static str) -> Setting {
    Setting { name, default, meaning }
}

/// Names with our prefix that are no settings of the server: those of `usher ctl` and the scripts, and what Kubernetes
/// and Docker set for a service that is called `usher`.
const NEIGHBOURS: [&str; 4] = ["USHER_ADMIN_URL", "USHER_BIN", "USHER_PORT", "USHER_URL"];
const NEIGHBOURS_PREFIXES: [&str; 3] = ["USHER_PORT_", "USHER_SERVICE_", "USHER_TEST_"];
/// How alike two names are before one is taken for the other's misspelling.
const ALIKE: f64 = 0.9;

/// What to say of a variable that looks like a setting and is none.
pub(super) fn stray(name: &str) -> Option<String> {
    let is_known = SETTINGS.iter().any(|setting| setting.name == name)
        || NEIGHBOURS.contains(&name)
        || NEIGHBOURS_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || cfg!(feature = "broken") && name == "USHER_BROKEN";
    if is_known {
        return None;
    }
    let likeness = |setting: &&Setting| strsim::jaro_winkler(setting.name, name);
    let nearest = SETTINGS.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    let meant = nearest.filter(|setting| likeness(setting) > ALIKE);
    let hint = meant.map(|setting| format!("; is {} meant?", setting.name)).unwrap_or_default();
    Some(format!("{name} is no setting{hint}"))
}
