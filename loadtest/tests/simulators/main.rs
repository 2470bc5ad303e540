//! The simulators as clients see them: official clients' captured requests, and what the providers do out of the ordinary.

mod aliyun;
mod smpp;
mod tencent;
mod twilio;
mod wechat;
mod wire;

/// Midnight of 2026-11-21 in UTC, when most captures were made.
const CAPTURED: i64 = 1_795_219_200;
