//! What the settings of the push services have in common.

use std::num::NonZeroU16;
use std::time::Duration;

/// How long a notification is tried where the device is away.
pub(super) const TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// Requests at once over one connection.
pub(super) const STREAMS: NonZeroU16 = NonZeroU16::new(100).expect("is not 0");

/// # Errors
/// When `text` is no private key in PEM; it is not repeated.
pub(super) fn pem(text: &str) -> Result<(), String> {
    if text.contains("-----BEGIN PRIVATE KEY-----") {
        return Ok(());
    }
    Err("must be a private key in PEM, which begins with `-----BEGIN PRIVATE KEY-----`".to_owned())
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{LEAST, parse, problems};
    use crate::config::{FcmTarget, HttpVersion, ProviderKind};
    use crate::model::Channel;

    const PEM: &str = "-----BEGIN PRIVATE KEY-----\\nhunter2\\n-----END PRIVATE KEY-----";

    fn key_file(more: &str) -> String {
        format!(
            r#"key = """{{"client_email": "a@b.example", "private_key_id": "k", "private_key": "{}"{more}}}""""#,
            PEM.replace("\\n", "\\\\n")
        )
    }

    #[test]
    fn apns_has_defaults() {
        let account =
            "[providers.ios]\nkind = \"apns\"\nteam_id = \"T\"\nkey_id = \"K\"\ntopic = \"com.example\"\n";
        let config =
            parse(&format!("{LEAST}{account}key = \"{PEM}\"\nenvironment = \"sandbox\"\nsound = \"off\"\n"));
        let provider = &config.providers["ios"];
        let ProviderKind::Apns(apns) = &provider.kind else { panic!() };
        assert_eq!(apns.base_url, "https://api.sandbox.push.apple.com");
        assert_eq!((apns.priority, apns.ttl.as_secs(), apns.streams.get()), (10, 86_400, 100));
        assert_eq!((provider.channel, &apns.sound), (Some(Channel::Push), &None));
        assert!(!provider.kind.takes_idempotency_key());
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn fcm_takes_what_its_key_file_says() {
        let google = format!("{LEAST}[providers.google]\nkind = \"fcm\"\n");
        let more = r#", "project_id": "shop-1", "token_uri": "https://oauth.example/token""#;
        let config = parse(&format!("{google}{}\n", key_file(more)));
        let ProviderKind::Fcm(fcm) = &config.providers["google"].kind else { panic!() };
        assert_eq!((fcm.project.as_str(), fcm.token_url.as_str()), ("shop-1", "https://oauth.example/token"));
        assert_eq!((fcm.http, fcm.target), (HttpVersion::Http2, FcmTarget::Token));
        assert!(fcm.key.private_key.reveal().contains("KEY-----\nhunter2"));
        assert!(!format!("{config:?}").contains("hunter2"));
        let named = parse(&format!("{google}{}\nproject = \"shop-2\"\nhttp = \"1.1\"\n", key_file("")));
        let ProviderKind::Fcm(fcm) = &named.providers["google"].kind else { panic!() };
        assert_eq!((fcm.project.as_str(), fcm.http), ("shop-2", HttpVersion::Http1));
        assert_eq!(fcm.token_url, "https://oauth2.googleapis.com/token");
    }

    #[test]
    fn problems_are_named_and_secrets_are_not() {
        let found = problems(&format!(
            "{LEAST}[providers.a]\nkind = \"apns\"\nkey = \"hunter2\"\n[providers.f]\nkind = \"fcm\"\nkey = \"{{hunter2}}\"\n\
             project = \"a/b\"\nttl = \"29d\"\n[providers.g]\nkind = \"fcm\"\n{}\n",
            key_file("")
        ));
        for wanted in [
            "providers.a.team_id: missing",
            "providers.a.key_id: missing",
            "providers.a.topic: missing",
            "providers.a.key: must be a private key in PEM",
            "providers.f.key: must be the JSON of a service account's key",
            "providers.f.project: must be a Firebase project's id",
            "providers.f.ttl: at most 28d",
            "providers.g.project: missing",
        ] {
            assert!(found.contains(wanted), "{wanted} is not in\n{found}");
        }
        assert!(!found.contains("hunter2"));
    }
}
