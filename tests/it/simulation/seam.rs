//! The store as one process sees it: every call may be slow, not reach the store, or be done and lose its answer.
//!
//! The real store works on threads of its own, which virtual time knows nothing of. So a call is done at once, while the
//! only thread of the runtime waits: to the simulation it is a point in time, and delays around it are virtual. After
//! each call the law is checked.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use async_trait::async_trait;
use campaignd::model::State;
use campaignd::model::audit::Deed;
use campaignd::model::contact::Contact;
use campaignd::model::tracking_key::Retirement;
use campaignd::model::{
    CampaignNo, CampaignStatus, Channel, Control, DeliveryKey, Event, Lane, LinkNo, PauseCause, Receipt,
    TrackingKey,
};
use campaignd::store::audit::{AuditQuery, AuditRecord};
use campaignd::store::campaigns::{CampaignRecord, Resolution, Running};
use campaignd::store::contacts::{
    ContactRecord, ForeignAddress, Suppression, SuppressionRecord, TimelineEntry, Upsert,
};
use campaignd::store::dispatching::{Backlog, Hold, Intent, Lease, Outcomes, Recipient, Rescued, Sending};
use campaignd::store::exports::Kept;
use campaignd::store::jobs::{Acceptance, Incarnation, PinnedTemplate, Submission};
use campaignd::store::overview::Overview;
use campaignd::store::planning::{Finished, Page};
use campaignd::store::receipts::Filed;
use campaignd::store::reports::{Counts, DeliveryQuery, DeliveryRecord, Explanation, Totals};
use campaignd::store::tokens::{Created, LiveToken, NewToken, TokenRecord};
use campaignd::store::tracking::OutboxRow;
use campaignd::store::{
    Admin, Audit, Campaigns, Contacts, Dispatching, Error, Exports, Jobs, Keys, Overviews, Planning, Pool,
    Receipts, References, Reports, Result, Secrets, Store, Tokens, Tracking,
};
use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::process::Life;
use super::stage::Stage;
use super::weather::Fate;

#[derive(Debug)]
pub(super) struct Seam {
    pub(super) stage: Arc<Stage>,
    pub(super) life: Life,
}

type Work<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

impl Seam {
    fn store(&self) -> &dyn Store {
        &*self.stage.store
    }

    async fn call<T>(&self, name: &'static str, work: Work<'_, T>) -> Result<T> {
        let stage = &self.stage;
        self.life.goes_on().await;
        let (fate, there, back) = (stage.weather.fate(), stage.weather.way(), stage.weather.way());
        // What is on its way arrives, even where the process dies meanwhile.
        pause(there).await;
        let result = match fate {
            Fate::Unreached => Err(Error::Unavailable("the call never arrived".into())),
            Fate::Done | Fate::Unanswered => at_once(work),
        };
        stage.note(|| format!("{} {name}: {fate:?}, {}", self.life, word(&result)));
        stage.law.check(stage, name);
        pause(back).await;
        self.life.goes_on().await;
        match fate {
            Fate::Unanswered => Err(Error::Unavailable("the answer was lost".into())),
            Fate::Done | Fate::Unreached => result,
        }
    }
}

fn word<T>(result: &Result<T>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(error) => format!("{error:?}"),
    }
}

async fn pause(time: std::time::Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}

/// Does the work while this thread waits.
pub(super) fn at_once<F: Future + Unpin>(work: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    // A task has a budget of polls between two turns of the runtime; this one takes no turns.
    let mut work = Box::pin(tokio::task::unconstrained(work));
    loop {
        match work.as_mut().poll(&mut context) {
            Poll::Ready(done) => return done,
            Poll::Pending => thread::park(),
        }
    }
}

/// Lets every other task that can run do so.
pub(super) async fn step_aside() {
    let mut asked = false;
    poll_fn(|context| {
        if std::mem::replace(&mut asked, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Passes each call named on through [`Seam::call`].
macro_rules! passes {
    ($concern:ident { $($call:ident($($name:ident: $kind:ty),*) -> $answer:ty;)+ }) => {
        #[async_trait]
        impl $concern for Seam {
            $(async fn $call(&self, $($name: $kind),*) -> Result<$answer> {
                self.call(stringify!($call), self.store().$call($($name),*)).await
            })+
        }
    };
}

passes!(Jobs {
    accept(submissions: &[Submission], owner: Option<Incarnation>) -> Vec<Acceptance>;
    prune_jobs(days: u32) -> u64;
});
passes!(Contacts {
    upsert_contacts(contacts: &[Contact], mode: Upsert, source: &str) -> Vec<ForeignAddress>;
    contact(external_id: &str) -> Option<ContactRecord>;
    owner_of(address: &str) -> Option<String>;
    timeline(external_id: &str, limit: u32) -> Option<Vec<TimelineEntry>>;
    erase_contact(external_id: &str) -> bool;
    erase_late(age: SignedDuration) -> u64;
    suppress(entries: &[Suppression]) -> u64;
    unsuppress(channel: Channel, address: &str) -> bool;
    suppressions(limit: u32) -> Vec<SuppressionRecord>;
});
passes!(Campaigns {
    campaigns(limit: u32, offset: u32) -> Vec<CampaignRecord>;
    campaign(id: &str) -> Option<CampaignRecord>;
    control(id: &str, control: Control) -> Option<CampaignStatus>;
    running(channel: Channel) -> Vec<Running>;
    pause(id: &str, cause: PauseCause, publish: bool) -> bool;
    resolve(campaign: &str, external_id: &str, sent: bool) -> Resolution;
});
passes!(Planning {
    campaigns_to_plan() -> Vec<CampaignNo>;
    plan_page(campaign: CampaignNo, span: u32) -> Option<Page>;
    settle_stopped() -> u64;
    finish_campaigns(publish: bool) -> Vec<Finished>;
    fold_counters() -> u64;
});
passes!(Receipts {
    record_receipts(receipts: &[Receipt], publish: bool) -> Vec<Filed>;
});
passes!(References {
    referenced(references: &[(String, String)]) -> Vec<Option<DeliveryKey>>;
    park(receipts: &[Receipt]) -> ();
    parked(limit: u32) -> Vec<Receipt>;
    unpark(ids: &[Uuid]) -> ();
    forget_references(age: SignedDuration) -> u64;
});
passes!(Tracking {
    record_events(events: &[Event], publish: bool) -> u64;
    link(campaign: CampaignNo, link: LinkNo) -> Option<String>;
    sent_at(deliveries: &[DeliveryKey]) -> HashMap<DeliveryKey, (Timestamp, usize)>;
    outbox(me: Incarnation, limit: u32) -> Vec<OutboxRow>;
    outbox_done(numbers: &[i64]) -> ();
});
passes!(Reports {
    counts(campaign: &str) -> Option<Counts>;
    count_rows(campaign: &str) -> Vec<(State, Option<campaignd::model::Reason>, i64)>;
    deliveries(campaign: &str, query: &DeliveryQuery) -> Vec<DeliveryRecord>;
    totals() -> Totals;
    explain(campaign: &str, external_id: &str) -> Vec<Explanation>;
});
passes!(Tokens {
    create_token(token: &NewToken) -> Created;
    tokens() -> Vec<TokenRecord>;
    live_tokens() -> Vec<LiveToken>;
    tokens_used(uses: &[(i64, Timestamp)]) -> ();
    revoke_token(name: &str) -> bool;
});
passes!(Keys {
    tracking_keys() -> Vec<TrackingKey>;
    rotate_tracking_key() -> Option<u8>;
    retire_tracking_key(id: u8) -> Retirement;
});
passes!(Audit {
    audit(deeds: &[Deed]) -> ();
    audit_log(query: &AuditQuery) -> Vec<AuditRecord>;
    prune_audit(days: u32) -> u64;
});
passes!(Exports {
    kept_about(external_id: &str) -> Option<Kept>;
});
passes!(Overviews {
    overview(search: &str, limit: u32, offset: u32) -> Vec<Overview>;
});

#[async_trait]
impl Admin for Seam {
    async fn migrate(&self) -> Result<(i32, i32)> {
        self.call("migrate", self.store().migrate()).await
    }

    async fn check(&self) -> Result<()> {
        self.call("check", self.store().check()).await
    }

    async fn secrets(&self) -> Result<Secrets> {
        self.call("secrets", self.store().secrets()).await
    }

    fn pool(&self) -> Pool {
        self.stage.store.pool()
    }
}

#[async_trait]
impl Dispatching for Seam {
    async fn join(&self, name: &str) -> Result<Incarnation> {
        self.call("join", self.store().join(name)).await
    }

    async fn beat(&self, me: Incarnation) -> Result<Vec<(Incarnation, i64)>> {
        let asked = Instant::now();
        let beats = self.call("beat", self.store().beat(me)).await?;
        self.stage.law.beats(me, asked);
        Ok(beats)
    }

    async fn leave(&self, me: Incarnation) -> Result<()> {
        self.call("leave", self.store().leave(me)).await
    }

    async fn campaigns_due(&self, channel: Channel) -> Result<Vec<(CampaignNo, Lane)>> {
        self.call("campaigns_due", self.store().campaigns_due(channel)).await
    }

    async fn stopped(&self, known: &[CampaignNo]) -> Result<Vec<CampaignNo>> {
        let stopped = self.call("stopped", self.store().stopped(known)).await?;
        let now = self.stage.clock.now().as_microsecond();
        self.stage.law.sees_stopped(self.life.incarnation(), &stopped, now);
        Ok(stopped)
    }

    async fn lease(&self, me: Incarnation, streams: &[(CampaignNo, Lane)], each: u32) -> Result<Vec<Lease>> {
        self.call("lease", self.store().lease(me, streams, each)).await
    }

    async fn leased_at_acceptance(&self, me: Incarnation, channel: Channel) -> Result<Vec<Lease>> {
        self.call("leased_at_acceptance", self.store().leased_at_acceptance(me, channel)).await
    }

    async fn sending(&self, campaign: CampaignNo) -> Result<Option<Sending>> {
        self.call("sending", self.store().sending(campaign)).await
    }

    async fn template(&self, campaign: CampaignNo, hash: [u8; 32]) -> Result<Option<PinnedTemplate>> {
        self.call("template", self.store().template(campaign, hash)).await
    }

    async fn record(&self, me: Incarnation, outcomes: &Outcomes) -> Result<()> {
        let work = async {
            self.store().record(me, outcomes).await?;
            self.stage.law.records(outcomes);
            Ok(())
        };
        self.call("record", Box::pin(work)).await
    }

    async fn intend(&self, me: Incarnation, intents: &[Intent]) -> Result<Vec<Option<Vec<Recipient>>>> {
        let work = async {
            let granted = self.store().intend(me, intents).await?;
            self.stage.law.grants(&self.stage, me, intents, &granted);
            Ok(granted)
        };
        self.call("intend", Box::pin(work)).await
    }

    async fn release(&self, me: Incarnation, holds: &[Hold]) -> Result<()> {
        self.call("release", self.store().release(me, holds)).await
    }

    async fn rescue(&self, dead: Incarnation) -> Result<Rescued> {
        self.call("rescue", self.store().rescue(dead)).await
    }

    async fn holds(&self, me: Incarnation) -> Result<Vec<Hold>> {
        self.call("holds", self.store().holds(me)).await
    }

    async fn backlog(&self) -> Result<Vec<Backlog>> {
        self.call("backlog", self.store().backlog()).await
    }
}
