//! How a script's verdict looks over HTTP.

use hyper::StatusCode;

use super::{Answer, Reply};
use crate::script::Then;

impl Then {
    /// What the client gets before anything is taken; none where the request goes on. A code is the provider's to write.
    pub fn before(&self) -> Option<Reply> {
        match self {
            Then::Status(status) => {
                let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                Some(Answer::status(status).into())
            }
            Then::CutBefore => Some(Reply::Cut),
            Then::Go | Then::Code(_) | Then::CutAfter | Then::CutInAnswer => None,
        }
    }

    /// What is left of the answer once everything is taken.
    pub fn after(&self, answer: Answer) -> Reply {
        match self {
            Then::CutAfter => Reply::Cut,
            Then::CutInAnswer => Reply::CutInAnswer(answer),
            Then::Go | Then::Code(_) | Then::Status(_) | Then::CutBefore => answer.into(),
        }
    }
}
