//! What `SendSms` asks for, and what it answers for each number.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Message, Receipt, Refusal};
use crate::clock::beijing;
use crate::sms::plausible;

/// Numbers in one call.
const MOST: usize = 200;
/// Bytes of `SessionContext`.
const MOST_CONTEXT: usize = 512;

/// The messages of a call, one a number.
///
/// # Errors
/// What is wrong with the call as a whole.
pub(super) fn messages(call: &Value) -> Result<Vec<Message>, Refusal> {
    let invalid =
        |name: &str| Refusal::new("InvalidParameter", &format!("{name} is missing or of a wrong type."));
    let texts = |name: &str| match &call[name] {
        Value::Null => Some(Vec::new()),
        value => serde_json::from_value::<Vec<String>>(value.clone()).ok(),
    };
    let numbers = texts("PhoneNumberSet").ok_or_else(|| invalid("PhoneNumberSet"))?;
    let template_params = texts("TemplateParamSet").ok_or_else(|| invalid("TemplateParamSet"))?;
    if numbers.is_empty() {
        return Err(invalid("PhoneNumberSet"));
    }
    if numbers.len() > MOST {
        return Err(Refusal::new("LimitExceeded.PhoneNumberCountLimit", "more than 200 numbers in a call"));
    }
    let domestic = numbers.iter().filter(|number| number.starts_with("+86")).count();
    if domestic != 0 && domestic != numbers.len() {
        let message = "domestic and international numbers in a call";
        return Err(Refusal::new("UnsupportedOperation.ContainDomesticAndInternationalPhoneNumber", message));
    }
    let text = |name: &str| call[name].as_str().unwrap_or_default().to_owned();
    if text("TemplateId").is_empty() {
        return Err(Refusal::new("MissingParameter", "TemplateId is missing."));
    }
    if text("SessionContext").len() > MOST_CONTEXT {
        return Err(invalid("SessionContext"));
    }
    let message = |phone_number| Message {
        phone_number,
        sign_name: text("SignName"),
        template_id: text("TemplateId"),
        template_params: template_params.clone(),
        session_context: text("SessionContext"),
        serial_no: String::new(),
        sent_at: 0,
        description: "DELIVRD".to_owned(),
    };
    Ok(numbers.into_iter().map(message).collect())
}

/// Why the service does not send this message, whatever was sent before.
pub(super) fn wrong(
    message: &Message,
    templates: &BTreeMap<String, String>,
    marketing: bool,
) -> Option<Refusal> {
    if !message.phone_number.starts_with('+') || !plausible(&message.phone_number) {
        return Some(Refusal::new("InvalidParameterValue.IncorrectPhoneNumber", "incorrect phone number"));
    }
    if message.phone_number.starts_with("+86") && message.sign_name.is_empty() {
        let code = "FailedOperation.SignatureIncorrectOrUnapproved";
        return Some(Refusal::new(code, "the signature is not approved"));
    }
    match templates.get(&message.template_id) {
        None if !templates.is_empty() => {
            let code = "FailedOperation.TemplateIncorrectOrUnapproved";
            return Some(Refusal::new(code, "the template is not approved"));
        }
        Some(template) if count(template) != message.template_params.len() => {
            let code = "FailedOperation.TemplateParamSetNotMatchApprovedTemplate";
            return Some(Refusal::new(code, "request content does not match the template content"));
        }
        _ => {}
    }
    let hour: u32 = beijing(message.sent_at, "%H").parse().unwrap_or(0);
    (marketing && !(8..22).contains(&hour)).then(|| {
        let code = "FailedOperation.MarketingSendTimeConstraint";
        Refusal::new(code, "marketing messages go from 8 to 22 o'clock alone")
    })
}

/// How many of `{1}`, `{2}`, ... a template holds.
fn count(template: &str) -> usize {
    (1..).take_while(|number| template.contains(&format!("{{{number}}}"))).count()
}

/// The text as it goes over the air, where the template is known.
pub(super) fn text(message: &Message, templates: &BTreeMap<String, String>) -> Option<String> {
    let mut text = format!("【{}】{}", message.sign_name, templates.get(&message.template_id)?);
    for (index, value) in message.template_params.iter().enumerate() {
        text = text.replace(&format!("{{{}}}", index + 1), value);
    }
    Some(text)
}

/// What the recipient reads, as far as the call says.
pub(super) fn content(message: &Message) -> String {
    [&*message.sign_name, &message.template_id, &message.template_params.join("\n")].join("\n")
}

/// The part of the answer about one number.
pub(super) fn status(message: &Message, parts: u32, refused: Option<&Refusal>) -> Value {
    json!({
        "SerialNo": message.serial_no,
        "PhoneNumber": message.phone_number,
        "Fee": if refused.is_some() { 0 } else { parts },
        "SessionContext": message.session_context,
        "Code": refused.map_or("Ok", |refusal| &refusal.code),
        "Message": refused.map_or("send success", |refusal| &refusal.message),
        "IsoCode": if message.phone_number.starts_with("+86") { "CN" } else { "" },
    })
}

/// The asked page of the statuses of one number.
pub(super) fn by_number(call: &Value, sent: &[Message]) -> Vec<Value> {
    let number = |name: &str, default: u64| call[name].as_u64().unwrap_or(default);
    let within = |at: i64| {
        u64::try_from(at).is_ok_and(|at| (number("BeginTime", 0)..=number("EndTime", u64::MAX)).contains(&at))
    };
    let place = |name: &str, default| usize::try_from(number(name, default)).unwrap_or(usize::MAX);
    sent.iter()
        .filter(|message| call["PhoneNumber"] == message.phone_number.as_str() && within(message.sent_at))
        .skip(place("Offset", 0))
        .take(place("Limit", 100))
        .map(|message| Receipt::Status(message.clone()).pulled())
        .collect()
}
