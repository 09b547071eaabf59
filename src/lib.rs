//! Usher: a virtual waiting room and box office in one binary.
//!
//! The law over all: **Redis may refuse; only SQL may grant.** The modules, in reading order:

/// Holds and sales.
pub mod booking;
/// The catalogue and what is left of it.
pub mod concert;
/// What people see: templates, words and files, filled with what the features know.
pub mod pages;
/// Balances and money.
pub mod payment;
/// Join, poll, admit, leave; policy.
pub mod queue;
/// THE route table.
pub mod routes;

/// The long-lived things.
pub mod app;
/// Queue tokens and identities.
pub mod auth;
/// What a request costs.
pub mod bench;
/// Promises that a load test is to see broken.
#[cfg(feature = "broken")]
pub mod broken;
/// Randomness.
pub mod chance;
/// Time.
pub mod clock;
/// Settings.
pub mod config;
/// Where a test lets the process die.
pub mod crash;
/// The operators' command line.
pub mod ctl;
/// Settings and machines, looked over before a start.
pub mod doctor;
/// The private Redis.
pub mod embedded;
/// The one error.
pub mod error;
/// Jobs by the clock.
pub mod housekeeping;
/// The edge that all features share.
pub mod http;
/// Names and numbers of the domain.
pub mod ids;
/// Answers that may be a moment old.
pub mod recent;
/// Connections and scripts.
pub mod redis;
/// Listeners and loops.
pub mod server;
/// The database.
pub mod sql;
/// Logs, figures and traces.
pub mod telemetry;
/// Requests that share calls.
pub mod together;
