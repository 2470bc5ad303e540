//! A fresh store with short ways to say what tests say often.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use campaignd::clock::Clock;
use campaignd::model::contact::Contact;
use campaignd::model::job::Job;
use campaignd::model::{CampaignNo, Channel, DeliveryKey, Event, EventKind, LinkNo, Purpose, Reason, State};
use campaignd::store::Store;
use campaignd::store::contacts::Upsert;
use campaignd::store::dispatching::{Intent, Lease, Member, Outcomes, Recipient, Settled};
use campaignd::store::jobs::{Acceptance, Incarnation, PinnedTemplate, Submission};
use campaignd::store::postgres::PgStore;
use campaignd::store::sqlite::SqliteStore;
use campaignd::store::tracking::OutboxRow;
use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;
use rusqlite::functions::{Context, FunctionFlags};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::database::TestDb;

pub(crate) struct Bed {
    pub(crate) store: Arc<dyn Store>,
    pub(super) db: Db,
}

/// What lies below the store, for what tests do behind its back.
pub(super) enum Db {
    Postgres(TestDb),
    Sqlite(TempDir),
}

/// What `state` or `state/reason` counts.
pub(crate) type Tally = BTreeMap<String, i64>;

impl Bed {
    pub(crate) async fn postgres() -> Bed {
        let db = TestDb::create().await;
        let store = Arc::new(PgStore::new(&db.url(), 4).unwrap());
        let bed = Bed { store, db: Db::Postgres(db) };
        bed.store.migrate().await.unwrap();
        bed
    }

    pub(crate) async fn sqlite() -> Bed {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(&file(&folder), Clock::system()).unwrap());
        let bed = Bed { store, db: Db::Sqlite(folder) };
        bed.store.migrate().await.unwrap();
        bed
    }

    /// As `store.url` of the configuration takes it.
    pub(crate) fn url(&self) -> String {
        match &self.db {
            Db::Postgres(db) => db.url(),
            Db::Sqlite(folder) => format!("sqlite:{}", file(folder).display()),
        }
    }

    /// The same store as another daemon sees it; on SQLite, which has one at a time, as the next one does.
    pub(crate) fn another_daemon(&self) -> Arc<dyn Store> {
        match &self.db {
            Db::Postgres(db) => Arc::new(PgStore::new(&db.url(), 4).unwrap()),
            Db::Sqlite(_) => self.store.clone(),
        }
    }

    /// Whether several daemons may share the store.
    pub(crate) fn has_many_daemons(&self) -> bool {
        matches!(self.db, Db::Postgres(_))
    }

    /// As if `span` had gone by: moves what is scheduled into the past.
    pub(crate) async fn pass(&self, span: SignedDuration) {
        let back = match &self.db {
            Db::Postgres(_) => format!("- interval '{} s'", span.as_secs()),
            Db::Sqlite(_) => format!("- {}", span.as_micros()),
        };
        if let Db::Postgres(_) = &self.db {
            self.execute(&format!("UPDATE duties SET until = until {back}")).await;
        }
        self.execute(&format!(
            "UPDATE campaigns SET send_at = send_at {back}, expires_at = expires_at {back}, accepted_at = accepted_at {back};
             UPDATE batches SET due_at = due_at {back};
             UPDATE jobs SET accepted_at = accepted_at {back};
             UPDATE tracking_keys SET created_at = created_at {back}"
        ))
        .await;
    }

    /// As if a month had gone by for standing campaigns.
    pub(crate) async fn new_month(&self) {
        let back = match &self.db {
            Db::Postgres(_) => "interval '1 month'",
            Db::Sqlite(_) => "31",
        };
        self.execute(&format!("UPDATE campaigns SET month = month - {back} WHERE standing")).await;
    }

    pub(super) async fn execute(&self, sql: &str) {
        match &self.db {
            Db::Postgres(db) => db.connect().await.batch_execute(sql).await.unwrap(),
            Db::Sqlite(folder) => behind(folder).execute_batch(sql).unwrap(),
        }
    }

    pub(crate) async fn upsert(&self, contacts: Value) -> Vec<String> {
        self.write(contacts, Upsert::Merge).await
    }

    pub(crate) async fn replace(&self, contacts: Value) -> Vec<String> {
        self.write(contacts, Upsert::Replace).await
    }

    /// As a table's rows are imported.
    pub(crate) async fn row(&self, contacts: Value) -> Vec<String> {
        self.write(contacts, Upsert::Rows).await
    }

    /// Returns the ids of contacts that lost an address to its owner.
    async fn write(&self, contacts: Value, mode: Upsert) -> Vec<String> {
        let mut contacts: Vec<Contact> = serde_json::from_value(contacts).unwrap();
        for contact in &mut contacts {
            contact.canonicalize().unwrap();
        }
        let foreign = self.store.upsert_contacts(&contacts, mode, "test").await.unwrap();
        foreign.into_iter().map(|address| address.external_id).collect()
    }

    /// `n` contacts `P1`, `P2`, ... with consent on an e-mail address each.
    pub(crate) async fn people(&self, n: usize) {
        let people: Vec<Value> = (1..=n).map(|i| person(&format!("P{i}"))).collect();
        self.upsert(Value::Array(people)).await;
    }

    pub(crate) async fn accept(&self, job: Value) -> Acceptance {
        self.accept_as(job, None).await
    }

    pub(crate) async fn accept_as(&self, job: Value, owner: Option<Incarnation>) -> Acceptance {
        let answers = self.store.accept(&[submission(job)], owner).await.unwrap();
        answers.into_iter().next().unwrap()
    }

    /// Accepts a marketing campaign on e-mail with `more` over it.
    pub(crate) async fn campaign(&self, id: &str, audience: Value, more: Value) {
        let acceptance = self.accept(campaign(id, audience, more)).await;
        assert_eq!(acceptance, Acceptance::New { warnings: Vec::new() });
    }

    /// Plans everything that is due in pages of `span`, checking the law after every page.
    pub(crate) async fn plan(&self, span: u32) -> Vec<CampaignNo> {
        let campaigns = self.store.campaigns_to_plan().await.unwrap();
        for campaign in &campaigns {
            while let Some(page) = self.store.plan_page(*campaign, span).await.unwrap() {
                self.check_law().await;
                if page.done {
                    break;
                }
            }
        }
        campaigns
    }

    pub(crate) async fn planned(&self, id: &str, audience: Value, more: Value) -> CampaignNo {
        self.campaign(id, audience, more).await;
        *self.plan(1_000).await.last().unwrap()
    }

    pub(crate) async fn tally(&self, campaign: &str) -> Tally {
        let counts = self.store.counts(campaign).await.unwrap().unwrap();
        tally(&counts.states)
    }

    /// Counters and rows agree for every campaign, and their sum is what was targeted.
    pub(crate) async fn check_law(&self) {
        for campaign in self.store.campaigns(1_000, 0).await.unwrap() {
            let counts = self.store.counts(&campaign.id).await.unwrap().unwrap();
            let rows = self.store.count_rows(&campaign.id).await.unwrap();
            assert_eq!(tally(&counts.states), tally(&rows), "counters and rows of {}", campaign.id);
            let sum: i64 = rows.iter().map(|(_, _, n)| n).sum();
            assert_eq!(sum, campaign.targeted, "targeted of {}", campaign.id);
            let planned: i64 =
                rows.iter().filter(|(state, ..)| *state == State::Planned).map(|row| row.2).sum();
            assert_eq!(sum - planned, campaign.settled, "settled of {}", campaign.id);
            assert!(counts.sending <= planned, "sending of {}", campaign.id);
        }
        self.check_batches().await;
    }

    /// Members at or past a watermark wait in their batch, or are in doubt and a receipt told of them; what waits is in a
    /// batch, and a batch that nobody owns has no member without an outcome before its watermark.
    async fn check_batches(&self) {
        let broken: [i64; 3] = match &self.db {
            Db::Postgres(db) => {
                let sql = format!("WITH {POSTGRES_MEMBERS}, {BROKEN}");
                let row = db.connect().await.query_one(&sql, &[]).await.unwrap();
                [row.get(0), row.get(1), row.get(2)]
            }
            Db::Sqlite(folder) => {
                let sql = format!("WITH RECURSIVE {SQLITE_MEMBERS}, {BROKEN}");
                let connection = behind(folder);
                connection.query_row(&sql, [], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?])).unwrap()
            }
        };
        assert_eq!(broken, [0; 3], "settled in wait, waiting nowhere, doubtful without an owner");
    }

    /// Leases everything that is due on e-mail.
    pub(crate) async fn lease(&self, me: Incarnation) -> Vec<Lease> {
        let streams = self.store.campaigns_due(Channel::Email).await.unwrap();
        self.store.lease(me, &streams, 100).await.unwrap()
    }

    /// Asks for a whole lease.
    pub(crate) async fn intend(&self, me: Incarnation, lease: &Lease) -> Option<Vec<Recipient>> {
        self.store.intend(me, &[intent(lease)]).await.unwrap().pop().unwrap()
    }

    /// Outgoing events, as a daemon of its own sees them.
    pub(crate) async fn outbox(&self, most: u32) -> Vec<OutboxRow> {
        self.store.outbox(Incarnation(0), most).await.unwrap()
    }

    /// State and reason of a contact's deliveries in a campaign.
    pub(crate) async fn fate(&self, campaign: &str, external_id: &str) -> Vec<String> {
        let explained = self.store.explain(campaign, external_id).await.unwrap();
        explained.iter().map(|one| word(one.delivery.state, one.delivery.reason)).collect()
    }

    /// External ids that a campaign would send to.
    pub(crate) async fn sent_to(&self, campaign: &str) -> Vec<String> {
        let query = campaignd::store::reports::DeliveryQuery {
            state: Some(State::Planned),
            after: None,
            limit: 1_000,
        };
        let rows = self.store.deliveries(campaign, &query).await.unwrap();
        rows.into_iter().filter_map(|row| row.external_id).collect()
    }
}

pub(crate) fn person(id: &str) -> Value {
    json!({"external_id": id, "addresses": [email(id)]})
}

/// An address made from `name`, with consent.
pub(crate) fn email(name: &str) -> Value {
    json!({"channel": "email", "address": format!("{name}@example.com"), "consent": true})
}

pub(crate) fn campaign(id: &str, audience: Value, more: Value) -> Value {
    let mut job = json!({"type": "campaign", "id": id, "channel": "email", "purpose": "marketing",
        "template": "t", "audience": audience});
    job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    job
}

pub(crate) fn message(id: &str, campaign: &str, to: Value, more: Value) -> Value {
    let mut job = json!({"type": "message", "id": id, "campaign": campaign, "channel": "email", "purpose": "service",
        "template": "t", "to": to});
    job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    job
}

pub(crate) fn template() -> PinnedTemplate {
    PinnedTemplate {
        hash: [7; 32],
        name: "t".into(),
        source: json!({"text": "hello"}),
        links: vec!["https://shop.example/a".into(), "https://shop.example/b".into()],
    }
}

pub(crate) fn submission(job: Value) -> Submission {
    let read = Job::read(&serde_json::to_vec(&job).unwrap()).unwrap();
    let template = matches!(read.job, Job::Campaign(_) | Job::Message(_)).then(template);
    Submission {
        job: read.job,
        content_hash: read.content_hash,
        template,
        purpose_forbidden: false,
        apps: None,
    }
}

/// The intent for all members of a lease.
pub(crate) fn intent(lease: &Lease) -> Intent {
    Intent {
        batch: lease.batch,
        campaign: lease.campaign,
        purpose: Purpose::Marketing,
        channel: Channel::Email,
        inline_data: true,
        epoch: lease.epoch,
        to: lease.watermark + u32::try_from(lease.members.len()).unwrap(),
        members: lease.members.clone(),
        resend: None,
        again: lease.doubt.is_some(),
    }
}

pub(crate) fn key(lease: &Lease, member: &Member) -> DeliveryKey {
    DeliveryKey { campaign: lease.campaign, contact: member.contact, occurrence: member.occurrence }
}

pub(crate) fn settled(lease: &Lease, member: &Member, state: State, reason: Option<Reason>) -> Settled {
    Settled {
        delivery: key(lease, member),
        batch: lease.batch,
        state,
        reason,
        attempts: lease.attempt + 1,
        provider: Some("relay".into()),
        provider_ref: Some("250 queued".into()),
        referenced: false,
        segments: 0,
        at: Timestamp::now(),
        detail: None,
    }
}

/// All members of a lease accepted, and the batch closed.
pub(crate) fn all_accepted(lease: &Lease) -> Outcomes {
    Outcomes {
        settled: lease.members.iter().map(|member| settled(lease, member, State::Accepted, None)).collect(),
        closed: vec![lease.batch],
        ..Outcomes::default()
    }
}

fn word(state: State, reason: Option<Reason>) -> String {
    reason.map_or_else(|| state.to_string(), |reason| format!("{state}/{reason}"))
}

pub(crate) fn tally(counts: &[(State, Option<Reason>, i64)]) -> Tally {
    counts.iter().map(|(state, reason, n)| (word(*state, *reason), *n)).collect()
}

/// `tallied([("planned", 3)])` to compare with.
pub(crate) fn tallied<const N: usize>(counts: [(&str, i64); N]) -> Tally {
    counts.into_iter().map(|(word, n)| (word.to_owned(), n)).collect()
}

/// What a person did to a delivery just now; a click goes to the second link.
pub(crate) fn event(delivery: DeliveryKey, kind: EventKind) -> Event {
    Event {
        id: uuid::Uuid::now_v7(),
        at: Timestamp::now(),
        kind,
        delivery,
        link: (kind == EventKind::Clicked).then_some(LinkNo(1)),
        machine: None,
        reason: None,
        detail: None,
        client_ip: Some("192.0.2.1".parse().unwrap()),
        user_agent: Some("test".into()),
    }
}

/// Every member of every batch with its place from 1 on.
const POSTGRES_MEMBERS: &str = "members AS (
    SELECT b.number, b.campaign, b.owner, b.watermark, b.size, b.doubt IS NOT NULL AS doubtful, n.*
    FROM batches b, unnest(b.contacts, b.occurrences) WITH ORDINALITY AS n (contact, occurrence, place))";

const BROKEN: &str = "waiting AS (SELECT * FROM members WHERE place > watermark AND place <= size)
    SELECT (SELECT count(*) FROM waiting w LEFT JOIN deliveries d USING (campaign, contact, occurrence)
            WHERE d.state IS DISTINCT FROM 1 AND NOT w.doubtful OR d.batch <> w.number),
           (SELECT count(*) FROM deliveries d LEFT JOIN members m USING (campaign, contact, occurrence)
            WHERE d.state = 1 AND (m.number IS NULL OR m.number = d.batch AND m.place > m.size)),
           (SELECT count(*) FROM members m JOIN deliveries d USING (campaign, contact, occurrence)
            WHERE m.owner IS NULL AND m.place <= m.watermark AND d.state = 1 AND d.batch = m.number)";

fn file(folder: &TempDir) -> PathBuf {
    folder.path().join("campaignd.db")
}

/// A connection of the tests' own, with `little(blob, place)`: the 64-bit number at a place of a list.
pub(super) fn behind(folder: &TempDir) -> Connection {
    let connection = Connection::open(file(folder)).unwrap();
    connection.busy_timeout(Duration::from_secs(10)).unwrap();
    let little = |context: &Context<'_>| {
        let (list, place): (Vec<u8>, i64) = (context.get(0)?, context.get(1)?);
        let place = usize::try_from(place).unwrap();
        Ok(i64::from_le_bytes(list[8 * place..8 * place + 8].try_into().unwrap()))
    };
    connection.create_scalar_function("little", 2, FunctionFlags::SQLITE_DETERMINISTIC, little).unwrap();
    connection
}

const SQLITE_MEMBERS: &str = "places (place) AS (SELECT 1 UNION ALL SELECT place + 1 FROM places WHERE place < 500),
    members AS (
        SELECT b.number, b.campaign, b.owner, b.watermark, b.size, b.doubt IS NOT NULL AS doubtful, p.place,
               little(n.contacts, p.place - 1) AS contact, little(n.occurrences, p.place - 1) AS occurrence
        FROM batches b JOIN batch_members n ON n.batch = b.number JOIN places p ON 8 * p.place <= length(n.contacts))";
