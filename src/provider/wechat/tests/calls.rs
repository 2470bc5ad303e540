//! The platform's calls, as it makes them, to the account's hook.

use std::sync::{Arc, Mutex};

use campaignd_loadtest::callback::Plan;
use campaignd_loadtest::http::{self, Answer, Handler, Reply, Request, Server};
use campaignd_loadtest::wechat::Account;

use super::*;
use crate::config::CallbackKey;
use crate::model::receipt::{About, News};
use crate::model::{Channel, Receipt};
use crate::provider::wechat::hook;
use crate::provider::{Hook, HookRequest};

const KEY: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";

/// What stands behind `/hooks/oa` for the platform.
struct Behind {
    hook: Arc<dyn Hook>,
    receipts: Mutex<Vec<Receipt>>,
}

impl Behind {
    fn receipts(&self) -> Vec<Receipt> {
        self.receipts.lock().unwrap().clone()
    }
}

impl Handler for Behind {
    async fn handle(&self, request: Request) -> Reply {
        let (query, headers) = (request.query().to_owned(), request.headers.clone());
        let answered = self.hook.receive(&HookRequest {
            method: request.method,
            tail: String::new(),
            query,
            headers,
            body: request.body,
            peer: [127, 0, 0, 1].into(),
        });
        match answered {
            Ok(answer) => {
                self.receipts.lock().unwrap().extend(answer.receipts);
                Answer::text(answer.body).into()
            }
            Err(refusal) => Answer::status(refusal.status).into(),
        }
    }
}

/// A platform that calls us, and us.
async fn pair(safe: bool, receipts: Plan) -> (platform::Wechat, WechatSettings, Arc<Behind>, Server) {
    let encoding_aes_key = safe.then(|| KEY.to_owned());
    let options = Options::default();
    let account = Account { encoding_aes_key, ..options.account };
    let platform = platform(Options { account, receipts, ..Options::default() }).await;
    let callback_key = safe.then(|| CallbackKey::read(KEY).unwrap());
    let settings = WechatSettings { callback_key, ..settings(&platform) };
    let behind = Arc::new(Behind { hook: hook("oa", &settings).unwrap(), receipts: Mutex::default() });
    let server = Server::start("127.0.0.1:0", http::Options::default(), behind.clone()).await.unwrap();
    platform.callbacks().aim(format!("http://{}/hooks/oa", server.addr()));
    (platform, settings, behind, server)
}

#[tokio::test]
async fn receipts_name_the_message_by_its_answer_even_when_they_come_before_it_and_twice() {
    for safe in [false, true] {
        let plan = Plan { early: 1.0, repeated: 1.0, ..Plan::default() };
        let (platform, settings, behind, _server) = pair(safe, plan).await;
        assert!(platform.check_url().await);
        let outcomes = session(&settings).send(&messages(1..=5)).await;
        all_accepted_once(&platform, &outcomes);
        platform.callbacks().settled(|counts| counts.taken == 10).await;
        let receipts = behind.receipts();
        let ids: HashSet<_> = receipts.iter().map(|receipt| receipt.id).collect();
        assert_eq!((receipts.len(), ids.len()), (10, 5), "a repeat has its first's id");
        for outcome in &outcomes {
            let reference = outcome.detail().unwrap().to_owned();
            let about = About::Reference { provider: "oa".to_owned(), reference };
            let told: Vec<_> = receipts.iter().filter(|receipt| receipt.about == about).collect();
            assert_eq!(told.iter().map(|receipt| &receipt.news).collect::<Vec<_>>(), [&News::Delivered; 2]);
        }
    }
}

#[tokio::test]
async fn who_leaves_returns_or_writes_is_known_by_the_openid() {
    for safe in [false, true] {
        let (platform, _, behind, _server) = pair(safe, Plan::default()).await;
        assert!(platform.subscribe("oA").await);
        assert!(platform.text("oA", "双11有什么?").await);
        assert!(platform.text("oB", "ｔｄ。").await);
        assert!(platform.unsubscribe("oA").await);
        assert!(platform.asked("oB", "TPL", true).await);
        let told: Vec<_> =
            behind.receipts().into_iter().map(|receipt| (receipt.about, receipt.news)).collect();
        let about = |openid: &str| About::Address { channel: Channel::Wechat, address: openid.to_owned() };
        assert_eq!(
            told,
            [
                (about("oA"), News::Replied),
                (about("oB"), News::Unsubscribed),
                (about("oA"), News::Unsubscribed),
            ]
        );
    }
}

#[tokio::test]
async fn a_platform_with_another_token_or_mode_is_not_believed() {
    let (platform, settings, _, _server) = pair(true, Plan::default()).await;
    let key = CallbackKey::read(&KEY.replace('a', "b")).unwrap();
    for settings in [
        WechatSettings { callback_token: Some(Secret::new("other")), ..settings.clone() },
        WechatSettings { callback_key: None, ..settings.clone() },
        WechatSettings { callback_key: Some(key), ..settings },
    ] {
        let behind = Arc::new(Behind { hook: hook("oa", &settings).unwrap(), receipts: Mutex::default() });
        let server = Server::start("127.0.0.1:0", http::Options::default(), behind.clone()).await.unwrap();
        platform.callbacks().aim(format!("http://{}/hooks/oa", server.addr()));
        assert!(!platform.unsubscribe("oA").await);
        assert_eq!(behind.receipts(), []);
    }
}
