//! The calls: `SendSms` for one message, `SendBatchSms` for several of one template.

use serde_json::{Value, json};

use super::number::written;
use crate::model::Outcome;
use crate::model::content::SmsTemplate;
use crate::provider::Message;
use crate::provider::sms::{content, form, lacks};

/// What goes out, not yet signed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) action: &'static str,
    pub(super) query: String,
    pub(super) body: String,
    /// What receipts, and answers about the messages, name the call by.
    pub(super) out_id: String,
}

/// # Errors
/// The outcome of a message whose template is not for Aliyun.
pub(super) fn template(message: &Message) -> Result<&SmsTemplate, Outcome> {
    let template = content(message).and_then(|sms| sms.aliyun.as_ref());
    template.ok_or_else(|| lacks("[sms] `aliyun` with `sign_name` and `template_code`"))
}

/// The call for these messages, which share their template's code; none without messages.
pub(super) fn call(messages: &[&Message]) -> Option<Call> {
    let of: Vec<(&Message, &SmsTemplate)> =
        messages.iter().filter_map(|message| Some((*message, template(message).ok()?))).collect();
    let (first, shared) = *of.first()?;
    let key = first.delivery.to_string();
    if let [(message, template)] = of.as_slice() {
        let params = json!(template.params).to_string();
        let query = form([
            ("OutId", key.as_str()),
            ("PhoneNumbers", &written(&message.to)),
            ("SignName", &template.sign_name),
            ("TemplateCode", &template.template_code),
            ("TemplateParam", &params),
        ]);
        return Some(Call { action: "SendSms", query, body: String::new(), out_id: key });
    }
    let list = |value: fn(&(&Message, &SmsTemplate)) -> Value| {
        Value::Array(of.iter().map(value).collect()).to_string()
    };
    let numbers = list(|(message, _)| written(&message.to).into());
    let signs = list(|(_, template)| template.sign_name.as_str().into());
    let params = list(|(_, template)| json!(template.params));
    // No delivery's key: the receipts of all carry the same.
    let out_id = format!("batch-{key}-{}", first.attempt);
    Some(Call {
        action: "SendBatchSms",
        query: form([("OutId", out_id.as_str()), ("TemplateCode", &shared.template_code)]),
        body: form([
            ("PhoneNumberJson", numbers.as_str()),
            ("SignNameJson", &signs),
            ("TemplateParamJson", &params),
        ]),
        out_id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DeliveryKey;
    use crate::provider::sms::pairs;
    use crate::provider::sms::sample::messages;

    #[test]
    fn one_message_names_its_delivery_and_several_do_not() {
        let messages = messages(2);
        let one = call(&[&messages[0]]).unwrap();
        let wanted = [
            ("OutId", "12-1-0"),
            ("PhoneNumbers", "13800000001"),
            ("SignName", "商店"),
            ("TemplateCode", "SMS_1"),
            ("TemplateParam", r#"{"name":"王 *~ 1"}"#),
        ];
        let written = |pairs: Vec<(String, String)>| pairs;
        let owned = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect::<Vec<_>>()
        };
        assert_eq!((one.action, &*one.body), ("SendSms", ""));
        assert_eq!(written(pairs(&one.query).unwrap()), owned(&wanted));

        let both = call(&[&messages[0], &messages[1]]).unwrap();
        assert_eq!(both.action, "SendBatchSms");
        let query = pairs(&both.query).unwrap();
        assert_eq!(query, owned(&[("OutId", "batch-12-1-0-1"), ("TemplateCode", "SMS_1")]));
        assert!(query[0].1.parse::<DeliveryKey>().is_err());
        assert_eq!(
            pairs(&both.body).unwrap(),
            owned(&[
                ("PhoneNumberJson", r#"["13800000001","13800000002"]"#),
                ("SignNameJson", r#"["商店","商店"]"#),
                ("TemplateParamJson", r#"[{"name":"王 *~ 1"},{"name":"王 *~ 2"}]"#),
            ])
        );
        assert_eq!(call(&[]), None);
    }
}
