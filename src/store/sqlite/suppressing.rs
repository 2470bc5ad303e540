//! Addresses that providers call dead, or whose owners complained, onto the suppression list. The first reason stays.

use rusqlite::params;

use super::connection::Connection;
use crate::model::{Channel, DeliveryKey};
use crate::store::Result;

/// Suppresses the address that a delivery went to. One that is gone, as after an erasure, is passed over.
pub(super) fn suppress_recipient(connection: &Connection, key: DeliveryKey, reason: &str) -> Result<()> {
    let sql = "INSERT INTO suppressions (channel, hash, reason, created_at)
         SELECT a.channel, a.hash, ?4, ?5 FROM deliveries d JOIN addresses a ON a.number = d.address
         WHERE d.campaign = ?1 AND d.contact = ?2 AND d.occurrence = ?3 ON CONFLICT DO NOTHING";
    let bound = params![key.campaign.0, key.contact.0, key.occurrence, reason, connection.now_us()];
    connection.prepare_cached(sql)?.execute(bound)?;
    Ok(())
}

/// Suppresses an address by its keyed hash.
pub(super) fn suppress_hash(
    connection: &Connection,
    channel: Channel,
    hash: &[u8],
    reason: &str,
) -> Result<()> {
    let sql = "INSERT INTO suppressions (channel, hash, reason, created_at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
    connection.prepare_cached(sql)?.execute(params![channel.code(), hash, reason, connection.now_us()])?;
    Ok(())
}
