//! Who is calling, and whether the request is as it was signed: Tencent Cloud's `TC3-HMAC-SHA256`, with its time.
//!
//! <https://cloud.tencent.com/document/api/382/52072>. Headers and service are those that the request names: clients
//! take the service from the first label of the host, whatever that is.

use super::{Account, Refusal};
use crate::clock::utc;
use crate::digest::{hmac_sha256, sha256_hex};
use crate::http::Request;

/// How far a request's time may be from ours, in seconds.
const SKEW: i64 = 5 * 60;

/// Whether the request is signed right and fresh.
///
/// # Errors
/// What the gateway says.
pub(super) fn verify(request: &Request, account: &Account, now: i64) -> Result<(), Refusal> {
    let incomplete =
        || Refusal::new("AuthFailure.InvalidAuthorization", "请求头部的 Authorization 不符合腾讯云标准。");
    let authorization = request.header("authorization").and_then(|it| it.strip_prefix("TC3-HMAC-SHA256 "));
    let authorization = authorization.ok_or_else(incomplete)?;
    let part = |name: &str| {
        let mut parts = authorization.split(',');
        parts.find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('=')).ok_or_else(incomplete)
    };
    let (secret_id, scope) = part("Credential")?.split_once('/').ok_or_else(incomplete)?;
    if secret_id != account.secret_id {
        return Err(Refusal::new(
            "AuthFailure.SecretIdNotFound",
            "The SecretId is not found, please ensure that your SecretId is correct.",
        ));
    }
    let (names, signature) = (part("SignedHeaders")?, part("Signature")?);
    let host = request.header("host").ok_or_else(incomplete)?;
    let signed = Signed::read(request, scope, names, host).ok_or_else(incomplete)?;
    // Where there is a port, the Node client sends it and does not sign it.
    let (name, _) = host.split_once(':').unwrap_or((host, ""));
    let without_port = Signed::read(request, scope, names, name).ok_or_else(incomplete)?;
    if ![&signed, &without_port].iter().any(|signed| signed.signature(&account.secret_key) == signature) {
        let message =
            "The provided credentials could not be validated. Please check your signature is correct.";
        return Err(Refusal::new("AuthFailure.SignatureFailure", message));
    }
    if (signed.timestamp - now).abs() > SKEW {
        let message = "The provided timestamp differs from the server's by more than five minutes.";
        return Err(Refusal::new("AuthFailure.SignatureExpire", message));
    }
    Ok(())
}

/// What goes into the signature.
struct Signed<'a> {
    canonical: String,
    scope: &'a str,
    date: &'a str,
    service: &'a str,
    timestamp: i64,
}

impl<'a> Signed<'a> {
    fn read(request: &Request, scope: &'a str, names: &str, host: &str) -> Option<Signed<'a>> {
        let (date, service) = scope.strip_suffix("/tc3_request")?.split_once('/')?;
        let timestamp: i64 = request.header("x-tc-timestamp")?.parse().ok()?;
        let all: Vec<_> = names.split(';').collect();
        let complete = ["content-type", "host"].iter().all(|name| all.contains(name)) && all.is_sorted();
        if !complete || date != utc(timestamp, "%F") {
            return None;
        }
        let mut canonical = format!("{}\n{}\n{}\n", request.method, request.path(), request.query());
        for name in all {
            let value = if name == "host" { host } else { request.header(name)?.trim() }.to_lowercase();
            canonical.extend([name, ":", value.as_str(), "\n"]);
        }
        canonical.extend(["\n", names, "\n", sha256_hex(&request.body).as_str()]);
        Some(Signed { canonical, scope, date, service, timestamp })
    }

    fn signature(&self, secret_key: &str) -> String {
        let Signed { canonical, scope, timestamp, .. } = self;
        let to_sign = format!("TC3-HMAC-SHA256\n{timestamp}\n{scope}\n{}", sha256_hex(canonical.as_bytes()));
        let mut key = format!("TC3{secret_key}").into_bytes();
        for part in [self.date, self.service, "tc3_request"] {
            key = hmac_sha256(&key, part.as_bytes());
        }
        hex::encode(hmac_sha256(&key, to_sign.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of Tencent Cloud's documentation.
    #[test]
    fn the_documented_request_signs_as_documented() {
        let scope = "2019-02-25/cvm/tc3_request";
        let canonical = "POST\n/\n\ncontent-type:application/json; charset=utf-8\nhost:cvm.tencentcloudapi.com\n\n\
                         content-type;host\n35e9c5b0e3ae67532d3c9f17ead6c90222632e5b1ff7f6e89887f1398934f064";
        let signed = Signed {
            canonical: canonical.to_owned(),
            scope,
            date: "2019-02-25",
            service: "cvm",
            timestamp: 1_551_113_065,
        };
        assert_eq!(
            signed.signature("Gu5t9xGARNpq86cd98joQYCN3EXAMPLE"),
            "72e494ea809ad7a8c8f7a4507b9bddcbaa8e581f516e8da2f66e2c5a96525168"
        );
    }
}
