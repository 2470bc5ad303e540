//! Receipts and replies that wait at Tencent Cloud to be fetched, each once: `PullSmsSendStatus` and
//! `PullSmsReplyStatus`, which the provider opens to those who ask for it.
//! <https://cloud.tencent.com/document/product/382/55977>, <https://cloud.tencent.com/document/product/382/55978>

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;
use tracing::warn;

use super::Account;
use super::told::{Reply, Status, replied, reported};
use crate::model::receipt::About;
use crate::model::{DeliveryKey, Receipt};
use crate::provider::http::Client;
use crate::provider::sms;

/// Of one call.
const MOST: usize = 100;
/// Between two calls, where more waits: a tenth of what the provider allows.
const EACH: Duration = Duration::from_millis(100);

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Pull<'a> {
    limit: usize,
    sms_sdk_app_id: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Envelope {
    response: Answer,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    error: Option<Refusal>,
    #[serde(default)]
    pull_sms_send_status_set: Vec<PulledStatus>,
    #[serde(default)]
    pull_sms_reply_status_set: Vec<PulledReply>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Refusal {
    code: String,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PulledStatus {
    /// Seconds since 1970.
    #[serde(default)]
    user_receive_time: i64,
    serial_no: String,
    report_status: String,
    /// The carrier's code.
    #[serde(default)]
    description: String,
    #[serde(default)]
    session_context: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PulledReply {
    phone_number: String,
    #[serde(default)]
    reply_content: String,
    /// Seconds since 1970.
    #[serde(default)]
    reply_time: i64,
}

/// Fetches `every` so often. Comes back when the provider refuses, to be called again after a while.
pub(super) async fn pull(account: &Arc<Account>, every: Duration) {
    let mut client = Client::new(Arc::clone(&account.endpoint));
    loop {
        for action in ["PullSmsSendStatus", "PullSmsReplyStatus"] {
            loop {
                sleep(EACH).await;
                match fetch(account, &mut client, action).await {
                    Ok((fetched, told)) => {
                        for receipt in told {
                            account.receipts.bring(receipt).await;
                        }
                        if fetched < MOST {
                            break;
                        }
                    }
                    Err(why) => {
                        warn!(provider = account.name, why, "{action} fetched nothing; trying again");
                        return;
                    }
                }
            }
        }
        sleep(every).await;
    }
}

/// One call: how many entries came, and what they tell.
async fn fetch(
    account: &Account,
    client: &mut Client,
    action: &str,
) -> Result<(usize, Vec<Receipt>), String> {
    let now = Timestamp::now();
    let asked = Pull { limit: MOST, sms_sdk_app_id: &account.sdk_app_id };
    let body = serde_json::to_vec(&asked).unwrap_or_default();
    let headers = account.signer.headers(action, &body, now);
    let response = client.request(Method::POST, "/", headers, body.into(), || ()).await;
    let response = response.map_err(|no_answer| format!("{no_answer:?}"))?;
    let Ok(Envelope { response: answer }) = serde_json::from_slice(response.body()) else {
        return Err(format!("HTTP {}", response.status()));
    };
    if let Some(Refusal { code, message }) = answer.error {
        return Err(sms::told(&code, &message));
    }
    let fetched = answer.pull_sms_send_status_set.len() + answer.pull_sms_reply_status_set.len();
    let statuses = answer.pull_sms_send_status_set.iter().flat_map(|pulled| {
        let status = Status {
            about: about(account, pulled),
            serial_no: &pulled.serial_no,
            at: at(pulled.user_receive_time),
            success: pulled.report_status == "SUCCESS",
            code: &pulled.description,
            words: "",
        };
        reported(&account.name, &account.codes, &status, now)
    });
    let replies = answer.pull_sms_reply_status_set.iter().filter_map(|pulled| {
        let reply =
            Reply { number: &pulled.phone_number, text: &pulled.reply_content, time: pulled.reply_time };
        replied(&account.name, &reply, now)
    });
    Ok((fetched, statuses.chain(replies).collect()))
}

/// The delivery, where the call that sent it carried one message: also of one whose answer was lost.
fn about(account: &Account, pulled: &PulledStatus) -> About {
    let reference = || About::reference(&account.name, &pulled.serial_no);
    pulled.session_context.parse::<DeliveryKey>().map_or_else(|_| reference(), About::Delivery)
}

fn at(seconds: i64) -> Option<Timestamp> {
    Timestamp::from_second(seconds).ok().filter(|_| seconds > 0)
}
