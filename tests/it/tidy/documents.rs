//! What is written for people, held against what the program does: settings, routes, and names of files.

use std::collections::BTreeSet;

use usher::config::SETTINGS;
use utoipa::OpenApi;

use super::{Breaches, is_in, read, root, sources, words};

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

fn settings() -> BTreeSet<&'static str> {
    SETTINGS.iter().map(|setting| setting.name).collect()
}

/// One row a setting, its name in backticks in the first cell.
#[test]
fn the_documented_settings_are_the_settings() {
    let mut breaches = Breaches::default();
    let operations = read("docs/OPERATIONS.md");
    let row = |line: &str| Some(line.strip_prefix("| `USHER_")?.split_once("` |")?.0.to_owned());
    let rows: Vec<String> =
        operations.text.lines().filter_map(row).map(|name| format!("USHER_{name}")).collect();
    let documented: BTreeSet<&str> = rows.iter().map(String::as_str).collect();
    breaches.unless(documented.len() == rows.len(), &operations.path, "a setting has two rows");
    for name in settings().symmetric_difference(&documented) {
        breaches.add(&operations.path, format!("{name} is a setting or has a row, but not both"));
    }
    breaches.none();
}

/// A setting that a page names is one, or is read by the command line of operators, a script or a test.
#[test]
fn no_page_speaks_of_a_setting_that_is_none() {
    let mut breaches = Breaches::default();
    let is_name = |word: &&str| word.starts_with("USHER_") && word.len() > "USHER_".len();
    let readers = sources(&["src/ctl", "scripts", "tests"], "");
    let mut known: BTreeSet<&str> =
        readers.iter().flat_map(|file| words(&file.text)).filter(is_name).collect();
    known.extend(settings());
    let pages = sources(&["docs", "deploy", "lua", "load-tests"], "")
        .into_iter()
        .chain(sources(&[""], "README.md"));
    for page in pages {
        for (number, line) in page.text.lines().enumerate() {
            for name in words(line).filter(is_name).filter(|name| !known.contains(name)) {
                breaches
                    .add(format!("{}:{}", page.path, number + 1), format!("{name} is no setting"));
            }
        }
    }
    breaches.none();
}

/// `usher_waiting` in a text that measures, whatever a histogram makes of it.
fn metrics(text: &str) -> BTreeSet<String> {
    let names = text.split(|c: char| !c.is_ascii_lowercase() && c != '_');
    let plain = |name: &str| {
        let ends = ["_bucket", "_sum", "_count"];
        ends.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name).to_owned()
    };
    names.filter(|name| name.starts_with("usher_")).map(plain).collect()
}

#[test]
fn every_metric_that_is_drawn_or_wakes_somebody_is_there() {
    let mut breaches = Breaches::default();
    let operations = read("docs/OPERATIONS.md").text;
    let rows = operations.lines().filter(|line| line.starts_with("| `usher_"));
    let documented: BTreeSet<String> =
        rows.filter_map(|row| row.split('`').nth(1)).map(str::to_owned).collect();
    let told: String = sources(&["src"], ".rs").into_iter().map(|file| file.text).collect();
    for name in &documented {
        breaches.unless(
            told.contains(&format!("\"{name}\"")),
            "docs/OPERATIONS.md",
            format!("{name} is never told"),
        );
    }
    for file in
        ["deploy/grafana/usher.json", "deploy/prometheus/alerts.yml", "deploy/prometheus/tests.yml"]
    {
        let used = metrics(&read(file).text);
        assert!(used.len() >= 5, "{file}: this test misreads it");
        for name in used.difference(&documented) {
            breaches.add(file, format!("{name} is no metric of ours"));
        }
    }
    breaches.none();
}

/// What people look at, and what their browsers need for it.
const PAGES: [&str; 6] =
    ["/wait/", "/buy/", "/assets/", "/admin", "/admin/desk/", "/admin/session"];

/// `get /token/{userId}`, as `routes.rs` has it.
fn routes() -> BTreeSet<String> {
    let text = read("src/routes.rs").text;
    let mut routes = BTreeSet::new();
    for call in text.split(".route(").skip(1) {
        let mut depth = 1;
        let end = call.find(|c| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            depth == 0
        });
        let call = &call[..end.expect("parentheses are closed")];
        let path = call.split('"').nth(1).expect("a route has a path");
        // The same route without its last part exists to say which id is missing; a page is for people.
        if path.ends_with('/') || PAGES.iter().any(|page| is_in(path, page)) {
            continue;
        }
        let begins = |method: &&str| {
            let opening = format!("{method}(");
            call.match_indices(&opening)
                .any(|(at, _)| !call[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
        };
        routes.extend(
            METHODS.iter().filter(|method| begins(method)).map(|method| format!("{method} {path}")),
        );
    }
    routes
}

#[test]
fn the_openapi_document_has_every_route_and_no_other() {
    let mut breaches = Breaches::default();
    let document = serde_json::to_value(usher::http::openapi::Document::openapi()).unwrap();
    let mut documented = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let methods = METHODS.iter().filter(|method| item.get(**method).is_some());
        documented.extend(methods.map(|method| format!("{method} {path}")));
    }
    let routes = routes();
    assert!(
        routes.len() > 25,
        "only {} routes were found: this test misreads src/routes.rs",
        routes.len()
    );
    for route in routes.difference(&documented) {
        breaches.add("src/http/openapi.rs", format!("does not describe {route}"));
    }
    for route in documented.difference(&routes) {
        breaches.add("src/routes.rs", format!("does not serve {route}"));
    }
    breaches.none();
}

/// A file that a page points at exists: links of Markdown that stay in the repository.
#[test]
fn every_link_to_a_file_leads_somewhere() {
    let mut breaches = Breaches::default();
    for page in sources(&[""], ".md") {
        let folder = page.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for link in page.text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            let outside =
                file.is_empty() || file.contains("://") || file.contains(char::is_whitespace);
            let there = outside || root().join(folder).join(file).exists();
            breaches.unless(there, &page.path, format!("links to `{link}`, which does not exist"));
        }
    }
    breaches.none();
}
