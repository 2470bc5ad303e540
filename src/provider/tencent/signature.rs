//! Tencent Cloud's signature, `TC3-HMAC-SHA256`: <https://cloud.tencent.com/document/api/382/52072>.

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::config::Secret;

const VERSION: &str = "2021-01-11";
const SERVICE: &str = "sms";
const JSON: &str = "application/json";

#[derive(Debug)]
pub(super) struct Signer {
    key_id: String,
    secret: Secret,
    region: String,
    /// As the `Host` header has it.
    host: String,
}

impl Signer {
    pub(super) fn new(key_id: &str, secret: Secret, region: &str, host: &str) -> Self {
        Signer { key_id: key_id.to_owned(), secret, region: region.to_owned(), host: host.to_owned() }
    }

    /// All headers of a `POST` to `/` with this JSON; good for five minutes.
    pub(super) fn headers(&self, action: &str, body: &[u8], now: Timestamp) -> HeaderMap {
        let authorization = self.authorization(SERVICE, JSON, body, now);
        let timestamp = now.as_second().to_string();
        let all = [
            (header::AUTHORIZATION.as_str(), authorization.as_str()),
            (header::CONTENT_TYPE.as_str(), JSON),
            ("x-tc-action", action),
            ("x-tc-version", VERSION),
            ("x-tc-region", &self.region),
            ("x-tc-timestamp", &timestamp),
        ];
        all.into_iter()
            .filter_map(|(name, value)| {
                Some((HeaderName::try_from(name).ok()?, HeaderValue::from_str(value).ok()?))
            })
            .collect()
    }

    fn authorization(&self, service: &str, content_type: &str, body: &[u8], now: Timestamp) -> String {
        let canonical = format!(
            "POST\n/\n\ncontent-type:{content_type}\nhost:{}\n\ncontent-type;host\n{}",
            self.host.to_lowercase(),
            hex::encode(Sha256::digest(body))
        );
        let date = now.strftime("%Y-%m-%d").to_string();
        let scope = format!("{date}/{service}/tc3_request");
        let to_sign = format!(
            "TC3-HMAC-SHA256\n{}\n{scope}\n{}",
            now.as_second(),
            hex::encode(Sha256::digest(canonical))
        );
        let mut key = format!("TC3{}", self.secret.reveal()).into_bytes();
        for part in [date.as_str(), service, "tc3_request"] {
            key = sign(&Key::new(HMAC_SHA256, &key), part.as_bytes()).as_ref().to_vec();
        }
        let signature = hex::encode(sign(&Key::new(HMAC_SHA256, &key), to_sign.as_bytes()));
        format!(
            "TC3-HMAC-SHA256 Credential={}/{scope}, SignedHeaders=content-type;host, Signature={signature}",
            self.key_id
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    /// The example of Tencent Cloud's documentation (`DescribeInstances`).
    #[test]
    fn the_documented_request_signs_as_documented() {
        let secret = Secret::new("Gu5t9xGARNpq86cd98joQYCN3EXAMPLE");
        let signer =
            Signer::new("AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE", secret, "", "cvm.tencentcloudapi.com");
        let body =
            r#"{"Limit": 1, "Filters": [{"Values": ["\u672a\u547d\u540d"], "Name": "instance-name"}]}"#;
        let authorization = signer.authorization(
            "cvm",
            "application/json; charset=utf-8",
            body.as_bytes(),
            at(1_551_113_065),
        );
        assert_eq!(
            authorization,
            "TC3-HMAC-SHA256 Credential=AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE/2019-02-25/cvm/tc3_request, \
             SignedHeaders=content-type;host, \
             Signature=72e494ea809ad7a8c8f7a4507b9bddcbaa8e581f516e8da2f66e2c5a96525168"
        );
    }

    /// What the official Python client (3.1.153) sent.
    #[test]
    fn the_official_clients_request_signs_as_it_did() {
        let signer =
            Signer::new("AKIDtestSecretId", Secret::new("testSecretKey"), "ap-guangzhou", "127.0.0.1:18083");
        let body = r#"{"PhoneNumberSet": ["+8613711112222", "+8613711113333"], "SmsSdkAppId": "1400006666", "TemplateId": "449739", "SignName": "\u817e\u8baf\u4e91", "TemplateParamSet": ["1234", "\u5f20\u4e09"], "SessionContext": "camp1-0001"}"#;
        let headers = signer.headers("SendSms", body.as_bytes(), at(1_795_219_200));
        assert!(
            headers["authorization"]
                .to_str()
                .unwrap()
                .ends_with("Signature=a127b01113c7662f15d41dd25409230ca5b53e034f21a85f4ead479ac9612b9b")
        );
        assert_eq!(
            (&headers["x-tc-timestamp"], &headers["x-tc-region"]),
            (&"1795219200".parse().unwrap(), &"ap-guangzhou".parse().unwrap())
        );
    }
}
