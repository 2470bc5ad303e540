//! What both HTTP listeners share: the accept loop, the form of an error answer, the languages of pages.
//!
//! Knows no route of ours; `track` and the admin API bring their own routers.

mod language;
pub mod problem;
pub mod server;

pub use language::Language;
pub use problem::Problem;
pub use server::{Limits, serve};

#[cfg(test)]
pub(crate) mod dial;
