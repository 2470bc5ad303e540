//! `/sandbox` on the admin listener: what the sandbox took, for people and for programs.
//!
//! The pages load nothing from elsewhere and run no script but their own; an e-mail is shown in a frame that can neither
//! run scripts nor load images, so that looking at it is no open. Everything that a message brought is escaped.

mod json;
mod pages;
mod routes;

#[cfg(test)]
mod tests;

pub use routes::router;
