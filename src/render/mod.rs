//! Templates to messages: the registry, its guard and helpers, links, and one file a channel.

pub mod content;
pub mod mime;
