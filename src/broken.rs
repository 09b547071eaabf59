//! Promises that are broken on purpose, so that load tests can be seen to notice. All of it is there in builds with the
//! feature `broken` and nowhere else: a release cannot be built with it. How each is broken stands beside what keeps it.

use std::sync::LazyLock;

#[cfg(not(debug_assertions))]
compile_error!("the feature `broken` is for load tests: build it with `--profile ci`");

/// What Usher promises, and this process does not keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Nobody is let in before his turn.
    Line,
    /// A booking is paid once.
    Payment,
    /// No more turns at once than the policy allows.
    Cap,
}

static BROKEN: LazyLock<Option<Promise>> =
    LazyLock::new(|| match crate::config::broken()?.as_str() {
        "line" => Some(Promise::Line),
        "payment" => Some(Promise::Payment),
        "cap" => Some(Promise::Cap),
        _ => None,
    });

/// The promise that `USHER_BROKEN` in the environment names: `line`, `payment` or `cap`.
pub fn promise() -> Option<Promise> {
    *BROKEN
}

pub fn is_broken(promise: Promise) -> bool {
    self::promise() == Some(promise)
}
