//! A stream: one campaign in one lane. Leases batches, asks for intents, renders, and hands over to the desk.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::yield_now;
use tokio::time::Instant;
use tracing::warn;

use super::Account;
use super::campaigns::{Campaign, Campaigns};
use super::circuit::Circuits;
use super::desk::{Note, STALE};
use super::doubt::after_crash;
use super::hours::Gate;
use super::ledger::{Ledger, Record, persist};
use super::prepared::{Held, Prepared};
use super::rendering::{Rendered, Rendering};
use crate::backoff::Schedule;
use crate::clock::Clock;
use crate::lifecycle::Shutdown;
use crate::model::sms_rules::TextRules;
use crate::model::{CampaignNo, Channel, Content, DeliveryKey, Lane, Purpose, Rate, Rates, Reason};
use crate::provider::Permit;
use crate::store::dispatching::{Intent, Lease, Member, Recipient, Resend};
use crate::store::jobs::Incarnation;
use crate::store::planning::BATCH_SIZE;
use crate::store::{Error, Store};
use crate::telemetry::{Metrics, Outage};
use crate::token::Keyring;

/// Messages of one intent, at most: a whole batch, where nothing else bounds it.
const CHUNK: usize = BATCH_SIZE as usize;
/// Messages that are rendered before others have their turn on the thread, and the first of them may leave.
const PIECE: usize = 64;
/// Rendered messages that may wait at the desk for one stream without a rate.
const ROOM: u32 = 2_048;
/// Batches that one stream works on at once, and the most where single messages have a batch each.
const HANDS: usize = 3;
const MOST_HANDS: usize = 32;
/// Batches that one question takes where the stream is known to have no rate; otherwise one, for other daemons want their
/// part.
const LEASES: u32 = 3;

/// Room for messages that are intended and not settled in the store. Transactional ones have a share of their own,
/// so that no number of bulk campaigns keeps them waiting.
#[derive(Debug)]
pub(super) struct Window {
    urgent: Arc<Semaphore>,
    others: Arc<Semaphore>,
    sizes: (usize, usize),
}

impl Window {
    pub(super) fn new(size: usize) -> Self {
        let urgent = (size / 10).max(1);
        let others = size.saturating_sub(urgent).max(1);
        Window {
            urgent: Arc::new(Semaphore::new(urgent)),
            others: Arc::new(Semaphore::new(others)),
            sizes: (urgent, others),
        }
    }

    fn of(&self, lane: Lane) -> &Arc<Semaphore> {
        if lane == Lane::Transactional { &self.urgent } else { &self.others }
    }

    /// Messages of one intent, at most: a quarter, so that intents overlap with sending.
    fn step(&self, lane: Lane) -> usize {
        let size = if lane == Lane::Transactional { self.sizes.0 } else { self.sizes.1 };
        size.div_ceil(4)
    }
}

/// What all streams of a lane share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) channel: Channel,
    pub(super) store: Arc<dyn Store>,
    pub(super) me: Incarnation,
    pub(super) campaigns: Arc<Campaigns>,
    pub(super) keyring: Arc<Keyring>,
    pub(super) public_url: Arc<str>,
    pub(super) ledger: Ledger,
    pub(super) desk: mpsc::Sender<Note>,
    pub(super) window: Window,
    /// While none of a message's accounts works, nothing is intended for it.
    pub(super) circuits: Circuits,
    pub(super) retry: Schedule,
    pub(super) rules: TextRules,
    pub(super) gate: Gate,
    pub(super) accounts: Vec<Account>,
    /// Messages a second that the channel and its accounts together let through; `None` without a limit.
    pub(super) rate: Option<f64>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) outage: Outage,
    pub(super) clock: Clock,
    pub(super) shutdown: Shutdown,
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) shared: Arc<Shared>,
    pub(super) campaign: CampaignNo,
    pub(super) lane: Lane,
}

/// A batch that could not be sent to its end.
struct Stopped;

/// What the hands of one stream share.
struct Work {
    given: Mutex<VecDeque<Lease>>,
    /// Whether more is leased when nothing given is left.
    leases: bool,
    room: OnceLock<Room>,
    stopped: AtomicBool,
}

impl Stream {
    /// Sends the leases given, or else all that is due, until nothing is left or the campaign stops.
    ///
    /// # Errors
    /// When the store refuses.
    pub(super) async fn run(self, given: Vec<Lease>) -> Result<(), Error> {
        let leases = given.is_empty();
        let hands = if leases { HANDS } else { given.len().min(MOST_HANDS) };
        let work = Work {
            given: Mutex::new(given.into()),
            leases,
            room: OnceLock::new(),
            stopped: AtomicBool::new(false),
        };
        try_join_all((0..hands).map(|_| self.hand(&work))).await?;
        if let Some(room) = work.room.get() {
            // While anything of it waits at the desk the campaign counts as running: a pause must find it there.
            tokio::select! {
                () = self.shared.shutdown.asked() => {}
                _ = room.places.acquire_many(room.size) => {}
            }
        }
        let left: Vec<_> = work.take_all().iter().map(Lease::hold).collect();
        if !left.is_empty() {
            persist(&self.shared.outage, || self.shared.store.release(self.shared.me, &left)).await?;
            self.shared.ledger.holdings().remove(left);
        }
        Ok(())
    }

    /// One of several that work side by side, so that one's intent overlaps another's rendering.
    async fn hand(&self, work: &Work) -> Result<(), Error> {
        while !work.stopped.load(Ordering::Acquire) && !self.shared.shutdown.is_asked() {
            let lease = match work.take() {
                Some(lease) => lease,
                None if !work.leases => return Ok(()),
                None => match self.lease(work).await? {
                    Some(lease) => lease,
                    None => return Ok(()),
                },
            };
            let Some(campaign) =
                persist(&self.shared.outage, || self.shared.campaigns.get(lease.campaign, lease.template))
                    .await?
            else {
                self.fail(&lease).await;
                continue;
            };
            let room = work.room.get_or_init(|| Room::new(&campaign.sending.rate, self.shared.rate));
            if self.send(lease, &campaign, room).await.is_err() {
                work.stopped.store(true, Ordering::Release);
            }
        }
        Ok(())
    }

    /// Takes batches that are due, one of them for whoever asks and the others for whichever hand is free next.
    async fn lease(&self, work: &Work) -> Result<Option<Lease>, Error> {
        let stream = [(self.campaign, self.lane)];
        let timer = self.shared.metrics.store_query_duration.with_label_values(&["lease"]).start_timer();
        let wanted = work.room.get().map_or(1, |room| if room.size < ROOM { 1 } else { LEASES });
        let leases =
            persist(&self.shared.outage, || self.shared.store.lease(self.shared.me, &stream, wanted)).await?;
        timer.observe_duration();
        self.shared.ledger.holdings().add(leases.iter().map(Lease::hold));
        let mut leases = leases.into_iter();
        let first = leases.next();
        work.give(leases);
        Ok(first)
    }

    /// A template that was pinned and cannot be used any more fails its recipients and stops nobody else.
    async fn fail(&self, lease: &Lease) {
        warn!(campaign = %lease.campaign, batch = %lease.batch, "the campaign's template is missing or broken");
        let members = u32::try_from(lease.members.len()).unwrap_or(u32::MAX);
        let intent = Intent {
            batch: lease.batch,
            campaign: lease.campaign,
            // Nobody is judged: nothing is sent.
            purpose: Purpose::Service,
            channel: self.shared.channel,
            inline_data: false,
            epoch: lease.epoch,
            to: lease.watermark.saturating_add(members),
            members: lease.members.clone(),
            resend: None,
            again: false,
        };
        let mut record = Record::default();
        let held = Arc::new(Held::new(lease.clone(), lease.members.len()));
        match self.shared.ledger.intend(self.lane, intent).await {
            Some(_) => record.fail_batch(
                held,
                Reason::RenderError,
                "the pinned template is missing or broken",
                self.shared.clock.now(),
            ),
            None => record.abandon(held, lease.members.len()),
        }
        self.shared.ledger.record(record).await;
    }

    async fn send(&self, mut lease: Lease, campaign: &Arc<Campaign>, room: &Room) -> Result<(), Stopped> {
        let members = std::mem::take(&mut lease.members);
        let mut position = lease.watermark;
        let held = Arc::new(Held::new(lease, members.len()));
        let mut left = members.as_slice();
        if left.is_empty() {
            // Its campaign was stopped before it was taken up: nothing else would close it.
            let mut record = Record::default();
            record.account(held.clone(), 0);
            self.shared.ledger.record(record).await;
        }
        let mut resend = None;
        while !left.is_empty() {
            let named = held.lease.account(&campaign.sending);
            let granted = match self.wait_for_room(named, room, left.len()).await {
                Some((places, window)) if self.shared.gate.admits(campaign.sending.purpose) => {
                    let (chunk, rest) = left.split_at(places.num_permits());
                    position = position.saturating_add(u32::try_from(chunk.len()).unwrap_or(u32::MAX));
                    // The first intent sets the end for the whole batch: whatever is in doubt later left after it.
                    let resend = resend.get_or_insert_with(|| self.resend(&held.lease, campaign));
                    let intent = intent(&held.lease, campaign, position, chunk, resend.clone());
                    let asked = Instant::now();
                    let recipients = self.shared.ledger.intend(self.lane, intent).await;
                    recipients.map(|recipients| (asked, recipients, chunk.len(), places, window, rest))
                }
                _ => None,
            };
            let Some((asked, recipients, intended, places, window, rest)) = granted else {
                let mut record = Record::default();
                record.abandon(held, left.len());
                self.shared.ledger.record(record).await;
                return Err(Stopped);
            };
            if intended > recipients.len() {
                let mut record = Record::default();
                record.account(held.clone(), intended - recipients.len());
                self.shared.ledger.record(record).await;
            }
            self.prepare(asked, recipients, &held, campaign, places, window).await;
            left = rest;
        }
        Ok(())
    }

    /// The leave to send the batch's members again, should this daemon die.
    fn resend(&self, lease: &Lease, campaign: &Campaign) -> Option<Resend> {
        if let Some(doubt) = &lease.doubt {
            return Some(doubt.resend.clone());
        }
        let candidates = self.shared.candidates(lease.account(&campaign.sending));
        after_crash(&candidates.collect::<Vec<_>>(), self.shared.clock.now())
    }

    /// Room at the desk and in the unknown window for the next few of `wanted`, once an account that may carry them
    /// works; `None` where the lane stops meanwhile.
    async fn wait_for_room(
        &self,
        named: Option<&str>,
        room: &Room,
        wanted: usize,
    ) -> Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)> {
        let accounts: Vec<&str> = self.shared.candidates(named).map(|account| &*account.name).collect();
        let ready = async {
            if !accounts.is_empty() {
                self.shared.circuits.pass(&accounts).await;
            }
            let n = wanted.min(room.step).min(self.shared.window.step(self.lane));
            let n = u32::try_from(n).unwrap_or(1);
            let places = room.places.clone().acquire_many_owned(n).await.ok()?;
            let window = self.shared.window.of(self.lane).clone().acquire_many_owned(n).await.ok()?;
            Some((places, window))
        };
        tokio::select! {
            biased;
            () = self.shared.shutdown.asked() => None,
            both = ready => both,
        }
    }

    /// Renders the recipients, settles those who must not or cannot get the message, hands the others over.
    async fn prepare(
        &self,
        asked: Instant,
        recipients: Vec<Recipient>,
        held: &Arc<Held>,
        campaign: &Arc<Campaign>,
        mut places: OwnedSemaphorePermit,
        mut window: OwnedSemaphorePermit,
    ) {
        let mut recipients = recipients.into_iter();
        while recipients.len() > 0 {
            let piece = recipients.by_ref().take(PIECE);
            self.prepare_piece(asked, piece, held, campaign, (&mut places, &mut window)).await;
            yield_now().await;
        }
    }

    async fn prepare_piece(
        &self,
        asked: Instant,
        recipients: impl Iterator<Item = Recipient>,
        held: &Arc<Held>,
        campaign: &Arc<Campaign>,
        (places, window): (&mut OwnedSemaphorePermit, &mut OwnedSemaphorePermit),
    ) {
        let now = self.shared.clock.now();
        let mut record = Record::default();
        let mut ready = Vec::with_capacity(PIECE);
        let mut rendering = Rendering::new(&self.shared, held, campaign, now);
        let rests = self.shared.rests(held.lease.account(&campaign.sending));
        for recipient in recipients {
            let (Some(window), room) = (window.split(1), places.split(1)) else { break };
            let key = DeliveryKey {
                campaign: campaign.sending.number,
                contact: recipient.member.contact,
                occurrence: recipient.member.occurrence,
            };
            let (rendered, outcome) = match rendering.render(&recipient, key) {
                Ok(rendered) => (rendered, None),
                Err(outcome) => (Rendered::default(), Some(outcome)),
            };
            let prepared = Prepared {
                key,
                member: recipient.member,
                held: held.clone(),
                campaign: campaign.clone(),
                address: recipient.address,
                app: recipient.app,
                cells: rendered.content.as_ref().map_or(1, Content::cells),
                content: rendered.content,
                unsubscribe: rendered.unsubscribe,
                asked,
                ready_at: Instant::now(),
                window,
                room,
                permit: Permit::default(),
            };
            let rest = shortest(&rests, &prepared.app);
            match outcome {
                Some(outcome) => record.add(prepared, outcome, None, &self.shared.retry, now),
                // It would be stale before anybody took it off the desk, and hold a place in the unknown window so long.
                None if rest > STALE => record.postpone(prepared, rest, &self.shared.retry, now),
                None => ready.push(prepared),
            }
        }
        self.shared.ledger.record(record).await;
        if !ready.is_empty()
            && let Err(mpsc::error::SendError(Note::Ready(ready))) =
                self.shared.desk.send(Note::Ready(ready)).await
        {
            // The desk closed before us: hand back what it never saw.
            self.shared.ledger.hand_back(&self.shared.retry, now, ready).await;
        }
    }
}

impl Work {
    fn give(&self, leases: impl Iterator<Item = Lease>) {
        if let Ok(mut given) = self.given.lock() {
            given.extend(leases);
        }
    }

    fn take(&self) -> Option<Lease> {
        self.given.lock().ok()?.pop_front()
    }

    fn take_all(&self) -> VecDeque<Lease> {
        self.given.lock().map(|mut given| std::mem::take(&mut *given)).unwrap_or_default()
    }
}

impl Shared {
    /// Accounts that may carry a message: the one that it names, or else those that the channel lists.
    fn candidates<'s>(&'s self, named: Option<&'s str>) -> impl Iterator<Item = &'s Account> {
        let fits = move |account: &&Account| match named {
            Some(name) => *account.name == *name,
            None => account.weight.is_some(),
        };
        self.accounts.iter().filter(fits)
    }

    /// The apps of those accounts, and how long each is left alone.
    fn rests(&self, named: Option<&str>) -> Vec<(Option<Arc<str>>, Duration)> {
        let rest = |account: &Account| (account.app.clone(), self.circuits.rest(&account.name));
        self.candidates(named).map(rest).collect()
    }
}

/// How long everyone who reaches an app's addresses is left alone. The account of one app may be, while others work.
fn shortest(rests: &[(Option<Arc<str>>, Duration)], app: &str) -> Duration {
    let reaching = rests.iter().filter(|(own, _)| own.as_deref().is_none_or(|own| own == app));
    reaching.map(|(_, rest)| *rest).min().unwrap_or_default()
}

fn intent(lease: &Lease, campaign: &Campaign, to: u32, members: &[Member], resend: Option<Resend>) -> Intent {
    Intent {
        batch: lease.batch,
        campaign: lease.campaign,
        purpose: campaign.sending.purpose,
        channel: campaign.sending.channel,
        inline_data: campaign.sending.inline_data,
        epoch: lease.epoch,
        to,
        members: members.to_vec(),
        resend,
        again: lease.doubt.is_some(),
    }
}

/// How many rendered messages may wait: a quarter of a second of the narrowest rate.
struct Room {
    places: Arc<Semaphore>,
    size: u32,
    /// Messages of one intent.
    step: usize,
}

impl Room {
    fn new(own: &Rates, lane: Option<f64>) -> Self {
        let narrowest = own.narrowest().map(Rate::per_second).into_iter().chain(lane);
        let quarter = narrowest.map(|rate| rate / 4.0).fold(f64::from(ROOM), f64::min);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to a small positive range"
        )]
        let size = quarter.clamp(1.0, f64::from(ROOM)) as u32;
        let places = size as usize;
        Room { places: Arc::new(Semaphore::new(places)), size, step: places.div_ceil(4).min(CHUNK) }
    }
}
