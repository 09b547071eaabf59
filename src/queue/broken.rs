//! The line and its cap, broken on purpose; `crate::broken` says when.

use super::policy::{Mode, Policy};
use crate::broken::{Promise, is_broken};

/// What a tick goes by whose line is switched off, or who lets twice as many in.
pub(super) fn bent(policy: Policy, cap: i64) -> (Policy, i64) {
    if is_broken(Promise::Line) {
        (Policy { mode: Mode::Passthrough, ..policy }, i64::from(u32::MAX))
    } else if is_broken(Promise::Cap) {
        (policy, 2 * cap)
    } else {
        (policy, cap)
    }
}
