//! The crash points that the sources name, and whose turn it is: each is passed as often as any other.

use std::path::Path;

use anyhow::Context;

const CALL: &str = "crash_point!(\"";

/// Every name in the sources, in order and once.
pub fn in_sources(dir: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    let entries = std::fs::read_dir(dir).with_context(|| dir.display().to_string())?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            names.extend(in_sources(&path)?);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            names.extend(in_text(&std::fs::read_to_string(&path)?));
        }
    }
    names.sort();
    names.dedup();
    Ok(names)
}

fn in_text(text: &str) -> impl Iterator<Item = String> {
    text.split(CALL)
        .skip(1)
        .filter_map(|rest| rest.split_once('"'))
        .map(|(name, _)| name.to_owned())
}

/// A line is rebuilt only when it was lost: who waits for such a point wipes Redis.
pub fn needs_wipe(point: &str) -> bool {
    point.starts_with("rebuild.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_between_the_quotes() {
        let text =
            "a(); crash_point!(\"tick.before_commit\"); b();\ncrash_point!(\"pay.unknown\");";
        assert_eq!(in_text(text).collect::<Vec<_>>(), ["tick.before_commit", "pay.unknown"]);
    }

    #[test]
    fn the_sources_have_some_and_each_once() {
        let names =
            in_sources(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../src"))).unwrap();
        assert!(names.iter().any(|name| name.starts_with("tick.")), "{names:?}");
        assert!(names.is_sorted_by(|a, b| a < b));
    }
}
