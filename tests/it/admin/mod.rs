//! The admin API over a real PostgreSQL. Each answer is held against the API's own document.

mod api;
mod campaigns;
mod contacts;
mod schema;
