//! Provider simulators that speak the real protocols, for tests and for measuring.
//!
//! Imports nothing from campaignd: what it accepts, it accepts on its own reading of the standards.

pub mod faulty_http;
pub mod smtp;
pub mod webhook;
