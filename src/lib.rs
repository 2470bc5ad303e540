//! campaignd delivers campaigns: a template, an audience and a channel become one accountable delivery a recipient.

pub mod model;
pub mod provider;
pub mod render;
pub mod token;
