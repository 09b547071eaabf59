//! Faults against real servers: people buy, machines fail, and a checker reads what happened.

pub mod history;
pub mod proxy;

fn main() {}
