//! Recipients that a caller lists: from ids and addresses to contacts, repeats to occurrences.

use std::collections::{HashMap, HashSet};

use deadpool_postgres::GenericClient;
use serde_json::Value;
use tokio_postgres::types::Json;

use super::judging::{PLAN_PARAMETERS, Plan, write};
use super::{PgStore, cached, deliveries_table};
use crate::model::address::canonical;
use crate::model::{CampaignNo, Channel, Reason, State};
use crate::store::Result;

/// One entry of a list, as it was given.
pub(super) struct Listed {
    pub(super) external_id: Option<String>,
    pub(super) address: Option<String>,
    pub(super) data: Option<Value>,
}

/// An entry that has found its contact.
pub(super) struct Entry {
    pub(super) contact: i64,
    pub(super) occurrence: i64,
    /// The address that the entry names.
    pub(super) address: Option<i64>,
    pub(super) pre: Option<Reason>,
    pub(super) data: Option<Value>,
}

impl Plan {
    pub(super) async fn write_entries(
        &self,
        client: &impl GenericClient,
        entries: Vec<Entry>,
    ) -> Result<Vec<(State, Option<Reason>, i64)>> {
        let mut parameters =
            self.parameters(client, u32::try_from(entries.len()).unwrap_or(u32::MAX)).await?;
        parameters.push(Box::new(entries.iter().map(|entry| entry.contact).collect::<Vec<_>>()));
        parameters.push(Box::new(entries.iter().map(|entry| entry.occurrence).collect::<Vec<_>>()));
        parameters.push(Box::new(entries.iter().map(|entry| entry.address).collect::<Vec<_>>()));
        parameters
            .push(Box::new(entries.iter().map(|entry| entry.pre.map(Reason::code)).collect::<Vec<_>>()));
        let first = PLAN_PARAMETERS + 1;
        let source = format!(
            "SELECT * FROM unnest(${}::bigint[], ${}::bigint[], ${}::bigint[], ${}::smallint[])
             AS n (contact, occurrence, address, pre)",
            first,
            first + 1,
            first + 2,
            first + 3
        );
        let statement = client.prepare_cached(&self.sql(&source, "")).await?;
        let counts = write(client, &statement, &parameters).await?;
        self.write_data(client, entries).await?;
        Ok(counts)
    }

    async fn write_data(&self, client: &impl GenericClient, entries: Vec<Entry>) -> Result<()> {
        let (mut contacts, mut occurrences, mut data) = (Vec::new(), Vec::new(), Vec::new());
        for entry in entries {
            if let (Some(own), None) = (entry.data, entry.pre) {
                contacts.push(entry.contact);
                occurrences.push(entry.occurrence);
                data.push(Json(own));
            }
        }
        if !contacts.is_empty() {
            cached::execute(
                client,
                "INSERT INTO recipient_data (campaign, contact, occurrence, data)
                     SELECT $1, * FROM unnest($2::bigint[], $3::bigint[], $4::jsonb[])",
                &[&self.campaign.0, &contacts, &occurrences, &data],
            )
            .await?;
        }
        Ok(())
    }
}

impl PgStore {
    /// Finds, or makes, the contact of every entry.
    pub(super) async fn resolve(
        &self,
        client: &impl GenericClient,
        channel: Channel,
        listed: Vec<Listed>,
        consent_source: Option<&str>,
    ) -> Result<Vec<Entry>> {
        let mut named = Vec::with_capacity(listed.len());
        for entry in listed {
            named.push(self.name(channel, entry).await?);
        }
        find_owners(client, channel, &mut named).await?;
        let contacts = find_or_make_contacts(client, &named).await?;
        let addresses =
            self.find_or_make_addresses(client, channel, &named, &contacts, consent_source).await?;
        Ok(named
            .into_iter()
            .map(|entry| {
                let (contact, stub) = contacts.get(&entry.id).copied().unwrap_or((0, true));
                let address = entry.address.as_ref().map(|address| addresses.get(address.as_str()).copied());
                let pre = match (&entry.address, address) {
                    _ if entry.invalid => Some(Reason::InvalidAddress),
                    (None, _) if stub => Some(Reason::UnknownContact),
                    // The address stays with the contact that owns it.
                    (Some(_), Some(Some((owner, _)))) if owner != contact => Some(Reason::NoAddress),
                    _ => None,
                };
                let address =
                    address.flatten().filter(|(owner, _)| *owner == contact).map(|(_, number)| number);
                Entry { contact, occurrence: 0, address, pre, data: entry.data }
            })
            .collect())
    }

    async fn name(&self, channel: Channel, entry: Listed) -> Result<Named> {
        let mut named =
            Named { id: String::new(), made: false, address: None, invalid: false, data: entry.data };
        if let Some(text) = &entry.address {
            match canonical(channel, text) {
                Ok(address) => named.address = Some(address),
                Err(_) => named.invalid = true,
            }
        }
        match (entry.external_id, &named.address, entry.address) {
            (Some(id), ..) => named.id = id,
            (None, Some(address), _) => {
                named.id = format!("~{channel}:{}", hex::encode(self.address_hash(channel, address).await?));
                named.made = true;
            }
            (None, None, text) => {
                let hash = self.address_hash(channel, &text.unwrap_or_default()).await?;
                named.id = format!("~invalid:{}", hex::encode(hash));
                named.made = true;
            }
        }
        Ok(named)
    }

    async fn find_or_make_addresses(
        &self,
        client: &impl GenericClient,
        channel: Channel,
        named: &[Named],
        contacts: &HashMap<String, (i64, bool)>,
        consent_source: Option<&str>,
    ) -> Result<HashMap<String, (i64, i64)>> {
        let mut rows: Vec<(&str, i64)> = Vec::new();
        let mut seen = HashSet::new();
        for entry in named {
            if let (Some(address), Some((contact, _))) = (&entry.address, contacts.get(&entry.id))
                && seen.insert(address.as_str())
            {
                rows.push((address, *contact));
            }
        }
        rows.sort_unstable();
        if rows.is_empty() {
            return Ok(HashMap::new());
        }
        let mut found = find_addresses(client, channel, &rows).await?;
        if consent_source.is_none() {
            rows.retain(|(address, _)| !found.contains_key(*address));
        }
        if rows.is_empty() {
            return Ok(found);
        }
        let mut hashes = Vec::with_capacity(rows.len());
        for (address, _) in &rows {
            hashes.push(self.address_hash(channel, address).await?);
        }
        let addresses: Vec<&str> = rows.iter().map(|(address, _)| *address).collect();
        let owners: Vec<i64> = rows.iter().map(|(_, owner)| *owner).collect();
        cached::execute(client,
                "INSERT INTO addresses AS a (contact, channel, address, hash, position, consent_at, consent_source)
                 SELECT n.contact, $1, n.address, n.hash, 1000, CASE WHEN $5::text IS NOT NULL THEN now() END, $5
                 FROM unnest($2::bigint[], $3::text[], $4::bytea[]) AS n (contact, address, hash)
                 ON CONFLICT (channel, app, address) DO UPDATE SET
                     consent_at = coalesce(a.consent_at, excluded.consent_at),
                     consent_source = coalesce(a.consent_source, excluded.consent_source)
                 WHERE a.contact = excluded.contact AND a.consent_at IS NULL AND excluded.consent_at IS NOT NULL",
                &[&channel.code(), &owners, &addresses, &hashes, &consent_source],
            )
            .await?;
        found.extend(find_addresses(client, channel, &rows).await?);
        Ok(found)
    }
}

/// Owners and numbers of the addresses in `rows` that somebody has.
async fn find_addresses(
    client: &impl GenericClient,
    channel: Channel,
    rows: &[(&str, i64)],
) -> Result<HashMap<String, (i64, i64)>> {
    let addresses: Vec<&str> = rows.iter().map(|(address, _)| *address).collect();
    let rows = cached::query(
        client,
        "SELECT address, contact, number FROM addresses WHERE channel = $1 AND app = '' AND address = ANY($2)",
        &[&channel.code(), &addresses],
    )
    .await?;
    Ok(rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect())
}

/// An entry under the id that its contact has, or will have.
struct Named {
    id: String,
    /// The id is ours: the entry came without one.
    made: bool,
    /// Canonical.
    address: Option<String>,
    invalid: bool,
    data: Option<Value>,
}

/// An entry without an id is the contact that owns its address already.
async fn find_owners(client: &impl GenericClient, channel: Channel, named: &mut [Named]) -> Result<()> {
    let wanted: Vec<&str> =
        named.iter().filter(|entry| entry.made).filter_map(|entry| entry.address.as_deref()).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let rows = cached::query(
        client,
        "SELECT a.address, c.external_id FROM addresses a JOIN contacts c ON c.number = a.contact
             WHERE a.channel = $1 AND a.app = '' AND a.address = ANY($2) AND c.external_id IS NOT NULL",
        &[&channel.code(), &wanted],
    )
    .await?;
    let owners: HashMap<String, String> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    for entry in named.iter_mut().filter(|entry| entry.made) {
        if let Some(owner) = entry.address.as_ref().and_then(|address| owners.get(address)) {
            entry.id.clone_from(owner);
            entry.made = false;
        }
    }
    Ok(())
}

/// Numbers of the entries' contacts, and whether nothing but the id is known of them.
/// An id that comes with an address becomes a contact; an id alone, or a broken address, a stub.
async fn find_or_make_contacts(
    client: &impl GenericClient,
    named: &[Named],
) -> Result<HashMap<String, (i64, bool)>> {
    let mut ids: HashMap<&str, (bool, bool)> = HashMap::new();
    for entry in named {
        let described = entry.address.is_some();
        let known = ids.entry(&entry.id).or_insert((described, entry.made));
        known.0 |= described;
    }
    let mut found = find_contacts(client, ids.keys().copied().collect()).await?;
    let lacking = |id: &str, described: bool| match found.get(id) {
        Some((_, stub)) => *stub && described,
        None => true,
    };
    let mut rows: Vec<_> = ids.into_iter().filter(|(id, (described, _))| lacking(id, *described)).collect();
    if rows.is_empty() {
        return Ok(found);
    }
    rows.sort_unstable();
    let names: Vec<&str> = rows.iter().map(|(id, _)| *id).collect();
    let stubs: Vec<bool> = rows.iter().map(|(_, (described, _))| !described).collect();
    let made: Vec<bool> = rows.iter().map(|(_, (_, made))| *made).collect();
    cached::execute(
        client,
        "INSERT INTO contacts (external_id, stub, anonymous)
             SELECT * FROM unnest($1::text[], $2::boolean[], $3::boolean[]) AS n (id, stub, made)
             WHERE NOT EXISTS (SELECT FROM contacts c WHERE c.external_id = n.id)
             ON CONFLICT (external_id) DO NOTHING",
        &[&names, &stubs, &made],
    )
    .await?;
    cached::execute(
        client,
        "UPDATE contacts c SET stub = false FROM unnest($1::text[], $2::boolean[]) AS n (id, stub)
             WHERE c.external_id = n.id AND c.stub AND NOT n.stub",
        &[&names, &stubs],
    )
    .await?;
    found.extend(find_contacts(client, names).await?);
    Ok(found)
}

async fn find_contacts(client: &impl GenericClient, ids: Vec<&str>) -> Result<HashMap<String, (i64, bool)>> {
    let rows = cached::query(
        client,
        "SELECT external_id, number, stub FROM contacts WHERE external_id = ANY($1)",
        &[&ids],
    )
    .await?;
    Ok(rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect())
}

/// A contact that the list names again takes occurrence 1, 2, ... and is excluded as a duplicate.
pub(super) async fn number_repeats(
    client: &impl GenericClient,
    campaign: CampaignNo,
    entries: &mut [Entry],
) -> Result<()> {
    let contacts: Vec<i64> = entries.iter().map(|entry| entry.contact).collect();
    let rows = cached::query(client,
            &format!(
                "SELECT contact, max(occurrence) + 1 FROM {} WHERE campaign = $1 AND contact = ANY($2) GROUP BY contact",
                deliveries_table(campaign)
            ),
            &[&campaign.0, &contacts],
        )
        .await?;
    let mut next: HashMap<i64, i64> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    // A sound entry is the first of its contact, also where a faulty one stands before it.
    let (sound, faulty): (Vec<_>, Vec<_>) = entries.iter_mut().partition(|entry| entry.pre.is_none());
    for entry in sound.into_iter().chain(faulty) {
        let occurrence = next.entry(entry.contact).or_insert(0);
        entry.occurrence = *occurrence;
        if *occurrence > 0 {
            entry.pre = Some(Reason::Duplicate);
        }
        *occurrence += 1;
    }
    Ok(())
}
