//! Every key in Redis: its name, its type, its lifetime. Names are made nowhere else.
//!
//! All keys of a queue, and of the concerts it sells, share one hash tag, so that one script may look at a turn and
//! at the seats, and a cluster keeps them on one node. The installation's name comes first: two databases never meet.
//! No key has a time to live: the rows in SQL say when something is over.

use crate::ids::{ConcertId, QueueName};

/// The names of one queue's keys.
#[derive(Clone, Debug)]
pub struct QueueKeys {
    tag: String,
    /// string: the epoch whose state this is. Absent: there is no state, which is not the same as an empty line.
    pub generation: String,
    /// hash: `n` (arrivals), `serving`, `served`, `tokens`, `last_ms`, `at_ms`, `idle_ms`, `owed`, `pend_at`,
    /// `pend_paid`, `version`, `manual_used`, `tuned_n`, `returned`, `drawing`, `drawn`, `staging`, `pause_until`,
    /// `extended`.
    pub line: String,
    /// zset user → number: who waits.
    pub wait: String,
    /// zset user → number: the batch on its way into SQL.
    pub pend: String,
    /// zset user → the instant at which SQL is asked whether the turn is over.
    pub act: String,
    /// hash user → number, for everybody in `act`.
    pub turns: String,
    /// hash user → the number with which he left a draw that is not opened yet.
    pub left: String,
}

impl QueueKeys {
    pub fn new(installation: &str, queue: &QueueName) -> Self {
        let tag = format!("usher:{installation}:{{q:{queue}}}");
        let key = |name: &str| format!("{tag}:{name}");
        Self {
            generation: key("gen"),
            line: key("line"),
            wait: key("wait"),
            pend: key("pend"),
            act: key("act"),
            turns: key("turns"),
            left: key("left"),
            tag,
        }
    }

    /// hash seat → `user|until_ms` or `sold`: a copy of who has which seat, for saying no quickly.
    pub fn seats(&self, concert: ConcertId) -> String {
        format!("{}:seats:{concert}", self.tag)
    }
}

/// string: proof that the private Redis was stopped cleanly, with every write on disk.
pub fn seal(installation: &str) -> String {
    format!("usher:{installation}:seal")
}
