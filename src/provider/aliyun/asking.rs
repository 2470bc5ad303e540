//! Asking about messages whose receipts did not come: `QuerySendDetails`, by number and day.
//! <https://help.aliyun.com/document_detail/102352.html>

use std::sync::Arc;

use http::Method;
use jiff::Timestamp;
use serde::Deserialize;
use uuid::Uuid;

use super::Account;
use super::number::written;
use super::signature::Unsigned;
use crate::model::Receipt;
use crate::model::receipt::{About, News};
use crate::provider::http::Client;
use crate::provider::sms::asking::{Ask, Reply};
use crate::provider::sms::beijing::{day, instant};
use crate::provider::sms::{carrier, form, told};
use crate::provider::unheard::Question;

/// Messages of one page: more do not go to a number on a day.
const PAGE: &str = "50";

pub(super) struct Asking {
    account: Arc<Account>,
    client: Client,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    code: String,
    #[serde(default, rename = "SmsSendDetailDTOs")]
    details: Details,
}

#[derive(Default, Deserialize)]
struct Details {
    #[serde(default, rename = "SmsSendDetailDTO")]
    list: Vec<Detail>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Detail {
    /// 1: on its way, 2: failed, 3: delivered.
    send_status: u8,
    #[serde(default)]
    err_code: String,
    #[serde(default)]
    receive_date: String,
    #[serde(default)]
    out_id: String,
}

impl Asking {
    pub(super) fn new(account: Arc<Account>) -> Self {
        let client = Client::new(Arc::clone(&account.endpoint));
        Asking { account, client }
    }
}

impl Ask for Asking {
    async fn ask(&mut self, question: &Question) -> Reply {
        let now = Timestamp::now();
        let query = form([
            ("CurrentPage", "1"),
            ("PageSize", PAGE),
            ("PhoneNumber", &written(&question.to)),
            ("SendDate", &day(question.sent_at)),
        ]);
        let unsigned = Unsigned { action: "QuerySendDetails", query: &query, body: b"" };
        let headers = self.account.signer.headers(&unsigned, now, &Uuid::new_v4().simple().to_string());
        let path = format!("/?{query}");
        let request = self.client.request(Method::POST, &path, headers, bytes::Bytes::new(), || ());
        let Ok(response) = request.await else { return Reply::None };
        match serde_json::from_slice::<Answer>(response.body()) {
            Ok(answer) if answer.code == "OK" => self.reply(question, &answer.details.list, now),
            _ => Reply::None,
        }
    }
}

impl Asking {
    fn reply(&self, question: &Question, details: &[Detail], now: Timestamp) -> Reply {
        let Some(detail) = details.iter().find(|detail| detail.out_id == question.mark) else {
            return Reply::Open(None);
        };
        // As the receipt by itself is known, so that both are one.
        let key = match (&question.reference, self.account.single) {
            (Some(reference), false) => reference.clone(),
            _ => question.delivery.to_string(),
        };
        let receipt = |news: News| Receipt {
            id: super::hook::id(&self.account.name, &key, &detail.err_code, &news),
            about: About::Delivery(question.delivery),
            at: Receipt::happened(instant(&detail.receive_date), now),
            detail: Some(told(&detail.err_code, "")).filter(|detail| !detail.is_empty()),
            news,
        };
        match detail.send_status {
            1 => Reply::Open(question.reference.is_none().then(|| receipt(News::Accepted))),
            status => {
                let news = carrier::news(&self.account.codes, status == 3, &detail.err_code);
                Reply::Ended(news.into_iter().map(receipt).collect())
            }
        }
    }
}
