//! What both HTTP listeners share: the accept loop, the form of an error answer, who asks, the languages of pages.
//!
//! Knows no route of ours; `track` and the admin API bring their own routers.

mod caller;
mod client;
mod language;
pub mod problem;
pub mod server;

pub use client::client_ip;
pub use language::Language;
pub use problem::Problem;
pub use server::{Limits, serve};

#[cfg(test)]
pub(crate) mod dial;
