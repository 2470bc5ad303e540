//! The routes as browsers and programs see them.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use jiff::Timestamp;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::router;
use crate::model::content::{
    EmailContent, PushContent, SmsContent, SmsTemplate, TencentTemplate, WechatContent, WechatValue,
};
use crate::model::receipt::News;
use crate::model::{CampaignNo, Channel, ContactNo, Content, DeliveryKey};
use crate::provider::sandbox::{Later, Letter, Mailbox};

const SCRIPT: &str = "<script>alert(1)</script>";

struct Site(Arc<Mailbox>);

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Site {
    fn holding(letters: Vec<Letter>) -> Self {
        let mailbox = Arc::new(Mailbox::new(1_000));
        mailbox.put(letters);
        Site(mailbox)
    }

    async fn ask(&self, method: Method, path: &str) -> Answer {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let response = router(self.0.clone()).oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = String::from_utf8(to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path).await
    }

    async fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.get(path).await.body).unwrap()
    }
}

impl Answer {
    fn policy(&self) -> &str {
        self.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap()
    }
}

fn letter(to: &str, content: Content) -> Letter {
    let channel = match content {
        Content::Email(_) => Channel::Email,
        Content::Sms(_) => Channel::Sms,
        Content::Wechat(_) => Channel::Wechat,
        Content::Push(_) => Channel::Push,
    };
    Letter {
        at: Timestamp::UNIX_EPOCH,
        account: "sandbox".into(),
        channel,
        to: to.into(),
        campaign: "spring".into(),
        delivery: DeliveryKey { campaign: CampaignNo(12), contact: ContactNo(345), occurrence: 0 },
        attempt: 1,
        content,
        unsubscribe: None,
        answered: true,
        later: Some(Later { receipt: News::Delivered, reaction: None, detail: None, early: false }),
    }
}

fn email() -> Letter {
    letter(
        "anna@example.com",
        Content::Email(EmailContent {
            subject: "Spring".into(),
            from: None,
            reply_to: None,
            html: Some("<h1>Spring</h1>".into()),
            text: "Spring: https://shop.example/c/abc".into(),
        }),
    )
}

fn sms(to: &str) -> Letter {
    letter(to, Content::Sms(SmsContent { text: Some("【Shop】Hello".into()), ..SmsContent::default() }))
}

/// One of each channel, whose every text is a script.
fn hostile() -> Vec<Letter> {
    let text = || SCRIPT.to_owned();
    let contents = [
        Content::Email(EmailContent {
            subject: text(),
            from: Some(text()),
            reply_to: Some(text()),
            html: Some("<p>mail</p>".into()),
            text: text(),
        }),
        Content::Sms(SmsContent {
            text: Some(text()),
            aliyun: Some(SmsTemplate {
                sign_name: text(),
                template_code: text(),
                params: [(text(), text())].into(),
            }),
            tencent: Some(TencentTemplate { sign_name: text(), template_id: text(), params: vec![text()] }),
        }),
        Content::Wechat(WechatContent {
            template_id: text(),
            url: Some(text()),
            data: [(text(), WechatValue { value: text(), color: None })].into(),
        }),
        Content::Push(PushContent { title: text(), body: text(), url: Some("javascript:alert(1)".into()) }),
    ];
    contents
        .into_iter()
        .map(|content| Letter {
            campaign: SCRIPT.into(),
            account: SCRIPT.into(),
            unsubscribe: Some(text()),
            ..letter(SCRIPT, content)
        })
        .collect()
}

#[tokio::test]
async fn whatever_a_message_brings_is_shown_and_never_run() {
    let site = Site::holding(hostile());
    for path in ["/sandbox", "/sandbox/1", "/sandbox/2", "/sandbox/3", "/sandbox/4"] {
        let page = site.get(path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        assert!(!page.body.contains(SCRIPT), "{path}: {}", page.body);
        assert!(page.body.contains("alert(1)&#60;/script&#62;"), "{path}: {}", page.body);
        assert!(!page.body.contains("href=\"javascript"), "{path}");
    }
    let query = site.get("/sandbox?to=%22%3E%3Cscript%3Ealert(1)%3C/script%3E").await;
    assert!(!query.body.contains(SCRIPT) && !query.body.contains("\"\">"), "{}", query.body);
}

#[tokio::test]
async fn pages_may_load_nothing_from_elsewhere() {
    let mut letters = hostile();
    letters.push(email());
    let site = Site::holding(letters);
    for path in ["/sandbox", "/sandbox/1", "/sandbox/5"] {
        let page = site.get(path).await;
        let policy = page.policy();
        assert!(policy.starts_with("default-src 'none';"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
        assert_eq!(page.headers[header::CACHE_CONTROL], "no-store");
        assert_eq!(page.headers[header::REFERRER_POLICY], "no-referrer");
        assert!(!page.body.contains("src=\"http") && !page.body.contains("style=\""), "{}", page.body);
    }
    for (path, kind) in
        [("/sandbox/style.css", "text/css; charset=utf-8"), ("/sandbox/live.js", "text/javascript")]
    {
        let file = site.get(path).await;
        assert_eq!(file.headers[header::CONTENT_TYPE], kind);
        assert!(
            !file.body.contains("//cdn") && !file.body.contains("url(") && !file.body.contains("@import")
        );
    }
}

#[tokio::test]
async fn an_email_is_rendered_behind_bars() {
    let site = Site::holding(vec![email(), sms("+491")]);
    let page = site.get("/sandbox/1").await;
    assert!(page.body.contains("<iframe title=\"The e-mail as rendered\" sandbox="), "{}", page.body);
    assert!(page.body.contains("src=\"/sandbox/1/email.html\""));
    assert!(page.body.contains("<a href=\"https://shop.example/c/abc\" target=\"_blank\""), "{}", page.body);
    let framed = site.get("/sandbox/1/email.html").await;
    assert!(framed.body.ends_with("<h1>Spring</h1>"));
    assert!(framed.policy().starts_with("sandbox allow-popups"), "{}", framed.policy());
    assert!(framed.policy().contains("default-src 'none'") && !framed.policy().contains("allow-scripts"));
    assert_eq!(site.get("/sandbox/2/email.html").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_list_is_narrowed_and_goes_on_to_older_messages() {
    let mut letters: Vec<_> = (0..60).map(|n| sms(&format!("+49170{n:04}"))).collect();
    letters.push(email());
    let site = Site::holding(letters);
    let first = site.get("/sandbox").await.body;
    assert!(
        first.contains("anna@example.com") && first.contains("+491700059") && !first.contains("+491700010")
    );
    assert!(first.contains("data-live") && first.contains("before=12\""), "{first}");
    let older = site.get("/sandbox?channel=&to=&before=12").await.body;
    assert!(older.contains("+491700010") && older.contains("+491700000"));
    assert!(!older.contains("data-live") && !older.contains(">Older<"));
    let found = site.get("/sandbox?channel=sms&to=0042").await.body;
    assert!(found.contains("+491700042") && !found.contains("+491700041") && !found.contains("anna"));
    assert!(site.get("/sandbox?channel=email&to=0042").await.body.contains("Nothing here that fits"));
}

#[tokio::test]
async fn programs_read_on_from_where_they_were() {
    let site = Site::holding((0..250).map(|n| sms(&format!("+49{n}"))).chain([email()]).collect());
    let (mut seen, mut after) = (Vec::new(), 0);
    loop {
        let answer = site.json(&format!("/sandbox/messages?after={after}")).await;
        let messages = answer["messages"].as_array().unwrap();
        if messages.is_empty() {
            assert_eq!(answer["next"], after);
            break;
        }
        seen.extend(messages.iter().map(|message| message["id"].as_u64().unwrap()));
        after = answer["next"].as_u64().unwrap();
    }
    assert_eq!(seen, (1..=251).collect::<Vec<_>>());
    let emails = site.json("/sandbox/messages?channel=email&limit=5").await;
    assert_eq!(
        emails,
        json!({"next": 251, "messages": [{
            "id": 251, "at": "1970-01-01T00:00:00Z", "channel": "email", "provider": "sandbox",
            "to": "anna@example.com", "campaign": "spring", "delivery": "12-345-0", "attempt": 1,
            "content": {"subject": "Spring", "from": null, "reply_to": null, "html": "<h1>Spring</h1>",
                        "text": "Spring: https://shop.example/c/abc"},
            "unsubscribe_url": null, "outcome": "accepted", "receipts": ["delivered"],
        }]})
    );
}

#[tokio::test]
async fn what_happens_after_the_answer_is_told() {
    let later =
        Later { receipt: News::Delivered, reaction: Some(News::Unsubscribed), detail: None, early: false };
    let site = Site::holding(vec![Letter { answered: false, later: Some(later), ..sms("+491") }]);
    let message = &site.json("/sandbox/messages").await["messages"][0];
    assert_eq!(message["outcome"], "no_answer");
    assert_eq!(message["receipts"], json!(["delivered", "unsubscribed"]));
    let page = site.get("/sandbox/1").await.body;
    assert!(page.contains("<span class=\"mark odd\">no_answer</span>"), "{page}");
    assert!(page.contains("<span class=\"mark\">delivered</span>"));
}

#[tokio::test]
async fn everything_is_thrown_away_when_asked() {
    let site = Site::holding(vec![email()]);
    assert_eq!(site.ask(Method::DELETE, "/sandbox/messages").await.status, StatusCode::NO_CONTENT);
    assert_eq!(site.get("/sandbox/1").await.status, StatusCode::NOT_FOUND);
    assert_eq!(site.json("/sandbox/messages").await, json!({"messages": [], "next": 0}));
    assert!(site.get("/sandbox").await.body.contains("Nothing here yet"));
}

#[tokio::test]
async fn what_cannot_be_answered_is_a_problem() {
    let site = Site::holding(vec![email()]);
    for (path, status) in [
        ("/sandbox/2", StatusCode::NOT_FOUND),
        ("/sandbox/one", StatusCode::NOT_FOUND),
        ("/sandbox?channel=fax", StatusCode::BAD_REQUEST),
        ("/sandbox?chanel=sms", StatusCode::BAD_REQUEST),
        ("/sandbox/messages?after=x", StatusCode::BAD_REQUEST),
        ("/sandbox/messages?limit=0", StatusCode::BAD_REQUEST),
        ("/sandbox/messages?limit=1001", StatusCode::BAD_REQUEST),
        ("/sandbox/messages?channel=fax", StatusCode::BAD_REQUEST),
    ] {
        let answer = site.get(path).await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.headers[header::CONTENT_TYPE], "application/problem+json", "{path}");
    }
}
