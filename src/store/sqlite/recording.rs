//! The group commit of outcomes: what is settled, what waits again, then closed batches, in one transaction.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rusqlite::{OptionalExtension, params};

use super::connection::Connection;
use super::counters::Deltas;
use super::references::keep as keep_references;
use super::suppressing::suppress_recipient;
use super::values::{At, Json};
use super::{SqliteStore, decode, numbers};
use crate::model::{DeliveryKey, Reason, State};
use crate::store::Result;
use crate::store::dispatching::{Outcomes, Rescheduled, Settled};
use crate::store::jobs::Incarnation;
use crate::store::planning::BATCH_SIZE;

/// The fast path: a row that is still planned in its batch.
pub(super) const MOVE_PLANNED: &str =
    "UPDATE deliveries SET state = ?1, reason = ?2, attempts = ?3, provider = ?4, provider_ref = ?5, updated_at = ?6
     WHERE campaign = ?7 AND contact = ?8 AND occurrence = ?9 AND state = ?10 AND batch = ?11";

impl SqliteStore {
    pub(super) async fn record_outcomes(&self, me: Incarnation, outcomes: &Outcomes) -> Result<()> {
        let mut outcomes = outcomes.clone();
        // The ledger is clustered by its key: neighbours share a page.
        outcomes.settled.sort_by_key(|one| one.delivery);
        self.write(move |connection| {
            let mut step = Step::new(connection);
            step.settle(&outcomes.settled)?;
            step.reschedule(&outcomes.rescheduled)?;
            step.deltas.append(connection)?;
            outcomes.closed.iter().try_for_each(|batch| close(connection, me, batch.0))
        })
        .await
    }
}

/// Members past the watermark were never handed out, so a batch that has some is not done.
fn close(connection: &Connection, me: Incarnation, batch: i64) -> Result<()> {
    let sql = "DELETE FROM batches WHERE number = ?1 AND owner = ?2 AND watermark >= size";
    if connection.prepare_cached(sql)?.execute([batch, me.0])? > 0 {
        connection.prepare_cached("DELETE FROM batch_members WHERE batch = ?1")?.execute([batch])?;
    }
    Ok(())
}

/// An attempt that `explain` shows.
struct Attempt<'a> {
    delivery: DeliveryKey,
    at: i64,
    number: u16,
    provider: Option<i64>,
    reason: Option<Reason>,
    outcome: &'a str,
    detail: &'a str,
}

/// What the outcomes of one commit share: the numbers of providers, and counters summed before they are appended.
struct Step<'a> {
    connection: &'a Connection,
    providers: HashMap<Arc<str>, i64>,
    deltas: Deltas,
}

impl<'a> Step<'a> {
    fn new(connection: &'a Connection) -> Self {
        Step { connection, providers: HashMap::new(), deltas: Deltas::default() }
    }

    /// Moves what is settled on. Counters and attempts follow exactly the rows that did move.
    fn settle(&mut self, settled: &[Settled]) -> Result<()> {
        let mut fast = self.connection.prepare_cached(MOVE_PLANNED)?;
        for one in settled {
            let provider = self.provider(one.provider.as_ref())?;
            // A mistyped mailbox, a number out of use, a dead token.
            if (one.state, one.reason) == (State::Rejected, Some(Reason::UnknownRecipient)) {
                suppress_recipient(self.connection, one.delivery, "rejected")?;
            }
            let moved = fast.execute(params![
                one.state.code(),
                one.reason.map(Reason::code),
                one.attempts,
                provider,
                one.provider_ref,
                one.at.as_microsecond(),
                one.delivery.campaign.0,
                one.delivery.contact.0,
                one.delivery.occurrence,
                State::Planned.code(),
                one.batch.0,
            ])?;
            if moved > 0 {
                self.count(one, (State::Planned, None));
            } else if !self.merge_late(one, provider)? {
                continue;
            }
            self.deltas.add_segments(one.delivery.campaign, one.segments);
            keep_references(self.connection, one)?;
            if one.detail.is_some() || one.attempts > 1 {
                self.keep(&Attempt {
                    delivery: one.delivery,
                    at: one.at.as_microsecond(),
                    number: one.attempts,
                    provider,
                    reason: one.reason,
                    outcome: one.state.as_str(),
                    detail: one.detail.as_deref().unwrap_or_default(),
                })?;
            }
        }
        Ok(())
    }

    /// The slow path: an outcome that comes after its row moved on, as after a rescue; merged by the state machine.
    /// Where a receipt was faster and said more, the state stays and the attempt alone is written. Returns whether it
    /// wrote the row.
    fn merge_late(&mut self, one: &Settled, provider: Option<i64>) -> Result<bool> {
        let key = one.delivery;
        let select = "SELECT state, reason, provider IS NULL FROM deliveries
             WHERE campaign = ?1 AND contact = ?2 AND occurrence = ?3 AND batch = ?4";
        let found = self
            .connection
            .prepare_cached(select)?
            .query_row([key.campaign.0, key.contact.0, key.occurrence, one.batch.0], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()?;
        let Some((state, reason, unheard)) = found else { return Ok(false) };
        let reason = Option::map(reason, |code| decode(code, Reason::from_code)).transpose()?;
        let from = (decode(state, State::from_code)?, reason);
        if matches!(one.state, State::Accepted | State::Unknown) && from.0.is_sent() && unheard {
            self.write_attempt(one, provider)?;
            return Ok(true);
        }
        if !one.state.predecessors().contains(&from.0) {
            return Ok(false);
        }
        let update = "UPDATE deliveries SET state = ?1, reason = ?2, attempts = ?3, provider = ?4, provider_ref = ?5, updated_at = ?6
             WHERE campaign = ?7 AND contact = ?8 AND occurrence = ?9";
        self.connection.prepare_cached(update)?.execute(params![
            one.state.code(),
            one.reason.map(Reason::code),
            one.attempts,
            provider,
            one.provider_ref,
            one.at.as_microsecond(),
            key.campaign.0,
            key.contact.0,
            key.occurrence,
        ])?;
        self.count(one, from);
        Ok(true)
    }

    fn write_attempt(&self, one: &Settled, provider: Option<i64>) -> Result<()> {
        let sql = "UPDATE deliveries SET attempts = ?1, provider = ?2, provider_ref = ?3
             WHERE campaign = ?4 AND contact = ?5 AND occurrence = ?6";
        self.connection.prepare_cached(sql)?.execute(params![
            one.attempts,
            provider,
            one.provider_ref,
            one.delivery.campaign.0,
            one.delivery.contact.0,
            one.delivery.occurrence,
        ])?;
        Ok(())
    }

    fn count(&mut self, one: &Settled, from: (State, Option<Reason>)) {
        self.deltas.add_move(one.delivery.campaign, from, (one.state, one.reason), one.at.as_microsecond());
    }

    fn keep(&self, attempt: &Attempt<'_>) -> Result<()> {
        let sql = "INSERT INTO attempts (campaign, contact, occurrence, at, attempt, provider, reason, outcome, detail)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
        self.connection.prepare_cached(sql)?.execute(params![
            attempt.delivery.campaign.0,
            attempt.delivery.contact.0,
            attempt.delivery.occurrence,
            attempt.at,
            attempt.number,
            attempt.provider,
            attempt.reason.map(Reason::code),
            attempt.outcome,
            attempt.detail,
        ])?;
        Ok(())
    }

    /// The number of a provider's name, taken at its first use.
    fn provider(&mut self, name: Option<&Arc<str>>) -> Result<Option<i64>> {
        let Some(name) = name else { return Ok(None) };
        if let Some(number) = self.providers.get(name) {
            return Ok(Some(*number));
        }
        let insert = "INSERT INTO providers (name) VALUES (?1) ON CONFLICT DO NOTHING";
        self.connection.prepare_cached(insert)?.execute([name])?;
        let select = "SELECT number FROM providers WHERE name = ?1";
        let number = self.connection.prepare_cached(select)?.query_row([name], |row| row.get(0))?;
        self.providers.insert(name.clone(), number);
        Ok(Some(number))
    }

    /// Moves what waits again to batches of its own.
    fn reschedule(&mut self, rescheduled: &[Rescheduled]) -> Result<()> {
        let mut groups: BTreeMap<_, Vec<&Rescheduled>> = BTreeMap::new();
        for one in rescheduled {
            // Retries due within the same second share a batch; a message with options of its own keeps a batch of its own.
            let own = one.options.as_ref().map(|_| (one.member.contact, one.member.occurrence));
            let group =
                (one.campaign, one.lane, one.attempts, one.due_at.as_second(), own, one.doubt.clone());
            groups.entry(group).or_default().push(one);
        }
        for rows in groups.values_mut() {
            rows.sort_by_key(|one| one.delivery());
            rows.chunks(BATCH_SIZE as usize).try_for_each(|chunk| self.move_to_new_batch(chunk))?;
        }
        Ok(())
    }

    /// Members of one campaign, lane, attempt and due time that wait again move to a batch of their own.
    fn move_to_new_batch(&mut self, rows: &[&Rescheduled]) -> Result<()> {
        let Some(first) = rows.first() else { return Ok(()) };
        let batch = self.open_batch(first)?;
        let moved = self.move_members(rows, batch)?;
        if moved.is_empty() {
            self.connection.prepare_cached("DELETE FROM batches WHERE number = ?1")?.execute([batch])?;
            return Ok(());
        }
        self.connection
            .prepare_cached("UPDATE batches SET size = ?1 WHERE number = ?2")?
            .execute(params![i64::try_from(moved.len()).unwrap_or(i64::MAX), batch])?;
        let column = |of: fn(&Rescheduled) -> i64| {
            numbers::encode(&moved.iter().map(|one| of(one)).collect::<Vec<_>>())
        };
        self.connection
            .prepare_cached(
                "INSERT INTO batch_members (batch, contacts, occurrences, addresses) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![
                batch,
                column(|one| one.member.contact.0),
                column(|one| one.member.occurrence),
                column(|one| one.member.address.0),
            ])?;
        Ok(())
    }

    /// A batch for what `like` waits for, without members yet. Returns its number.
    fn open_batch(&self, like: &Rescheduled) -> Result<i64> {
        let sql = "INSERT INTO batches (campaign, channel, lane, attempt, due_at, template, options, size, doubt, resend_until,
                                  resend_provider)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, ?8, ?9, ?10)";
        let doubt = like.doubt.as_ref();
        self.connection.prepare_cached(sql)?.execute(params![
            like.campaign.0,
            like.channel.code(),
            like.lane.code(),
            like.attempts,
            At(like.due_at),
            like.template,
            like.options.as_deref().map(Json),
            doubt.map(|doubt| doubt.reason.code()),
            doubt.map(|doubt| At(doubt.resend.until)),
            doubt.and_then(|doubt| doubt.resend.provider.as_deref()),
        ])?;
        Ok(self.connection.last_insert_rowid())
    }

    /// Returns those that were still planned in their old batch, and keeps their attempts.
    fn move_members<'r>(&mut self, rows: &[&'r Rescheduled], batch: i64) -> Result<Vec<&'r Rescheduled>> {
        let sql = "UPDATE deliveries SET batch = ?1, attempts = ?2, updated_at = ?3
             WHERE campaign = ?4 AND contact = ?5 AND occurrence = ?6 AND state = ?7 AND batch = ?8";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut moved = Vec::with_capacity(rows.len());
        for one in rows.iter().copied() {
            let changed = statement.execute(params![
                batch,
                one.attempts,
                self.connection.now_us(),
                one.campaign.0,
                one.member.contact.0,
                one.member.occurrence,
                State::Planned.code(),
                one.batch.0,
            ])?;
            if changed == 0 {
                continue;
            }
            moved.push(one);
            if let Some(failed) = &one.attempt {
                let provider = self.provider(one.provider.as_ref())?;
                self.keep(&Attempt {
                    delivery: one.delivery(),
                    at: failed.at.as_microsecond(),
                    number: one.attempts,
                    provider,
                    reason: Some(failed.reason),
                    outcome: "retry",
                    detail: &failed.detail,
                })?;
            }
        }
        Ok(moved)
    }
}
