//! For tests: text messages, and where receipts of simulators go.

use std::sync::{Arc, Mutex, OnceLock};

use campaignd_loadtest::http::{Answer, Handler, Options, Reply, Request, Server};
use http::StatusCode;

use crate::model::content::{SmsContent, SmsTemplate, TencentTemplate};
use crate::model::{CampaignNo, ContactNo, Content, DeliveryKey, Outcome, Purpose, Reason, Receipt};
use crate::provider::{Body, Hook, HookRequest, Message, Permit};

/// With a text and templates of both kinds.
pub(in crate::provider) fn message(number: i64, to: &str) -> Message {
    let params = [("name".to_owned(), format!("王 *~ {number}"))].into();
    let content = SmsContent {
        text: Some(format!("Hello & bye +{number} 你好")),
        aliyun: Some(SmsTemplate { sign_name: "商店".into(), template_code: "SMS_1".into(), params }),
        tencent: Some(TencentTemplate {
            sign_name: "商店".into(),
            template_id: "1110".into(),
            params: vec!["春".into(), "20 %".into()],
        }),
    };
    Message {
        delivery: DeliveryKey { campaign: CampaignNo(12), contact: ContactNo(number), occurrence: 0 },
        attempt: 1,
        campaign: "spring".into(),
        purpose: Purpose::Marketing,
        to: to.to_owned(),
        unsubscribe: None,
        body: Body::Content(Content::Sms(content)),
        permit: Permit::default(),
    }
}

/// To Chinese numbers, each another.
pub(in crate::provider) fn messages(count: i64) -> Vec<Message> {
    (1..=count).map(|number| message(number, &format!("+86138{number:08}"))).collect()
}

/// The content of `message`, to be changed.
pub(in crate::provider) fn sms(message: &mut Message) -> &mut SmsContent {
    match &mut message.body {
        Body::Content(Content::Sms(sms)) => sms,
        other => panic!("{other:?}"),
    }
}

pub(in crate::provider) const ACCEPTED: (&str, Option<Reason>) = ("accepted", None);
pub(in crate::provider) const RETURNED: (&str, Option<Reason>) = ("returned", None);
pub(in crate::provider) const LOST: (&str, Option<Reason>) = ("unknown", Some(Reason::ConnectionLost));
pub(in crate::provider) const NO_ANSWER: (&str, Option<Reason>) = ("unknown", Some(Reason::NoAnswer));
pub(in crate::provider) const ACCOUNT_REFUSED: (&str, Option<Reason>) =
    ("account_refused", Some(Reason::AccountRefused));

/// Labels and reasons, which is what the ledger keeps.
pub(in crate::provider) fn verdicts(outcomes: &[Outcome]) -> Vec<(&'static str, Option<Reason>)> {
    outcomes.iter().map(|outcome| (outcome.as_str(), outcome.reason())).collect()
}

/// A task that ends with the test.
pub(in crate::provider) struct AbortOnDrop(pub(in crate::provider) tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Where a simulator posts to: one hook under `/hooks/NAME`, and what it read.
pub(in crate::provider) struct HookServer {
    pub(in crate::provider) server: Server,
    desk: Arc<Desk>,
}

#[derive(Default)]
struct Desk {
    hook: OnceLock<Arc<dyn Hook>>,
    receipts: Mutex<Vec<Receipt>>,
}

impl HookServer {
    pub(in crate::provider) async fn start() -> Self {
        let desk = Arc::new(Desk::default());
        let server = Server::start("127.0.0.1:0", Options::default(), Arc::clone(&desk)).await.unwrap();
        HookServer { server, desk }
    }

    /// What links and hooks begin with.
    pub(in crate::provider) fn public_url(&self) -> String {
        format!("http://{}", self.server.addr())
    }

    pub(in crate::provider) fn serve(&self, hook: Arc<dyn Hook>) {
        assert!(self.desk.hook.set(hook).is_ok());
    }

    pub(in crate::provider) fn receipts(&self) -> Vec<Receipt> {
        self.desk.receipts.lock().unwrap().clone()
    }
}

impl Handler for Desk {
    async fn handle(&self, request: Request) -> Reply {
        let tail = request.path().split('/').skip(3).collect::<Vec<_>>().join("/");
        let call = HookRequest {
            method: request.method.clone(),
            tail,
            query: request.query().to_owned(),
            headers: request.headers.clone(),
            body: request.body.clone(),
            peer: [127, 0, 0, 1].into(),
        };
        match self.hook.get().unwrap().receive(&call) {
            Ok(answer) => {
                self.receipts.lock().unwrap().extend(answer.receipts);
                let kind = answer.content_type.unwrap_or("text/plain");
                Answer::status(StatusCode::OK).content(kind, answer.body).into()
            }
            Err(refusal) => Answer::status(refusal.status).into(),
        }
    }
}
