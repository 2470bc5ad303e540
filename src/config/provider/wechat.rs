//! The settings of kind `wechat`.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::config::grammar;
use crate::config::reader::Table;
use crate::config::secret::Secret;

/// A WeChat official account.
#[derive(Debug, Clone)]
pub struct WechatSettings {
    pub app_id: String,
    pub app_secret: Secret,
    /// What messages are sent as.
    pub message: WechatMessage,
    /// http or https, without a slash at its end.
    pub base_url: String,
    /// PEM certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// For the whole answer.
    pub timeout: Duration,
    /// Signs WeChat's calls; `None`: calls are not taken.
    pub callback_token: Option<Secret>,
    /// Encrypts them in the account's safe mode; `None`: they come in the clear.
    pub callback_key: Option<CallbackKey>,
}

/// The kinds of message that an official account sends, each with an interface of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WechatMessage {
    /// Template messages, which take a key that repeats are dropped by.
    Template,
    /// Subscription messages: one for each time that the recipient agreed.
    Subscribe,
    /// Texts of the customer service, within two days of what the recipient did last.
    Custom,
}

/// The `EncodingAESKey` of an account.
#[derive(Clone)]
pub struct CallbackKey([u8; 32]);

/// The last of the 43 characters carries two bits that stand for nothing, and need not be zero.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

impl CallbackKey {
    /// As WeChat's console shows it: 43 characters.
    ///
    /// # Errors
    /// What is wrong with it, without repeating it.
    pub fn read(text: &str) -> Result<Self, String> {
        let bytes = BASE64.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(CallbackKey).ok_or_else(|| {
            "must be the EncodingAESKey that WeChat's console shows: 43 letters and digits".to_owned()
        })
    }

    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for CallbackKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

pub(super) fn wechat(table: &mut Table<'_>) -> Option<WechatSettings> {
    table.require("app_id", "the account's AppID, as `wx1234567890abcdef`");
    if !table.has("app_secret_file") {
        table.require("app_secret", "the account's AppSecret");
    }
    let line = |text: &str| grammar::line(text).map(drop);
    let app_id = table.text("app_id", grammar::line);
    let app_secret = table.secret("app_secret", "app_secret_file", line);
    let words = [
        ("template", WechatMessage::Template),
        ("subscribe", WechatMessage::Subscribe),
        ("custom", WechatMessage::Custom),
    ];
    let message = table.word("message", &words).unwrap_or(WechatMessage::Template);
    let base_url = table.text("base_url", grammar::public_url);
    let ca_file = table.path("ca_file");
    let timeout = table.text("timeout", grammar::wait).unwrap_or(Duration::from_secs(10));
    let callback_token = table.secret("callback_token", "callback_token_file", line);
    let callback_key =
        table.secret("callback_aes_key", "callback_aes_key_file", |text| CallbackKey::read(text).map(drop));
    if callback_key.is_some() && callback_token.is_none() {
        table.problem("callback_aes_key", "does nothing without a `callback_token` beside it");
    }
    Some(WechatSettings {
        app_id: app_id?,
        app_secret: app_secret?,
        message,
        base_url: base_url.unwrap_or_else(|| "https://api.weixin.qq.com".to_owned()),
        ca_file,
        timeout,
        callback_token,
        callback_key: callback_key.and_then(|key| CallbackKey::read(key.reveal()).ok()),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Config, Environment, Problems, ProviderKind};
    use crate::model::Channel;

    const LEAST: &str = "[store]\nurl = \"sqlite:ledger.db\"\n";

    fn read(text: &str) -> Result<Config, Problems> {
        Config::parse(Path::new("config.toml"), text, &Environment::new())
    }

    fn parse(text: &str) -> Config {
        read(text).unwrap()
    }

    fn problems(text: &str) -> String {
        read(text).unwrap_err().to_string()
    }

    /// The key of captures made with wechatpy.
    #[test]
    fn keys_are_32_bytes_and_stay_out_of_debug() {
        let key = CallbackKey::read("abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG").unwrap();
        let wanted = "69b71d79f8218a39259a7a29aabb2dbafc31cb3d35db7e39ebbf3d0010831051";
        assert_eq!((hex::encode(key.bytes()), format!("{key:?}")), (wanted.to_owned(), "***".to_owned()));
        for bad in [
            "",
            "abcdef",
            "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG=",
            "abcdefghijklmnopqrstuvwxyz0123456789ABCDE!!",
        ] {
            assert!(!CallbackKey::read(bad).unwrap_err().contains("abc"), "{bad}");
        }
    }

    #[test]
    fn wechat_accounts_have_defaults_and_their_problems_are_named() {
        let account = "[providers.oa]\nkind = \"wechat\"\napp_id = \"wx1\"\napp_secret = \"hunter2\"\n";
        let config = parse(&format!("{LEAST}{account}[channels.wechat]\nproviders = \"oa\"\n"));
        let provider = &config.providers["oa"];
        let ProviderKind::Wechat(wechat) = &provider.kind else { panic!() };
        assert_eq!((&*wechat.base_url, wechat.timeout.as_secs()), ("https://api.weixin.qq.com", 10));
        assert!(wechat.message == WechatMessage::Template && wechat.callback_token.is_none());
        assert!(provider.kind.takes_idempotency_key() && provider.carries(Channel::Wechat));
        assert!(!format!("{config:?}").contains("hunter2"));
        let custom =
            parse(&format!("{LEAST}{account}message = \"custom\"\nbase_url = \"http://w.example/\"\n"));
        assert!(!custom.providers["oa"].kind.takes_idempotency_key());
        assert!(
            custom.warnings().iter().any(|warning| warning.starts_with("providers.oa.base_url: not https"))
        );
        let wrong =
            "kind = \"wechat\"\nchannel = \"sms\"\nmessage = \"templates\"\ncallback_aes_key = \"hunter2\"\n";
        assert_eq!(
            problems(&format!("{LEAST}[providers.oa]\n{wrong}")),
            "config.toml:3: providers.oa.app_id: missing; the account's AppID, as `wx1234567890abcdef`
config.toml:3: providers.oa.app_secret: missing; the account's AppSecret
config.toml:5: providers.oa.channel: kind `wechat` carries wechat, not sms
config.toml:6: providers.oa.message: `templates` is none of template, subscribe, custom; did you mean `template`?
config.toml:7: providers.oa.callback_aes_key: must be the EncodingAESKey that WeChat's console shows: 43 letters and digits"
        );
        let alone = format!("{account}callback_aes_key = \"abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG\"\n");
        assert_eq!(
            problems(&format!("{LEAST}{alone}")),
            "config.toml:7: providers.oa.callback_aes_key: does nothing without a `callback_token` beside it"
        );
    }
}
