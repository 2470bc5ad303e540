//! What the push services have in common: one request a message, many at once, all under one bearer token.
//!
//! A chunk goes out together. Messages whose token the service no longer takes go out once more under a new one, and
//! a second refusal is the account's. Knows no service's format and no error table.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Method, Response, header};
use jiff::Timestamp;

use super::credential::{Credential, Issuer};
use super::http::{self as http1, NoAnswer};
use super::http2::{self, Post};
use super::{Body, Message, Session};
use crate::model::content::PushContent;
use crate::model::{Content, Outcome, Reason};

/// Bytes of a notification at most, by both FCM and APNs.
pub(super) const MAX_PAYLOAD: usize = 4_096;

/// One push service's account.
pub(super) trait Service: Send + Sync + 'static {
    /// Gives the value of `Authorization`.
    type Tokens: Issuer<Value = HeaderValue>;

    fn tokens(&self) -> &Credential<Self::Tokens>;

    /// The request, without its token.
    ///
    /// # Errors
    /// `Rejected`, where the service would not take the message in any case.
    fn post(&self, message: &Message, push: &PushContent, now: Timestamp) -> Result<Post, Outcome>;

    /// What the answer to this message means.
    fn verdict(&self, message: &Message, response: &Response<Bytes>, now: Timestamp) -> Verdict;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Settled(Outcome),
    /// Not taken, and the connection with it is to be replaced.
    Leave(Outcome),
    /// The token is of no use any more. The detail says what to check where a new one is refused too.
    Refresh(String),
}

/// The connection that requests go over.
pub(super) enum Wire {
    /// One request after the other.
    Http1(Box<http1::Client>),
    Http2(http2::Client),
}

impl Wire {
    async fn ready(&mut self) -> Result<(), Outcome> {
        match self {
            Wire::Http1(client) => client.ready().await,
            Wire::Http2(client) => client.ready().await,
        }
    }

    fn close(&mut self) {
        match self {
            Wire::Http1(client) => client.close(),
            Wire::Http2(client) => client.close(),
        }
    }

    async fn post(
        &mut self,
        posts: &[Post],
        left: &(dyn Fn(usize) + Sync),
    ) -> Vec<Result<Response<Bytes>, NoAnswer>> {
        let client = match self {
            Wire::Http2(client) => return client.post(posts, left).await,
            Wire::Http1(client) => client,
        };
        let mut answers = Vec::with_capacity(posts.len());
        for (n, post) in posts.iter().enumerate() {
            let Post { path, headers, body } = post.clone();
            answers.push(client.request(Method::POST, &path, headers, body, || left(n)).await);
        }
        answers
    }
}

/// One connection of an account.
pub(super) struct PushSession<S> {
    service: Arc<S>,
    wire: Wire,
}

impl<S: Service> PushSession<S> {
    pub(super) fn new(service: Arc<S>, wire: Wire) -> Self {
        PushSession { service, wire }
    }

    /// Sends those of `messages` that `posts` has requests for. Returns the positions whose token was refused, each with
    /// what to check.
    async fn round(
        &mut self,
        messages: &[Message],
        posts: &[(usize, Post)],
        token: &HeaderValue,
        outcomes: &mut [Outcome],
    ) -> Vec<(usize, String)> {
        let signed: Vec<Post> = posts
            .iter()
            .map(|(_, post)| {
                let mut post = post.clone();
                post.headers.insert(header::AUTHORIZATION, token.clone());
                post
            })
            .collect();
        let answers = self.wire.post(&signed, &|n| messages[posts[n].0].permit.spend()).await;
        let (now, mut refused) = (Timestamp::now(), Vec::new());
        for ((n, _), answer) in posts.iter().zip(answers) {
            outcomes[*n] = match answer.map(|response| self.service.verdict(&messages[*n], &response, now)) {
                Ok(Verdict::Settled(outcome)) => outcome,
                Ok(Verdict::Leave(outcome)) => {
                    self.wire.close();
                    outcome
                }
                Ok(Verdict::Refresh(detail)) => {
                    refused.push((*n, detail));
                    continue;
                }
                Err(no_answer) => no_answer.into(),
            };
        }
        refused
    }
}

#[async_trait]
impl<S: Service> Session for PushSession<S> {
    async fn ready(&mut self) -> Result<(), Outcome> {
        self.service.tokens().get().await?;
        self.wire.ready().await
    }

    async fn send(&mut self, messages: &[Message]) -> Vec<Outcome> {
        let mut outcomes = vec![Outcome::Returned; messages.len()];
        let token = match self.service.tokens().get().await {
            Ok(token) => token,
            Err(outcome) => {
                outcomes.iter_mut().take(1).for_each(|first| *first = outcome.clone());
                return outcomes;
            }
        };
        let now = Timestamp::now();
        let mut posts = Vec::with_capacity(messages.len());
        for (n, message) in messages.iter().enumerate() {
            match content(message).and_then(|push| self.service.post(message, push, now)) {
                Ok(post) => posts.push((n, post)),
                Err(outcome) => outcomes[n] = outcome,
            }
        }
        let refused = self.round(messages, &posts, &token.value, &mut outcomes).await;
        if refused.is_empty() {
            return outcomes;
        }
        posts.retain(|(n, _)| refused.iter().any(|(refused, _)| refused == n));
        match self.service.tokens().renew(&token).await {
            Ok(token) => {
                for (n, detail) in self.round(messages, &posts, &token.value, &mut outcomes).await {
                    outcomes[n] = Outcome::AccountRefused { detail };
                }
            }
            Err(outcome) => outcomes[posts[0].0] = outcome,
        }
        outcomes
    }

    async fn close(&mut self) {
        self.wire.close();
    }
}

fn content(message: &Message) -> Result<&PushContent, Outcome> {
    match &message.body {
        Body::Content(Content::Push(push)) => Ok(push),
        Body::Content(_) | Body::Email(_) => Err(Outcome::Failed {
            reason: Reason::RenderError,
            detail: "the message is none for the channel push".to_owned(),
        }),
    }
}

/// # Errors
/// `Rejected`, when the notification is longer than the services take.
pub(super) fn within_limit(payload: &[u8]) -> Result<(), Outcome> {
    if payload.len() <= MAX_PAYLOAD {
        return Ok(());
    }
    let detail = format!("the notification has {} bytes, at most {MAX_PAYLOAD}", payload.len());
    Err(Outcome::Rejected { reason: Reason::MessageRefused, detail })
}

/// The service's words without the recipient's token.
pub(super) fn told(words: &str, message: &Message) -> String {
    super::detail::masked(&words.replace(message.to.as_str(), "***"))
}
