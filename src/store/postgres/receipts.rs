//! Receipts on PostgreSQL: one transaction a group. It writes events, then deliveries, then engagement, contacts and
//! suppressions, each in the order of keys, as the tracker and the ledger do, so that writers rarely block each other;
//! where two do all the same, PostgreSQL ends one and its group is written again.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use async_trait::async_trait;
use deadpool_postgres::Transaction;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::counters::Deltas;
use super::engagement::write_engagement;
use super::moving::{Locked, lock, write_moved};
use super::suppressing::{suppress_hashes, suppress_recipients};
use super::tracking::{Context, Outgoing, enqueue, insert_events, unsubscribe, write_outbox};
use super::{KEYED, PgStore, cached, decode};
use crate::model::receipt::{About, News};
use crate::model::{Channel, ContactNo, DeliveryKey, Event, EventKind, Reason, Receipt};
use crate::store::Result;
use crate::store::receipts::{Filed, Receipts};

#[async_trait]
impl Receipts for PgStore {
    async fn record_receipts(&self, receipts: &[Receipt], publish: bool) -> Result<Vec<Filed>> {
        let hashes = self.hashes_to_suppress(receipts).await?;
        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
        transaction.batch_execute(KEYED).await?;
        let known = Known {
            contexts: self.contexts(&transaction, receipts.iter().filter_map(delivery)).await?,
            owners: owners(&transaction, receipts).await?,
        };
        let mut told = known.told(receipts);
        let new = told.insert(&transaction, &known.contexts).await?;
        let mut deltas = Deltas::default();
        let filed = file(&transaction, receipts, &known, &new, &mut deltas).await?;
        told.write_back(&transaction, &known.contexts, &mut deltas).await?;
        suppress_recipients(&transaction, &recipients_to_suppress(receipts, &new)).await?;
        suppress_hashes(&transaction, &hashes).await?;
        if publish {
            told.publish(&transaction, &known.contexts).await?;
        }
        deltas.append(&transaction).await?;
        transaction.commit().await?;
        Ok(filed)
    }
}

impl PgStore {
    /// `(channel, hash, reason)` of the addresses that receipts name and condemn.
    async fn hashes_to_suppress(
        &self,
        receipts: &[Receipt],
    ) -> Result<BTreeSet<(i16, Vec<u8>, &'static str)>> {
        let mut hashes = BTreeSet::new();
        for receipt in receipts {
            if let (About::Address { channel, address }, Some(reason)) =
                (&receipt.about, receipt.news.suppresses())
            {
                hashes.insert((channel.code(), self.address_hash(*channel, address).await?, reason));
            }
        }
        Ok(hashes)
    }
}

fn delivery(receipt: &Receipt) -> Option<DeliveryKey> {
    match receipt.about {
        About::Delivery(key) => Some(key),
        About::Address { .. } | About::Reference { .. } => None,
    }
}

/// Who has an address.
struct Owner {
    contact: ContactNo,
    external_id: Option<String>,
}

/// What a group of receipts is about, as far as it is here.
struct Known {
    contexts: HashMap<DeliveryKey, Context>,
    owners: HashMap<(Channel, String), Owner>,
}

impl Known {
    fn owner(&self, receipt: &Receipt) -> Option<(Channel, &Owner)> {
        match &receipt.about {
            About::Delivery(_) | About::Reference { .. } => None,
            About::Address { channel, address } => {
                Some((*channel, self.owners.get(&(*channel, address.clone()))?))
            }
        }
    }

    fn contains(&self, receipt: &Receipt) -> bool {
        match delivery(receipt) {
            Some(key) => self.contexts.contains_key(&key),
            None => self.owner(receipt).is_some(),
        }
    }

    /// The events of the group, each id once.
    fn told<'a>(&'a self, receipts: &'a [Receipt]) -> Told<'a> {
        let mut told = Told { events: Vec::new(), addressed: Vec::new() };
        let mut seen = BTreeSet::new();
        for receipt in receipts.iter().filter(|receipt| self.contains(receipt)) {
            let Some(kind) = receipt.news.event().filter(|_| seen.insert(receipt.id)) else { continue };
            if let Some(delivery) = delivery(receipt) {
                told.events.push(event(receipt, kind, delivery));
            } else if let Some((channel, owner)) = self.owner(receipt) {
                told.addressed.push(Addressed { receipt, kind, channel, owner });
            }
        }
        told
    }
}

fn event(receipt: &Receipt, kind: EventKind, delivery: DeliveryKey) -> Event {
    Event {
        id: receipt.id,
        at: receipt.at,
        kind,
        delivery,
        link: None,
        machine: None,
        reason: receipt.news.reason(),
        detail: receipt.detail.clone(),
        client_ip: None,
        user_agent: None,
    }
}

/// A receipt that names an address alone, with its contact.
struct Addressed<'a> {
    receipt: &'a Receipt,
    kind: EventKind,
    channel: Channel,
    owner: &'a Owner,
}

/// Events about deliveries and about addresses.
struct Told<'a> {
    events: Vec<Event>,
    addressed: Vec<Addressed<'a>>,
}

impl Told<'_> {
    /// Inserts the events and keeps those that were not there yet; returns their ids.
    async fn insert(
        &mut self,
        transaction: &Transaction<'_>,
        contexts: &HashMap<DeliveryKey, Context>,
    ) -> Result<BTreeSet<Uuid>> {
        let events: Vec<&Event> = self.events.iter().collect();
        let mut new = insert_events(transaction, &events, contexts).await?;
        new.extend(insert_addressed(transaction, &self.addressed).await?);
        self.events.retain(|event| new.contains(&event.id));
        self.events.sort_by_key(|event| (event.delivery, event.at));
        self.addressed.retain(|one| new.contains(&one.receipt.id));
        Ok(new)
    }

    /// Complaints and opt-outs mean for deliveries and contacts what the tracker's do.
    async fn write_back(
        &self,
        transaction: &Transaction<'_>,
        contexts: &HashMap<DeliveryKey, Context>,
        deltas: &mut Deltas,
    ) -> Result<()> {
        let moves_engagement =
            |event: &&Event| matches!(event.kind, EventKind::Complained | EventKind::Unsubscribed);
        let engaged: Vec<&Event> = self.events.iter().filter(moves_engagement).collect();
        write_engagement(transaction, &engaged, deltas).await?;
        let of_deliveries = engaged.iter().filter(|event| event.kind == EventKind::Unsubscribed);
        let of_deliveries = of_deliveries.filter_map(|event| {
            Some((event.delivery.contact, contexts.get(&event.delivery)?.channel, event.at))
        });
        let of_addresses = self.addressed.iter().filter(|one| one.kind == EventKind::Unsubscribed);
        let of_addresses = of_addresses.map(|one| (one.owner.contact, one.channel, one.receipt.at));
        unsubscribe(transaction, of_deliveries.chain(of_addresses)).await
    }

    async fn publish(
        &self,
        transaction: &Transaction<'_>,
        contexts: &HashMap<DeliveryKey, Context>,
    ) -> Result<()> {
        write_outbox(transaction, &self.events.iter().collect::<Vec<_>>(), contexts).await?;
        let row = |one: &Addressed<'_>| {
            let outgoing = Outgoing {
                id: one.receipt.id,
                at: one.receipt.at,
                kind: one.kind,
                channel: one.channel,
                campaign: None,
                external_id: one.owner.external_id.as_deref(),
                link: None,
                machine: None,
                reason: one.receipt.news.reason(),
            };
            outgoing.row()
        };
        enqueue(transaction, &self.addressed.iter().map(row).collect::<Vec<_>>()).await
    }
}

/// Moves the deliveries that are meant, and says what became of each receipt. `new` are the ids that were not here yet.
async fn file(
    transaction: &Transaction<'_>,
    receipts: &[Receipt],
    known: &Known,
    new: &BTreeSet<Uuid>,
    deltas: &mut Deltas,
) -> Result<Vec<Filed>> {
    let counts = |receipt: &&Receipt| new.contains(&receipt.id) || receipt.news == News::Accepted;
    let here = receipts.iter().filter(counts).filter(|receipt| known.contains(receipt));
    let mut locked = lock(transaction, here.filter_map(delivery).collect()).await?;
    let (now, mut left) = (Timestamp::now(), new.clone());
    let mut filed = Vec::with_capacity(receipts.len());
    for receipt in receipts {
        let row = delivery(receipt).and_then(|key| locked.get_mut(&key));
        filed.push(if !known.contains(receipt) {
            Filed::Stray
        } else if receipt.news.event().is_some() && !left.remove(&receipt.id) {
            Filed::Repeated
        } else if let Some(row) = row {
            apply(receipt, row, now)
        } else {
            Filed::New { provider: None, delay: None }
        });
    }
    write_moved(transaction, &locked, deltas).await?;
    Ok(filed)
}

fn apply(receipt: &Receipt, row: &mut Locked, now: Timestamp) -> Filed {
    let accepted_at = row.accepted_at();
    let moved = row.apply(receipt, now);
    if receipt.news == News::Accepted && !moved {
        return Filed::Repeated;
    }
    let delay =
        accepted_at.filter(|_| moved).map(|at| receipt.at.duration_since(at).max(SignedDuration::ZERO));
    Filed::New { provider: row.provider.clone(), delay }
}

/// Deliveries whose addresses the new receipts condemn.
fn recipients_to_suppress(receipts: &[Receipt], new: &BTreeSet<Uuid>) -> BTreeMap<DeliveryKey, &'static str> {
    let fresh = receipts.iter().filter(|receipt| new.contains(&receipt.id));
    fresh.filter_map(|receipt| Some((delivery(receipt)?, receipt.news.suppresses()?))).collect()
}

/// The contacts of the addresses that receipts name. An address that several apps know has the first one's.
async fn owners(
    transaction: &Transaction<'_>,
    receipts: &[Receipt],
) -> Result<HashMap<(Channel, String), Owner>> {
    let named = receipts.iter().filter_map(|receipt| match &receipt.about {
        About::Address { channel, address } => Some((channel.code(), address.as_str())),
        About::Delivery(_) | About::Reference { .. } => None,
    });
    let (channels, addresses): (Vec<i16>, Vec<&str>) = named.unzip();
    if addresses.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = cached::query(
        transaction,
        "SELECT n.channel, n.address, a.contact, c.external_id
             FROM unnest($1::smallint[], $2::text[]) AS n (channel, address)
             JOIN addresses a ON a.channel = n.channel AND a.address = n.address
             JOIN contacts c ON c.number = a.contact ORDER BY a.number DESC",
        &[&channels, &addresses],
    )
    .await?;
    rows.iter()
        .map(|row| {
            let address = (decode(row.get(0), Channel::from_code)?, row.get(1));
            Ok((address, Owner { contact: ContactNo(row.get(2)), external_id: row.get(3) }))
        })
        .collect()
}

/// Events that belong to a contact and to no delivery. Returns the ids that were not there yet.
async fn insert_addressed(
    transaction: &Transaction<'_>,
    addressed: &[Addressed<'_>],
) -> Result<BTreeSet<Uuid>> {
    if addressed.is_empty() {
        return Ok(BTreeSet::new());
    }
    let ids: Vec<Uuid> = addressed.iter().map(|one| one.receipt.id).collect();
    let contacts: Vec<i64> = addressed.iter().map(|one| one.owner.contact.0).collect();
    let at: Vec<Timestamp> = addressed.iter().map(|one| one.receipt.at).collect();
    let kinds: Vec<i16> = addressed.iter().map(|one| one.kind.code()).collect();
    let reasons: Vec<Option<i16>> =
        addressed.iter().map(|one| one.receipt.news.reason().map(Reason::code)).collect();
    let details: Vec<Option<&str>> = addressed.iter().map(|one| one.receipt.detail.as_deref()).collect();
    let rows = cached::query(
        transaction,
        "INSERT INTO events (day, id, contact, at, kind, reason, detail)
         SELECT (n.at AT TIME ZONE 'UTC')::date, n.*
         FROM unnest($1::uuid[], $2::bigint[], $3::timestamptz[], $4::smallint[], $5::smallint[], $6::text[])
             AS n (id, contact, at, kind, reason, detail)
         ORDER BY n.id ON CONFLICT DO NOTHING RETURNING id",
        &[&ids, &contacts, &at, &kinds, &reasons, &details],
    )
    .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
