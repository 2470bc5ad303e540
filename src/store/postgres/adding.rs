//! Contacts that are new in every respect: neither their id nor any of their addresses is known.
//!
//! Plain inserts cost half of what inserts that look for conflicts cost, so those who need no such care are told apart
//! first. Another session may have been faster meanwhile: then nothing is added, and the caller merges them as all others.

use std::collections::{HashMap, HashSet};

use deadpool_postgres::GenericClient;
use tokio_postgres::error::SqlState;

use super::entries::{AddressColumns, AddressName, ContactColumns, Entry};
use crate::store::Result;

/// The addresses of `entries` that somebody owns.
pub(super) async fn taken<'a>(
    client: &impl GenericClient,
    entries: &[Entry<'a>],
) -> Result<HashSet<AddressName<'a>>> {
    let names: Vec<_> = entries.iter().flat_map(|entry| &entry.addresses).map(|row| row.name()).collect();
    let channels: Vec<i16> = names.iter().map(|(channel, ..)| *channel).collect();
    let apps: Vec<&str> = names.iter().map(|(_, app, _)| *app).collect();
    let addresses: Vec<&str> = names.iter().map(|(.., address)| *address).collect();
    let statement = client
        .prepare_cached(
            "SELECT n.position - 1 FROM unnest($1::smallint[], $2::text[], $3::text[])
                 WITH ORDINALITY AS n (channel, app, address, position)
             JOIN LATERAL (SELECT FROM addresses a
                 WHERE a.channel = n.channel AND a.app = n.app AND a.address = n.address LIMIT 1) AS a ON true",
        )
        .await?;
    let rows = client.query(&statement, &[&channels, &apps, &addresses]).await?;
    let positions = rows.iter().filter_map(|row| usize::try_from(row.get::<_, i64>(0)).ok());
    Ok(positions.filter_map(|position| names.get(position).copied()).collect())
}

/// Those that are new in every respect, and the others; each in order. No address of one half is in the other.
pub(super) fn part<'a>(
    entries: Vec<Entry<'a>>,
    known: &HashMap<String, i64>,
    taken: &HashSet<AddressName<'a>>,
) -> (Vec<Entry<'a>>, Vec<Entry<'a>>) {
    let mut times: HashMap<_, usize> = HashMap::new();
    for row in entries.iter().flat_map(|entry| &entry.addresses) {
        *times.entry(row.name()).or_default() += 1;
    }
    entries.into_iter().partition(|entry| {
        let names = || entry.addresses.iter().map(|row| row.name());
        !known.contains_key(entry.id()) && names().all(|name| times[&name] == 1 && !taken.contains(&name))
    })
}

/// `false` where some are not new any more; then none was added.
pub(super) async fn add(client: &impl GenericClient, new: &[Entry<'_>], source: &str) -> Result<bool> {
    if new.is_empty() {
        return Ok(true);
    }
    client.batch_execute("SAVEPOINT adding").await?;
    match insert(client, new, source).await {
        Ok(()) => {
            client.batch_execute("RELEASE adding").await?;
            Ok(true)
        }
        Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => {
            client.batch_execute("ROLLBACK TO adding; RELEASE adding").await?;
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

async fn insert(
    client: &impl GenericClient,
    new: &[Entry<'_>],
    source: &str,
) -> std::result::Result<(), tokio_postgres::Error> {
    let reserve =
        client.prepare_cached("SELECT nextval('contacts_number_seq') FROM generate_series(1, $1)").await?;
    let count = i32::try_from(new.len()).unwrap_or(i32::MAX);
    let numbers: Vec<i64> = client.query(&reserve, &[&count]).await?.iter().map(|row| row.get(0)).collect();
    let contacts = ContactColumns::new(new);
    let statement = client
        .prepare_cached(
            "INSERT INTO contacts (number, external_id, attributes, tags, locale, timezone) OVERRIDING SYSTEM VALUE
             SELECT number, id, attributes,
                    CASE WHEN tags IS NULL THEN '{}' ELSE ARRAY(SELECT jsonb_array_elements_text(tags)) END,
                    locale, timezone
             FROM unnest($1::bigint[], $2::text[], $3::jsonb[], $4::jsonb[], $5::text[], $6::text[])
                 AS n (number, id, attributes, tags, locale, timezone)",
        )
        .await?;
    let ContactColumns { ids, set, tags, locales, timezones, .. } = &contacts;
    client.execute(&statement, &[&numbers, ids, set, tags, locales, timezones]).await?;
    let numbered = numbers.iter().zip(new);
    let addresses = AddressColumns::new(
        numbered.flat_map(|(number, entry)| entry.addresses.iter().map(|row| (*number, row))),
    );
    let statement = client
        .prepare_cached(
            "INSERT INTO addresses (contact, channel, app, address, hash, position, consent_at, consent_source)
             SELECT contact, channel, app, address, hash, position,
                    CASE WHEN given THEN coalesce(given_at, now()) END, CASE WHEN given THEN $9 END
             FROM unnest($1::bigint[], $2::smallint[], $3::text[], $4::text[], $5::bytea[], $6::smallint[],
                         $7::boolean[], $8::timestamptz[])
                 AS n (contact, channel, app, address, hash, position, given, given_at)",
        )
        .await?;
    let AddressColumns { owners, channels, apps, addresses, hashes, positions, given, given_at } = &addresses;
    client
        .execute(
            &statement,
            &[owners, channels, apps, addresses, hashes, positions, given, given_at, &source],
        )
        .await?;
    Ok(())
}
