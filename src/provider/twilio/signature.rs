//! `X-Twilio-Signature`: HMAC-SHA1 over the address as Twilio called it, and the form's sorted fields.
//! <https://www.twilio.com/docs/usage/security#validating-requests>

use aws_lc_rs::hmac::{HMAC_SHA1_FOR_LEGACY_USE_ONLY, Key, verify};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Uri;

use crate::config::Secret;

/// Whether `signature` is the token's over this address, with or without its port, and these fields. Compares in
/// constant time.
pub(super) fn signed(auth_token: &Secret, url: &str, fields: &[(String, String)], signature: &str) -> bool {
    let Ok(signature) = STANDARD.decode(signature) else { return false };
    let mut sorted: Vec<_> = fields.iter().collect();
    sorted.sort_unstable();
    sorted.dedup();
    let fields: String = sorted.into_iter().flat_map(|(key, value)| [key.as_str(), value]).collect();
    let key = Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, auth_token.reveal().as_bytes());
    spellings(url).iter().any(|url| verify(&key, format!("{url}{fields}").as_bytes(), &signature).is_ok())
}

/// Proxies add and take the port of the scheme.
fn spellings(url: &str) -> Vec<String> {
    let mut spellings = vec![url.to_owned()];
    let Some(parsed) = url.parse::<Uri>().ok() else { return spellings };
    let Some((scheme, authority)) = parsed.scheme_str().zip(parsed.authority()) else { return spellings };
    let begin = format!("{scheme}://{authority}");
    let Some(rest) = url.strip_prefix(&begin) else { return spellings };
    match authority.port() {
        Some(_) => spellings.push(format!("{scheme}://{}{rest}", authority.host())),
        None => {
            let port = if scheme == "https" { 443 } else { 80 };
            spellings.push(format!("{begin}:{port}{rest}"));
        }
    }
    spellings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(fields: &[(&str, &str)]) -> Vec<(String, String)> {
        fields.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    /// The example of Twilio's documentation, and one by its own Python library (9.13.0).
    #[test]
    fn the_documented_forms_hold_and_no_others() {
        let documented = fields(&[
            ("To", "+18005551212"),
            ("CallSid", "CA1234567890ABCDE"),
            ("Caller", "+14158675309"),
            ("Digits", "1234"),
            ("From", "+14158675309"),
        ]);
        let url = "https://mycompany.com/myapp.php?foo=1&bar=2";
        let token = Secret::new("12345");
        let signature = "RSOYDt4T1cUTdK1PDd93/VVr8B8=";
        assert!(signed(&token, url, &documented, signature));
        assert!(signed(&token, "https://mycompany.com:8443/myapp.php?foo=1&bar=2", &documented, signature));
        assert!(!signed(&token, "https://mycompany.com/myapp.php?foo=1&bar=3", &documented, signature));
        assert!(!signed(&token, url, &documented[1..], signature));
        assert!(!signed(&Secret::new("12346"), url, &documented, signature));
        for bad in ["", "x", "RSOYDt4T1cUTdK1PDd93/VVr8B9="] {
            assert!(!signed(&token, url, &documented, bad));
        }
        let sid = "SM0123456789abcdef0123456789abcdef";
        let captured = fields(&[
            ("SmsSid", sid),
            ("SmsStatus", "delivered"),
            ("MessageStatus", "delivered"),
            ("To", "+15558675310"),
            ("MessageSid", sid),
            ("AccountSid", "ACaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
            ("From", "+15557122661"),
            ("ApiVersion", "2010-04-01"),
        ]);
        let token = Secret::new("test_auth_token");
        assert!(signed(&token, "https://cb.example.com/tw?c=1", &captured, "3EZuQILYoB77iPO6haRD9p5zRf8="));
    }

    #[test]
    fn addresses_are_tried_with_and_without_port() {
        for (url, other) in [
            ("https://x.example/hooks/a?b=c", "https://x.example:443/hooks/a?b=c"),
            ("http://x.example/a", "http://x.example:80/a"),
            ("http://127.0.0.1:8080/a", "http://127.0.0.1/a"),
        ] {
            assert_eq!(spellings(url), [url, other]);
        }
    }
}
