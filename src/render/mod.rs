//! Templates to messages: the registry, its guard and helpers, links, and what each channel makes of it.
//!
//! A *template* is a folder of *texts*, written in Handlebars, for one or more channels and languages. It is
//! *inspected* before it is compiled, *compiled* once, and *rendered* for each recipient. What a recipient's data lacks
//! is an error of that recipient; what a template does wrong is a *problem* of its author's, found when it is loaded.
//! No template and no data can stop the process, take for ever, or make a link lead elsewhere than it says.

pub mod dkim;
mod guard;
mod helper;
mod html;
mod link;
mod manifest;
mod mark;
mod message;
pub mod mime;
mod part;
mod plaintext;
mod problem;
mod registry;
mod scope;
mod sms_rules;
mod syntax;
mod tag;
mod template;
mod writer;

pub use part::{Place, RenderError};
pub use problem::Problem;
pub use registry::Registry;
pub use scope::{Fields, Recipient};
pub use sms_rules::SmsForms;
pub use template::{Renderer, Template, TemplateSource};
pub use writer::Tracking;

#[cfg(test)]
mod tests;
