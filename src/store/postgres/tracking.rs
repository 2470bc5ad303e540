//! Events on PostgreSQL: aggregated by key, written in the order of keys, so that two writers cannot block each other.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use async_trait::async_trait;
use deadpool_postgres::{GenericClient, Transaction};
use futures_util::try_join;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use tokio_postgres::Row;
use tokio_postgres::types::{Json, ToSql};
use uuid::Uuid;

use super::counters::Deltas;
use super::engagement::{write_contacts, write_engagement};
use super::{KEYED, ONE_PLAN, PgStore, cached, decode, deliveries_table, duties};
use crate::model::event::MachineRule;
use crate::model::{CampaignNo, Channel, ContactNo, DeliveryKey, Event, EventKind, LinkNo, Reason, State};
use crate::store::jobs::Incarnation;
use crate::store::tracking::{OutboxRow, Tracking};
use crate::store::{Error, Result};

/// What an event needs to know about its delivery.
pub(super) struct Context {
    pub(super) campaign: String,
    pub(super) external_id: Option<String>,
    pub(super) channel: Channel,
    pub(super) zone: TimeZone,
    /// What the contact does is counted, and its details are not kept.
    pub(super) erased: bool,
}

#[async_trait]
impl Tracking for PgStore {
    async fn record_events(&self, events: &[Event], publish: bool) -> Result<u64> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
        let deliveries = events.iter().map(|event| event.delivery);
        let ((), contexts) = try_join!(open(&transaction), self.contexts(&transaction, deliveries))?;
        let known: Vec<&Event> =
            events.iter().filter(|event| contexts.contains_key(&event.delivery)).collect();
        let mut inserted = insert_events(&transaction, &known, &contexts).await?;
        // Taking each id out keeps a repeat within this very group from counting.
        let mut new: Vec<&Event> = known.into_iter().filter(|event| inserted.remove(&event.id)).collect();
        new.sort_by_key(|event| (event.delivery, event.at));
        let mut deltas = Deltas::default();
        // What goes out locks nothing that others want: it shares the round trips of what does.
        let write_back = async {
            write_engagement(&transaction, &new, &mut deltas).await?;
            write_contacts(&transaction, &new, &contexts).await
        };
        try_join!(write_back, write_outbox(&transaction, if publish { &new } else { &[] }, &contexts))?;
        let unsubscribed = new.iter().filter(|event| event.kind == EventKind::Unsubscribed);
        let unsubscribed = unsubscribed.filter_map(|event| {
            Some((event.delivery.contact, contexts.get(&event.delivery)?.channel, event.at))
        });
        unsubscribe(&transaction, unsubscribed).await?;
        deltas.append(&transaction).await?;
        transaction.commit().await?;
        Ok(new.len() as u64)
    }

    async fn link(&self, campaign: CampaignNo, link: LinkNo) -> Result<Option<String>> {
        let Ok(number) = i16::try_from(link.0) else { return Ok(None) };
        let client = self.client().await?;
        let sql = "SELECT url FROM links WHERE campaign = $1 AND number = $2";
        Ok(client.query_opt(sql, &[&campaign.0, &number]).await?.map(|row| row.get(0)))
    }

    async fn sent_at(&self, deliveries: &[DeliveryKey]) -> Result<HashMap<DeliveryKey, (Timestamp, usize)>> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
        let keys = self.by_table(&transaction, deliveries.iter().copied());
        let ((), links, keys) = try_join!(open(&transaction), count_links(&transaction, deliveries), keys)?;
        // Whoever opens what is still on its way is the gateway that looks before it accepts.
        let seen = |state: &&State| state.is_sent() || matches!(state, State::Planned | State::Unknown);
        let seen: Vec<i16> = State::ALL.iter().filter(seen).map(|state| state.code()).collect();
        let mut sent = HashMap::with_capacity(deliveries.len());
        for (table, keys) in keys {
            let sql = format!(
                "SELECT n.campaign, n.contact, n.occurrence, CASE WHEN d.state = {} THEN now() ELSE d.updated_at END
                 FROM {KEYS} CROSS JOIN LATERAL ({} LIMIT 1) d WHERE d.state = ANY($4)",
                State::Planned.code(),
                delivery("x.state, x.updated_at", &table)
            );
            let bound: [&(dyn ToSql + Sync); 4] = [&keys.campaigns, &keys.contacts, &keys.occurrences, &seen];
            for row in cached::query(&transaction, &sql, &bound).await? {
                let key = key(&row);
                sent.insert(key, (row.get(3), links.get(&key.campaign.0).copied().unwrap_or(0)));
            }
        }
        // It has only read: that it is dropped ends it, and nobody waits for that.
        Ok(sent)
    }

    async fn outbox(&self, me: Incarnation, limit: u32) -> Result<Vec<OutboxRow>> {
        let client = self.client().await?;
        let waiting = client.query_opt("SELECT FROM outbox ORDER BY number LIMIT 1", &[]).await?;
        if waiting.is_none() || !duties::take(&client, "outbox", me).await? {
            return Ok(Vec::new());
        }
        let rows = client
            .query(
                "SELECT number, routing_key, payload FROM outbox ORDER BY number LIMIT $1",
                &[&i64::from(limit)],
            )
            .await?;
        let row = |row: &tokio_postgres::Row| {
            let Json(payload) = row.get(2);
            OutboxRow { number: row.get(0), routing_key: row.get(1), payload }
        };
        Ok(rows.iter().map(row).collect())
    }

    async fn outbox_done(&self, numbers: &[i64]) -> Result<()> {
        self.client().await?.execute("DELETE FROM outbox WHERE number = ANY($1)", &[&numbers]).await?;
        Ok(())
    }
}

/// Every statement about events finds its rows by key.
async fn open(transaction: &Transaction<'_>) -> Result<()> {
    transaction.batch_execute(&format!("{KEYED}; {ONE_PLAN}")).await?;
    Ok(())
}

impl PgStore {
    /// Deliveries that exist; an event about any other is dropped: its token outlived the ledger.
    pub(super) async fn contexts(
        &self,
        transaction: &Transaction<'_>,
        deliveries: impl Iterator<Item = DeliveryKey>,
    ) -> Result<HashMap<DeliveryKey, Context>> {
        let mut contexts = HashMap::new();
        for (table, keys) in self.by_table(transaction, deliveries).await? {
            let sql = format!(
                "SELECT n.campaign, n.contact, n.occurrence, k.id, c.external_id, k.channel, c.timezone, c.erased_at IS NOT NULL
                 FROM {KEYS} CROSS JOIN LATERAL ({} LIMIT 1) d
                 CROSS JOIN LATERAL (SELECT x.id, x.channel FROM campaigns x WHERE x.number = n.campaign LIMIT 1) k
                 CROSS JOIN LATERAL (SELECT x.external_id, x.timezone, x.erased_at FROM contacts x
                                     WHERE x.number = n.contact LIMIT 1) c",
                delivery("", &table)
            );
            let bound: [&(dyn ToSql + Sync); 3] = [&keys.campaigns, &keys.contacts, &keys.occurrences];
            for row in cached::query(transaction, &sql, &bound).await? {
                contexts.insert(key(&row), context(&row)?);
            }
        }
        Ok(contexts)
    }

    /// Deliveries by the tables that hold them; those whose table does not exist are left out.
    async fn by_table(
        &self,
        transaction: &Transaction<'_>,
        deliveries: impl Iterator<Item = DeliveryKey>,
    ) -> Result<Vec<(String, Keys)>> {
        let mut by_table: BTreeMap<String, BTreeSet<DeliveryKey>> = BTreeMap::new();
        for delivery in deliveries {
            by_table.entry(deliveries_table(delivery.campaign)).or_default().insert(delivery);
        }
        let mut existing = Vec::new();
        for (table, keys) in by_table {
            let Some(first) = keys.first() else { continue };
            if self.has_partition(transaction, first.campaign).await? {
                existing.push((table, keys.into_iter().collect()));
            }
        }
        Ok(existing)
    }
}

/// Deliveries' keys, bound as the first three columns of [`KEYS`].
#[derive(Default)]
pub(super) struct Keys {
    pub(super) campaigns: Vec<i64>,
    pub(super) contacts: Vec<i64>,
    pub(super) occurrences: Vec<i64>,
}

pub(super) const KEYS: &str =
    "unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS n (campaign, contact, occurrence)";

impl FromIterator<DeliveryKey> for Keys {
    fn from_iter<I: IntoIterator<Item = DeliveryKey>>(keys: I) -> Self {
        let mut columns = Keys::default();
        for key in keys {
            columns.campaigns.push(key.campaign.0);
            columns.contacts.push(key.contact.0);
            columns.occurrences.push(key.occurrence);
        }
        columns
    }
}

/// The key in a row's first three columns.
pub(super) fn key(row: &Row) -> DeliveryKey {
    DeliveryKey { campaign: CampaignNo(row.get(0)), contact: ContactNo(row.get(1)), occurrence: row.get(2) }
}

/// Selects from the delivery that `n` names.
fn delivery(columns: &str, table: &str) -> String {
    format!(
        "SELECT {columns} FROM {table} x
         WHERE x.campaign = n.campaign AND x.contact = n.contact AND x.occurrence = n.occurrence"
    )
}

/// How many links the deliveries' campaigns track.
async fn count_links(
    transaction: &Transaction<'_>,
    deliveries: &[DeliveryKey],
) -> Result<HashMap<i64, usize>> {
    let campaigns: BTreeSet<i64> = deliveries.iter().map(|delivery| delivery.campaign.0).collect();
    let campaigns: Vec<i64> = campaigns.into_iter().collect();
    let sql = "SELECT campaign, count(*) FROM links WHERE campaign = ANY($1) GROUP BY campaign";
    let rows = cached::query(transaction, sql, &[&campaigns]).await?;
    Ok(rows.iter().map(|row| (row.get(0), usize::try_from(row.get::<_, i64>(1)).unwrap_or(0))).collect())
}

fn context(row: &Row) -> Result<Context> {
    let zone = row.get::<_, Option<&str>>(6).and_then(|name| TimeZone::get(name).ok());
    Ok(Context {
        campaign: row.get(3),
        external_id: row.get(4),
        channel: decode(row.get(5), Channel::from_code)?,
        zone: zone.unwrap_or(TimeZone::UTC),
        erased: row.get(7),
    })
}

/// Returns the ids that were not there yet.
pub(super) async fn insert_events(
    transaction: &Transaction<'_>,
    events: &[&Event],
    contexts: &HashMap<DeliveryKey, Context>,
) -> Result<BTreeSet<Uuid>> {
    if events.is_empty() {
        return Ok(BTreeSet::new());
    }
    let named = |event: &Event| contexts.get(&event.delivery).is_some_and(|context| !context.erased);
    let keys: Keys = events.iter().map(|event| event.delivery).collect();
    let ids: Vec<Uuid> = events.iter().map(|event| event.id).collect();
    let at: Vec<Timestamp> = events.iter().map(|event| event.at).collect();
    let kinds: Vec<i16> = events.iter().map(|event| event.kind.code()).collect();
    let links: Vec<Option<i16>> =
        events.iter().map(|event| event.link.and_then(|link| i16::try_from(link.0).ok())).collect();
    let machines: Vec<Option<i16>> =
        events.iter().map(|event| event.machine.map(|rule| rule.code())).collect();
    let reasons: Vec<Option<i16>> =
        events.iter().map(|event| event.reason.map(|reason| reason.code())).collect();
    let ips: Vec<Option<std::net::IpAddr>> =
        events.iter().map(|event| event.client_ip.filter(|_| named(event))).collect();
    let agents: Vec<Option<&str>> =
        events.iter().map(|event| event.user_agent.as_deref().filter(|_| named(event))).collect();
    let details: Vec<Option<&str>> =
        events.iter().map(|event| event.detail.as_deref().filter(|_| named(event))).collect();
    let rows = cached::query(
        transaction,
        "INSERT INTO events (day, campaign, contact, occurrence, id, at, kind, link, machine, reason, client_ip, user_agent, detail)
         SELECT (n.at AT TIME ZONE 'UTC')::date, n.*
         FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::uuid[], $5::timestamptz[], $6::smallint[], $7::smallint[],
                     $8::smallint[], $9::smallint[], $10::inet[], $11::text[], $12::text[])
             AS n (campaign, contact, occurrence, id, at, kind, link, machine, reason, client_ip, user_agent, detail)
         ORDER BY n.id ON CONFLICT DO NOTHING RETURNING id",
        &[
            &keys.campaigns, &keys.contacts, &keys.occurrences, &ids, &at, &kinds, &links, &machines, &reasons, &ips, &agents,
            &details,
        ],
    )
    .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

pub(super) async fn unsubscribe(
    transaction: &Transaction<'_>,
    who: impl Iterator<Item = (ContactNo, Channel, Timestamp)>,
) -> Result<()> {
    let mut rows: BTreeMap<(i64, i16), Timestamp> = BTreeMap::new();
    for (contact, channel, at) in who {
        let last = rows.entry((contact.0, channel.code())).or_insert(at);
        *last = at.max(*last);
    }
    if rows.is_empty() {
        return Ok(());
    }
    let contacts: Vec<i64> = rows.keys().map(|(contact, _)| *contact).collect();
    let channels: Vec<i16> = rows.keys().map(|(_, channel)| *channel).collect();
    let at: Vec<Timestamp> = rows.into_values().collect();
    cached::execute(
        transaction,
        "INSERT INTO unsubscribes AS u (contact, channel, at)
             SELECT * FROM unnest($1::bigint[], $2::smallint[], $3::timestamptz[])
             ON CONFLICT (contact, channel) DO UPDATE SET at = greatest(u.at, excluded.at)",
        &[&contacts, &channels, &at],
    )
    .await?;
    Ok(())
}

pub(super) async fn write_outbox(
    transaction: &Transaction<'_>,
    events: &[&Event],
    contexts: &HashMap<DeliveryKey, Context>,
) -> Result<()> {
    let links = link_urls(transaction, events).await?;
    let mut rows = Vec::new();
    for event in events {
        let context = contexts
            .get(&event.delivery)
            .ok_or_else(|| Error::Refused("an event lost its delivery".into()))?;
        let outgoing = Outgoing {
            id: event.id,
            at: event.at,
            kind: event.kind,
            channel: context.channel,
            campaign: Some(&context.campaign),
            external_id: context.external_id.as_deref(),
            link: event.link.and_then(|link| links.get(&(event.delivery.campaign, link)).map(String::as_str)),
            machine: event.machine,
            reason: event.reason,
        };
        rows.push(outgoing.row());
    }
    enqueue(transaction, &rows).await
}

/// An event as it goes out.
pub(super) struct Outgoing<'a> {
    pub(super) id: Uuid,
    pub(super) at: Timestamp,
    pub(super) kind: EventKind,
    pub(super) channel: Channel,
    pub(super) campaign: Option<&'a str>,
    pub(super) external_id: Option<&'a str>,
    pub(super) link: Option<&'a str>,
    pub(super) machine: Option<MachineRule>,
    pub(super) reason: Option<Reason>,
}

impl Outgoing<'_> {
    /// Its routing key and its payload.
    pub(super) fn row(&self) -> (String, Value) {
        let payload = json!({
            "id": self.id,
            "event": self.kind.as_str(),
            "at": self.at,
            "channel": self.channel.as_str(),
            "campaign": self.campaign,
            "external_id": self.external_id,
            "link": self.link,
            "machine": self.machine.map(|rule| rule.as_str()),
            "reason": self.reason.map(|reason| reason.as_str()),
        });
        (format!("{}.{}", self.channel, self.kind), payload)
    }
}

/// Links as their templates write them: what reports call them, too.
async fn link_urls(
    transaction: &Transaction<'_>,
    events: &[&Event],
) -> Result<HashMap<(CampaignNo, LinkNo), String>> {
    let clicked = events
        .iter()
        .filter_map(|event| Some((event.delivery.campaign.0, i16::try_from(event.link?.0).ok()?)));
    let clicked: BTreeSet<(i64, i16)> = clicked.collect();
    if clicked.is_empty() {
        return Ok(HashMap::new());
    }
    let (campaigns, numbers): (Vec<i64>, Vec<i16>) = clicked.into_iter().unzip();
    let rows = cached::query(
        transaction,
        "SELECT n.campaign, n.number, l.url FROM unnest($1::bigint[], $2::smallint[]) AS n (campaign, number)
         CROSS JOIN LATERAL (SELECT x.url FROM links x WHERE x.campaign = n.campaign AND x.number = n.number LIMIT 1) l",
        &[&campaigns, &numbers],
    )
    .await?;
    let link = |row: &Row| {
        let number = u16::try_from(row.get::<_, i16>(1)).unwrap_or(0);
        ((CampaignNo(row.get(0)), LinkNo(number)), row.get(2))
    };
    Ok(rows.iter().map(link).collect())
}

/// Appends outgoing events: `(routing key, payload)`.
pub(super) async fn enqueue(client: &impl GenericClient, rows: &[(String, Value)]) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let keys: Vec<&str> = rows.iter().map(|(key, _)| key.as_str()).collect();
    let payloads: Vec<Json<&Value>> = rows.iter().map(|(_, payload)| Json(payload)).collect();
    cached::execute(
        client,
        "INSERT INTO outbox (routing_key, payload) SELECT * FROM unnest($1::text[], $2::jsonb[])",
        &[&keys, &payloads],
    )
    .await?;
    Ok(())
}
