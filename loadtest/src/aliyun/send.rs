//! What a call asks for: the messages of `SendSms` and `SendBatchSms`, and the question of `QuerySendDetails`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Message, Refusal};
use crate::clock::beijing;
use crate::http::form;
use crate::sms::plausible;

/// Numbers in one `SendSms`, and messages in one `SendBatchSms`.
const MOST_NUMBERS: usize = 1000;
const MOST_IN_BATCH: usize = 100;

/// The messages of a call, one a number.
///
/// # Errors
/// The service's code for the first thing that is wrong with the call.
pub(super) fn messages(
    action: &str,
    parameters: &[(String, String)],
    templates: &BTreeMap<String, String>,
) -> Result<Vec<Message>, Refusal> {
    let value = |name: &str| form::value(parameters, name).unwrap_or_default();
    let parts = if action == "SendSms" {
        let numbers: Vec<_> = value("PhoneNumbers").split(',').collect();
        let part = |number: &str| {
            (number.to_owned(), value("SignName").to_owned(), value("TemplateParam").to_owned())
        };
        numbers.into_iter().map(part).collect()
    } else {
        batch(value)?
    };
    let most = if action == "SendSms" { MOST_NUMBERS } else { MOST_IN_BATCH };
    if parts.len() > most {
        return Err(Refusal::service("isv.MOBILE_COUNT_OVER_LIMIT", &format!("more than {most} numbers")));
    }
    let (template_code, out_id) = (value("TemplateCode"), value("OutId"));
    if out_id.len() > 255 {
        return Err(Refusal::service("isv.INVALID_PARAMETERS", "OutId is longer than 255 bytes"));
    }
    let template = templates.get(template_code);
    if template_code.is_empty() || (template.is_none() && !templates.is_empty()) {
        return Err(Refusal::service("isv.SMS_TEMPLATE_ILLEGAL", "该账号下找不到对应模板"));
    }
    parts
        .into_iter()
        .map(|(phone_number, sign_name, template_param)| {
            check(&phone_number, &sign_name, &template_param, template.map(String::as_str))?;
            Ok(Message {
                phone_number,
                sign_name,
                template_code: template_code.to_owned(),
                template_param,
                out_id: out_id.to_owned(),
                biz_id: String::new(),
                sent_at: 0,
                err_code: "DELIVERED".to_owned(),
            })
        })
        .collect()
}

/// Number, signature and parameters of each message in the three arrays.
fn batch<'a>(value: impl Fn(&str) -> &'a str) -> Result<Vec<(String, String, String)>, Refusal> {
    let illegal =
        |name: &str| Refusal::service("isv.INVALID_JSON_PARAM", &format!("{name} is not a JSON array"));
    let texts = |name: &str| serde_json::from_str::<Vec<String>>(value(name)).map_err(|_| illegal(name));
    let (numbers, signs) = (texts("PhoneNumberJson")?, texts("SignNameJson")?);
    let params: Vec<String> = match value("TemplateParamJson") {
        "" => vec![String::new(); numbers.len()],
        json => serde_json::from_str::<Vec<Value>>(json)
            .map_err(|_| illegal("TemplateParamJson"))?
            .iter()
            .map(Value::to_string)
            .collect(),
    };
    if numbers.is_empty() || numbers.len() != signs.len() || numbers.len() != params.len() {
        let message = "PhoneNumberJson, SignNameJson and TemplateParamJson differ in length";
        return Err(Refusal::service("isv.INVALID_PARAMETERS", message));
    }
    Ok(numbers
        .into_iter()
        .zip(signs)
        .zip(params)
        .map(|((number, sign), param)| (number, sign, param))
        .collect())
}

fn check(number: &str, sign_name: &str, param: &str, template: Option<&str>) -> Result<(), Refusal> {
    if !plausible(number) {
        return Err(Refusal::service("isv.MOBILE_NUMBER_ILLEGAL", &format!("{number}invalid mobile number")));
    }
    if sign_name.is_empty() || sign_name.contains(['【', '】']) {
        return Err(Refusal::service("isv.SMS_SIGNATURE_ILLEGAL", "签名不合法"));
    }
    let given: Map<String, Value> = match param {
        "" => Map::new(),
        json => serde_json::from_str(json)
            .map_err(|_| Refusal::service("isv.INVALID_JSON_PARAM", "参数格式错误，请修改为字符串值"))?,
    };
    if let Some((name, _)) = given.iter().find(|(_, value)| !value.is_string()) {
        return Err(Refusal::service("isv.TEMPLATE_PARAMS_ILLEGAL", &format!("{name}: 参数格式错误")));
    }
    let missing = placeholders(template.unwrap_or_default()).find(|name| !given.contains_key(*name));
    match missing {
        Some(name) => Err(Refusal::service(
            "isv.TEMPLATE_MISSING_PARAMETERS",
            &format!("模板变量缺少对应参数值: {name}"),
        )),
        None => Ok(()),
    }
}

/// The names between `${` and `}`.
fn placeholders(template: &str) -> impl Iterator<Item = &str> {
    template.split("${").skip(1).filter_map(|rest| rest.split_once('}').map(|(name, _)| name))
}

/// The text as it goes over the air, where the template is known.
pub(super) fn text(message: &Message, templates: &BTreeMap<String, String>) -> Option<String> {
    let template = templates.get(&message.template_code)?;
    let given: Map<String, Value> = serde_json::from_str(&message.template_param).unwrap_or_default();
    let mut text = format!("【{}】{template}", message.sign_name);
    for (name, value) in &given {
        text = text.replace(&format!("${{{name}}}"), value.as_str().unwrap_or_default());
    }
    Some(text)
}

/// What the service counts towards its caps: messages to a number under a signature and a template.
pub(super) fn cap_key(message: &Message) -> String {
    [&*message.phone_number, &message.sign_name, &message.template_code].join("\n")
}

/// The asked page of what was sent to a number on a day, and how many there are in all.
///
/// # Errors
/// The service's code where the question is incomplete.
pub(super) fn query(
    parameters: &[(String, String)],
    sent: &[Message],
) -> Result<(Vec<Message>, usize), Refusal> {
    let value = |name: &str| form::value(parameters, name).unwrap_or_default();
    let invalid = |name: &str| Refusal::service("isv.INVALID_PARAMETERS", &format!("{name} is not valid"));
    let count =
        |name: &str| value(name).parse::<usize>().ok().filter(|n| *n > 0).ok_or_else(|| invalid(name));
    let (size, page) = (count("PageSize")?, count("CurrentPage")?);
    if size > 50 {
        return Err(invalid("PageSize"));
    }
    let asked = |message: &&Message| {
        message.phone_number == value("PhoneNumber")
            && beijing(message.sent_at, "%Y%m%d") == value("SendDate")
            && [Some(""), Some(&*message.biz_id)].contains(&Some(value("BizId")))
    };
    let all: Vec<_> = sent.iter().rev().filter(asked).cloned().collect();
    let total = all.len();
    Ok((all.into_iter().skip((page - 1) * size).take(size).collect(), total))
}
