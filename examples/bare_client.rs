//! The ceiling of a campaign: an account of the configuration and one rendered message, sent again and again over as many
//! sessions as its channel has. No store, no templates, no limits, no ledger: never point it at a provider.
//!
//!     cargo run --release --example bare_client -- CONFIG ACCOUNT MESSAGES
//!
//! Prints `{"messages": N, "seconds": S}`. Fails where the provider does not take each of them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use campaignd::app;
use campaignd::config::{self, Config, ProviderKind};
use campaignd::model::content::{PushContent, SmsContent, SmsTemplate, WechatContent, WechatValue};
use campaignd::model::{CampaignNo, ContactNo, Content, DeliveryKey, Outcome, Purpose};
use campaignd::provider::{Body, Email, Message, Permit, Provider, Receipts};

/// Bytes of a mail's content: what the scenario's template yields.
const MAIL: usize = 5_640;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "the figures are the program's result")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, name, messages] = arguments.as_slice() else {
        bail!("usage: bare_client CONFIG ACCOUNT MESSAGES");
    };
    let messages: usize = messages.parse().context("MESSAGES must be a number")?;
    let config = Config::load(Path::new(file), &config::environment())?;
    let settings = config.providers.get(name);
    let settings = settings.with_context(|| format!("no account `{name}` in {file}"))?;
    let (receipts, _none_come) = Receipts::new(1);
    let account = app::account(settings, &config.http.public_url, &receipts, None)?;
    let body = body(&settings.kind)?;
    let left = Arc::new(AtomicUsize::new(messages));
    let began = Instant::now();
    let sessions: Vec<_> = (0..64)
        .map(|_| tokio::spawn(session(Arc::clone(&account.provider), body.clone(), Arc::clone(&left))))
        .collect();
    for session in sessions {
        session.await??;
    }
    println!("{{\"messages\": {messages}, \"seconds\": {:.3}}}", began.elapsed().as_secs_f64());
    Ok(())
}

/// Sends until none are left.
async fn session(provider: Arc<dyn Provider>, body: Body, left: Arc<AtomicUsize>) -> Result<()> {
    let mut session = provider.session();
    let chunk = provider.chunk_size();
    loop {
        let before = left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(chunk)))
            .unwrap_or_default();
        if before == 0 {
            session.close().await;
            return Ok(());
        }
        let messages: Vec<Message> =
            (0..before.min(chunk)).map(|place| message(before - place, &body)).collect();
        if let Err(outcome) = session.ready().await {
            bail!("the provider is not ready: {outcome:?}");
        }
        let outcomes = session.send(&messages).await;
        let refused = outcomes.iter().find(|outcome| !matches!(outcome, Outcome::Accepted { .. }));
        ensure!(refused.is_none(), "a message was not taken: {refused:?}");
    }
}

fn message(number: usize, body: &Body) -> Message {
    Message {
        delivery: DeliveryKey {
            campaign: CampaignNo(1),
            contact: ContactNo(i64::try_from(number).unwrap_or(i64::MAX)),
            occurrence: 0,
        },
        attempt: 1,
        campaign: "bare".into(),
        purpose: Purpose::Service,
        to: format!("+86138{number:08}"),
        unsubscribe: None,
        body: body.clone(),
        permit: Permit::default(),
    }
}

fn body(kind: &ProviderKind) -> Result<Body> {
    let name = "Name 123456".to_owned();
    let content = match kind {
        ProviderKind::Smtp(_) => {
            let line = format!("{}\r\n", "x".repeat(76));
            let text = format!("Subject: bare\r\n\r\n{}", line.repeat(MAIL / line.len()));
            return Ok(Body::Email(Email {
                envelope_from: "news@example.com".to_owned(),
                envelope_to: "c123456@example.com".to_owned(),
                content: text.into(),
            }));
        }
        ProviderKind::Aliyun(_) => Content::Sms(SmsContent {
            aliyun: Some(SmsTemplate {
                sign_name: "Shop".to_owned(),
                template_code: "SMS_100000001".to_owned(),
                params: [("name".to_owned(), name)].into(),
            }),
            ..SmsContent::default()
        }),
        ProviderKind::Wechat(_) => Content::Wechat(WechatContent {
            template_id: "newsletter".to_owned(),
            url: Some("https://shop.example/spring".to_owned()),
            data: [("thing1", name), ("thing2", "gold members of Berlin".to_owned())]
                .map(|(key, value)| (key.to_owned(), WechatValue { value, color: None }))
                .into(),
        }),
        ProviderKind::Fcm(_) => Content::Push(PushContent {
            title: "The spring sale is on".to_owned(),
            body: format!("{name}, 20 % off for gold members in Berlin."),
            url: Some("app://spring".to_owned()),
        }),
        _ => bail!("no message for accounts of this kind"),
    };
    Ok(Body::Content(content))
}
