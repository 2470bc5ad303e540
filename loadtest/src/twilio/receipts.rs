//! The service's calls to the customer: forms, signed.

use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};

use super::{Account, Message};
use crate::callback::{Callback, Post};
use crate::digest::hmac_sha1_base64;
use crate::http::form;
use crate::sms::segments;

/// What the service tells.
#[derive(Debug, Clone)]
pub enum Receipt {
    Status { message: Message, status: &'static str },
    Reply { sid: String, from: String, to: String, body: String },
}

impl Receipt {
    pub(super) fn reply(from: &str, to: &str, body: &str) -> Self {
        let sid = format!("SM{:032x}", fastrand::u128(..));
        Receipt::Reply { sid, from: from.to_owned(), to: to.to_owned(), body: body.to_owned() }
    }

    /// <https://help.twilio.com/articles/223134027>: the words that the service itself acts on.
    pub(super) fn opt_out_type(&self) -> Option<&'static str> {
        let Receipt::Reply { body, .. } = self else { return None };
        match body.trim().to_ascii_uppercase().as_str() {
            "STOP" | "STOPALL" | "UNSUBSCRIBE" | "CANCEL" | "END" | "QUIT" | "REVOKE" | "OPTOUT" => {
                Some("STOP")
            }
            "START" | "YES" | "UNSTOP" => Some("START"),
            "HELP" | "INFO" => Some("HELP"),
            _ => None,
        }
    }

    fn fields<'a>(&'a self, account: &'a Account) -> Vec<(&'static str, String)> {
        let mut fields =
            vec![("AccountSid", account.account_sid.clone()), ("ApiVersion", "2010-04-01".to_owned())];
        match self {
            Receipt::Status { message, status } => {
                fields.extend([
                    ("MessageSid", message.sid.clone()),
                    ("SmsSid", message.sid.clone()),
                    ("MessageStatus", (*status).to_owned()),
                    ("SmsStatus", (*status).to_owned()),
                    ("To", message.to.clone()),
                    ("From", message.from.clone()),
                ]);
                if let (Some(code), "undelivered") = (&message.error_code, *status) {
                    fields.push(("ErrorCode", code.clone()));
                }
            }
            Receipt::Reply { sid, from, to, body } => {
                fields.extend([
                    ("MessageSid", sid.clone()),
                    ("SmsSid", sid.clone()),
                    ("SmsStatus", "received".to_owned()),
                    ("From", from.clone()),
                    ("To", to.clone()),
                    ("Body", body.clone()),
                    ("NumMedia", "0".to_owned()),
                    ("NumSegments", segments(body).to_string()),
                ]);
                fields.extend(self.opt_out_type().map(|kind| ("OptOutType", kind.to_owned())));
            }
        }
        fields
    }
}

/// `X-Twilio-Signature` of a form: <https://www.twilio.com/docs/usage/security#validating-requests>. `url` is whole, as
/// the service was told it.
pub fn signature(auth_token: &str, url: &str, fields: &[(&str, String)]) -> String {
    let mut sorted: Vec<_> = fields.iter().collect();
    sorted.sort_unstable();
    let mut signed = url.to_owned();
    for (key, value) in sorted {
        signed.extend([*key, value]);
    }
    hmac_sha1_base64(auth_token.as_bytes(), signed.as_bytes())
}

/// How the service writes its calls.
#[derive(Debug)]
pub struct Reports {
    account: Account,
}

impl Reports {
    pub(super) fn new(account: Account) -> Self {
        Reports { account }
    }
}

impl Callback for Reports {
    type Receipt = Receipt;

    fn post(&self, url: Option<&str>, receipts: &[Receipt]) -> Option<Post> {
        let receipt = receipts.first()?;
        let url = match receipt {
            Receipt::Status { message, .. } if !message.status_callback.is_empty() => {
                &message.status_callback
            }
            _ => url?,
        };
        let fields = receipt.fields(&self.account);
        let signature = signature(&self.account.auth_token, url, &fields);
        let headers = vec![
            (CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8")),
            (HeaderName::from_static("x-twilio-signature"), HeaderValue::from_str(&signature).ok()?),
        ];
        let body = form::write(fields.iter().map(|(key, value)| (*key, value.as_str())));
        Some(Post { url: url.to_owned(), headers, body: body.into() })
    }

    fn took(&self, status: u16, _: &[u8]) -> bool {
        (200..300).contains(&status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of Twilio's documentation, and one by its own Python library.
    #[test]
    fn forms_sign_as_documented() {
        let fields = [
            ("To", "+18005551212".to_owned()),
            ("CallSid", "CA1234567890ABCDE".to_owned()),
            ("Caller", "+14158675309".to_owned()),
            ("Digits", "1234".to_owned()),
            ("From", "+14158675309".to_owned()),
        ];
        let url = "https://mycompany.com/myapp.php?foo=1&bar=2";
        assert_eq!(signature("12345", url, &fields), "RSOYDt4T1cUTdK1PDd93/VVr8B8=");

        let sid = "SM0123456789abcdef0123456789abcdef";
        let message = Message {
            sid: sid.to_owned(),
            to: "+15558675310".to_owned(),
            from: "+15557122661".to_owned(),
            messaging_service_sid: String::new(),
            body: "x".to_owned(),
            status_callback: "https://cb.example.com/tw?c=1".to_owned(),
            segments: 1,
            sent_at: 0,
            error_code: None,
        };
        let account = Account {
            account_sid: "ACaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".to_owned(),
            auth_token: "test_auth_token".to_owned(),
        };
        let post =
            Reports::new(account).post(None, &[Receipt::Status { message, status: "delivered" }]).unwrap();
        assert_eq!(post.headers[1].1, "3EZuQILYoB77iPO6haRD9p5zRf8=");
    }
}
