//! Faults against real servers: people buy, machines fail, and a checker reads what happened.

pub mod checker;
pub mod history;
pub mod people;
pub mod proxy;
pub mod recorder;
pub mod rows;

fn main() {}
