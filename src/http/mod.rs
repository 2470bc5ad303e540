//! What both HTTP listeners share: the accept loop and the form of an error answer.
//!
//! Knows no route of ours; `track` and the admin API bring their own routers.

pub mod problem;
pub mod server;

pub use problem::Problem;
pub use server::{Limits, serve};

#[cfg(test)]
pub(crate) mod dial;
