//! Two daemons do at random what daemons do; the law of the ledger holds after every step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use campaignd::model::receipt::{About, Bounce, News};
use campaignd::model::{Channel, Control, DeliveryKey, Reason, Receipt, State};
use campaignd::store::Store;
use campaignd::store::dispatching::{Lease, Outcomes, Rescheduled, Resend, Settled};
use campaignd::store::jobs::Incarnation;
use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::bed::{Bed, intent, key, message, settled};
use super::on_each_store;

on_each_store!(seed_1, seed_2, seed_3, seed_4, seed_5_resending, seed_6_resending);

async fn seed_1(bed: &Bed) {
    drive(bed, 1, false).await;
}
async fn seed_2(bed: &Bed) {
    drive(bed, 2, false).await;
}
async fn seed_3(bed: &Bed) {
    drive(bed, 3, false).await;
}
async fn seed_4(bed: &Bed) {
    drive(bed, 4, false).await;
}
async fn seed_5_resending(bed: &Bed) {
    drive(bed, 5, true).await;
}
async fn seed_6_resending(bed: &Bed) {
    drive(bed, 6, true).await;
}

const STEPS: usize = 120;
const PEOPLE: usize = 23;

/// A daemon, with the leases that it believes to hold and how far it was allowed to send.
struct Daemon {
    store: Arc<dyn Store>,
    me: Incarnation,
    leases: Vec<(Lease, usize, Vec<usize>)>,
}

struct World<'a> {
    bed: &'a Bed,
    random: Rng,
    /// Whether what a crash leaves in doubt is sent again.
    resends: bool,
    daemons: Vec<Daemon>,
    campaigns: Vec<String>,
    /// Campaigns that expire or were cancelled: what was in doubt then stays so.
    cut_short: BTreeSet<String>,
    /// Deliveries that a daemon held, sent or not.
    leased: Vec<DeliveryKey>,
    /// How often each delivery was accepted by a provider.
    accepted: BTreeMap<String, u32>,
}

async fn drive(bed: &Bed, seed: u64, resends: bool) {
    bed.people(PEOPLE).await;
    let mut daemons = Vec::new();
    for store in [bed.store.clone(), bed.another_daemon()] {
        let me = store.join("daemon").await.unwrap();
        daemons.push(Daemon { store, me, leases: Vec::new() });
    }
    let random = Rng::with_seed(seed);
    let mut world = World {
        bed,
        random,
        resends,
        daemons,
        campaigns: Vec::new(),
        cut_short: BTreeSet::new(),
        leased: Vec::new(),
        accepted: BTreeMap::new(),
    };
    for _ in 0..STEPS {
        world.step().await;
        bed.check_law().await;
    }
    world.come_to_rest().await;
}

impl World<'_> {
    async fn step(&mut self) {
        match self.random.u8(0..15) {
            0 => self.submit().await,
            1 => self.say().await,
            2 | 3 => self.plan_a_page().await,
            4 | 5 => self.lease().await,
            6..=8 => self.send().await,
            9 => self.control().await,
            10 => self.crash().await,
            11 => self.give_back().await,
            12 => self.tell().await,
            13 => self.bed.pass(SignedDuration::from_mins(1)).await,
            _ => self.sweep().await,
        }
    }

    async fn submit(&mut self) {
        let id = format!("c{}", self.campaigns.len());
        let audience = match self.random.u8(0..3) {
            0 => json!({"all": true}),
            1 => {
                json!({"contacts": (0..9).map(|_| format!("P{}", self.random.usize(1..PEOPLE + 5))).collect::<Vec<_>>()})
            }
            _ => {
                json!({"recipients": (0..9).map(|_| json!({"address": format!("p{}@example.com", self.random.u8(1..40))})).collect::<Vec<_>>()})
            }
        };
        let mut more = json!({"purpose": self.random.choice(["service", "marketing"]).unwrap()});
        if self.random.bool() {
            let minutes = SignedDuration::from_mins(self.random.i64(2..30));
            more["expires_at"] = json!((Timestamp::now() + minutes).to_string());
            self.cut_short.insert(id.clone());
        }
        self.bed.campaign(&id, audience, more).await;
        self.campaigns.push(id);
    }

    async fn say(&mut self) {
        let to = json!({"external_id": format!("P{}", self.random.usize(1..PEOPLE + 2))});
        let daemon = &self.daemons[self.random.usize(0..2)];
        let job = message(&format!("m{}", self.random.u32(..)), "standing", to, json!({}));
        daemon.store.accept(&[super::bed::submission(job)], Some(daemon.me)).await.unwrap();
        if !self.campaigns.iter().any(|id| id == "standing") {
            self.campaigns.push("standing".into());
        }
    }

    async fn plan_a_page(&mut self) {
        let daemon = &self.daemons[self.random.usize(0..2)];
        let numbers = daemon.store.campaigns_to_plan().await.unwrap();
        if let Some(number) = self.random.choice(numbers) {
            daemon.store.plan_page(number, self.random.u32(1..12)).await.unwrap();
        }
    }

    async fn lease(&mut self) {
        let daemon = &mut self.daemons[self.random.usize(0..2)];
        let streams = daemon.store.campaigns_due(Channel::Email).await.unwrap();
        let mut leases = daemon.store.lease(daemon.me, &streams, 1).await.unwrap();
        leases.extend(daemon.store.leased_at_acceptance(daemon.me, Channel::Email).await.unwrap());
        let members =
            leases.iter().flat_map(|lease| lease.members.iter().map(move |member| key(lease, member)));
        self.leased.extend(members);
        daemon.leases.extend(leases.into_iter().map(|lease| (lease, 0, Vec::new())));
    }

    /// One daemon goes on with one of its leases: outcomes of some that are out, then the intent for some more.
    async fn send(&mut self) {
        let daemon = &mut self.daemons[self.random.usize(0..2)];
        if daemon.leases.is_empty() {
            return;
        }
        let at = self.random.usize(0..daemon.leases.len());
        let (lease, granted, out) = &mut daemon.leases[at];
        let mut outcomes = Outcomes::default();
        self.random.shuffle(out);
        for member in out.split_off(self.random.usize(0..=out.len())) {
            outcome(&mut self.random, lease, member, &mut outcomes);
        }
        for one in outcomes.settled.iter().filter(|one| one.state == State::Accepted) {
            *self.accepted.entry(format!("{:?}", one.delivery)).or_default() += 1;
        }
        let done = out.is_empty() && *granted == lease.members.len();
        outcomes.closed.extend(done.then_some(lease.batch));
        daemon.store.record(daemon.me, &outcomes).await.unwrap();
        let (mut asked, mut answers) = (0, Vec::new());
        if !done {
            asked = self.random.usize(0..=lease.members.len() - *granted);
            let mut part = intent(lease);
            part.to = lease.watermark + u32::try_from(*granted + asked).unwrap();
            part.members = lease.members[*granted..*granted + asked].to_vec();
            part.resend = self.resends.then_some(Resend { until: Resend::ENDLESS, provider: None });
            answers = daemon.store.intend(daemon.me, &[part]).await.unwrap();
        }
        if self.random.u8(0..4) == 0 {
            daemon.store.record(daemon.me, &outcomes).await.unwrap();
        }
        match answers.first() {
            None => drop(daemon.leases.remove(at)),
            Some(None) if out.is_empty() => {
                let hold = daemon.leases.remove(at).0.hold();
                daemon.store.release(daemon.me, &[hold]).await.unwrap();
            }
            Some(None) => {}
            Some(Some(recipients)) => {
                let (lease, granted, out) = &mut daemon.leases[at];
                let all = *granted..*granted + asked;
                out.extend(
                    all.filter(|place| recipients.iter().any(|one| one.member == lease.members[*place])),
                );
                *granted += asked;
            }
        }
    }

    /// A provider tells something of some deliveries, also of such as never reached it.
    async fn tell(&mut self) {
        let soft = News::Bounced { bounce: Bounce::Soft, reason: Reason::MailboxFull };
        let mut receipts = Vec::new();
        for delivery in self.random.choose_multiple(self.leased.iter().copied(), 5) {
            let news = self.random.choice([News::Accepted, News::Delivered, soft.clone()]).unwrap();
            let id = Receipt::id("relay", &delivery.to_string(), news.as_str());
            let about = About::Delivery(delivery);
            receipts.push(Receipt { id, about, at: Timestamp::now(), news, detail: None });
        }
        let daemon = &self.daemons[self.random.usize(0..2)];
        daemon.store.record_receipts(&receipts, false).await.unwrap();
    }

    async fn control(&mut self) {
        if let Some(id) = self.random.choice(&self.campaigns) {
            let all = [Control::Pause, Control::Resume, Control::Resume, Control::Cancel];
            let control = self.random.choice(all).unwrap();
            self.bed.store.control(id, control).await.unwrap();
            if control == Control::Cancel {
                self.cut_short.insert(id.clone());
            }
        }
    }

    /// One daemon is taken for dead by the other; its outcomes may still come late.
    async fn crash(&mut self) {
        let at = self.random.usize(0..2);
        let dead = self.daemons[at].me;
        self.daemons[1 - at].store.rescue(dead).await.unwrap();
        let daemon = &mut self.daemons[at];
        for (lease, _, out) in daemon.leases.drain(..) {
            let mut outcomes = Outcomes::default();
            for member in out {
                if self.random.bool() {
                    outcome(&mut self.random, &lease, member, &mut outcomes);
                }
            }
            daemon.store.record(dead, &outcomes).await.unwrap();
        }
        daemon.me = daemon.store.join("again").await.unwrap();
    }

    async fn give_back(&mut self) {
        let daemon = &mut self.daemons[self.random.usize(0..2)];
        if let Some((lease, ..)) = daemon.leases.pop() {
            daemon.store.release(daemon.me, &[lease.hold()]).await.unwrap();
        }
    }

    async fn sweep(&mut self) {
        let daemon = &self.daemons[self.random.usize(0..2)];
        daemon.store.settle_stopped().await.unwrap();
        daemon.store.fold_counters().await.unwrap();
        for finished in daemon.store.finish_campaigns(false).await.unwrap() {
            assert_eq!(finished.imbalance, 0, "{}", finished.id);
        }
    }

    /// Everything is resumed, sent and swept: nothing may be left waiting.
    async fn come_to_rest(&mut self) {
        for id in &self.campaigns {
            self.bed.store.control(id, Control::Resume).await.unwrap();
        }
        for daemon in &self.daemons {
            daemon.store.rescue(daemon.me).await.unwrap();
        }
        let me = self.bed.store.join("last").await.unwrap();
        self.bed.pass(SignedDuration::from_hours(1)).await;
        self.bed.plan(7).await;
        self.sweep().await;
        let mut leases = self.bed.lease(me).await;
        while let Some(lease) = leases.pop() {
            self.bed.intend(me, &lease).await.unwrap();
            self.bed.store.record(me, &super::bed::all_accepted(&lease)).await.unwrap();
            leases.extend(self.bed.lease(me).await);
        }
        self.sweep().await;
        self.bed.check_law().await;
        assert_eq!(self.bed.store.backlog().await.unwrap(), []);
        for campaign in self.bed.store.campaigns(1_000, 0).await.unwrap() {
            assert_eq!(campaign.settled, campaign.targeted, "{} waits for ever", campaign.id);
            assert!(
                campaign.finished_at.is_some() || campaign.id == "standing",
                "{} never ends",
                campaign.id
            );
        }
        let twice = self.accepted.values().filter(|times| **times > 1).count();
        assert!(self.resends || twice == 0, "{twice} were sent twice");
        for id in self.campaigns.iter().filter(|id| self.resends && !self.cut_short.contains(*id)) {
            assert_eq!(
                self.bed.tally(id).await.get("unknown/crash"),
                None,
                "{id} holds what it could send again"
            );
        }
    }
}

fn outcome(random: &mut Rng, lease: &Lease, member: usize, outcomes: &mut Outcomes) {
    let member = lease.members[member];
    let settle =
        |state, reason| Settled { detail: Some("words".into()), ..settled(lease, &member, state, reason) };
    match random.u8(0..8) {
        0..=3 => outcomes.settled.push(settle(State::Accepted, None)),
        4 => outcomes.settled.push(settle(State::Rejected, Some(Reason::UnknownRecipient))),
        5 => outcomes.settled.push(settle(State::Unknown, Some(Reason::NoAnswer))),
        6 => outcomes.settled.push(settle(State::Excluded, Some(Reason::Suppressed))),
        _ => outcomes.rescheduled.push(Rescheduled {
            campaign: lease.campaign,
            member,
            batch: lease.batch,
            channel: Channel::Email,
            lane: lease.lane,
            template: lease.template,
            options: lease.options.clone(),
            due_at: Timestamp::now() + SignedDuration::from_secs(random.i64(0..90)),
            attempts: lease.attempt + 1,
            provider: None,
            doubt: None,
            attempt: None,
        }),
    }
}
