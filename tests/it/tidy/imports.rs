//! Who may name what: the import table, the arrows between features, and the few that nobody names.

use std::sync::LazyLock;

use super::rust::{Path, modules, paths, take_apart};
use super::{Breaches, Source, is_in, read, sources};

/// A crate, and the only places that may name it.
const IMPORTS: &[(&[&str], &[&str])] = &[
    (
        &["axum", "tower", "tower_service", "tower_layer", "hyper", "hyper_util", "http_body_util"],
        &["*/http.rs", "*/http/", "src/routes.rs", "src/server.rs", "src/bench/load.rs"],
    ),
    (&["cookie", "flate2", "governor", "utoipa_swagger_ui"], &["src/http/", "src/routes.rs"]),
    (&["redis", "deadpool_redis"], &["*/redis.rs", "src/redis/"]),
    (
        &["sea_orm", "sea_orm_migration", "sea_query", "sqlx"],
        &["*/sql.rs", "*/sql/", "migrations/"],
    ),
    (&["migrations"], &["src/sql/"]),
    (&["jsonwebtoken"], &["src/auth/"]),
    // The server keeps the scheduler's handle, to stop it.
    (&["tokio_cron_scheduler"], &["src/housekeeping.rs", "src/server.rs"]),
    (&["figment"], &["src/config/"]),
    (&["rand"], &["src/chance.rs"]),
    // Whoever makes a span asks `telemetry::spans` for it, and knows nothing of collectors.
    (
        &[
            "opentelemetry",
            "opentelemetry_otlp",
            "opentelemetry_sdk",
            "tracing_opentelemetry",
            "tracing_subscriber",
        ],
        &["src/telemetry/"],
    ),
    // The app keeps the handle that renders the figures.
    (&["metrics_exporter_prometheus"], &["src/telemetry/", "src/app.rs"]),
    (&["reqwest"], &["src/ctl/"]),
    // Commands print to people: they may draw tables, and forget which error it was once it is told.
    (&["clap"], &["src/main.rs", "src/ctl/", "src/bench/"]),
    (&["anyhow", "comfy_table"], &["src/main.rs", "src/ctl/", "src/doctor.rs", "src/bench/"]),
    (&["hdrhistogram", "indicatif", "procfs"], &["src/bench/"]),
];

/// Features call only to the right.
const FEATURES: [&str; 4] = ["payment", "booking", "queue", "concert"];

/// Modules that stand above the features: who may look up to them.
const ABOVE: &[(&str, &[&str])] = &[
    ("routes", &["src/server.rs"]),
    ("server", &["src/main.rs"]),
    ("main", &[]),
    ("housekeeping", &["src/server.rs"]),
    (
        "app",
        &[
            "*/http.rs",
            "*/http/",
            "src/routes.rs",
            "src/server.rs",
            "src/housekeeping.rs",
            "src/main.rs",
        ],
    ),
];

/// Modules that everybody may use, and which therefore know nothing of features.
const BELOW: &[&str] = &[
    "src/auth",
    "src/broken",
    "src/chance",
    "src/clock",
    "src/config/",
    "src/crash",
    "src/embedded",
    "src/error",
    "src/ids",
    "src/recent",
    "src/telemetry",
    "src/redis/",
    "src/sql/",
    "migrations/",
];

/// The modules of the crate.
static TOP: LazyLock<Vec<String>> = LazyLock::new(|| {
    let code = take_apart(&read("src/lib.rs").text).code;
    modules(&code).map(str::to_owned).collect()
});

fn house() -> Vec<(Source, Vec<Path>)> {
    let files = sources(&["src", "migrations"], ".rs").into_iter();
    files
        .map(|file| (paths(&take_apart(&file.text).code), file))
        .map(|(paths, file)| (file, paths))
        .collect()
}

/// Where a path leads inside the crate: `super::x` in `src/queue/http.rs` is `queue::x`.
fn inside(file: &Source, path: &Path) -> Option<Vec<String>> {
    let first = path.parts[0].as_str();
    if ["crate", "usher"].contains(&first) {
        return Some(path.parts[1..].to_vec());
    }
    let ups = path.parts.iter().take_while(|part| *part == "super").count();
    let module = file.path.strip_prefix("src/")?.trim_end_matches(".rs").trim_end_matches("/mod");
    let module: Vec<String> = module.split('/').map(str::to_owned).collect();
    let stem = module.len().checked_sub(ups)?;
    let target = [&module[..stem], &path.parts[ups..]].concat();
    // A module inside a file is one step lower than the file: what leads nowhere was said from there.
    let leads = target.first().is_some_and(|top| TOP.iter().any(|module| module == top));
    (ups > 0 && leads).then_some(target)
}

/// `src/queue/sql/turns.rs` → `queue`, `sql`.
fn cell(path: &str) -> (&str, &str) {
    let mut parts = path.trim_start_matches("src/").split(['/', '.']);
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

#[test]
fn every_crate_is_named_only_in_its_cells() {
    let mut breaches = Breaches::default();
    for (file, paths) in house() {
        for path in paths {
            let name = path.parts[0].as_str();
            let rule = IMPORTS.iter().find(|(crates, _)| crates.contains(&name));
            if let Some((_, places)) =
                rule.filter(|(_, places)| !places.iter().any(|place| is_in(&file.path, place)))
            {
                let place = format!("{}:{}", file.path, path.line);
                breaches.add(place, format!("`{name}` belongs to {}", places.join(", ")));
            }
        }
    }
    breaches.none();
}

#[test]
fn only_config_reads_the_environment() {
    let mut breaches = Breaches::default();
    for (file, paths) in house() {
        let reads = |path: &&Path| {
            // Where this very program lies is no setting.
            let parts: Vec<&str> = path.parts.iter().map(String::as_str).collect();
            (parts.starts_with(&["std", "env"]) || parts[0] == "env")
                && parts != ["std", "env", "current_exe"]
        };
        if !is_in(&file.path, "src/config/") {
            for path in paths.iter().filter(reads) {
                breaches.add(
                    format!("{}:{}", file.path, path.line),
                    "the environment is read in src/config/",
                );
            }
            // The command line of operators is another program in the same binary: clap reads its three settings.
            let clap = take_apart(&file.text).code.contains("env = \"\"")
                && !is_in(&file.path, "src/ctl/");
            breaches.unless(!clap, &file.path, "clap reads the environment in src/ctl/ only");
        }
    }
    breaches.none();
}

#[test]
fn features_call_only_to_the_right_and_through_the_front_door() {
    let mut breaches = Breaches::default();
    let place_of = |name: &str| FEATURES.iter().position(|feature| *feature == name);
    for (file, paths) in house() {
        let (home, home_cell) = cell(&file.path);
        for path in &paths {
            let Some(target) = inside(&file, path) else { continue };
            let (Some(to), Some(door)) = (place_of(&target[0]), target.get(1)) else { continue };
            let place = format!("{}:{}", file.path, path.line);
            breaches.unless(
                !BELOW.iter().any(|below| file.path.starts_with(below)),
                &place,
                format!("what everybody uses knows nothing of `{}`", target[0]),
            );
            let Some(from) = place_of(home).filter(|from| *from != to) else { continue };
            breaches.unless(
                from < to,
                &place,
                format!("`{home}` is to the right of `{}`", target[0]),
            );
            // The same cell of the feature to the right may be asked: a transaction, or a script, that spans both
            // belongs to the one that owns the outcome.
            let back_door = ["http", "redis", "sql"].contains(&door.as_str()) && door != home_cell;
            breaches.unless(
                !back_door,
                &place,
                format!("go through `{}`, not `{door}`", target[0]),
            );
        }
    }
    breaches.none();
}

#[test]
fn nobody_looks_up() {
    let mut breaches = Breaches::default();
    for (file, paths) in house() {
        for path in &paths {
            let Some(target) = inside(&file, path) else { continue };
            let above = ABOVE.iter().find(|(name, _)| *name == target[0]);
            if let Some((name, lookers)) = above {
                let allowed = lookers.iter().any(|place| is_in(&file.path, place))
                    || cell(&file.path).0 == *name;
                breaches.unless(
                    allowed,
                    format!("{}:{}", file.path, path.line),
                    format!("nobody here looks up to `{name}`"),
                );
            }
        }
    }
    breaches.none();
}

/// Command lines that speak to a server, and what of the crate they may know: none of it reaches a store.
const CLIENTS: [(&str, &[&str]); 2] = [
    ("src/ctl/", &["ctl", "clock", "config", "error", "ids"]),
    ("src/bench/", &["bench", "clock", "config"]),
];

#[test]
fn command_lines_are_clients_like_any_other() {
    let mut breaches = Breaches::default();
    for (file, paths) in house() {
        let Some((_, known)) = CLIENTS.iter().find(|(home, _)| is_in(&file.path, home)) else {
            continue;
        };
        for path in &paths {
            let Some(target) = inside(&file, path) else { continue };
            let place = format!("{}:{}", file.path, path.line);
            breaches.unless(
                known.contains(&target[0].as_str()),
                place,
                format!("a client speaks HTTP; `{}` is the server's", target[0]),
            );
        }
    }
    breaches.none();
}
