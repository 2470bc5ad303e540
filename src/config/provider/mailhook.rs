//! The settings of an smtp account's `hook`: which e-mail service stands behind the relay, and how its calls are believed.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::config::grammar;
use crate::config::reader::Table;
use crate::config::secret::Secret;

/// A secret path shorter than this could be guessed.
const SHORTEST_SECRET: usize = 16;

/// The service that takes an account's mail, and tells by calls what became of it.
#[derive(Debug, Clone)]
pub enum MailHookSettings {
    Ses(SesHookSettings),
    SendGrid {
        /// The verification key: DER of a `SubjectPublicKeyInfo`.
        public_key: Vec<u8>,
    },
    Mailgun {
        signing_key: Secret,
    },
    /// At least one of the two.
    Postmark {
        /// User and password of HTTP Basic authentication (RFC 7617).
        login: Option<(String, Secret)>,
        /// What stands behind `/hooks/NAME/`.
        path: Option<Secret>,
    },
}

/// Amazon SES, which tells by a topic of Amazon SNS.
#[derive(Debug, Clone)]
pub struct SesHookSettings {
    /// The topic's ARN; calls of any other are refused.
    pub topic: String,
    /// Where certificates are fetched from and subscriptions are confirmed: the topic's region, unless said otherwise.
    pub base_url: String,
    /// PEM certificates to trust instead of the system's, when talking to `base_url`.
    pub ca_file: Option<PathBuf>,
    /// The certificate in PEM that signs, instead of the one that each call names.
    pub certificate_file: Option<PathBuf>,
    /// The configuration set that messages are sent with; `None`: the default of the identity.
    pub configuration_set: Option<String>,
}

#[derive(Debug, Clone, Copy)]
enum Service {
    Ses,
    SendGrid,
    Mailgun,
    Postmark,
}

pub(super) fn mail_hook(mut table: Table<'_>) -> Option<MailHookSettings> {
    table.require("kind", "the e-mail service behind the relay: ses, sendgrid, mailgun or postmark");
    let services = [
        ("ses", Service::Ses),
        ("sendgrid", Service::SendGrid),
        ("mailgun", Service::Mailgun),
        ("postmark", Service::Postmark),
    ];
    // Which keys a hook has depends on its kind.
    let settings = match table.word("kind", &services)? {
        Service::Ses => ses(&mut table).map(MailHookSettings::Ses),
        Service::SendGrid => {
            table.require("public_key", "the verification key that SendGrid shows for the event webhook");
            let public_key = table.text("public_key", public_key);
            public_key.map(|public_key| MailHookSettings::SendGrid { public_key })
        }
        Service::Mailgun => {
            if !table.has("signing_key_file") {
                table.require("signing_key", "the HTTP webhook signing key that Mailgun shows");
            }
            let signing_key =
                table.secret("signing_key", "signing_key_file", |text| grammar::line(text).map(drop));
            signing_key.map(|signing_key| MailHookSettings::Mailgun { signing_key })
        }
        Service::Postmark => postmark(&mut table),
    };
    table.finish();
    settings
}

fn ses(table: &mut Table<'_>) -> Option<SesHookSettings> {
    table.require("topic", "the ARN of the SNS topic, as `arn:aws:sns:eu-west-1:123456789012:mail`");
    let topic = table.text("topic", |text| home(text).map(|home| (text.to_owned(), home)));
    let base_url = table.text("base_url", grammar::public_url);
    let ca_file = table.path("ca_file");
    let certificate_file = table.path("certificate_file");
    let configuration_set = table.text("configuration_set", label);
    let (topic, home) = topic?;
    let base_url = base_url.unwrap_or(home);
    Some(SesHookSettings { topic, base_url, ca_file, certificate_file, configuration_set })
}

/// Where the topic lives: `arn:PARTITION:sns:REGION:ACCOUNT:NAME` by <https://docs.aws.amazon.com/general/latest/gr/sns.html>.
fn home(topic: &str) -> Result<String, String> {
    let wrong = || "must be a topic's ARN, as `arn:aws:sns:eu-west-1:123456789012:mail`".to_owned();
    let parts: Vec<&str> = topic.split(':').collect();
    let ["arn", partition, "sns", region, account, name] = parts[..] else { return Err(wrong()) };
    let plain = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    if !partition.starts_with("aws")
        || ![region, account, name].into_iter().all(plain)
        || region.contains('.')
    {
        return Err(wrong());
    }
    let country = if partition == "aws-cn" { ".cn" } else { "" };
    Ok(format!("https://sns.{region}.amazonaws.com{country}"))
}

/// <https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_CreateConfigurationSet.html>: up to 64 letters, digits, `-` and `_`.
fn label(text: &str) -> Result<String, String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if (1..=64).contains(&text.len()) && text.bytes().all(plain) {
        return Ok(text.to_owned());
    }
    Err("must be 1 to 64 of letters, digits, `-` and `_`".to_owned())
}

/// DER in base64, as SendGrid shows it, or in PEM.
fn public_key(text: &str) -> Result<Vec<u8>, String> {
    let encoded: String =
        text.lines().filter(|line| !line.starts_with("-----")).flat_map(str::split_whitespace).collect();
    match STANDARD.decode(encoded) {
        Ok(key) if !key.is_empty() => Ok(key),
        _ => Err("must be the key in base64, as SendGrid shows it".to_owned()),
    }
}

fn postmark(table: &mut Table<'_>) -> Option<MailHookSettings> {
    let login = table.has("password") || table.has("password_file");
    let path = table.has("secret") || table.has("secret_file");
    if table.has("username") != login {
        let (present, absent) = if login { ("password", "username") } else { ("username", "password") };
        table.require(absent, &format!("`{present}` needs it beside it"));
    } else if !login && !path {
        table.require(
            "secret",
            "Postmark signs nothing: a secret end of the path, or `username` and `password`",
        );
    }
    let username = table.text("username", username);
    let password = table.secret("password", "password_file", |text| grammar::line(text).map(drop));
    let secret = table.secret("secret", "secret_file", secret_path);
    if login != password.is_some() || path != secret.is_some() {
        return None;
    }
    let login = username.zip(password);
    (login.is_some() || secret.is_some()).then_some(MailHookSettings::Postmark { login, path: secret })
}

/// RFC 7617, section 2: the first colon ends it.
fn username(text: &str) -> Result<String, String> {
    let name = grammar::line(text)?;
    if name.contains(':') {
        Err("has a colon, which no user of Basic authentication can have".to_owned())
    } else {
        Ok(name)
    }
}

fn secret_path(text: &str) -> Result<(), String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if text.len() >= SHORTEST_SECRET && text.bytes().all(plain) {
        return Ok(());
    }
    Err("must be at least 16 letters, digits, `-` and `_`, as `openssl rand -hex 16` makes them".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_says_where_it_lives() {
        for (topic, wanted) in [
            ("arn:aws:sns:eu-west-1:123456789012:mail", "https://sns.eu-west-1.amazonaws.com"),
            ("arn:aws-us-gov:sns:us-gov-west-1:1:m.fifo", "https://sns.us-gov-west-1.amazonaws.com"),
            ("arn:aws-cn:sns:cn-north-1:1:mail", "https://sns.cn-north-1.amazonaws.com.cn"),
        ] {
            assert_eq!(home(topic).unwrap(), wanted);
        }
        for bad in [
            "",
            "mail",
            "arn:aws:ses:eu-west-1:1:mail",
            "arn:aws:sns::1:mail",
            "arn:aws:sns:evil.example/:1:mail",
            "arn:aws:sns:evil.example:1:mail",
            "arn:aws:sns:eu-west-1:1:mail:subscription",
            "arn:other:sns:eu-west-1:1:mail",
        ] {
            assert!(home(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_key_is_read_in_base64_and_pem() {
        assert_eq!(public_key("AQID").unwrap(), [1, 2, 3]);
        assert_eq!(
            public_key("-----BEGIN PUBLIC KEY-----\nAQ\nID\n-----END PUBLIC KEY-----\n").unwrap(),
            [1, 2, 3]
        );
        assert!(public_key("").is_err() && public_key("no key").is_err());
    }
}
