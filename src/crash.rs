//! Crash points: places with a name at which a test lets the process die, as `kill -9` would. They are there in builds
//! with debug assertions and nowhere else; a release holds not even their names.

/// Dies here, if `CRASH_AT` in the environment names this point: `CRASH_AT=pay.after_commit`, or with `:3` at the third time.
#[macro_export]
macro_rules! crash_point {
    ($name:literal) => {
        #[cfg(debug_assertions)]
        $crate::crash::pass($name);
    };
}

/// Somebody passes a point: this is the last he does, if it is the one that was asked for.
#[cfg(debug_assertions)]
pub fn pass(name: &str) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static WANTED: LazyLock<Option<(String, u64)>> = LazyLock::new(|| {
        let wanted = crate::config::crash_at()?;
        let (name, times) = wanted.split_once(':').unwrap_or((&wanted, "1"));
        Some((name.to_owned(), times.parse().ok()?))
    });
    static PASSED: AtomicU64 = AtomicU64::new(0);
    if let Some((wanted, times)) = &*WANTED
        && wanted == name
        && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *times
    {
        std::process::abort();
    }
}
