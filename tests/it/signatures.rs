//! Requests to providers as they leave, their signatures computed again by Python's standard library.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use campaignd::config::{AliyunSettings, Codes, Secret, Sender, TencentSettings, TwilioSettings};
use campaignd::model::content::{SmsContent, SmsTemplate, TencentTemplate};
use campaignd::model::{CampaignNo, ContactNo, Content, DeliveryKey, Purpose};
use campaignd::provider::aliyun::Aliyun;
use campaignd::provider::tencent::Tencent;
use campaignd::provider::twilio::Twilio;
use campaignd::provider::{Body, Message, Permit, Provider, Receipts};
use campaignd_loadtest::faulty_http::{Options, Request, Server};
use serde_json::{Map, Value, json};

const KEY: &str = "the-secret";
const TIMEOUT: Duration = Duration::from_secs(60);

fn messages(count: i64) -> Vec<Message> {
    let message = |number: i64| Message {
        delivery: DeliveryKey { campaign: CampaignNo(12), contact: ContactNo(number), occurrence: 0 },
        attempt: 1,
        campaign: "spring".into(),
        purpose: Purpose::Marketing,
        to: format!("+86138{number:08}"),
        unsubscribe: None,
        body: Body::Content(Content::Sms(SmsContent {
            text: Some(format!("Hello & bye +{number} 你好 *~")),
            aliyun: Some(SmsTemplate {
                sign_name: "商店 A+B".to_owned(),
                template_code: "SMS_1".to_owned(),
                params: [("name".to_owned(), "张三 a*b~c/ü\"'\\".to_owned())].into(),
            }),
            tencent: Some(TencentTemplate {
                sign_name: "商店 A+B".to_owned(),
                template_id: "1110".to_owned(),
                params: vec!["张三 a*b~c/ü\"'\\".to_owned()],
            }),
        })),
        permit: Permit::default(),
    };
    (1..=count).map(message).collect()
}

/// The requests that these messages become.
async fn sent(provider: &dyn Provider, server: &Server, messages: &[Message]) -> Vec<Request> {
    let before = server.requests().len();
    provider.session().send(messages).await;
    server.requests().split_off(before)
}

/// What `Authorization` must be by the script in `tests/python`.
fn recomputed(script: &str, request: &Request) -> String {
    let headers: Map<String, Value> =
        request.headers.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    let input = json!({
        "method": request.method,
        "target": request.target,
        "headers": headers,
        "body": hex::encode(&request.body),
        "secret": KEY,
    });
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(script);
    let mut python = Command::new("python3")
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3, which scripts/setup installs");
    python.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "{script} refuses the request");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

fn assert_signed(script: &str, request: &Request) {
    assert_eq!(request.header("authorization"), Some(&*recomputed(script, request)), "{}", request.target);
}

#[tokio::test]
async fn aliyuns_requests_are_signed_as_python_signs_them() {
    let server = Server::start("127.0.0.1:0", Options::default()).await.unwrap();
    for (single, action) in [(true, "SendSms"), (false, "SendBatchSms")] {
        let (receipts, _reader) = Receipts::new(1);
        let settings = AliyunSettings {
            access_key_id: "the-id".to_owned(),
            access_key_secret: Secret::new(KEY),
            base_url: server.url(),
            ca_file: None,
            timeout: TIMEOUT,
            single,
            hook_secret: None,
            ask_after: None,
            codes: Codes::default(),
        };
        let provider = Aliyun::new("ali", &settings, receipts).unwrap();
        let requests = sent(&provider, &server, &messages(3)).await;
        assert_eq!(requests[0].header("x-acs-action"), Some(action));
        assert_signed("aliyun.py", &requests[0]);
        let mut other = requests[0].clone();
        other.target = other.target.replacen("OutId=", "OutId=1", 1);
        assert_ne!(other.header("authorization"), Some(&*recomputed("aliyun.py", &other)));
    }
}

#[tokio::test]
async fn tencents_requests_are_signed_as_python_signs_them() {
    let server = Server::start("127.0.0.1:0", Options::default()).await.unwrap();
    let (receipts, _reader) = Receipts::new(1);
    let settings = TencentSettings {
        secret_id: "the-id".to_owned(),
        secret_key: Secret::new(KEY),
        sdk_app_id: "1400006666".to_owned(),
        region: "ap-guangzhou".to_owned(),
        base_url: server.url(),
        ca_file: None,
        timeout: TIMEOUT,
        hook_secret: None,
        pull_every: None,
        codes: Codes::default(),
    };
    let provider = Tencent::new("qq", &settings, receipts).unwrap();
    let requests = sent(&provider, &server, &messages(3)).await;
    let body: Value = serde_json::from_slice(&requests[0].body).unwrap();
    assert_eq!(
        body,
        json!({"PhoneNumberSet": ["+8613800000001", "+8613800000002", "+8613800000003"],
            "SmsSdkAppId": "1400006666", "SignName": "商店 A+B", "TemplateId": "1110",
            "TemplateParamSet": ["张三 a*b~c/ü\"'\\"]})
    );
    assert_signed("tencent.py", &requests[0]);
    let mut other = requests[0].clone();
    other.body = other.body.slice(1..);
    assert_ne!(other.header("authorization"), Some(&*recomputed("tencent.py", &other)));
}

#[tokio::test]
async fn twilios_requests_are_read_by_python() {
    let server = Server::start("127.0.0.1:0", Options::default()).await.unwrap();
    let (receipts, _reader) = Receipts::new(1);
    let settings = TwilioSettings {
        account_sid: "ACaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".to_owned(),
        auth_token: Secret::new(KEY),
        sender: Sender::From("+15557122661".to_owned()),
        base_url: server.url(),
        ca_file: None,
        timeout: TIMEOUT,
        ask_after: None,
        codes: Codes::default(),
    };
    let provider = Twilio::new("tw", &settings, "https://mail.example.com", receipts).unwrap();
    let requests = sent(&provider, &server, &messages(1)).await;
    assert_signed("twilio.py", &requests[0]);
}
