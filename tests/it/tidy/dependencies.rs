//! The dependency policy: licences, sources, bans, and a reason for each dependency of our own.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

use super::rust::{paths, take_apart};
use super::{Breaches, is_in, read, root, sources};

/// Licences that ask for no more than their own text to travel along.
const LICENCES: [&str; 13] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Zlib",
    // The roots of trust: data, no code.
    "CDLA-Permissive-2.0",
];
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// What the binary does not hold, and why.
const BANNED: [(&str, &str); 10] = [
    ("openssl", "one TLS and one crypto provider: aws-lc-rs"),
    ("openssl-sys", "one TLS and one crypto provider: aws-lc-rs"),
    ("native-tls", "one TLS and one crypto provider: aws-lc-rs"),
    ("ring", "one TLS and one crypto provider: aws-lc-rs"),
    ("async-std", "one runtime: tokio"),
    ("smol", "one runtime: tokio"),
    ("sqlx-mysql", "SQLite and PostgreSQL"),
    ("actix-web", "axum"),
    ("mio-uds", "is unmaintained"),
    ("dotenv", "is unmaintained; settings come from the environment or usher.toml"),
];

/// What only others may bring along.
const NOT_OURS: [(&str, &str); 6] = [
    ("chrono", "`time` tells instants; the scheduler and SeaORM bring their own"),
    ("lazy_static", "std has LazyLock"),
    ("once_cell", "std has OnceLock and LazyLock"),
    ("log", "tracing"),
    ("uuid", "ids are numbers"),
    ("rusqlite", "SQL goes through SeaORM"),
];

/// Crates of which two versions would be two worlds: their types meet ours.
const ONE_VERSION: [&str; 11] = [
    "axum",
    "deadpool-redis",
    "http",
    "hyper",
    "redis",
    "rustls",
    "sea-orm",
    "serde",
    "sqlx",
    "tokio",
    "utoipa",
];

fn metadata() -> Metadata {
    // Locked: a lock file that does not fit the manifests is an error. Offline: what was built is on this machine.
    let options = ["--locked", "--offline"].map(str::to_owned);
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(options)
        .exec()
        .unwrap()
}

fn members(metadata: &Metadata) -> Vec<&Package> {
    metadata
        .packages
        .iter()
        .filter(|package| metadata.workspace_members.contains(&package.id))
        .collect()
}

/// What the binary is linked from, as the features stand, with the versions of each.
fn linked() -> BTreeMap<String, BTreeSet<String>> {
    let tree = std::process::Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["tree", "--locked", "--offline", "--edges", "normal", "--prefix", "none"])
        .output()
        .unwrap();
    let mut linked: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in String::from_utf8(tree.stdout).unwrap().lines() {
        let mut words = line.split(' ').map(str::to_owned);
        if let (Some(name), Some(version)) = (words.next(), words.next()) {
            linked.entry(name).or_default().insert(version);
        }
    }
    linked
}

/// Whether an SPDX expression can be met with the licences of the list.
fn is_allowed(expression: &str) -> bool {
    let old_style = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = old_style.split_whitespace().collect();
    let (allowed, rest) = any_of(&words);
    allowed && rest.is_empty()
}

fn any_of<'a>(words: &'a [&'a str]) -> (bool, &'a [&'a str]) {
    let (mut allowed, mut rest) = all_of(words);
    while let ["OR", after @ ..] = rest {
        let (other, left) = all_of(after);
        (allowed, rest) = (allowed || other, left);
    }
    (allowed, rest)
}

fn all_of<'a>(words: &'a [&'a str]) -> (bool, &'a [&'a str]) {
    let (mut allowed, mut rest) = one(words);
    while let ["AND", after @ ..] = rest {
        let (other, left) = one(after);
        (allowed, rest) = (allowed && other, left);
    }
    (allowed, rest)
}

fn one<'a>(words: &'a [&'a str]) -> (bool, &'a [&'a str]) {
    match words {
        ["(", inner @ ..] => {
            let (allowed, rest) = any_of(inner);
            (allowed, rest.strip_prefix(&[")"]).unwrap_or(rest))
        }
        [licence, "WITH", exception, rest @ ..] => {
            (LICENCES.contains(&format!("{licence} WITH {exception}").as_str()), rest)
        }
        [licence, rest @ ..] => (LICENCES.contains(licence), rest),
        [] => (false, words),
    }
}

#[test]
fn a_licence_expression_is_read_with_its_parentheses() {
    for good in [
        "MIT",
        "GPL-3.0 OR MIT",
        "MIT/Apache-2.0",
        "ISC AND (GPL-2.0 OR ISC)",
        "Apache-2.0 WITH LLVM-exception OR X",
    ] {
        assert!(is_allowed(good), "{good}");
    }
    for bad in [
        "",
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "MIT AND (GPL-2.0 OR X)",
        "(MIT OR ISC) AND GPL-2.0",
        "MIT WITH X",
    ] {
        assert!(!is_allowed(bad), "{bad}");
    }
}

#[test]
fn every_dependency_may_be_shipped_and_comes_from_the_registry() {
    let mut breaches = Breaches::default();
    let metadata = metadata();
    for package in
        metadata.packages.iter().filter(|package| !metadata.workspace_members.contains(&package.id))
    {
        let place = format!("{} {}", package.name, package.version);
        let licence = package.license.as_deref().unwrap_or_default();
        breaches.unless(is_allowed(licence), &place, format!("its licence is `{licence}`"));
        let source = package.source.as_ref().map_or("a path", |source| source.repr.as_str());
        breaches.unless(source == REGISTRY, &place, format!("comes from {source}"));
    }
    for package in members(&metadata) {
        breaches.unless(
            package.publish.as_ref().is_some_and(Vec::is_empty),
            &package.name,
            "says `publish = false`",
        );
    }
    breaches.none();
}

#[test]
fn nothing_banned_is_built_in() {
    let mut breaches = Breaches::default();
    let metadata = metadata();
    let linked = linked();
    assert!(linked.len() > 200, "only {} packages: this test misreads the tree", linked.len());
    for (banned, why) in BANNED {
        breaches.unless(!linked.contains_key(banned), banned, why);
    }
    for package in members(&metadata) {
        for (foreign, why) in NOT_OURS {
            let named = package.dependencies.iter().any(|dependency| dependency.name == foreign);
            breaches.unless(!named, &package.name, format!("depends on {foreign}: {why}"));
        }
    }
    for name in ONE_VERSION {
        let versions = linked.get(name).cloned().unwrap_or_default();
        breaches.unless(
            versions.len() == 1,
            name,
            format!("is built in {} versions: {versions:?}", versions.len()),
        );
    }
    breaches.none();
}

#[test]
fn every_direct_dependency_has_a_reason() {
    let mut breaches = Breaches::default();
    for package in members(&metadata()) {
        let manifest = package.manifest_path.strip_prefix(root()).unwrap().to_string();
        let mut section = "";
        for (number, line) in read(&manifest).text.lines().enumerate() {
            if let Some(name) = line.strip_prefix('[') {
                section = name.trim_end_matches(']');
            } else if section.ends_with("dependencies")
                && section != "workspace.dependencies"
                && line.contains(" = ")
            {
                let reason = line.rsplit_once(" # ").is_some_and(|(_, reason)| reason.len() > 2);
                breaches.unless(
                    reason,
                    format!("{manifest}:{}", number + 1),
                    "a dependency without a reason",
                );
            }
        }
    }
    breaches.none();
}

#[test]
fn every_direct_dependency_is_named_in_code() {
    let mut breaches = Breaches::default();
    for package in members(&metadata()) {
        let folder =
            package.manifest_path.parent().unwrap().strip_prefix(root()).unwrap().to_string();
        let (production, tests) = if folder.is_empty() {
            ("src/".to_owned(), "tests/it/".to_owned())
        } else {
            (format!("{folder}/"), format!("{folder}/"))
        };
        let files = sources(&[""], ".rs")
            .into_iter()
            .filter(|file| is_in(&file.path, &production) || is_in(&file.path, &tests));
        let mut named: BTreeMap<bool, BTreeSet<String>> = BTreeMap::new();
        for file in files {
            let code = take_apart(&file.text).code;
            let roots = paths(&code).into_iter().map(|path| path.parts[0].clone());
            named.entry(is_in(&file.path, &production)).or_default().extend(roots);
        }
        let is_named = |name: &str, in_production: bool| {
            named.get(&in_production).is_some_and(|names| names.contains(name))
        };
        for dependency in &package.dependencies {
            let name = dependency.rename.as_ref().unwrap_or(&dependency.name).replace('-', "_");
            let in_tests = dependency.kind == DependencyKind::Development
                && (is_named(&name, false) || is_named(&name, true));
            breaches.unless(
                is_named(&name, true) || in_tests,
                &dependency.name,
                format!("{} does not name it", package.name),
            );
        }
    }
    breaches.none();
}

#[test]
fn the_lock_file_is_kept() {
    assert!(
        root().join("Cargo.lock").is_file(),
        "Cargo.lock is committed: everybody builds the same"
    );
    let ignored = read(".gitignore").text;
    assert!(
        !ignored.lines().any(|line| line.trim().ends_with("Cargo.lock")),
        "Cargo.lock is not ignored"
    );
}
