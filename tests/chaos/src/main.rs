//! Faults against real servers: people buy, machines fail, and a checker reads what happened.

pub mod history;

fn main() {}
