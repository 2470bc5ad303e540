//! The metric catalogue: the one place with every metric's name, type, labels, buckets and help. The help says what to
//! alert on. `campaignd metrics` and `docs/metrics.md` come from here.
//!
//! Labels are bounded words; none ever names a campaign, a contact or a template: those are the reports'. A handle
//! with labels is resolved once where it is used (`with_label_values` costs eight times an increment) and added to
//! once a batch. Times are exported as timestamps, not as ages, so that a stalled exporter does not look healthy.

#[cfg(target_os = "linux")]
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

/// What the catalogue says of one metric.
#[derive(Debug, Clone, Copy)]
pub struct Definition {
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    pub labels: &'static [&'static str],
    /// Upper edges, for histograms.
    pub buckets: &'static [f64],
    pub help: &'static str,
}

/// A type of handle that can be made from its definition.
trait Handle: Sized + Clone + prometheus::core::Collector + 'static {
    const KIND: &'static str;
    fn new(definition: &Definition) -> prometheus::Result<Self>;
}

macro_rules! handle {
    ($($type:ty: $kind:literal, |$definition:ident| $new:expr;)+) => {$(
        impl Handle for $type {
            const KIND: &'static str = $kind;
            fn new($definition: &Definition) -> prometheus::Result<Self> { $new }
        }
    )+};
}

handle! {
    IntCounter: "counter", |d| Self::with_opts(d.opts());
    IntCounterVec: "counter", |d| Self::new(d.opts(), d.labels);
    IntGauge: "gauge", |d| Self::with_opts(d.opts());
    IntGaugeVec: "gauge", |d| Self::new(d.opts(), d.labels);
    Gauge: "gauge", |d| Self::with_opts(d.opts());
    GaugeVec: "gauge", |d| Self::new(d.opts(), d.labels);
    Histogram: "histogram", |d| Self::with_opts(d.histogram_opts());
    HistogramVec: "histogram", |d| Self::new(d.histogram_opts(), d.labels);
}

impl Definition {
    fn opts(&self) -> Opts {
        Opts::new(self.name, self.help)
    }

    fn histogram_opts(&self) -> HistogramOpts {
        HistogramOpts::from(self.opts()).buckets(self.buckets.to_vec())
    }
}

macro_rules! catalogue {
    ($($field:ident: $type:ident = $name:literal [$($label:literal),*] $({$($edge:literal),+})? $help:literal;)+) => {
        /// One handle a metric, all in one registry.
        #[derive(Debug, Clone)]
        pub struct Metrics {
            registry: Registry,
            $(#[doc = $help] pub $field: $type,)+
        }

        const CATALOGUE: &[Definition] = &[$(Definition {
            name: $name,
            kind: <$type as Handle>::KIND,
            labels: &[$($label),*],
            buckets: &[$($($edge),+)?],
            help: $help,
        }),+];

        impl Metrics {
            /// Every metric, registered and at zero.
            ///
            /// # Errors
            /// Where the catalogue itself is wrong: a name twice, or one that Prometheus refuses.
            pub fn new() -> prometheus::Result<Self> {
                let registry = Registry::new();
                let mut definitions = CATALOGUE.iter();
                $(let $field: $type = registered(&registry, definitions.next())?;)+
                let metrics = Self { registry, $($field),+ };
                metrics.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
                #[cfg(target_os = "linux")]
                metrics.registry.register(Box::new(ProcessCollector::for_self()))?;
                Ok(metrics)
            }
        }
    };
}

catalogue! {
    jobs_received: IntCounterVec = "campaignd_jobs_received_total" ["type", "result"]
        "Jobs by type (unreadable where there is none) and what became of them: accepted, known, conflict, invalid. Alert on a rise of invalid: a producer is broken.";
    settled: IntCounterVec = "campaignd_settled_total" ["result"]
        "How messages from RabbitMQ were settled: acked, dead_lettered, ack_failed. Alert on a rate of ack_failed that does not end with a reconnect.";
    dead_letters: IntGaugeVec = "campaignd_dead_letters" ["queue"]
        "Messages in the dead-letter queue. Alert above 0: `campaignd dead list` says what is wrong with them.";
    amqp_connected: IntGauge = "campaignd_amqp_connected" []
        "1 while a session with RabbitMQ consumes; 0 without [amqp], too. Alert at 0 for 2 minutes: no job comes in by that way.";
    amqp_sessions: IntCounterVec = "campaignd_amqp_sessions_total" ["end"]
        "Sessions with RabbitMQ that ended, by how: not_connected, lost, cancelled, shutdown. Alert where not_connected or lost repeat by the minute.";

    recipients_planned: IntCounterVec = "campaignd_recipients_planned_total" ["channel", "state", "reason"]
        "Recipients judged by the planner: planned, or excluded with the first reason that applies. Look here when an audience is smaller than expected.";
    campaigns: IntGaugeVec = "campaignd_campaigns" ["state"]
        "Campaigns by status. Alert where planning does not return to 0: an audience cannot be read.";
    backlog: IntGaugeVec = "campaignd_backlog" ["channel", "lane", "state"]
        "Deliveries that wait, by lane, without those of paused campaigns. Alert where it grows for an hour while the limiter has room: sending is the bottleneck.";
    oldest_due: GaugeVec = "campaignd_oldest_due_timestamp_seconds" ["lane", "channel"]
        "When the oldest delivery that waits for nothing but its turn became due; 0 when none waits. Alert on time() minus this above 30 s for transactional.";
    leases_expired: IntCounter = "campaignd_leases_expired_total" []
        "Batches taken back from a daemon that stopped beating. Alert on any without a known crash: a daemon stalls.";

    attempts: IntCounterVec = "campaignd_attempts_total" ["channel", "provider", "outcome", "reason"]
        "Attempts by outcome. Alert where everything but accepted is over 5 % of a provider's attempts: it refuses or fails.";
    attempt_duration: HistogramVec = "campaignd_attempt_duration_seconds" ["provider"]
        {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0}
        "From the first byte of an attempt to the provider's answer. Alert where the 99th percentile nears the time-out: doubts follow.";
    segments_sent: IntCounterVec = "campaignd_segments_sent_total" ["provider"]
        "SMS segments in messages that the provider took: what it bills. Alert where segments a message rise: a text grew, or left the GSM alphabet.";
    in_flight: IntGaugeVec = "campaignd_in_flight" ["provider"]
        "Messages handed over and not answered yet. At its bound for long while the limiter has room: raise `concurrency`.";
    receipts: IntCounterVec = "campaignd_receipts_total" ["provider", "state"]
        "What providers said later, by the account where it is known: accepted, delivered, bounced, complained, unsubscribed, replied; or repeated, or stray (about nobody here). Alert where a provider's attempts go on and its receipts end: reports go blind.";
    returned_mails: IntCounterVec = "campaignd_returned_mails_total" ["kind"]
        "Mails that came back to [bounces]: report (of delivery), complaint, unclaimed (a report about nothing known here), other (vacation notices, replies). Alert where unclaimed rises: addresses change on their way, or somebody forges reports.";
    receipt_delay: Histogram = "campaignd_receipt_delay_seconds" []
        {1.0, 5.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 21600.0, 86400.0, 259200.0}
        "From the provider's answer to what its first receipt tells. Alert where the median leaves its usual place: the provider's queue grows.";
    retries: IntCounterVec = "campaignd_retries_total" ["channel", "reason"]
        "Deliveries put back for another attempt. Alert on a rise: the provider, or the way to it, is in trouble.";
    auto_pauses: IntCounterVec = "campaignd_auto_pauses_total" ["channel", "cause"]
        "Campaigns that were paused by themselves, by why: bounces, complaints, template_refused. Alert on any: `campaignd campaigns show` names it.";
    unknown_deliveries: IntGaugeVec = "campaignd_unknown_deliveries" ["channel"]
        "Deliveries that the provider may or may not have. Alert above 0 for an hour: `campaignd resolve` settles what no receipt did.";
    provider_paused: IntGaugeVec = "campaignd_provider_paused" ["provider", "reason"]
        "1 while a provider is left alone, by why: account_refused, throttled, unreachable, failing. Alert on account_refused at once: password, balance or a block; on unreachable and failing after five minutes.";

    limiter_limit: GaugeVec = "campaignd_limiter_limit_per_second" ["scope", "name"]
        "The narrowest configured rate; scope is provider or channel, 0 stands for no limit. Compare with the rate of attempts.";
    limiter_wait: HistogramVec = "campaignd_limiter_wait_seconds" ["scope"]
        {0.01, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 21600.0}
        "How long messages waited for a permit, by the scope that held them. Long waits are the limit at work, not a fault.";

    render_duration: Histogram = "campaignd_render_duration_seconds" []
        {0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.1}
        "Time to render one message. Alert where the mean passes 1 ms: a template is heavier than the sending.";
    render_errors: IntCounterVec = "campaignd_render_errors_total" ["kind"]
        "Messages that could not be rendered. Alert on any rise: a template needs data that recipients lack.";

    tracking_requests: IntCounterVec = "campaignd_tracking_requests_total" ["kind", "verdict", "code"]
        "Requests of the public listener: kind open, click, unsubscribe_page, unsubscribe, hook; verdict human, a machine rule, asked, spooled, queued, dropped, limited (over its rate by address: answered, not recorded), forged, unknown_link, unavailable, refused, taken, unknown_provider; the HTTP code. Alert on 5xx over 0.05 % and on any dropped.";
    public_connections: IntGauge = "campaignd_public_connections" []
        "Connections open on the public listener. Alert near `http.limits.connections`: beyond it peers wait to be accepted.";
    public_connections_refused: IntCounter = "campaignd_public_connections_refused_total" []
        "Connections to the public listener closed at once, since their address held `http.limits.connections_per_address`. A steady rate is an attack, or a proxy that `trusted_proxies` does not name.";
    tracking_request_duration: Histogram = "campaignd_tracking_request_duration_seconds" []
        {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0}
        "Time to answer a request of the public listener. Alert where over 0.05 % take longer than 0.1 s: people wait for their link.";
    events_recorded: IntCounterVec = "campaignd_events_recorded_total" ["kind"]
        "Events durable in the store: opened, clicked, unsubscribed, ... Alert where it stays at 0 while tracking_requests rises.";
    event_lag: Histogram = "campaignd_event_lag_seconds" []
        {0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0}
        "From receiving an event to its being visible in reports. Alert where over 1 % take longer than 10 s.";
    event_spool_bytes: IntGauge = "campaignd_event_spool_bytes" []
        "What lies on this machine's disk until the store takes it. Alert where it grows for minutes: the store is away, and at `spool_limit` events are dropped.";
    event_spool_oldest: Gauge = "campaignd_event_spool_oldest_timestamp_seconds" []
        "When the oldest spooled events came; 0 when there are none. Alert on time() minus this above 10 minutes: reports miss them until then.";
    events_spooled: IntCounter = "campaignd_events_spooled_total" []
        "Events written to this machine's disk, because the store was away or took over 50 ms. Alert where it rises for an hour: the store is too slow for its events.";
    events_replayed: IntCounter = "campaignd_events_replayed_total" []
        "Spooled events that the store has now; one that it had before counts, too. Compare with events_spooled.";
    events_dropped: IntCounterVec = "campaignd_events_dropped_total" ["reason"]
        "Events that are lost: full (the spool is at its limit), disk (it does not take them), expired (over `spool_age`), unreadable (written by another version). Alert on any: reports miss them; unsubscribes among full and disk were answered with 503 and come again.";

    admin_refusals: IntCounterVec = "campaignd_admin_refusals_total" ["why"]
        "Requests that the admin listener did not let in: host, no_token, wrong_token, locked, scope, not_ready. Alert on a rate of wrong_token or locked: a token was revoked and is still in use, or somebody tries.";

    store_pool_connections: IntGaugeVec = "campaignd_store_pool_connections" ["state"]
        "Connections to the store: idle or used. Alert at 0 idle for 5 minutes: raise `store.connections` or find the slow query.";
    store_query_duration: HistogramVec = "campaignd_store_query_duration_seconds" ["op"]
        {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0}
        "Time of a store operation, its commit included. Alert where the 99th percentile of record or intend passes 0.25 s.";
    record_batch_size: Histogram = "campaignd_record_batch_size" []
        {1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0}
        "Outcomes in one commit. Small under load means that the store keeps up; at its bound, that it does not.";
    record_duration: Histogram = "campaignd_record_duration_seconds" []
        {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0}
        "Time to make a batch of outcomes durable. Alert where the 99th percentile passes 1 s: what a crash leaves in doubt grows.";
    ledger_imbalance: IntGauge = "campaignd_ledger_imbalance" []
        "Recipients that the states do not account for. Must be 0: alert on anything else at once.";

    heartbeat: GaugeVec = "campaignd_heartbeat_timestamp_seconds" ["stage"]
        "When a stage last went round its loop. Alert on time() minus this above 60 s: the stage hangs.";
    config_reload: Gauge = "campaignd_config_reload_timestamp_seconds" []
        "When rates and templates were last read with success. Alert where a SIGHUP does not move it: the new files are wrong.";
    build_info: IntGaugeVec = "campaignd_build_info" ["version"]
        "Always 1; the version runs in this process.";
}

/// What the operating system tells of the process (Linux).
const PROCESS: &[Definition] = &[
    process(
        "process_cpu_seconds_total",
        "counter",
        "CPU time, user and system. Alert near the number of cores.",
    ),
    process("process_open_fds", "gauge", "Open file descriptors. Alert above 80 % of process_max_fds."),
    process("process_max_fds", "gauge", "File descriptors that the process may open."),
    process("process_virtual_memory_bytes", "gauge", "Virtual memory. Says little; see the resident memory."),
    process("process_resident_memory_bytes", "gauge", "Memory in use. Alert where it only ever grows."),
    process(
        "process_start_time_seconds",
        "gauge",
        "When the process started. Alert on changes that nobody made.",
    ),
    process("process_threads", "gauge", "Threads of the process."),
];

const fn process(name: &'static str, kind: &'static str, help: &'static str) -> Definition {
    Definition { name, kind, labels: &[], buckets: &[], help }
}

fn registered<H: Handle>(registry: &Registry, definition: Option<&Definition>) -> prometheus::Result<H> {
    let definition = definition.ok_or_else(|| prometheus::Error::Msg("the catalogue is too short".into()))?;
    let handle = H::new(definition)?;
    registry.register(Box::new(handle.clone()))?;
    Ok(handle)
}

impl Metrics {
    /// Every metric that `/metrics` may show, in the order of the catalogue.
    pub fn catalogue() -> impl Iterator<Item = &'static Definition> {
        CATALOGUE.iter().chain(PROCESS)
    }

    /// The catalogue as a Markdown document: `docs/metrics.md`.
    pub fn markdown() -> String {
        let mut page = String::from(HEAD);
        for definition in Self::catalogue() {
            let Definition { name, kind, labels, help, .. } = definition;
            page += &format!("| `{name}` | {kind} | {} | {help} |\n", labels.join(", "));
        }
        page
    }

    /// All values in Prometheus' text format, version 0.0.4.
    ///
    /// # Errors
    /// Where a metric cannot be written as text.
    pub fn encode(&self) -> prometheus::Result<Vec<u8>> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

const HEAD: &str = "\
# Metrics

`GET /metrics` on the admin listener, Prometheus' text format. `campaignd metrics` prints this list. Generated from the
catalogue in `src/telemetry/metrics.rs`; `UPDATE_DOCS=1 cargo test --lib telemetry::metrics` writes it anew.

| name | type | labels | what it says |
| --- | --- | --- | --- |
";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_follow_prometheus() {
        for Definition { name, kind, labels, buckets, help } in CATALOGUE {
            assert!(name.starts_with("campaignd_"), "{name}");
            assert_eq!(*kind == "counter", name.ends_with("_total"), "{name}");
            assert_eq!(*kind == "histogram", !buckets.is_empty(), "{name}");
            assert!(buckets.is_sorted(), "{name}");
            assert!(help.ends_with('.'), "{name}");
            assert!(
                !labels.iter().any(|label| ["campaign", "contact", "template"].contains(label)),
                "{name}"
            );
        }
    }

    #[test]
    fn the_catalogue_is_what_is_shown() {
        let metrics = Metrics::new().unwrap();
        let names = |definitions: &[Definition]| -> BTreeSet<String> {
            definitions.iter().map(|definition| definition.name.to_owned()).collect()
        };
        let shown: BTreeSet<String> =
            metrics.registry.gather().iter().map(|family| family.name().to_owned()).collect();
        // A metric with labels shows once it has a value.
        assert!(shown.is_subset(&names(&Metrics::catalogue().copied().collect::<Vec<_>>())));
        let plain: Vec<Definition> = CATALOGUE.iter().filter(|d| d.labels.is_empty()).copied().collect();
        assert!(shown.is_superset(&names(&plain)) && shown.is_superset(&names(PROCESS)));
        assert!(shown.contains("campaignd_build_info"));
    }

    #[test]
    fn two_sets_are_apart() {
        let (first, second) = (Metrics::new().unwrap(), Metrics::new().unwrap());
        first.attempts.with_label_values(&["email", "relay", "accepted", ""]).inc_by(3);
        let text = String::from_utf8(first.encode().unwrap()).unwrap();
        assert!(text.contains(
            r#"campaignd_attempts_total{channel="email",outcome="accepted",provider="relay",reason=""} 3"#
        ));
        assert!(!String::from_utf8(second.encode().unwrap()).unwrap().contains("campaignd_attempts_total{"));
    }

    #[test]
    fn the_document_is_the_catalogue() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, Metrics::markdown()).unwrap();
        }
        let document = std::fs::read_to_string(path).unwrap();
        assert_eq!(document, Metrics::markdown(), "run UPDATE_DOCS=1 cargo test --lib telemetry::metrics");
    }
}
