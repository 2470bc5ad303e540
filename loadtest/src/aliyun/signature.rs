//! Who is calling, and whether the request is as it was signed: Aliyun's signatures v3 and v1, with time and nonce.
//!
//! v3: <https://help.aliyun.com/document_detail/2593177.html> (`ACS3-HMAC-SHA256`); v1, "RPC":
//! <https://help.aliyun.com/document_detail/101343.html> (`HMAC-SHA1`). The query is decoded and encoded again
//! strictly, since clients put `+` and `*` on the wire as they please.

use jiff::Timestamp;

use super::{Account, Refusal};
use crate::digest::{hmac_sha1_base64, hmac_sha256, sha256_hex};
use crate::http::{Request, form};
use crate::quota::Nonces;

/// How far a request's time may be from ours, in seconds.
const SKEW: i64 = 15 * 60;

type Pairs = Vec<(String, String)>;

/// The parameters of a request that is signed right, fresh and the first with its nonce; `Action` and `Version` are
/// among them.
///
/// # Errors
/// What the gateway says.
pub(super) fn verified(
    request: &Request,
    account: &Account,
    nonces: &Nonces,
    now: i64,
) -> Result<Pairs, Refusal> {
    let unreadable = || Refusal::gateway(400, "InvalidParameter", "The parameters are not valid UTF-8.");
    if request.path() != "/" {
        return Err(Refusal::gateway(404, "InvalidAction.NotFound", "Specified api is not found."));
    }
    let query = form::pairs(request.query()).ok_or_else(unreadable)?;
    let is_form = request
        .header("content-type")
        .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    let body = if is_form {
        let text = std::str::from_utf8(&request.body).map_err(|_| unreadable())?;
        form::pairs(text).ok_or_else(unreadable)?
    } else {
        Vec::new()
    };
    let signed = match request.header("authorization") {
        Some(authorization) => v3(request, authorization, query, body, account)?,
        None => v1(request, query, body, account)?,
    };
    fresh(&signed, nonces, now)?;
    Ok(signed.parameters)
}

/// What a right signature vouches for.
struct Signed {
    parameters: Pairs,
    time: String,
    nonce: String,
}

fn fresh(signed: &Signed, nonces: &Nonces, now: i64) -> Result<(), Refusal> {
    let time: Option<Timestamp> = signed.time.parse().ok();
    if time.is_none_or(|time| (time.as_second() - now).abs() > SKEW) {
        let message = "Specified time stamp or date value is expired.";
        return Err(Refusal::gateway(400, "InvalidTimeStamp.Expired", message));
    }
    if signed.nonce.is_empty() || !nonces.fresh(&signed.nonce) {
        let message = "Specified signature nonce was used already.";
        return Err(Refusal::gateway(400, "SignatureNonceUsed", message));
    }
    Ok(())
}

fn v3(
    request: &Request,
    authorization: &str,
    query: Pairs,
    body: Pairs,
    account: &Account,
) -> Result<Signed, Refusal> {
    let incomplete = || Refusal::gateway(400, "IncompleteSignature", "The request signature is incomplete.");
    let given = authorization.strip_prefix("ACS3-HMAC-SHA256 ").ok_or_else(incomplete)?;
    let part = |name: &str| {
        given
            .split(',')
            .find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='))
            .ok_or_else(incomplete)
    };
    known(part("Credential")?, account)?;
    let names: Vec<&str> = part("SignedHeaders")?.split(';').collect();
    let must_sign = |name: &str| name == "host" || name == "content-type" || name.starts_with("x-acs-");
    let unsigned =
        request.headers.keys().any(|name| must_sign(name.as_str()) && !names.contains(&name.as_str()));
    let body_hash = sha256_hex(&request.body);
    if unsigned || !names.is_sorted() || request.header("x-acs-content-sha256") != Some(&body_hash) {
        return Err(mismatch("of other headers or another body"));
    }
    let canonical = canonical_request(request, &query, &names, &body_hash);
    let to_sign = format!("ACS3-HMAC-SHA256\n{}", sha256_hex(canonical.as_bytes()));
    let signature = hex::encode(hmac_sha256(account.access_key_secret.as_bytes(), to_sign.as_bytes()));
    if part("Signature")? != signature {
        return Err(mismatch(&to_sign));
    }
    let header = |name| request.header(name).unwrap_or_default().to_owned();
    let mut parameters = query;
    parameters.extend(body);
    parameters.push(("Action".to_owned(), header("x-acs-action")));
    parameters.push(("Version".to_owned(), header("x-acs-version")));
    Ok(Signed { parameters, time: header("x-acs-date"), nonce: header("x-acs-signature-nonce") })
}

fn canonical_request(request: &Request, query: &Pairs, names: &[&str], body_hash: &str) -> String {
    let mut canonical = format!("{}\n{}\n{}\n", request.method, request.path(), canonical_query(query, &[]));
    for name in names {
        let values: Vec<_> = request
            .headers
            .get_all(*name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_owned())
            .collect();
        canonical.extend([*name, ":", values.join(",").as_str(), "\n"]);
    }
    canonical.extend(["\n", names.join(";").as_str(), "\n", body_hash]);
    canonical
}

fn v1(request: &Request, query: Pairs, body: Pairs, account: &Account) -> Result<Signed, Refusal> {
    let mut parameters = query;
    parameters.extend(body);
    let value = |name: &str| form::value(&parameters, name).unwrap_or_default().to_owned();
    for (name, wanted) in [("SignatureMethod", "HMAC-SHA1"), ("SignatureVersion", "1.0")] {
        if value(name) != wanted {
            return Err(Refusal::gateway(400, "MissingParameter", &format!("{name} must be {wanted}.")));
        }
    }
    known(&value("AccessKeyId"), account)?;
    let canonical = canonical_query(&parameters, &["Signature"]);
    let to_sign = format!("{}&%2F&{}", request.method, form::encode(&canonical));
    let key = format!("{}&", account.access_key_secret);
    if value("Signature") != hmac_sha1_base64(key.as_bytes(), to_sign.as_bytes()) {
        return Err(mismatch(&to_sign));
    }
    Ok(Signed { time: value("Timestamp"), nonce: value("SignatureNonce"), parameters })
}

fn canonical_query(pairs: &Pairs, without: &[&str]) -> String {
    let mut sorted: Vec<_> = pairs
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .filter(|(key, _)| !without.contains(key))
        .collect();
    sorted.sort_unstable();
    form::write(sorted)
}

fn known(access_key_id: &str, account: &Account) -> Result<(), Refusal> {
    if access_key_id == account.access_key_id {
        return Ok(());
    }
    Err(Refusal::gateway(404, "InvalidAccessKeyId.NotFound", "Specified access key is not found."))
}

/// Clients look in the message for what follows the colon: was it signed with another secret, or was something else
/// signed?
fn mismatch(to_sign: &str) -> Refusal {
    let message = format!(
        "Specified signature is not matched with our calculation. server string to sign is:{to_sign}"
    );
    Refusal::gateway(400, "SignatureDoesNotMatch", &message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Pairs {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    /// The example of Aliyun's documentation of signature v1.
    #[test]
    fn the_documented_rpc_request_signs_as_documented() {
        let parameters = pairs(&[
            ("AccessKeyId", "testId"),
            ("Timestamp", "2017-07-12T02:42:19Z"),
            ("SignatureMethod", "HMAC-SHA1"),
            ("SignatureVersion", "1.0"),
            ("SignatureNonce", "45e25e9b-0a6f-4070-8c85-2956eda1b466"),
            ("Format", "XML"),
            ("Action", "SendSms"),
            ("Version", "2017-05-25"),
            ("RegionId", "cn-hangzhou"),
            ("PhoneNumbers", "15300000001"),
            ("SignName", "阿里云短信测试专用"),
            ("TemplateParam", "{\"customer\":\"test\"}"),
            ("TemplateCode", "SMS_71390007"),
            ("OutId", "123"),
        ]);
        let to_sign = format!("GET&%2F&{}", form::encode(&canonical_query(&parameters, &[])));
        assert_eq!(hmac_sha1_base64(b"testSecret&", to_sign.as_bytes()), "zJDF+Lrzhj/ThnlvIToysFRq6t4=");
    }

    /// The example of Aliyun's documentation of signature v3 (`RunInstances`).
    #[test]
    fn the_documented_v3_request_signs_as_documented() {
        let headers = [
            ("host", "ecs.cn-shanghai.aliyuncs.com"),
            ("x-acs-action", "RunInstances"),
            ("x-acs-content-sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            ("x-acs-date", "2023-10-26T10:22:32Z"),
            ("x-acs-signature-nonce", "3156853299f313e23d1673dc12e1703d"),
            ("x-acs-version", "2014-05-26"),
        ];
        let request = Request {
            connection: 1,
            number: 1,
            method: hyper::Method::POST,
            target: "/?ImageId=win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd&RegionId=cn-shanghai"
                .to_owned(),
            headers: headers
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect(),
            body: bytes::Bytes::new(),
        };
        let account = Account {
            access_key_id: "YourAccessKeyId".to_owned(),
            access_key_secret: "YourAccessKeySecret".to_owned(),
        };
        let names = headers.map(|(name, _)| name).join(";");
        let signature = "06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0";
        let authorization = |signature: &str| {
            format!("ACS3-HMAC-SHA256 Credential=YourAccessKeyId,SignedHeaders={names},Signature={signature}")
        };
        let query = form::pairs(request.query()).unwrap();
        let judged = |authorization: &str| v3(&request, authorization, query.clone(), Vec::new(), &account);
        assert_eq!(judged(&authorization(signature)).unwrap().nonce, "3156853299f313e23d1673dc12e1703d");
        assert_eq!(judged(&authorization("00")).err().unwrap().code, "SignatureDoesNotMatch");
    }
}
