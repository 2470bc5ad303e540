//! Providers' calls to the public listener: each account's hook, and the group commit of what the calls bring.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_trait::async_trait;

use super::receipts::{GROUP, ReceiptBook};
use crate::batcher::{Batcher, Flusher, Limits, batcher};
use crate::config::{Config, ProviderConfig, ProviderKind};
use crate::model::Receipt;
use crate::provider::{
    Hook, HookRefusal, HookRequest, Unheard, aliyun, mailhook, tencent, twilio, webhook, wechat,
};
use crate::telemetry::Outage;
use crate::track::{self, HookCall, HookError, HookReply};

/// The hooks of the accounts that providers call, by the accounts' names.
///
/// # Errors
/// When an account's settings cannot work; the message names the key.
pub(super) fn hooks(config: &Config) -> Result<HashMap<String, Arc<dyn Hook>>> {
    let mut hooks = HashMap::new();
    for settings in config.providers.values() {
        if let Some(hook) = hook(settings, &config.http.public_url)? {
            hooks.insert(settings.name.clone(), hook);
        }
    }
    Ok(hooks)
}

fn hook(settings: &ProviderConfig, public_url: &str) -> Result<Option<Arc<dyn Hook>>> {
    match &settings.kind {
        ProviderKind::Webhook(webhook) => Ok(Some(webhook::hook(&settings.name, webhook))),
        ProviderKind::Wechat(wechat) => Ok(wechat::hook(&settings.name, wechat)),
        ProviderKind::Aliyun(aliyun) => Ok(aliyun::hook(&settings.name, aliyun)),
        ProviderKind::Tencent(tencent) => Ok(tencent::hook(&settings.name, tencent)),
        ProviderKind::Twilio(twilio) => Ok(Some(twilio::hook(&settings.name, twilio, public_url))),
        ProviderKind::Smtp(smtp) => {
            let hook = smtp.hook.as_ref().map(|hook| mailhook::hook(&settings.name, &smtp.from, hook));
            hook.transpose().with_context(|| format!("providers.{}.hook", settings.name))
        }
        _ => Ok(None),
    }
}

/// What calls bring, one item a call.
type Calls = Batcher<Vec<Receipt>, (), track::Unavailable>;

pub(super) type CallFlusher = Flusher<Vec<Receipt>, (), track::Unavailable>;

/// The hooks as the public routes take them, and the writer behind them all.
pub(super) fn behind_routes(
    hooks: HashMap<String, Arc<dyn Hook>>,
    unheard: &Arc<Unheard>,
) -> (HashMap<String, Arc<dyn track::Hook>>, CallFlusher) {
    const SIZE: NonZeroUsize = NonZeroUsize::new(256).expect("is not 0");
    const QUEUE: NonZeroUsize = NonZeroUsize::new(256).expect("is not 0");
    let (calls, flusher) = batcher(Limits { size: SIZE, pace: Duration::ZERO, enough: SIZE, queue: QUEUE });
    let adapted = hooks.into_iter().map(|(name, hook)| {
        let hook: Arc<dyn track::Hook> =
            Arc::new(AccountHook { hook, calls: calls.clone(), unheard: unheard.clone() });
        (name, hook)
    });
    (adapted.collect(), flusher)
}

/// Writes the receipts of calls, of several in one transaction, until every hook is gone.
pub(super) async fn write_calls(flusher: CallFlusher, book: ReceiptBook) {
    let to = Arc::new((book, Outage::new("hooks")));
    flusher
        .run(|calls: Vec<Vec<Receipt>>| {
            let to = to.clone();
            async move {
                let (book, outage) = &*to;
                for group in calls.concat().chunks(GROUP) {
                    book.write(group).await.map_err(|error| {
                        outage.goes_on(&error);
                        track::Unavailable
                    })?;
                }
                outage.ends();
                Ok(vec![(); calls.len()])
            }
        })
        .await;
}

struct AccountHook {
    hook: Arc<dyn Hook>,
    calls: Calls,
    unheard: Arc<Unheard>,
}

#[async_trait]
impl track::Hook for AccountHook {
    async fn take(&self, call: HookCall) -> Result<HookReply, HookError> {
        let HookCall { method, tail, query, headers, body, peer } = call;
        let request = HookRequest { method, tail, query, headers, body, peer };
        let refused =
            |refusal: HookRefusal| HookError::Refused { status: refusal.status, detail: refusal.detail };
        self.hook.prepare(&request).await.map_err(refused)?;
        let answer = self.hook.receive(&request).map_err(refused)?;
        if !answer.receipts.is_empty() {
            self.calls.submit(answer.receipts.clone()).await.map_err(|_| HookError::Unavailable)?;
            self.unheard.heard(&answer.receipts);
        }
        Ok(HookReply { content_type: answer.content_type, body: answer.body })
    }
}
