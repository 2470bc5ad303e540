//! Provider simulators that speak the real protocols, for tests and for measuring.
//!
//! Imports nothing from campaignd: what it accepts, it accepts on its own reading of the standards.

pub mod aliyun;
pub mod apns;
pub mod bearer;
pub mod callback;
pub mod clock;
pub mod digest;
pub mod faulty_http;
pub mod fcm;
pub mod getui;
pub mod http;
pub mod jpush;
pub mod jwt;
pub mod mailhooks;
pub mod quota;
pub mod repeats;
pub mod script;
pub mod sinks;
pub mod smpp;
pub mod sms;
pub mod smtp;
pub mod tally;
pub mod tencent;
pub mod tls;
pub mod twilio;
pub mod webhook;
pub mod wechat;
