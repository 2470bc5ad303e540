//! What both HTTP listeners share: the accept loop, the form of an error answer, who asks, what an address may use, the languages of pages.
//!
//! Knows no route of ours; `track` and the admin API bring their own routers.

mod caller;
mod client;
mod language;
mod peers;
pub mod problem;
pub mod server;
mod toll;

pub use client::{client_ip, network_of};
pub use language::Language;
pub use problem::Problem;
pub use server::{Limits, Watch, serve};
pub use toll::Toll;

#[cfg(test)]
pub(crate) mod dial;
