//! The mark on a message that its service echoes in every event: whose delivery it is.

use crate::config::MailHookSettings;
use crate::model::DeliveryKey;

/// The name of our value at the services.
pub(super) const NAME: &str = "campaignd_delivery";
/// The same at Postmark, where names of headers carry it: at most 20 characters.
pub(super) const POSTMARK_NAME: &str = "campaignd-delivery";

/// Which headers the account's service reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label(Service);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Service {
    Ses { configuration_set: Option<String> },
    SendGrid,
    Mailgun,
    Postmark,
}

impl Label {
    pub fn new(settings: &MailHookSettings) -> Self {
        Label(match settings {
            MailHookSettings::Ses(ses) => Service::Ses { configuration_set: ses.configuration_set.clone() },
            MailHookSettings::SendGrid { .. } => Service::SendGrid,
            MailHookSettings::Mailgun { .. } => Service::Mailgun,
            MailHookSettings::Postmark { .. } => Service::Postmark,
        })
    }

    /// The headers of the delivery's message: <https://docs.aws.amazon.com/ses/latest/dg/event-publishing-send-email.html>,
    /// <https://www.twilio.com/docs/sendgrid/for-developers/sending-email/building-an-x-smtpapi-header>,
    /// <https://documentation.mailgun.com/docs/mailgun/user-manual/sending-messages/send-smtp>,
    /// <https://postmarkapp.com/support/article/1125-custom-metadata-faq>.
    pub fn headers(&self, delivery: DeliveryKey) -> Vec<(&'static str, String)> {
        match &self.0 {
            Service::Ses { configuration_set } => {
                let tags = ("X-SES-MESSAGE-TAGS", format!("{NAME}={delivery}"));
                let set = configuration_set.clone().map(|set| ("X-SES-CONFIGURATION-SET", set));
                set.into_iter().chain([tags]).collect()
            }
            Service::SendGrid => {
                vec![("X-SMTPAPI", format!(r#"{{"unique_args":{{"{NAME}":"{delivery}"}}}}"#))]
            }
            Service::Mailgun => vec![("X-Mailgun-Variables", format!(r#"{{"{NAME}":"{delivery}"}}"#))],
            Service::Postmark => vec![("X-PM-Metadata-campaignd-delivery", delivery.to_string())],
        }
    }
}

/// The delivery that a `Message-ID` of ours in `domain` names: `<12.345.0@domain>`.
pub(super) fn named(message_id: &str, domain: &str) -> Option<DeliveryKey> {
    let (local, own) = message_id.trim().trim_start_matches('<').trim_end_matches('>').rsplit_once('@')?;
    own.eq_ignore_ascii_case(domain).then(|| local.replace('.', "-").parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Secret, SesHookSettings};

    #[test]
    fn each_service_is_told_in_its_own_header() {
        let delivery: DeliveryKey = "12-345-0".parse().unwrap();
        let ses = |configuration_set: Option<&str>| {
            MailHookSettings::Ses(SesHookSettings {
                topic: String::new(),
                base_url: String::new(),
                ca_file: None,
                certificate_file: None,
                configuration_set: configuration_set.map(str::to_owned),
            })
        };
        let tags = ("X-SES-MESSAGE-TAGS", "campaignd_delivery=12-345-0");
        for (settings, wanted) in [
            (ses(None), vec![tags]),
            (ses(Some("news")), vec![("X-SES-CONFIGURATION-SET", "news"), tags]),
            (
                MailHookSettings::SendGrid { public_key: Vec::new() },
                vec![("X-SMTPAPI", r#"{"unique_args":{"campaignd_delivery":"12-345-0"}}"#)],
            ),
            (
                MailHookSettings::Mailgun { signing_key: Secret::new("k") },
                vec![("X-Mailgun-Variables", r#"{"campaignd_delivery":"12-345-0"}"#)],
            ),
            (
                MailHookSettings::Postmark { login: None, path: None },
                vec![("X-PM-Metadata-campaignd-delivery", "12-345-0")],
            ),
        ] {
            let headers = Label::new(&settings).headers(delivery);
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            assert_eq!(headers, wanted);
        }
    }

    #[test]
    fn a_message_id_names_its_delivery_in_our_domain_alone() {
        let delivery: DeliveryKey = "12-345-0".parse().unwrap();
        assert_eq!(named("<12.345.0@Send.example.com>", "send.example.com"), Some(delivery));
        for other in ["<12.345.0@other.example>", "12.345.0", "<a.b.c@send.example.com>", ""] {
            assert_eq!(named(other, "send.example.com"), None, "{other}");
        }
    }
}
