//! Every test that needs a running server, in one binary: one link step, one set of servers.
//!
//! Read `harness/mod.rs` first, then any story. The servers come from the environment; `scripts/test` starts them.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it stands")]

mod harness;

mod bad_input;
mod bench;
mod booking;
mod concert;
mod contract;
mod ctl;
mod desk;
mod discretion;
mod doctor;
mod draw;
mod examples;
mod fifo;
mod identity;
mod lua;
mod openapi;
mod operators;
mod outage;
mod pages;
mod payment;
mod process;
mod queue;
mod races;
mod rebuild;
mod restart;
mod rolling;
mod rotation;
mod schedule;
mod tidy;
mod together;
mod traces;
mod tune;
mod verify;
