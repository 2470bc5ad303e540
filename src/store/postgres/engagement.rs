//! What a group of events means for the engagement of deliveries and contacts, and for the counters.

use std::collections::{BTreeMap, HashMap};

use deadpool_postgres::Transaction;
use jiff::Timestamp;
use tokio_postgres::Row;

use super::cached;
use super::counters::Deltas;
use super::tracking::{Context, KEYS, Keys, key};
use crate::model::{CampaignNo, DeliveryKey, Event, EventKind};
use crate::store::Result;
use crate::store::metric::{
    METRIC_CLICKS, METRIC_COMPLAINTS, METRIC_LINK_CLICKS, METRIC_MACHINE_CLICKS, METRIC_MACHINE_OPENS,
    METRIC_OPENS, METRIC_UNIQUE_CLICKS, METRIC_UNIQUE_LINK_CLICKS, METRIC_UNIQUE_OPENS, METRIC_UNSUBSCRIBES,
    NO_LINK,
};

/// A delivery's engagement as its row holds it.
#[derive(Default)]
struct Engagement {
    first_open_at: Option<Timestamp>,
    last_open_at: Option<Timestamp>,
    first_click_at: Option<Timestamp>,
    last_click_at: Option<Timestamp>,
    unsubscribed_at: Option<Timestamp>,
    complained_at: Option<Timestamp>,
    opens: i32,
    clicks: i32,
    links: Vec<i16>,
}

impl Engagement {
    fn after(mut self, events: &[&Event], deltas: &mut Deltas) -> Self {
        for event in events {
            self.apply(event, deltas);
        }
        self
    }

    /// Applies one event; a person's first open or click of a delivery counts once as unique.
    fn apply(&mut self, event: &Event, deltas: &mut Deltas) {
        let campaign = event.delivery.campaign;
        let at = Some(event.at);
        match (event.kind, event.machine) {
            (EventKind::Opened, Some(_)) => deltas.add(campaign, METRIC_MACHINE_OPENS, NO_LINK, None),
            (EventKind::Clicked, Some(_)) => deltas.add(campaign, METRIC_MACHINE_CLICKS, NO_LINK, None),
            (EventKind::Opened, None) => {
                self.count_unique_open(campaign, deltas);
                span(&mut self.first_open_at, &mut self.last_open_at, event.at);
                self.opens += 1;
                deltas.add(campaign, METRIC_OPENS, NO_LINK, at);
            }
            (EventKind::Clicked, None) => {
                self.count_unique_open(campaign, deltas);
                if self.first_click_at.is_none() {
                    deltas.add(campaign, METRIC_UNIQUE_CLICKS, NO_LINK, None);
                }
                span(&mut self.first_click_at, &mut self.last_click_at, event.at);
                self.clicks += 1;
                deltas.add(campaign, METRIC_CLICKS, NO_LINK, at);
                if let Some(link) = event.link.and_then(|link| i16::try_from(link.0).ok()) {
                    deltas.add(campaign, METRIC_LINK_CLICKS, link, None);
                    if !self.links.contains(&link) {
                        self.links.push(link);
                        deltas.add(campaign, METRIC_UNIQUE_LINK_CLICKS, link, None);
                    }
                }
            }
            (EventKind::Unsubscribed, _) => {
                if self.unsubscribed_at.is_none() {
                    self.unsubscribed_at = at;
                    deltas.add(campaign, METRIC_UNSUBSCRIBES, NO_LINK, None);
                }
            }
            (EventKind::Complained, _) => {
                if self.complained_at.is_none() {
                    self.complained_at = at;
                    deltas.add(campaign, METRIC_COMPLAINTS, NO_LINK, None);
                }
            }
            (EventKind::Replied | EventKind::Delivered | EventKind::Bounced, _) => {}
        }
    }

    /// A click is an open, too.
    fn count_unique_open(&self, campaign: CampaignNo, deltas: &mut Deltas) {
        if self.first_open_at.is_none() && self.first_click_at.is_none() {
            deltas.add(campaign, METRIC_UNIQUE_OPENS, NO_LINK, None);
        }
    }
}

fn span(first: &mut Option<Timestamp>, last: &mut Option<Timestamp>, at: Timestamp) {
    *first = Some(first.map_or(at, |first| first.min(at)));
    *last = Some(last.map_or(at, |last| last.max(at)));
}

/// What an event does besides being counted.
fn engages(event: &Event) -> bool {
    match event.kind {
        EventKind::Opened | EventKind::Clicked => event.machine.is_none(),
        EventKind::Unsubscribed | EventKind::Complained => true,
        EventKind::Replied | EventKind::Delivered | EventKind::Bounced => false,
    }
}

/// Inserts the rows of deliveries that had none, then locks the others, applies the events and writes them back; both in the
/// order of keys.
pub(super) async fn write_engagement(
    transaction: &Transaction<'_>,
    events: &[&Event],
    deltas: &mut Deltas,
) -> Result<()> {
    let mut by_key: BTreeMap<DeliveryKey, Vec<&Event>> = BTreeMap::new();
    for event in events {
        if engages(event) {
            by_key.entry(event.delivery).or_default().push(event);
        } else {
            Engagement::default().apply(event, deltas);
        }
    }
    if by_key.is_empty() {
        return Ok(());
    }
    let fresh: BTreeMap<DeliveryKey, Engagement> = by_key
        .iter()
        .map(|(key, events)| (*key, Engagement::default().after(events, &mut Deltas::default())))
        .collect();
    for row in write(transaction, &insert(), &fresh).await? {
        let events = by_key.remove(&key(&row)).unwrap_or_default();
        Engagement::default().after(&events, deltas);
    }
    if by_key.is_empty() {
        return Ok(());
    }
    let mut changed = BTreeMap::new();
    for (key, engagement) in lock(transaction, by_key.keys().copied().collect()).await? {
        if let Some(events) = by_key.get(&key) {
            changed.insert(key, engagement.after(events, deltas));
        }
    }
    write(transaction, &update(), &changed).await?;
    Ok(())
}

/// Locks rows that exist, one after the other.
async fn lock(transaction: &Transaction<'_>, keys: Keys) -> Result<Vec<(DeliveryKey, Engagement)>> {
    let sql = format!(
        "SELECT e.campaign, e.contact, e.occurrence, e.first_open_at, e.last_open_at, e.first_click_at, e.last_click_at,
                e.unsubscribed_at, e.complained_at, e.opens, e.clicks, e.links
         FROM {KEYS}
         CROSS JOIN LATERAL (SELECT * FROM engagement x WHERE x.campaign = n.campaign AND x.contact = n.contact
                                 AND x.occurrence = n.occurrence LIMIT 1 FOR UPDATE) e"
    );
    let rows =
        cached::query(transaction, &sql, &[&keys.campaigns, &keys.contacts, &keys.occurrences]).await?;
    let engagement = |row: &Row| Engagement {
        first_open_at: row.get(3),
        last_open_at: row.get(4),
        first_click_at: row.get(5),
        last_click_at: row.get(6),
        unsubscribed_at: row.get(7),
        complained_at: row.get(8),
        opens: row.get(9),
        clicks: row.get(10),
        links: row.get(11),
    };
    Ok(rows.iter().map(|row| (key(row), engagement(row))).collect())
}

const COLUMNS: &str = "first_open_at, last_open_at, first_click_at, last_click_at, unsubscribed_at, complained_at, opens, clicks";

/// What [`write`] binds.
fn rows() -> String {
    format!(
        "unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::timestamptz[], $5::timestamptz[], $6::timestamptz[],
                $7::timestamptz[], $8::timestamptz[], $9::timestamptz[], $10::integer[], $11::integer[], $12::text[])
             AS n (campaign, contact, occurrence, {COLUMNS}, links)"
    )
}

/// Returns the keys of the rows that were not there yet.
fn insert() -> String {
    format!(
        "INSERT INTO engagement (campaign, contact, occurrence, {COLUMNS}, links)
         SELECT campaign, contact, occurrence, {COLUMNS}, links::smallint[] FROM {} ORDER BY 1, 2, 3
         ON CONFLICT DO NOTHING RETURNING campaign, contact, occurrence",
        rows()
    )
}

/// Finds each row by its key, whatever the planner thinks of the table's size.
fn update() -> String {
    format!(
        "UPDATE engagement e SET ({COLUMNS}, links) =
             ROW (n.first_open_at, n.last_open_at, n.first_click_at, n.last_click_at, n.unsubscribed_at, n.complained_at,
                  n.opens, n.clicks, n.links::smallint[])
         FROM {}, LATERAL (SELECT x.ctid FROM engagement x WHERE x.campaign = n.campaign AND x.contact = n.contact
                               AND x.occurrence = n.occurrence LIMIT 1) AS t
         WHERE e.ctid = t.ctid",
        rows()
    )
}

async fn write(
    transaction: &Transaction<'_>,
    sql: &str,
    engagement: &BTreeMap<DeliveryKey, Engagement>,
) -> Result<Vec<Row>> {
    let keys: Keys = engagement.keys().copied().collect();
    let column = |of: fn(&Engagement) -> Option<Timestamp>| engagement.values().map(of).collect::<Vec<_>>();
    let opens: Vec<i32> = engagement.values().map(|engagement| engagement.opens).collect();
    let clicks: Vec<i32> = engagement.values().map(|engagement| engagement.clicks).collect();
    let links: Vec<String> = engagement.values().map(|engagement| array_literal(&engagement.links)).collect();
    cached::query(
        transaction,
        sql,
        &[
            &keys.campaigns,
            &keys.contacts,
            &keys.occurrences,
            &column(|engagement| engagement.first_open_at),
            &column(|engagement| engagement.last_open_at),
            &column(|engagement| engagement.first_click_at),
            &column(|engagement| engagement.last_click_at),
            &column(|engagement| engagement.unsubscribed_at),
            &column(|engagement| engagement.complained_at),
            &opens,
            &clicks,
            &links,
        ],
    )
    .await
}

/// PostgreSQL has no arrays of arrays of different lengths, so each travels as its text.
fn array_literal(links: &[i16]) -> String {
    let numbers: Vec<String> = links.iter().map(i16::to_string).collect();
    format!("{{{}}}", numbers.join(","))
}

/// What people did in this group, by contact.
#[derive(Default)]
struct Activity {
    first_open: Option<Timestamp>,
    last_open: Option<Timestamp>,
    first_click: Option<Timestamp>,
    last_click: Option<Timestamp>,
    opens: i32,
    clicks: i32,
    hours: [i32; 24],
}

/// Writes people's opens and clicks back to their contacts, hours by their own clocks.
pub(super) async fn write_contacts(
    transaction: &Transaction<'_>,
    events: &[&Event],
    contexts: &HashMap<DeliveryKey, Context>,
) -> Result<()> {
    let mut activities: BTreeMap<i64, Activity> = BTreeMap::new();
    for event in events.iter().filter(|event| event.machine.is_none()) {
        let Some(context) = contexts.get(&event.delivery) else { continue };
        let activity = match event.kind {
            EventKind::Opened => {
                let activity = activities.entry(event.delivery.contact.0).or_default();
                span(&mut activity.first_open, &mut activity.last_open, event.at);
                activity.opens += 1;
                activity
            }
            EventKind::Clicked => {
                let activity = activities.entry(event.delivery.contact.0).or_default();
                span(&mut activity.first_click, &mut activity.last_click, event.at);
                activity.clicks += 1;
                activity
            }
            _ => continue,
        };
        let hour = event.at.to_zoned(context.zone.clone()).hour();
        if let Some(count) = usize::try_from(hour).ok().and_then(|hour| activity.hours.get_mut(hour)) {
            *count += 1;
        }
    }
    if activities.is_empty() {
        return Ok(());
    }
    let contacts: Vec<i64> = activities.keys().copied().collect();
    let column = |of: fn(&Activity) -> Option<Timestamp>| activities.values().map(of).collect::<Vec<_>>();
    let opens: Vec<i32> = activities.values().map(|activity| activity.opens).collect();
    let clicks: Vec<i32> = activities.values().map(|activity| activity.clicks).collect();
    let hours: Vec<String> = activities
        .values()
        .map(|activity| format!("{{{}}}", activity.hours.map(|count| count.to_string()).join(",")))
        .collect();
    let added: Vec<String> =
        (1..=24).map(|hour| format!("coalesce(w.hours[{hour}], 0) + excluded.hours[{hour}]")).collect();
    let sql = format!(
        "INSERT INTO contact_engagement AS w (contact, first_open_at, last_open_at, first_click_at, last_click_at, opens, clicks, hours)
         SELECT n.contact, n.first_open, n.last_open, n.first_click, n.last_click, n.opens, n.clicks, n.hours::integer[]
         FROM unnest($1::bigint[], $2::timestamptz[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[],
                     $6::integer[], $7::integer[], $8::text[])
             AS n (contact, first_open, last_open, first_click, last_click, opens, clicks, hours)
         ORDER BY n.contact
         ON CONFLICT (contact) DO UPDATE SET
             first_open_at = least(w.first_open_at, excluded.first_open_at),
             last_open_at = greatest(w.last_open_at, excluded.last_open_at),
             first_click_at = least(w.first_click_at, excluded.first_click_at),
             last_click_at = greatest(w.last_click_at, excluded.last_click_at),
             opens = w.opens + excluded.opens, clicks = w.clicks + excluded.clicks,
             hours = ARRAY[{}]",
        added.join(", ")
    );
    cached::execute(
        transaction,
        &sql,
        &[
            &contacts,
            &column(|activity| activity.first_open),
            &column(|activity| activity.last_open),
            &column(|activity| activity.first_click),
            &column(|activity| activity.last_click),
            &opens,
            &clicks,
            &hours,
        ],
    )
    .await?;
    Ok(())
}
