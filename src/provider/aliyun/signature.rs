//! Aliyun's signature v3, `ACS3-HMAC-SHA256`: <https://help.aliyun.com/document_detail/2593177.html>.

use std::fmt::Write as _;

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::config::Secret;

const VERSION: &str = "2017-05-25";

#[derive(Debug)]
pub(super) struct Signer {
    key_id: String,
    secret: Secret,
    /// As the `Host` header has it.
    host: String,
}

/// A `POST` to `/`.
pub(super) struct Unsigned<'a> {
    pub(super) action: &'a str,
    /// Strictly encoded and sorted by key, as it goes out.
    pub(super) query: &'a str,
    /// Empty, or a form.
    pub(super) body: &'a [u8],
}

impl Signer {
    pub(super) fn new(key_id: &str, secret: Secret, host: &str) -> Self {
        Signer { key_id: key_id.to_owned(), secret, host: host.to_owned() }
    }

    /// All headers of the request. A `nonce` is good once, `now` for a quarter of an hour.
    pub(super) fn headers(&self, request: &Unsigned<'_>, now: Timestamp, nonce: &str) -> HeaderMap {
        let hash = hex::encode(Sha256::digest(request.body));
        let date = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let mut signed = vec![
            ("host", self.host.as_str()),
            ("x-acs-action", request.action),
            ("x-acs-content-sha256", &hash),
            ("x-acs-date", &date),
            ("x-acs-signature-nonce", nonce),
            ("x-acs-version", VERSION),
        ];
        if !request.body.is_empty() {
            signed.insert(0, ("content-type", "application/x-www-form-urlencoded"));
        }
        let authorization = self.authorization(request.query, &signed, &hash);
        let all = signed.into_iter().chain([(header::AUTHORIZATION.as_str(), authorization.as_str())]);
        all.filter_map(|(name, value)| {
            Some((HeaderName::try_from(name).ok()?, HeaderValue::from_str(value).ok()?))
        })
        .collect()
    }

    /// `headers` are all that are signed, sorted by name.
    fn authorization(&self, query: &str, headers: &[(&str, &str)], body_hash: &str) -> String {
        let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let mut canonical = format!("POST\n/\n{query}\n");
        for (name, value) in headers {
            // Writing to a text cannot fail.
            let _infallible = writeln!(canonical, "{name}:{}", value.trim());
        }
        let _infallible = write!(canonical, "\n{names}\n{body_hash}");
        let to_sign = format!("ACS3-HMAC-SHA256\n{}", hex::encode(Sha256::digest(canonical)));
        let key = Key::new(HMAC_SHA256, self.secret.reveal().as_bytes());
        let signature = hex::encode(sign(&key, to_sign.as_bytes()));
        format!("ACS3-HMAC-SHA256 Credential={},SignedHeaders={names},Signature={signature}", self.key_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn signature(authorization: &str) -> &str {
        authorization.rsplit_once('=').unwrap().1
    }

    /// The example of Aliyun's documentation (`RunInstances`).
    #[test]
    fn the_documented_request_signs_as_documented() {
        let signer = Signer::new("YourAccessKeyId", Secret::new("YourAccessKeySecret"), "");
        let query = "ImageId=win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd&RegionId=cn-shanghai";
        let headers = [
            ("host", "ecs.cn-shanghai.aliyuncs.com"),
            ("x-acs-action", "RunInstances"),
            ("x-acs-content-sha256", EMPTY),
            ("x-acs-date", "2023-10-26T10:22:32Z"),
            ("x-acs-signature-nonce", "3156853299f313e23d1673dc12e1703d"),
            ("x-acs-version", "2014-05-26"),
        ];
        let authorization = signer.authorization(query, &headers, EMPTY);
        assert_eq!(
            signature(&authorization),
            "06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0"
        );
        assert!(authorization.starts_with(
            "ACS3-HMAC-SHA256 Credential=YourAccessKeyId,SignedHeaders=host;x-acs-action;x-acs-content-sha256;"
        ));
    }

    /// What the official Python client (4.6.0) sent for a batch, with its own headers signed too.
    #[test]
    fn the_official_clients_request_signs_as_it_did() {
        let signer = Signer::new("testAccessKeyId", Secret::new("testAccessKeySecret"), "");
        let hash = "ffeae6f0a771204d35664ae3e95687e82c1b5bfb9db276853df95820ea0f5827";
        let headers = [
            ("accept", "application/json"),
            ("content-type", "application/x-www-form-urlencoded"),
            ("host", "127.0.0.1:18081"),
            ("user-agent", "AlibabaCloud (Linux; x86_64) Python/3.11.7 Core/0.4.3 TeaDSL/2"),
            ("x-acs-action", "SendBatchSms"),
            ("x-acs-content-sha256", hash),
            ("x-acs-credentials-provider", "static_ak"),
            ("x-acs-date", "2026-11-21T00:00:00Z"),
            ("x-acs-signature-nonce", "0123456789abcdef0123456789abcdef"),
            ("x-acs-version", "2017-05-25"),
        ];
        let authorization = signer.authorization("OutId=b1&TemplateCode=SMS_153055065", &headers, hash);
        assert_eq!(
            signature(&authorization),
            "02500f1d64570eb33f9c037db097bc01b3cf4a41c1c29251d0d153f591bdda3a"
        );
    }

    #[test]
    fn headers_are_sorted_and_whole() {
        let signer = Signer::new("id", Secret::new("key"), "sms.example:8443");
        let now = "2026-11-21T00:00:00.9Z".parse().unwrap();
        for (body, names) in [("", "host;x-acs-action;"), ("a=b", "content-type;host;x-acs-action;")] {
            let request = Unsigned { action: "SendSms", query: "a=b", body: body.as_bytes() };
            let headers = signer.headers(&request, now, "once");
            assert_eq!(
                (&headers["host"], &headers["x-acs-date"]),
                (&"sms.example:8443".parse().unwrap(), &"2026-11-21T00:00:00Z".parse().unwrap())
            );
            let authorization = headers["authorization"].to_str().unwrap();
            assert!(authorization.contains(&format!("SignedHeaders={names}")), "{authorization}");
            assert!(!authorization.contains("key"));
        }
    }
}
