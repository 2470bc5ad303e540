//! Who may do what on the admin listener, and the log of who did.
//!
//! A token is 32 random bytes; the store has its hash, a [`Book`] in memory the few that are live, and the [`Guard`]
//! asks that book, so that no request waits for the store. Never keeps, logs or answers a token.

mod attempts;
mod book;
mod credentials;
mod guard;
mod hosts;
mod journal;
mod token;

pub use book::{Book, Keeper};
pub use guard::{Guard, guard};
pub use hosts::Hosts;
pub use journal::record;
pub use token::Token;
