//! The rules of exclusion, recipient by recipient, and how judged recipients get into the ledger.

use jiff::Timestamp;
use rusqlite::params;

use super::connection::Connection;
use super::values::{At, Json};
use super::{counters, numbers};
use crate::model::{CampaignNo, Channel, Lane, Purpose, Reason, State};
use crate::store::dispatching::MessageOptions;
use crate::store::jobs::Incarnation;
use crate::store::planning::BATCH_SIZE;
use crate::store::{Error, Result};

/// What all recipients of one write share.
#[derive(PartialEq)]
pub(super) struct Plan {
    pub(super) campaign: CampaignNo,
    pub(super) channel: Channel,
    pub(super) lane: Lane,
    pub(super) purpose: Purpose,
    pub(super) purpose_forbidden: bool,
    pub(super) apps: Option<Vec<String>>,
    pub(super) template: [u8; 32],
    /// `None`: at once.
    pub(super) due_at: Option<Timestamp>,
    /// Leases the batches at once.
    pub(super) owner: Option<Incarnation>,
    pub(super) options: Option<MessageOptions>,
    /// What becomes of a recipient whom no rule excludes.
    pub(super) state: State,
    pub(super) reason: Option<Reason>,
}

/// Who is to be judged.
#[derive(Clone, Copy)]
pub(super) struct Target {
    pub(super) contact: i64,
    pub(super) occurrence: i64,
    /// Where it is fixed already.
    pub(super) address: Option<i64>,
    /// An exclusion that is known already.
    pub(super) pre: Option<Reason>,
}

struct Judged {
    contact: i64,
    occurrence: i64,
    address: Option<i64>,
    excluded: Option<Reason>,
}

/// How many came into which state.
pub(super) type Counts = Vec<(State, Option<Reason>, i64)>;

/// Every address of contact `?1` on channel `?2` with what speaks against it.
const CANDIDATES: &str = "
    SELECT a.number, a.position, a.app, a.consent_at IS NOT NULL,
           EXISTS (SELECT 1 FROM suppressions s WHERE s.channel = ?2 AND s.hash = a.hash),
           EXISTS (SELECT 1 FROM unsubscribes u WHERE u.contact = ?1 AND u.channel = ?2)
    FROM addresses a WHERE a.contact = ?1 AND a.channel = ?2";

impl Plan {
    /// Judges the targets and writes deliveries, batches and counters. Keys must differ.
    pub(super) fn write(
        &self,
        connection: &Connection,
        targets: impl Iterator<Item = Target>,
    ) -> Result<Counts> {
        let mut judged = self.judge(connection, targets)?;
        judged.sort_unstable_by_key(|one| (one.contact, one.occurrence));
        let batches = self.write_batches(connection, &judged)?;
        let counts = self.write_deliveries(connection, &judged, &batches)?;
        for (state, reason, n) in &counts {
            let counter =
                counters::Counter::state(self.campaign, state.code(), reason.map_or(0, Reason::code));
            counters::append(connection, &counter, *n)?;
        }
        Ok(counts)
    }

    /// Of several addresses the first without an objection is taken; where all have one, the first address's stands.
    fn judge(&self, connection: &Connection, targets: impl Iterator<Item = Target>) -> Result<Vec<Judged>> {
        let mut candidates = connection.prepare_cached(CANDIDATES)?;
        let mut judged = Vec::new();
        for target in targets {
            let mut best: Option<(bool, i64, i64, Option<Reason>)> = None;
            let mut rows = candidates.query(params![target.contact, self.channel.code()])?;
            while let Some(row) = rows.next()? {
                let (number, position): (i64, i64) = (row.get(0)?, row.get(1)?);
                let app = row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?;
                let reached = self.apps.as_ref().is_none_or(|apps| apps.iter().any(|known| known == app));
                if !reached || target.address.is_some_and(|fixed| fixed != number) {
                    continue;
                }
                let objection = self.objection(row.get(3)?, row.get(4)?, row.get(5)?);
                let excluded = target.pre.or(objection);
                let candidate = (excluded.is_some(), position, number, excluded);
                if best.is_none_or(|best| (candidate.0, position, number) < (best.0, best.1, best.2)) {
                    best = Some(candidate);
                }
            }
            let (address, excluded) = match best {
                Some((_, _, number, excluded)) => (Some(number), excluded),
                None => (None, target.pre.or(Some(Reason::NoAddress))),
            };
            judged.push(Judged { contact: target.contact, occurrence: target.occurrence, address, excluded });
        }
        Ok(judged)
    }

    /// What speaks first, in the contract's order, against sending to an address.
    fn objection(&self, consent: bool, suppressed: bool, unsubscribed: bool) -> Option<Reason> {
        let marketing = self.purpose == Purpose::Marketing;
        match () {
            () if suppressed => Some(Reason::Suppressed),
            () if marketing && unsubscribed => Some(Reason::Unsubscribed),
            () if marketing && !consent => Some(Reason::NoConsent),
            () if self.purpose_forbidden => Some(Reason::PurposeForbidden),
            () => None,
        }
    }

    /// Writes batches of those who are planned. Returns their numbers, in order.
    fn write_batches(&self, connection: &Connection, judged: &[Judged]) -> Result<Vec<i64>> {
        if self.state != State::Planned {
            return Ok(Vec::new());
        }
        let planned: Vec<&Judged> = judged.iter().filter(|one| one.excluded.is_none()).collect();
        planned.chunks(BATCH_SIZE as usize).map(|members| self.write_batch(connection, members)).collect()
    }

    fn write_batch(&self, connection: &Connection, members: &[&Judged]) -> Result<i64> {
        let size = i64::try_from(members.len()).map_err(|error| Error::Refused(error.into()))?;
        let batch = connection
            .prepare_cached(
                "INSERT INTO batches (campaign, channel, lane, due_at, owner, template, options, size)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .insert(params![
                self.campaign.0,
                self.channel.code(),
                self.lane.code(),
                At(self.due_at.unwrap_or_else(|| connection.now())),
                self.owner.map(|incarnation| incarnation.0),
                self.template,
                self.options.as_ref().map(Json),
                size,
            ])?;
        let list = |of: fn(&Judged) -> i64| {
            numbers::encode(&members.iter().map(|member| of(member)).collect::<Vec<_>>())
        };
        connection
            .prepare_cached(
                "INSERT INTO batch_members (batch, contacts, occurrences, addresses) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![
                batch,
                list(|member| member.contact),
                list(|member| member.occurrence),
                list(|member| member.address.unwrap_or_default()),
            ])?;
        Ok(batch)
    }

    fn write_deliveries(
        &self,
        connection: &Connection,
        judged: &[Judged],
        batches: &[i64],
    ) -> Result<Counts> {
        let mut insert = connection.prepare_cached(
            "INSERT INTO deliveries (campaign, contact, occurrence, address, batch, updated_at, state, reason)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?;
        let at = connection.now_us();
        let mut counts = Counts::new();
        let mut places = batches.iter().flat_map(|batch| std::iter::repeat_n(*batch, BATCH_SIZE as usize));
        for one in judged {
            let (state, reason) = match one.excluded {
                Some(reason) => (State::Excluded, Some(reason)),
                None => (self.state, self.reason),
            };
            let batch = if state == State::Planned { places.next() } else { None };
            insert.execute(params![
                self.campaign.0,
                one.contact,
                one.occurrence,
                one.address,
                batch,
                at,
                state.code(),
                reason.map(Reason::code),
            ])?;
            match counts.iter_mut().find(|count| (count.0, count.1) == (state, reason)) {
                Some(count) => count.2 += 1,
                None => counts.push((state, reason, 1)),
            }
        }
        Ok(counts)
    }
}
