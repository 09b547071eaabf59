//! The tables as SeaORM sees them. Entities stay inside `sql`: the rules know domain types only.

pub mod account;
pub mod audit;
pub mod booking;
pub mod concert;
pub mod queue;
pub mod schedule;
pub mod seat;
pub mod seat_claim;
pub mod transfer;
pub mod turn;
