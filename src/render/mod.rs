//! Templates to messages: the registry, its guard and helpers, links, and one file a channel.

pub mod content;
mod guard;
mod helper;
mod mark;
mod problem;
mod scope;
mod syntax;
mod tag;
