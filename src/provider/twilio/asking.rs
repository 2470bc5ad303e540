//! Asking about messages whose last status did not come: by their SID, or, where the answer that had it was lost, by
//! number, day and text.
//! <https://www.twilio.com/docs/messaging/api/message-resource>

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode};
use jiff::fmt::rfc2822;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use super::Account;
use super::hook::{progress, receipt};
use crate::model::receipt::{About, News};
use crate::provider::http::Client;
use crate::provider::sms::asking::{Ask, Reply};
use crate::provider::sms::form;
use crate::provider::unheard::Question;

/// Between Twilio's clock and ours.
const SLACK: SignedDuration = SignedDuration::from_secs(60);
/// Messages to a number that are looked at.
const PAGE: &str = "100";

pub(super) struct Asking {
    account: Arc<Account>,
    client: Client,
}

#[derive(Deserialize)]
struct List {
    messages: Vec<Found>,
}

#[derive(Deserialize)]
struct Found {
    sid: String,
    status: String,
    error_code: Option<u32>,
    #[serde(default)]
    body: String,
    /// RFC 2822.
    #[serde(default)]
    date_created: String,
}

/// What tells a text from the others to the same number.
pub(super) fn mark(text: &str) -> String {
    hex::encode(&Sha256::digest(text)[..16])
}

impl Asking {
    pub(super) fn new(account: Arc<Account>) -> Self {
        let client = Client::new(Arc::clone(&account.endpoint));
        Asking { account, client }
    }

    async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Option<T> {
        let headers = self.account.headers();
        let response = self.client.request(Method::GET, path, headers, Bytes::new(), || ()).await.ok()?;
        let read = || serde_json::from_slice(response.body()).ok();
        (response.status() == StatusCode::OK).then(read).flatten()
    }

    /// The message that was sent with this text since; none where there are several, since one may be another's.
    async fn find(&mut self, question: &Question) -> Option<Option<Found>> {
        let since = question.sent_at - SLACK;
        let day = since.to_zoned(TimeZone::UTC).strftime("%F").to_string();
        let query = form([("To", question.to.as_str()), ("DateSent>", &day), ("PageSize", PAGE)]);
        let list: List = self.get(&format!("{}?{query}", self.account.path)).await?;
        let is_it = |found: &Found| {
            let created = rfc2822::parse(&found.date_created).ok();
            created.is_some_and(|at| at.timestamp() >= since) && mark(&found.body) == question.mark
        };
        let mut matching = list.messages.into_iter().filter(is_it);
        let first = matching.next();
        Some(first.filter(|_| matching.next().is_none()))
    }
}

impl Ask for Asking {
    async fn ask(&mut self, question: &Question) -> Reply {
        let found = match &question.reference {
            Some(sid) => {
                let path = self.account.path.replace(".json", &format!("/{sid}.json"));
                self.get(&path).await.map(Some)
            }
            None => self.find(question).await,
        };
        match found {
            None => Reply::None,
            Some(None) => Reply::Open(None),
            Some(Some(found)) => self.reply(question, &found),
        }
    }
}

impl Asking {
    fn reply(&self, question: &Question, found: &Found) -> Reply {
        let now = Timestamp::now();
        let code = found.error_code.map(|code| code.to_string());
        let about = About::Delivery(question.delivery);
        let told = |news| receipt(&self.account.name, &found.sid, about.clone(), news, code.as_deref(), now);
        let news = progress(&self.account.codes, &found.status, code.as_deref());
        if news == [News::Accepted] {
            let doubted = question.reference.is_none();
            return Reply::Open(news.into_iter().filter(|_| doubted).map(told).next());
        }
        match news.is_empty() {
            true => Reply::Open(None),
            false => Reply::Ended(news.into_iter().map(told).collect()),
        }
    }
}
