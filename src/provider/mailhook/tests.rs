//! The hooks against calls that others signed: the vendors' own libraries, and a simulator with keys of its own.

mod events;
mod ses;
mod signatures;

use bytes::Bytes;
use campaignd_loadtest::mailhooks::Call;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;

use crate::model::Receipt;
use crate::provider::{HookAnswer, HookRefusal, HookRequest};

/// When the captured calls were made.
const SIGNED_AT: i64 = 1_795_219_200;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn request(call: &Call) -> HookRequest {
    let headers: HeaderMap = call
        .headers
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
        .collect();
    HookRequest {
        method: Method::POST,
        tail: String::new(),
        query: String::new(),
        headers,
        body: Bytes::from(call.body.clone()),
        peer: [127, 0, 0, 1].into(),
    }
}

fn receipts(answer: Result<HookAnswer, HookRefusal>) -> Vec<Receipt> {
    answer.unwrap().receipts
}

fn refused(answer: Result<HookAnswer, HookRefusal>) -> u16 {
    answer.unwrap_err().status.as_u16()
}
