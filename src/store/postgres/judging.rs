//! The rules of exclusion as one `CASE`, and the statement that writes judged recipients into the ledger.

use deadpool_postgres::GenericClient;
use jiff::Timestamp;
use tokio_postgres::types::{Json, ToSql};
use tokio_postgres::{Row, Statement};

use super::filter::Parameter;
use super::{cached, decode, deliveries_table};
use crate::model::{CampaignNo, Channel, Lane, Purpose, Reason, State};
use crate::store::Result;
use crate::store::dispatching::MessageOptions;
use crate::store::jobs::Incarnation;
use crate::store::planning::BATCH_SIZE;

/// What all recipients of one statement share.
#[derive(PartialEq)]
pub(super) struct Plan {
    pub(super) campaign: CampaignNo,
    pub(super) channel: Channel,
    pub(super) lane: Lane,
    pub(super) purpose: Purpose,
    pub(super) purpose_forbidden: bool,
    pub(super) apps: Option<Vec<String>>,
    pub(super) template: Vec<u8>,
    /// `None`: at once, by the store's clock.
    pub(super) due_at: Option<Timestamp>,
    /// Leases the batches at once.
    pub(super) owner: Option<Incarnation>,
    pub(super) options: Option<MessageOptions>,
    /// What becomes of a recipient whom no rule excludes.
    pub(super) state: State,
    pub(super) reason: Option<Reason>,
}

/// Parameters that [`Plan::parameters`] binds; a source's own come after them.
pub(super) const PLAN_PARAMETERS: usize = 14;

impl Plan {
    /// Takes as many batch numbers as `recipients` may need; unused ones leave a gap.
    pub(super) async fn parameters(
        &self,
        client: &impl GenericClient,
        recipients: u32,
    ) -> Result<Vec<Parameter>> {
        let batches = if self.state == State::Planned { recipients.div_ceil(BATCH_SIZE) } else { 0 };
        let numbers: Vec<i64> = cached::query(
            client,
            "SELECT nextval('batch_numbers') FROM generate_series(1, $1::bigint)",
            &[&i64::from(batches)],
        )
        .await?
        .iter()
        .map(|row| row.get(0))
        .collect();
        Ok(vec![
            Box::new(self.campaign.0),
            Box::new(self.channel.code()),
            Box::new(self.apps.clone()),
            Box::new(self.purpose == Purpose::Marketing),
            Box::new(self.purpose_forbidden),
            Box::new(numbers),
            Box::new(self.state.code()),
            Box::new(self.reason.map(Reason::code)),
            Box::new(self.lane.code()),
            Box::new(self.due_at),
            Box::new(self.template.clone()),
            Box::new(self.owner.map(|incarnation| incarnation.0)),
            Box::new(i64::from(BATCH_SIZE)),
            Box::new(self.options.clone().map(Json)),
        ])
    }

    /// The text that judges the rows of `source` and writes deliveries, batches and counters. `source` is a query that
    /// yields `contact, occurrence, address, pre` (an address number where one is fixed, a reason where one is known
    /// already); `near` narrows `addresses a` to the rows that can match.
    pub(super) fn sql(&self, source: &str, near: &str) -> String {
        statement(&deliveries_table(self.campaign), source, near)
    }
}

/// Runs what [`Plan::sql`] says.
pub(super) async fn write(
    client: &impl GenericClient,
    statement: &Statement,
    parameters: &[Parameter],
) -> Result<Vec<(State, Option<Reason>, i64)>> {
    let bound: Vec<&(dyn ToSql + Sync)> = parameters.iter().map(|value| &**value as _).collect();
    let rows = client.query(statement, &bound).await?;
    rows.iter().map(count).collect()
}

fn count(row: &Row) -> Result<(State, Option<Reason>, i64)> {
    let reason: Option<i16> = row.get(1);
    Ok((
        decode(row.get(0), State::from_code)?,
        reason.map(|code| decode(code, Reason::from_code)).transpose()?,
        row.get(2),
    ))
}

/// Of several addresses the first without an objection is taken; where all have one, the first address's stands.
fn statement(table: &str, source: &str, near: &str) -> String {
    let case = exclusion_case("$4", "$5");
    let excluded = State::Excluded.code();
    let planned = State::Planned.code();
    format!(
        "WITH source AS MATERIALIZED ({source}),
         judged AS MATERIALIZED (
             SELECT DISTINCT ON (contact, occurrence) contact, occurrence, address, reason FROM (
             SELECT n.contact, n.occurrence, a.number AS address, a.position,
                    (CASE WHEN n.pre IS NOT NULL THEN n.pre {case} END)::smallint AS reason
             FROM source n
             LEFT JOIN addresses a ON a.contact = n.contact AND a.channel = $2
                 AND ($3::text[] IS NULL OR a.app = ANY($3)) AND (n.address IS NULL OR a.number = n.address) {near}
             LEFT JOIN suppressions s ON s.channel = $2 AND s.hash = a.hash
             LEFT JOIN unsubscribes u ON u.contact = n.contact AND u.channel = $2
             ) candidates ORDER BY contact, occurrence, reason IS NOT NULL, position, address),
         numbered AS MATERIALIZED (
             SELECT *, CASE WHEN reason IS NULL AND $7::smallint = {planned} THEN
                 ($6::bigint[])[1 + (row_number() OVER (PARTITION BY reason IS NULL ORDER BY contact, occurrence) - 1) / $13]
                 END AS batch
             FROM judged),
         written AS (
             INSERT INTO {table} (campaign, contact, occurrence, address, batch, updated_at, state, reason)
             SELECT $1, contact, occurrence, address, batch, now(),
                    CASE WHEN reason IS NULL THEN $7 ELSE {excluded} END, coalesce(reason, $8::smallint)
             FROM numbered RETURNING state, reason),
         batched AS (
             INSERT INTO batches (number, campaign, channel, lane, due_at, owner, template, options, size, contacts, occurrences, addresses)
             SELECT batch, $1, $2, $9, coalesce($10, now()), $12::bigint, $11, $14::jsonb, count(*), array_agg(contact ORDER BY contact, occurrence),
                    array_agg(occurrence ORDER BY contact, occurrence), array_agg(address ORDER BY contact, occurrence)
             FROM numbered WHERE batch IS NOT NULL GROUP BY batch),
         counted AS (
             INSERT INTO counter_deltas (campaign, metric, state, reason, hour, n)
             SELECT $1, {metric}, state, coalesce(reason, 0), 'epoch', count(*) FROM written GROUP BY state, reason
             RETURNING state, reason, n)
         SELECT state, nullif(reason, 0), n FROM counted",
        metric = crate::store::metric::METRIC_STATE,
    )
}

/// The objections of `a`, `s` and `u` in the contract's order, as branches of a `CASE`.
pub(super) fn exclusion_case(marketing: &str, forbidden: &str) -> String {
    format!(
        "WHEN a.number IS NULL THEN {no_address}
         WHEN s.hash IS NOT NULL THEN {suppressed}
         WHEN {marketing} AND u.at IS NOT NULL THEN {unsubscribed}
         WHEN {marketing} AND a.consent_at IS NULL THEN {no_consent}
         WHEN {forbidden} THEN {purpose_forbidden}",
        no_address = Reason::NoAddress.code(),
        suppressed = Reason::Suppressed.code(),
        unsubscribed = Reason::Unsubscribed.code(),
        no_consent = Reason::NoConsent.code(),
        purpose_forbidden = Reason::PurposeForbidden.code(),
    )
}
