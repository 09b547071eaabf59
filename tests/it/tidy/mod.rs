//! The house, held against its own rules: these tests read the sources, they start nothing. A rule that a machine
//! checks stays true; a comment made twice in review becomes a test here. No rule of the shop lives in this folder.

mod dependencies;
mod documents;
mod imports;
mod lua;
mod rust;
mod shape;

use std::fmt::Display;
use std::path::Path;

/// One text file of the repository.
pub struct Source {
    /// From the root, with forward slashes.
    pub path: String,
    pub text: String,
}

impl Source {
    /// `lua/queue/join.lua` → `join`.
    pub fn stem(&self) -> &str {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        name.split_once('.').map_or(name, |(stem, _)| stem)
    }
}

/// Whether a path is a place: `src/sql/` is a folder, `*/sql.rs` an ending, `src/error.rs` one file.
pub fn is_in(path: &str, place: &str) -> bool {
    match place.strip_prefix('*') {
        Some(ending) if ending.ends_with('/') => path.contains(ending),
        Some(ending) => path.ends_with(ending),
        None if place.ends_with('/') => path.starts_with(place),
        None => path == place,
    }
}

/// Breaches of one rule, told together: where, and what is wrong there.
#[derive(Default)]
pub struct Breaches(Vec<String>);

impl Breaches {
    pub fn add(&mut self, place: impl Display, what: impl Display) {
        self.0.push(format!("{place}: {what}"));
    }

    pub fn unless(&mut self, holds: bool, place: impl Display, what: impl Display) {
        if !holds {
            self.add(place, what);
        }
    }

    pub fn none(self) {
        let Breaches(breaches) = self;
        assert!(breaches.is_empty(), "the house is untidy:\n  {}", breaches.join("\n  "));
    }
}

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn read(path: &str) -> Source {
    let text = std::fs::read_to_string(root().join(path));
    Source { path: path.to_owned(), text: text.unwrap_or_else(|error| panic!("{path}: {error}")) }
}

/// Every file below these folders that a person wrote and whose name ends so, in the order of their paths.
pub fn sources(folders: &[&str], ending: &str) -> Vec<Source> {
    let mut paths = Vec::new();
    for folder in folders {
        walk(&root().join(folder), &mut paths);
    }
    paths.retain(|path| path.ends_with(ending));
    paths.sort();
    let read = |path: &String| std::fs::read_to_string(root().join(path)).ok();
    paths.iter().filter_map(|path| Some(Source { path: path.clone(), text: read(path)? })).collect()
}

/// Every Rust file.
pub fn rust_sources() -> Vec<Source> {
    sources(&[""], ".rs")
}

/// Build output, run-time files and Git's own are nobody's writing.
fn walk(folder: &Path, paths: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        let below = path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
        if kind.is_file() {
            paths.push(below);
        } else if kind.is_dir()
            && !["target", "var", ".git", "node_modules"].contains(&below.as_str())
        {
            walk(&path, paths);
        }
    }
}

/// The words of a text: runs of letters, digits and `_`.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}
