//! `campaignd run`, from the store's first answer to the last part drained.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use arc_swap::ArcSwap;
use axum::middleware::from_fn;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::accept::Acceptor;
use super::bounces;
use super::door::guarded;
use super::hooks::{behind_routes, hooks, write_calls};
use super::keys::{follow, keyring};
use super::lanes::{account_limit, channel_limit, lanes, mailbox};
use super::listeners::{
    Listening, bind, on_main_runtime, public_limits, refuse_strange_sites, serve_on_own_thread, tolls,
};
use super::observers::{AmqpObserver, Observers, PublisherObserver};
use super::outbox::StoreOutbox;
use super::parts::{Parts, token_of};
use super::receipts::{ReceiptBook, file_parked, write_receipts};
use super::rules::templates;
use super::tracking::{Events, TrackingTokens};
use super::watches;
use crate::access;
use crate::admin;
use crate::amqp::{Broker, EventPublisher, Topology};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::dispatch::{Campaigns, Heart, Lane, LaneHandle, Ledger, ledger};
use crate::http::serve;
use crate::intake::{self, Accept, Intake};
use crate::lifecycle::{Signal, Signals, Supervisor, Unfinished};
use crate::model::Receipt;
use crate::model::access::Actor;
use crate::model::audit::{Action, Deed, Ending};
use crate::pages;
use crate::plan::{Housekeeper, Planner};
use crate::provider::sandbox::Mailbox;
use crate::provider::{Receipts, Unheard};
use crate::render::Registry;
use crate::store::jobs::Incarnation;
use crate::store::{Error, Store};
use crate::telemetry::{self, Health, Metrics, Outage};
use crate::token::Keyring;
use crate::track::{Patience, Tracker};

/// Receipts that wait for the store, at most; then their providers wait.
const RECEIPT_QUEUE: usize = 4_096;
/// Urgent messages held at once: twice a group.
const MESSAGES_PREFETCH: u16 = 500;
/// What each part has to itself once the deadline has passed.
const LAST_WORD: Duration = Duration::from_secs(1);

/// What the parts are built from.
struct Daemon {
    config: Config,
    path: PathBuf,
    store: Arc<dyn Store>,
    me: Incarnation,
    clock: Clock,
    metrics: Arc<Metrics>,
    health: Health,
    supervisor: Supervisor,
    parts: Parts,
    templates: Arc<ArcSwap<Registry>>,
    keyring: Arc<Keyring>,
    /// What the sandbox took, for reading.
    mailbox: Option<Arc<Mailbox>>,
}

/// Runs until SIGTERM, SIGINT or `stop`, then drains. Tells `started` once the listeners are there; cancels `stop`
/// when the drain begins, whoever asked for it. `path` is where SIGHUP reads the configuration again.
///
/// # Errors
/// When a part cannot be started, dies, or does not drain in time.
pub async fn run(
    config: Config,
    path: PathBuf,
    store: Arc<dyn Store>,
    stop: CancellationToken,
    started: impl FnOnce(Listening) + Send,
) -> Result<()> {
    let mut signals = Signals::install().context("signals")?;
    let templates = load_templates(&config)?;
    tokio::select! {
        ready = prepare(&*store) => ready?,
        signal = signals.next() => match signal {
            Signal::Stop => return Ok(()),
            Signal::Reload => bail!("a reload came before the store answered"),
        },
        () = stop.cancelled() => return Ok(()),
    }
    let keyring = keyring(&*store).await?;
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let me = store.join(name.trim()).await.context("the store")?;
    let daemon = Daemon {
        metrics: Arc::new(Metrics::new()?),
        health: Health::default(),
        supervisor: Supervisor::new(),
        parts: Parts::new(),
        templates: Arc::new(ArcSwap::from_pointee(templates)),
        keyring: Arc::new(keyring),
        mailbox: mailbox(&config),
        config,
        path,
        store,
        me,
        clock: Clock::system(),
    };
    daemon.serve(signals, stop, started).await
}

/// Waits for the store, and brings an older schema up to date.
async fn prepare(store: &dyn Store) -> Result<()> {
    loop {
        match store.check().await {
            Ok(()) => return Ok(()),
            Err(Error::Schema { found, needed }) if found < needed => {
                let (from, to) = store.migrate().await.context("the store's schema")?;
                info!("the store's schema went from version {from} to {to}");
            }
            Err(error) if error.is_transient() => {
                warn!(error = &error as &dyn std::error::Error, "waiting for the store");
                sleep(watches::STORE_CHECK).await;
            }
            Err(error) => return Err(error).context("the store"),
        }
    }
}

fn load_templates(config: &Config) -> Result<Registry> {
    let loaded = templates(&config.templates.dir, Some(config)).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow!("{}", lines.join("\n"))
    })?;
    Ok(loaded.registry)
}

impl Daemon {
    async fn serve(
        mut self,
        mut signals: Signals,
        stop: CancellationToken,
        started: impl FnOnce(Listening),
    ) -> Result<()> {
        let public = bind("http.public", self.config.http.public).await?;
        let admin = bind("http.admin", self.config.http.admin).await?;
        let lmtp = bounces::listen(&self.config.bounces).await?;
        let listening = Listening { public: public.local_addr()?, admin: admin.local_addr()? };
        self.config.http.public_is(listening.public);
        let (ledger, recorder) = ledger(self.store.clone(), self.me, self.metrics.clone());
        self.supervisor.spawn("recorder", &self.parts.recorder, recorder.run());
        let (receipts, waiting) = Receipts::new(RECEIPT_QUEUE);
        let unheard = receipts.unheard().clone();
        self.start_receipts(waiting);
        let lanes = self.start_lanes(ledger, receipts)?;
        self.start_planning();
        let acceptor: Arc<dyn Accept> = Arc::new(Acceptor::new(
            &self.config,
            self.store.clone(),
            self.me,
            self.templates.clone(),
            lanes.clone(),
            self.metrics.clone(),
        ));
        self.start_amqp(&acceptor)?;
        self.start_public(public, &unheard)?;
        self.start_bounces(lmtp);
        let keys = follow(self.store.clone(), self.keyring.clone(), self.parts.tracking.clone());
        self.supervisor.spawn("tracking keys", &self.parts.tracking, keys);
        self.start_admin(admin, acceptor).await?;
        let (store, component) = (self.store.clone(), self.health.component("store"));
        let part = &self.parts.planning;
        self.supervisor.spawn("store watch", part, watches::store(store, component, part.clone()));
        info!(version = env!("CARGO_PKG_VERSION"), "campaignd runs");
        started(listening);
        let failure = loop {
            tokio::select! {
                signal = signals.next() => match signal {
                    Signal::Stop => break None,
                    Signal::Reload => self.reload(&lanes).await,
                },
                failure = self.supervisor.failure() => break Some(failure),
                () = stop.cancelled() => break None,
            }
        };
        stop.cancel();
        drop(lanes);
        let drained = self.drain(&mut signals).await;
        match failure {
            Some(failure) => Err(anyhow!(failure)),
            None => drained,
        }
    }

    fn start_lanes(&self, ledger: Ledger, receipts: Receipts) -> Result<Vec<LaneHandle>> {
        let (heart, beat, rescue) =
            Heart::new(self.store.clone(), self.me, self.metrics.clone(), self.parts.heart.clone());
        self.supervisor.spawn("heartbeat", &self.parts.heart, beat);
        self.supervisor.spawn("rescuer", &self.parts.heart, rescue);
        let leases = ledger.holdings().clone();
        let leases = leases.reconcile(self.store.clone(), self.me, self.parts.lanes.clone());
        self.supervisor.spawn("leases", &self.parts.lanes, leases);
        let lane = Lane {
            store: self.store.clone(),
            me: self.me,
            campaigns: Arc::new(Campaigns::new(self.store.clone())),
            keyring: self.keyring.clone(),
            public_url: self.config.http.public_url.as_str().into(),
            ledger,
            heart,
            metrics: self.metrics.clone(),
            clock: self.clock.clone(),
            shutdown: self.parts.lanes.clone(),
            publish: self.config.amqp.is_some(),
        };
        let configs = lanes(&self.config, &receipts, self.mailbox.as_ref())?;
        Ok(configs.into_iter().map(|config| lane.clone().start(config, &self.supervisor)).collect())
    }

    fn start_receipts(&self, waiting: mpsc::Receiver<Receipt>) {
        let writer = write_receipts(waiting, self.receipt_book(), self.parts.tracking.clone());
        self.supervisor.spawn("receipt writer", &self.parts.tracking, async {
            writer.await;
            Ok::<(), Error>(())
        });
        let parked = file_parked(self.receipt_book(), self.parts.tracking.clone());
        self.supervisor.spawn("parked receipts", &self.parts.tracking, async {
            parked.await;
            Ok::<(), Error>(())
        });
    }

    fn start_planning(&self) {
        let part = &self.parts.planning;
        let planner = Planner::new(self.store.clone(), self.metrics.clone(), part.clone());
        self.supervisor.spawn("planner", part, planner.run());
        let housekeeper = Housekeeper {
            store: self.store.clone(),
            metrics: self.metrics.clone(),
            shutdown: part.clone(),
            publish: self.config.amqp.is_some(),
            auto_pause: self
                .config
                .channels
                .iter()
                .filter_map(|(name, one)| Some((*name, one.auto_pause?)))
                .collect(),
        };
        self.supervisor.spawn("housekeeper", part, housekeeper.run());
    }

    fn start_amqp(&self, acceptor: &Arc<dyn Accept>) -> Result<()> {
        let Some(amqp) = &self.config.amqp else { return Ok(()) };
        let broker = Broker::new(amqp.url.reveal(), &amqp.tls).context("amqp.url")?;
        let link = Arc::new(AmqpObserver {
            metrics: self.metrics.clone(),
            component: self.health.component("amqp"),
        });
        let intake = Intake {
            broker: broker.clone(),
            topology: Topology::default(),
            jobs_prefetch: amqp.prefetch,
            messages_prefetch: MESSAGES_PREFETCH,
            accept: acceptor.clone(),
            observe: self.observers(),
            link,
        };
        let stop = token_of(&self.parts.intake);
        self.supervisor.spawn("intake", &self.parts.intake, async {
            intake.run(stop).await;
            Ok::<(), Error>(())
        });
        let (part, metrics) = (&self.parts.planning, self.metrics.clone());
        let counting = watches::dead_letters(broker.clone(), metrics, part.clone());
        self.supervisor.spawn("dead letter watch", part, counting);
        let publisher = EventPublisher {
            broker,
            topology: Topology::default(),
            outbox: Arc::new(StoreOutbox {
                store: self.store.clone(),
                me: self.me,
                outage: Outage::new("event publisher"),
            }),
            observe: Arc::new(PublisherObserver { metrics: self.metrics.clone() }),
        };
        let stop = token_of(&self.parts.publishing);
        self.supervisor.spawn("event publisher", &self.parts.publishing, async {
            publisher.run(stop).await;
            Ok::<(), Error>(())
        });
        Ok(())
    }

    fn start_public(&self, listener: tokio::net::TcpListener, unheard: &Arc<Unheard>) -> Result<()> {
        let (hooks, calls) = behind_routes(hooks(&self.config)?, unheard);
        let book = self.receipt_book();
        // Without hooks it would end at once.
        if !hooks.is_empty() {
            self.supervisor.spawn("hook writer", &self.parts.events, async {
                write_calls(calls, book).await;
                Ok::<(), Error>(())
            });
        }
        let (intake, directory) = Events {
            store: self.store.clone(),
            metrics: self.metrics.clone(),
            clock: self.clock.clone(),
            publish: self.config.amqp.is_some(),
        }
        .start(&self.config.tracking, &self.supervisor, &self.parts.events)?;
        let router = crate::track::router(Tracker {
            tokens: Arc::new(TrackingTokens(self.keyring.clone())),
            directory,
            intake,
            observer: self.observers(),
            hooks,
            trusted_proxies: self.config.http.trusted_proxies.clone(),
            patience: Patience::default(),
            tolls: tolls(&self.config.http),
        });
        let (limits, watch) = (public_limits(&self.config.http), self.observers());
        let part = self.parts.tracking.clone();
        self.supervisor.spawn("http.public", &self.parts.tracking, async move {
            serve(listener, router, limits, watch, part.asked()).await;
            Ok::<(), Error>(())
        });
        Ok(())
    }

    fn start_bounces(&self, lmtp: Option<tokio::net::TcpListener>) {
        let (settings, part) = (&self.config.bounces, &self.parts.tracking);
        bounces::start(settings, lmtp, &self.keyring, self.receipt_book(), &self.supervisor, part);
    }

    async fn start_admin(&self, listener: tokio::net::TcpListener, acceptor: Arc<dyn Accept>) -> Result<()> {
        let mut api = admin::router(self.store.clone())
            .merge(intake::http::router(acceptor, self.observers()))
            .merge(pages::router(self.store.clone(), self.mailbox.is_some()));
        if let Some(mailbox) = &self.mailbox {
            api = api.merge(crate::mailbox::router(mailbox.clone()));
        }
        let api = on_main_runtime(api.layer(from_fn(refuse_strange_sites)));
        let router = telemetry::router(self.metrics.clone(), self.health.clone()).merge(api);
        let (address, tasks) = (listener.local_addr()?.ip(), (&self.supervisor, &self.parts.admin));
        let (store, metrics) = (self.store.clone(), self.metrics.clone());
        let router =
            guarded(router, address, &self.config.http, store, (self.clock.clone(), metrics), tasks).await;
        serve_on_own_thread(listener, router, &self.parts.admin)
    }

    fn receipt_book(&self) -> ReceiptBook {
        ReceiptBook {
            store: self.store.clone(),
            metrics: self.metrics.clone(),
            publish: self.config.amqp.is_some(),
        }
    }

    fn observers(&self) -> Arc<Observers> {
        Arc::new(Observers { metrics: self.metrics.clone() })
    }

    /// SIGHUP: rates, sending hours and templates are read again; what is wrong stays as it was.
    async fn reload(&mut self, lanes: &[LaneHandle]) {
        let ending = match self.reread(lanes).await {
            Ok(()) => {
                self.metrics.config_reload.set(self.clock.now().as_millisecond() as f64 / 1e3);
                info!("rates, sending hours and templates were read again");
                Ending::Done
            }
            Err(problems) => {
                error!("the reload changed nothing:\n{problems}");
                Ending::Refused
            }
        };
        let deed = Deed::new(Actor::signal(), Action::ConfigReloaded, ending);
        access::record(&*self.store, vec![deed]).await.ok();
    }

    /// # Errors
    /// Everything that is wrong; nothing was changed then.
    async fn reread(&mut self, lanes: &[LaneHandle]) -> Result<()> {
        let config = Config::load(&self.path, &config::environment())?;
        self.templates.store(Arc::new(load_templates(&config)?));
        for lane in lanes {
            let Some(settings) = config.channels.get(&lane.channel) else { continue };
            let accounts =
                config.providers.values().map(|provider| (provider.name.clone(), account_limit(provider)));
            lane.change_limits(channel_limit(settings), accounts.collect()).await;
            lane.change_hours(settings.rules.hours.clone());
        }
        Ok(())
    }

    /// Stops taking work, lets what is under way end, hands back the rest; a second signal ends it at once.
    async fn drain(self, signals: &mut Signals) -> Result<()> {
        info!("draining");
        self.health.component("lifecycle").not_ready("draining");
        let deadline = Instant::now() + self.config.drain;
        let mut interrupt = pin!(signals.stop());
        let mut unfinished = None;
        self.parts.events.ask();
        self.parts.recorder.ask();
        for part in self.parts.in_order() {
            part.ask();
            // What was not done by the deadline does not keep the later parts from what they do in no time.
            let deadline = deadline.max(Instant::now() + LAST_WORD);
            if let Err(left) = part.drain(deadline, interrupt.as_mut()).await {
                warn!("{left}");
                let interrupted = matches!(left, Unfinished::Interrupted { .. });
                unfinished.get_or_insert(left);
                if interrupted {
                    break;
                }
            }
        }
        if let Some(left) = unfinished {
            return Err(anyhow!(left));
        }
        // Nothing is in flight any more: what is left of our leases goes to whoever is there, at once.
        self.store.rescue(self.me).await.context("leaving the store")?;
        info!("drained");
        Ok(())
    }
}
