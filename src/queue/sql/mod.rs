//! What the line keeps in SQL: queues with their policies, turns, and the audit of what operators did.

mod queues;
mod turns;

pub use queues::{Expected, Queue};
pub use turns::{Admitted, Batch, Fate, Grant, Look, Totals, Turn};
