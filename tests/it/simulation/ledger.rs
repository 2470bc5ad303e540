//! The ledger's rows as they stand in the file, read behind the store's back.

use std::collections::BTreeMap;
use std::path::Path;

use campaignd::model::{CampaignNo, Channel, ContactNo, DeliveryKey, Reason, State};
use rusqlite::{Connection, OpenFlags, Row};

/// Everything that the law is about, as of one commit.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    pub(super) deliveries: BTreeMap<DeliveryKey, Delivery>,
    pub(super) batches: BTreeMap<i64, Batch>,
    pub(super) campaigns: BTreeMap<CampaignNo, Campaign>,
    /// What the counters say, by campaign, state and reason; 0 stands for none.
    pub(super) counted: BTreeMap<(CampaignNo, State, i16), i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Delivery {
    pub(super) state: State,
    pub(super) reason: Option<Reason>,
    pub(super) batch: Option<i64>,
    pub(super) attempts: u16,
}

#[derive(Debug)]
pub(super) struct Batch {
    pub(super) owner: Option<i64>,
    /// Its members may have reached a provider before.
    pub(super) doubted: bool,
    /// The only account that may send them again.
    pub(super) resend_provider: Option<String>,
    pub(super) watermark: usize,
    pub(super) size: usize,
    pub(super) members: Vec<DeliveryKey>,
}

#[derive(Debug)]
pub(super) struct Campaign {
    pub(super) id: String,
    pub(super) channel: Channel,
    pub(super) provider: Option<String>,
    pub(super) planned: bool,
    pub(super) finished: bool,
    pub(super) paused: bool,
    pub(super) cancelled: bool,
    pub(super) standing: bool,
    /// In microseconds.
    pub(super) expires_at: Option<i64>,
}

impl Snapshot {
    /// Members that are planned and lie before their batch's watermark: the provider may have them.
    pub(super) fn doubtful<'s>(
        &'s self,
        number: i64,
        batch: &'s Batch,
    ) -> impl Iterator<Item = DeliveryKey> + 's {
        let before = batch.members.iter().take(batch.watermark);
        before.copied().filter(move |key| {
            self.deliveries
                .get(key)
                .is_some_and(|row| row.state == State::Planned && row.batch == Some(number))
        })
    }

    pub(super) fn channel(&self, campaign: CampaignNo) -> Option<Channel> {
        self.campaigns.get(&campaign).map(|campaign| campaign.channel)
    }
}

/// Reads the file whenever it has changed.
#[derive(Debug)]
pub(super) struct Reader {
    file: Connection,
    version: Option<i64>,
}

const DELIVERIES: &str =
    "SELECT campaign, contact, occurrence, state, reason, batch, attempts FROM deliveries";
const BATCHES: &str = "SELECT b.campaign, b.number, b.owner, b.watermark, b.size, m.contacts, m.occurrences,
         b.doubt IS NOT NULL, b.resend_provider
     FROM batches b JOIN batch_members m ON m.batch = b.number";
const CAMPAIGNS: &str = "SELECT number, id, planned_at IS NOT NULL, finished_at IS NOT NULL, paused,
         cancelled_at IS NOT NULL, standing, expires_at, channel, provider FROM campaigns";
const COUNTED: &str = "SELECT campaign, state, reason, sum(n) FROM (
         SELECT campaign, state, reason, n FROM counters WHERE metric = 1
         UNION ALL SELECT campaign, state, reason, n FROM counter_deltas WHERE metric = 1)
     GROUP BY 1, 2, 3 HAVING sum(n) <> 0";

impl Reader {
    pub(super) fn open(file: &Path) -> Self {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Reader { file: Connection::open_with_flags(file, flags).unwrap(), version: None }
    }

    /// `None` where nothing was committed since the last reading.
    pub(super) fn read(&mut self) -> Option<Snapshot> {
        let version =
            self.file.prepare_cached("PRAGMA data_version").unwrap().query_row([], |row| row.get(0)).unwrap();
        if self.version.replace(version) == Some(version) {
            return None;
        }
        Some(Snapshot {
            deliveries: self.rows(DELIVERIES, delivery).into_iter().collect(),
            batches: self.rows(BATCHES, batch).into_iter().collect(),
            campaigns: self.rows(CAMPAIGNS, campaign).into_iter().collect(),
            counted: self.rows(COUNTED, counted).into_iter().collect(),
        })
    }

    fn rows<T>(&self, sql: &str, read: fn(&Row<'_>) -> rusqlite::Result<T>) -> Vec<T> {
        let mut statement = self.file.prepare_cached(sql).unwrap();
        let rows = statement.query_map([], read).unwrap();
        rows.collect::<rusqlite::Result<_>>().unwrap()
    }
}

fn delivery(row: &Row<'_>) -> rusqlite::Result<(DeliveryKey, Delivery)> {
    let key = DeliveryKey {
        campaign: CampaignNo(row.get(0)?),
        contact: ContactNo(row.get(1)?),
        occurrence: row.get(2)?,
    };
    let reason: Option<i16> = row.get(4)?;
    let delivery = Delivery {
        state: State::from_code(row.get(3)?).unwrap(),
        reason: reason.map(|code| Reason::from_code(code).unwrap()),
        batch: row.get(5)?,
        attempts: row.get(6)?,
    };
    Ok((key, delivery))
}

fn batch(row: &Row<'_>) -> rusqlite::Result<(i64, Batch)> {
    let campaign = CampaignNo(row.get(0)?);
    let numbers = |at: usize| -> rusqlite::Result<Vec<i64>> {
        let blob: Vec<u8> = row.get(at)?;
        Ok(blob.chunks_exact(8).map(|bytes| i64::from_le_bytes(bytes.try_into().unwrap())).collect())
    };
    let members = numbers(5)?.into_iter().zip(numbers(6)?);
    let batch = Batch {
        owner: row.get(2)?,
        doubted: row.get(7)?,
        resend_provider: row.get(8)?,
        watermark: row.get::<_, u32>(3)? as usize,
        size: row.get::<_, u32>(4)? as usize,
        members: members
            .map(|(contact, occurrence)| DeliveryKey { campaign, contact: ContactNo(contact), occurrence })
            .collect(),
    };
    Ok((row.get(1)?, batch))
}

fn campaign(row: &Row<'_>) -> rusqlite::Result<(CampaignNo, Campaign)> {
    let campaign = Campaign {
        id: row.get(1)?,
        planned: row.get(2)?,
        finished: row.get(3)?,
        paused: row.get(4)?,
        cancelled: row.get(5)?,
        standing: row.get(6)?,
        expires_at: row.get(7)?,
        channel: Channel::from_code(row.get(8)?).unwrap(),
        provider: row.get(9)?,
    };
    Ok((CampaignNo(row.get(0)?), campaign))
}

fn counted(row: &Row<'_>) -> rusqlite::Result<((CampaignNo, State, i16), i64)> {
    Ok(((CampaignNo(row.get(0)?), State::from_code(row.get(1)?).unwrap(), row.get(2)?), row.get(3)?))
}
