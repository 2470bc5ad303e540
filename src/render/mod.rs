//! Templates to messages: the registry, its guard and helpers, links, and one file a channel.

pub mod content;
mod guard;
mod helper;
mod html;
mod link;
mod mark;
mod plaintext;
mod problem;
mod scope;
mod syntax;
mod tag;
