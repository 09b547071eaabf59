//! Models of what Usher promises, small enough to look at every state.

pub mod admission;
pub mod selling;
