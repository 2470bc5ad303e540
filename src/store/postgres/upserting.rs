//! Upserts of contacts on PostgreSQL: set-based, in chunks in which no id comes twice.
//!
//! What is new in every respect goes in by plain inserts ([`super::adding`]); the rest is merged with what is there.

use std::collections::{HashMap, HashSet};

use deadpool_postgres::GenericClient;
use tokio_postgres::types::ToSql;

use super::PgStore;
use super::adding::{add, part, taken};
use super::entries::{AddressColumns, AddressRow, ContactColumns, Entry, entries};
use crate::model::contact::Contact;
use crate::store::Admin;
use crate::store::Result;
use crate::store::contacts::{ForeignAddress, Upsert, distinct_prefix};

impl PgStore {
    /// Upserts within a transaction that is open already, and that reads no table whole from here on.
    pub(super) async fn upsert_in(
        &self,
        client: &impl GenericClient,
        contacts: &[Contact],
        mode: Upsert,
        source: &str,
    ) -> Result<Vec<ForeignAddress>> {
        // A plan that was made while the tables were small must not read them whole once they are large.
        client.batch_execute("SET LOCAL enable_seqscan = off").await?;
        let mut foreign = Vec::new();
        let mut start = 0;
        while start < contacts.len() {
            let end = start + distinct_prefix(&contacts[start..]);
            let mut left_out = self.upsert_chunk(client, &contacts[start..end], mode, source).await?;
            for address in &mut left_out {
                address.index += start;
            }
            foreign.append(&mut left_out);
            start = end;
        }
        Ok(foreign)
    }

    async fn upsert_chunk(
        &self,
        client: &impl GenericClient,
        contacts: &[Contact],
        mode: Upsert,
        source: &str,
    ) -> Result<Vec<ForeignAddress>> {
        let entries = entries(contacts, &self.secrets().await?)?;
        self.adopt_anonymous(client, &entries).await?;
        let known = numbers(client, &entries).await?;
        let taken = taken(client, &entries).await?;
        let (new, others) = part(entries, &known, &taken);
        let added = add(client, &new, source).await?;
        let mut merged = others;
        if !added {
            merged.extend(new);
            merged.sort_by_key(|entry| entry.index);
        }
        if merged.is_empty() {
            return Ok(Vec::new());
        }
        let written = write_contacts(client, &merged, mode).await?;
        write_addresses(client, &merged, &written, mode, source).await
    }

    /// A contact that was known by its address only takes the id under which it is described now.
    async fn adopt_anonymous(&self, client: &impl GenericClient, entries: &[Entry<'_>]) -> Result<()> {
        let some = "SELECT EXISTS (SELECT FROM contacts WHERE anonymous)";
        if !client.query_one(some, &[]).await?.get::<_, bool>(0) {
            return Ok(());
        }
        let rows = || entries.iter().flat_map(|entry| entry.addresses.iter().map(move |row| (entry, row)));
        let ids: Vec<&str> = rows().map(|(entry, _)| entry.id()).collect();
        let channels: Vec<i16> = rows().map(|(_, row)| row.channel.code()).collect();
        let apps: Vec<&str> = rows().map(|(_, row)| row.app).collect();
        let addresses: Vec<&str> = rows().map(|(_, row)| row.address).collect();
        client
            .execute(
                "UPDATE contacts c SET external_id = n.id, anonymous = false
                 FROM (SELECT DISTINCT ON (f.contact) f.id, f.contact
                       FROM (SELECT DISTINCT ON (n.id) n.id, a.contact, n.ord
                             FROM unnest($1::text[], $2::smallint[], $3::text[], $4::text[])
                                 WITH ORDINALITY AS n (id, channel, app, address, ord)
                             JOIN addresses a ON a.channel = n.channel AND a.app = n.app AND a.address = n.address
                             JOIN contacts o ON o.number = a.contact AND o.anonymous
                             WHERE NOT EXISTS (SELECT FROM contacts k WHERE k.external_id = n.id)
                             ORDER BY n.id, n.ord) f
                       ORDER BY f.contact, f.ord) n
                 WHERE c.number = n.contact AND c.anonymous",
                &[&ids, &channels, &apps, &addresses],
            )
            .await?;
        Ok(())
    }
}

/// A contact's row.
#[derive(Clone, Copy)]
struct Written {
    number: i64,
    /// It was not there before, so it has no addresses yet.
    fresh: bool,
}

/// Writes the contacts and returns their rows, in order.
async fn write_contacts(
    client: &impl GenericClient,
    entries: &[Entry<'_>],
    mode: Upsert,
) -> Result<Vec<Written>> {
    let ContactColumns { ids, set, removed, tags, locales, timezones } = ContactColumns::new(entries);
    let replace = mode == Upsert::Replace;
    let insert = client.prepare_cached(INSERT).await?;
    let known = |(id, number), fresh| (id, Written { number, fresh });
    let found = numbers(client, entries).await?;
    let mut written: HashMap<String, Written> = found.into_iter().map(|row| known(row, false)).collect();
    while written.len() < ids.len() {
        let rows = client.query(&insert, &[&ids, &set, &tags, &locales, &timezones]).await?;
        written.extend(rows.iter().map(|row| known((row.get(0), row.get(1)), true)));
        if written.len() < ids.len() {
            // Another session was faster with some.
            for (id, row) in numbers(client, entries).await?.into_iter().map(|row| known(row, false)) {
                written.entry(id).or_insert(row);
            }
        }
    }
    if written.values().any(|row| !row.fresh) {
        let update = client.prepare_cached(&update()).await?;
        client.execute(&update, &[&ids, &set, &removed, &tags, &locales, &timezones, &replace]).await?;
    }
    Ok(ids.iter().filter_map(|id| written.get(*id).copied()).collect())
}

/// The numbers of those that are there, by id.
pub(super) async fn numbers(
    client: &impl GenericClient,
    entries: &[Entry<'_>],
) -> Result<HashMap<String, i64>> {
    let find = "SELECT external_id, number FROM contacts WHERE external_id = ANY($1)";
    let ids: Vec<&str> = entries.iter().map(Entry::id).collect();
    let rows = client.query(&client.prepare_cached(find).await?, &[&ids]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

const ATTRIBUTES: &str = "CASE WHEN $7 THEN n.attributes
    ELSE (c.attributes || n.attributes) - ARRAY(SELECT jsonb_array_elements_text(n.removed)) END";
const TAGS: &str = "CASE WHEN n.tags IS NOT NULL THEN ARRAY(SELECT jsonb_array_elements_text(n.tags))
    WHEN $7 THEN '{}' ELSE c.tags END";
const LOCALE: &str = "CASE WHEN $7 THEN n.locale ELSE coalesce(n.locale, c.locale) END";
const TIMEZONE: &str = "CASE WHEN $7 THEN n.timezone ELSE coalesce(n.timezone, c.timezone) END";

/// Leaves alone what would not change, so that an import that is repeated writes nothing.
fn update() -> String {
    format!(
        "UPDATE contacts c SET attributes = {ATTRIBUTES}, tags = {TAGS}, locale = {LOCALE}, timezone = {TIMEZONE},
             stub = false, updated_at = now()
         FROM unnest($1::text[], $2::jsonb[], $3::jsonb[], $4::jsonb[], $5::text[], $6::text[])
             AS n (id, attributes, removed, tags, locale, timezone)
         WHERE c.external_id = n.id AND (c.stub OR ({ATTRIBUTES}, {TAGS}, {LOCALE}, {TIMEZONE})
             IS DISTINCT FROM (c.attributes, c.tags, c.locale, c.timezone))"
    )
}

/// Only ids that are new: a conflict would burn numbers, and planning walks the range of numbers.
const INSERT: &str = "
    INSERT INTO contacts (external_id, attributes, tags, locale, timezone)
    SELECT n.id, n.attributes, coalesce(ARRAY(SELECT jsonb_array_elements_text(n.tags)), '{}'), n.locale, n.timezone
    FROM unnest($1::text[], $2::jsonb[], $3::jsonb[], $4::text[], $5::text[])
        WITH ORDINALITY AS n (id, attributes, tags, locale, timezone, position)
    WHERE NOT EXISTS (SELECT FROM contacts c WHERE c.external_id = n.id)
    ORDER BY n.position
    ON CONFLICT (external_id) DO NOTHING RETURNING external_id, number";

impl AddressColumns<'_> {
    /// Removes addresses that the contacts in `replaced` do not list any more.
    async fn remove_others(&self, client: &impl GenericClient, replaced: &[i64], mode: Upsert) -> Result<()> {
        let statement = client
            .prepare_cached(
                "DELETE FROM addresses a WHERE a.contact = ANY($1) AND NOT EXISTS (
                     SELECT FROM unnest($2::bigint[], $3::smallint[], $4::text[], $5::text[]) AS n (contact, channel, app, address)
                     WHERE n.contact = a.contact AND n.channel = a.channel AND n.app = a.app AND n.address = a.address)
                 AND ($6 OR EXISTS (
                     SELECT FROM unnest($2::bigint[], $3::smallint[]) AS n (contact, channel)
                     WHERE n.contact = a.contact AND n.channel = a.channel))",
            )
            .await?;
        let every_channel = mode != Upsert::Rows;
        let bound: [&(dyn ToSql + Sync); 6] =
            [&replaced, &self.owners, &self.channels, &self.apps, &self.addresses, &every_channel];
        client.execute(&statement, &bound).await?;
        Ok(())
    }

    /// Writes what no other contact owns; no address may come twice. Returns how many rows changed.
    async fn write(&self, client: &impl GenericClient, source: &str) -> Result<u64> {
        let statement = client
            .prepare_cached(
                "INSERT INTO addresses AS a (contact, channel, app, address, hash, position, consent_at, consent_source)
                 SELECT contact, channel, app, address, hash, position,
                        CASE WHEN given THEN coalesce(given_at, now()) END, CASE WHEN given THEN $9 END
                 FROM unnest($1::bigint[], $2::smallint[], $3::text[], $4::text[], $5::bytea[], $6::smallint[],
                             $7::boolean[], $8::timestamptz[])
                     AS n (contact, channel, app, address, hash, position, given, given_at)
                 ON CONFLICT (channel, app, address) DO UPDATE SET
                     position = excluded.position,
                     consent_at = coalesce(a.consent_at, excluded.consent_at),
                     consent_source = coalesce(a.consent_source, excluded.consent_source)
                 WHERE a.contact = excluded.contact AND (a.position <> excluded.position
                     OR a.consent_at IS NULL AND excluded.consent_at IS NOT NULL)",
            )
            .await?;
        let bound: [&(dyn ToSql + Sync); 9] = [
            &self.owners,
            &self.channels,
            &self.apps,
            &self.addresses,
            &self.hashes,
            &self.positions,
            &self.given,
            &self.given_at,
            &source,
        ];
        Ok(client.execute(&statement, &bound).await?)
    }

    /// Positions of the entries whose address belongs to another contact.
    async fn owned_by_others(&self, client: &impl GenericClient) -> Result<Vec<usize>> {
        let rows = client
            .query(
                "SELECT n.ord - 1 FROM unnest($1::bigint[], $2::smallint[], $3::text[], $4::text[])
                     WITH ORDINALITY AS n (contact, channel, app, address, ord)
                 JOIN addresses a ON a.channel = n.channel AND a.app = n.app AND a.address = n.address
                 WHERE a.contact <> n.contact ORDER BY n.ord",
                &[&self.owners, &self.channels, &self.apps, &self.addresses],
            )
            .await?;
        Ok(rows.iter().filter_map(|row| usize::try_from(row.get::<_, i64>(0)).ok()).collect())
    }

    /// Withdrawals take consent away; a dated consent that is later than an unsubscribe undoes it.
    async fn settle_consent(&self, client: &impl GenericClient, source: &str) -> Result<()> {
        if self.given.contains(&Some(false)) {
            client
                .execute(
                    "UPDATE addresses a SET consent_at = NULL, consent_source = NULL
                     FROM unnest($1::bigint[], $2::smallint[], $3::text[], $4::text[], $5::boolean[]) AS n (contact, channel, app, address, given)
                     WHERE a.contact = n.contact AND a.channel = n.channel AND a.app = n.app AND a.address = n.address AND NOT n.given",
                    &[&self.owners, &self.channels, &self.apps, &self.addresses, &self.given],
                )
                .await?;
        }
        if self.given_at.iter().any(Option::is_some) {
            client
                .execute(
                    "WITH dated AS (
                         SELECT a.number, a.contact, a.channel, n.at
                         FROM unnest($1::bigint[], $2::smallint[], $3::text[], $4::text[], $5::timestamptz[]) AS n (contact, channel, app, address, at)
                         JOIN addresses a ON a.contact = n.contact AND a.channel = n.channel AND a.app = n.app AND a.address = n.address
                         -- Nobody agrees in the future: such a date would undo every unsubscribe to come.
                         WHERE n.at <= now()),
                     undone AS (
                         DELETE FROM unsubscribes u USING dated d
                         WHERE u.contact = d.contact AND u.channel = d.channel AND d.at > u.at RETURNING u.contact, u.channel, u.at)
                     UPDATE addresses a SET consent_at = d.at, consent_source = $6 FROM dated d, undone u
                     WHERE a.number = d.number AND u.contact = d.contact AND u.channel = d.channel AND d.at > u.at",
                    &[&self.owners, &self.channels, &self.apps, &self.addresses, &self.given_at, &source],
                )
                .await?;
        }
        Ok(())
    }
}

async fn write_addresses(
    client: &impl GenericClient,
    entries: &[Entry<'_>],
    written: &[Written],
    mode: Upsert,
    source: &str,
) -> Result<Vec<ForeignAddress>> {
    let replaced: Vec<i64> = entries
        .iter()
        .zip(written)
        .filter(|(entry, row)| !row.fresh && (entry.contact.addresses.is_some() || mode == Upsert::Replace))
        .map(|(_, row)| row.number)
        .collect();
    let numbered = entries.iter().zip(written);
    let mut left: Vec<(usize, i64, &AddressRow<'_>)> = numbered
        .enumerate()
        .flat_map(|(at, (entry, row))| entry.addresses.iter().map(move |address| (at, row.number, address)))
        .collect();
    if !replaced.is_empty() {
        AddressColumns::new(left.iter().map(|(_, owner, row)| (*owner, *row)))
            .remove_others(client, &replaced, mode)
            .await?;
    }
    let mut foreign = Vec::new();
    while !left.is_empty() {
        // An address that comes again waits for the next round, when it has its owner.
        let mut seen = HashSet::new();
        let (round, again): (Vec<_>, _) = left.into_iter().partition(|(_, _, row)| seen.insert(row.name()));
        let columns = AddressColumns::new(round.iter().map(|(_, owner, row)| (*owner, *row)));
        let count = columns.write(client, source).await?;
        columns.settle_consent(client, source).await?;
        if count < round.len() as u64 {
            foreign.extend(columns.owned_by_others(client).await?.into_iter().map(|at| round[at]));
        }
        left = again;
    }
    foreign.sort_by_key(|(at, ..)| *at);
    let left_out = |(at, _, row): (usize, i64, &AddressRow<'_>)| ForeignAddress {
        index: entries[at].index,
        external_id: entries[at].id().to_owned(),
        channel: row.channel,
    };
    Ok(foreign.into_iter().map(left_out).collect())
}
