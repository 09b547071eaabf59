//! What the line keeps in SQL: queues with their policies and schedules, turns, and the audit of what operators did.

mod draw;
mod epochs;
mod grant;
mod queues;
mod schedule;
mod turns;

pub use grant::{Admitted, Batch, Grant, Look};
pub use queues::{Expected, Queue};
pub use turns::{Fate, Totals, Turn};
