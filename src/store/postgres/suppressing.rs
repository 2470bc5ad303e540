//! Addresses that providers call dead, or whose owners complained, onto the suppression list.

use std::collections::{BTreeMap, BTreeSet};

use deadpool_postgres::Transaction;

use super::{cached, deliveries_table};
use crate::model::{CampaignNo, DeliveryKey};
use crate::store::Result;

/// Suppresses the addresses that deliveries went to, each for its reason. One whose address is gone, as after an
/// erasure, is passed over.
pub(super) async fn suppress_recipients(
    transaction: &Transaction<'_>,
    recipients: &BTreeMap<DeliveryKey, &str>,
) -> Result<()> {
    let mut by_campaign: BTreeMap<CampaignNo, Vec<(i64, i64, &str)>> = BTreeMap::new();
    for (key, reason) in recipients {
        by_campaign.entry(key.campaign).or_default().push((key.contact.0, key.occurrence, reason));
    }
    for (campaign, rows) in by_campaign {
        let contacts: Vec<i64> = rows.iter().map(|row| row.0).collect();
        let occurrences: Vec<i64> = rows.iter().map(|row| row.1).collect();
        let reasons: Vec<&str> = rows.iter().map(|row| row.2).collect();
        let statement = transaction
            .prepare_cached(&format!(
                "INSERT INTO suppressions (channel, hash, reason)
                 SELECT DISTINCT ON (a.channel, a.hash) a.channel, a.hash, n.reason
                 FROM unnest($2::bigint[], $3::bigint[], $4::text[]) AS n (contact, occurrence, reason)
                 CROSS JOIN LATERAL (SELECT x.address FROM {} x
                                     WHERE x.campaign = $1 AND x.contact = n.contact AND x.occurrence = n.occurrence LIMIT 1) d
                 CROSS JOIN LATERAL (SELECT y.channel, y.hash FROM addresses y WHERE y.number = d.address LIMIT 1) a
                 ORDER BY a.channel, a.hash ON CONFLICT DO NOTHING",
                deliveries_table(campaign)
            ))
            .await?;
        transaction.execute(&statement, &[&campaign.0, &contacts, &occurrences, &reasons]).await?;
    }
    Ok(())
}

/// Suppresses `(channel, hash, reason)`.
pub(super) async fn suppress_hashes(
    transaction: &Transaction<'_>,
    hashes: &BTreeSet<(i16, Vec<u8>, &str)>,
) -> Result<()> {
    if hashes.is_empty() {
        return Ok(());
    }
    let channels: Vec<i16> = hashes.iter().map(|row| row.0).collect();
    let keyed: Vec<&[u8]> = hashes.iter().map(|row| row.1.as_slice()).collect();
    let reasons: Vec<&str> = hashes.iter().map(|row| row.2).collect();
    cached::execute(
        transaction,
        "INSERT INTO suppressions (channel, hash, reason)
             SELECT * FROM unnest($1::smallint[], $2::bytea[], $3::text[]) ON CONFLICT DO NOTHING",
        &[&channels, &keyed, &reasons],
    )
    .await?;
    Ok(())
}
