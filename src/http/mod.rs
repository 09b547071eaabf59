//! The edge that all features share: who asks, what they sent, how answers and errors look. No feature's rules.

pub mod check;
pub mod connection;
pub mod edge;
pub mod extract;
pub mod figures;
pub mod health;
pub mod json;
pub mod limits;
mod links;
pub mod measure;
pub mod openapi;
pub mod operator;
pub mod page;
mod refusals;
pub mod reply;
