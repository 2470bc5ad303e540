//! For tests: text messages.

use crate::model::content::{SmsContent, SmsTemplate, TencentTemplate};
use crate::model::{CampaignNo, ContactNo, Content, DeliveryKey, Outcome, Purpose, Reason};
use crate::provider::{Body, Message, Permit};

/// With a text and templates of both kinds.
pub(in crate::provider) fn message(number: i64, to: &str) -> Message {
    let params = [("name".to_owned(), format!("王 *~ {number}"))].into();
    let content = SmsContent {
        text: Some(format!("Hello & bye +{number} 你好")),
        aliyun: Some(SmsTemplate { sign_name: "商店".into(), template_code: "SMS_1".into(), params }),
        tencent: Some(TencentTemplate {
            sign_name: "商店".into(),
            template_id: "1110".into(),
            params: vec!["春".into(), "20 %".into()],
        }),
    };
    Message {
        delivery: DeliveryKey { campaign: CampaignNo(12), contact: ContactNo(number), occurrence: 0 },
        attempt: 1,
        campaign: "spring".into(),
        purpose: Purpose::Marketing,
        to: to.to_owned(),
        unsubscribe: None,
        body: Body::Content(Content::Sms(content)),
        permit: Permit::default(),
    }
}

/// To Chinese numbers, each another.
pub(in crate::provider) fn messages(count: i64) -> Vec<Message> {
    (1..=count).map(|number| message(number, &format!("+86138{number:08}"))).collect()
}

/// The content of `message`, to be changed.
pub(in crate::provider) fn sms(message: &mut Message) -> &mut SmsContent {
    match &mut message.body {
        Body::Content(Content::Sms(sms)) => sms,
        other => panic!("{other:?}"),
    }
}

/// Labels and reasons, which is what the ledger keeps.
pub(in crate::provider) fn verdicts(outcomes: &[Outcome]) -> Vec<(&'static str, Option<Reason>)> {
    outcomes.iter().map(|outcome| (outcome.as_str(), outcome.reason())).collect()
}
