//! What a group of events means for the engagement of deliveries and contacts, and for the counters.

use std::collections::HashMap;

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, params};

use super::connection::Connection;
use super::counters::{Counter, Deltas, hour_of};
use super::numbers;
use super::tracking::Context;
use crate::model::{DeliveryKey, Event, EventKind};
use crate::store::Result;
use crate::store::metric::{
    METRIC_CLICKS, METRIC_COMPLAINTS, METRIC_LINK_CLICKS, METRIC_MACHINE_CLICKS, METRIC_MACHINE_OPENS,
    METRIC_OPENS, METRIC_UNIQUE_CLICKS, METRIC_UNIQUE_LINK_CLICKS, METRIC_UNIQUE_OPENS, METRIC_UNSUBSCRIBES,
};

/// Hours of a day.
const HOURS: usize = 24;

/// First and last instant of something, in microseconds.
#[derive(Default)]
struct Span {
    first: Option<i64>,
    last: Option<i64>,
}

impl Span {
    fn cover(&mut self, at: Timestamp) {
        let at = at.as_microsecond();
        self.first = Some(self.first.map_or(at, |first| first.min(at)));
        self.last = Some(self.last.map_or(at, |last| last.max(at)));
    }

    fn read(row: &Row<'_>, at: usize) -> rusqlite::Result<Self> {
        Ok(Span { first: row.get(at)?, last: row.get(at + 1)? })
    }
}

/// A delivery's engagement as its row holds it.
#[derive(Default)]
struct Engagement {
    open: Span,
    click: Span,
    unsubscribed_at: Option<i64>,
    complained_at: Option<i64>,
    opens: i64,
    clicks: i64,
    links: Vec<i64>,
}

impl Engagement {
    /// Applies one event; a person's first open or click of a delivery counts once as unique.
    fn apply(&mut self, event: &Event, deltas: &mut Deltas) {
        let of = |metric| Counter::of(event.delivery.campaign, metric);
        let hourly = |metric| Counter { hour: hour_of(event.at.as_microsecond()), ..of(metric) };
        match (event.kind, event.machine) {
            (EventKind::Opened, Some(_)) => deltas.add(of(METRIC_MACHINE_OPENS)),
            (EventKind::Clicked, Some(_)) => deltas.add(of(METRIC_MACHINE_CLICKS)),
            (EventKind::Opened, None) => {
                self.count_unique_open(event, deltas);
                self.open.cover(event.at);
                self.opens += 1;
                deltas.add(hourly(METRIC_OPENS));
            }
            (EventKind::Clicked, None) => {
                self.count_unique_open(event, deltas);
                if self.click.first.is_none() {
                    deltas.add(of(METRIC_UNIQUE_CLICKS));
                }
                self.click.cover(event.at);
                self.clicks += 1;
                deltas.add(hourly(METRIC_CLICKS));
                self.count_link(event, deltas);
            }
            (EventKind::Unsubscribed, _) => {
                if self.unsubscribed_at.is_none() {
                    self.unsubscribed_at = Some(event.at.as_microsecond());
                    deltas.add(of(METRIC_UNSUBSCRIBES));
                }
            }
            (EventKind::Complained, _) => {
                if self.complained_at.is_none() {
                    self.complained_at = Some(event.at.as_microsecond());
                    deltas.add(of(METRIC_COMPLAINTS));
                }
            }
            (EventKind::Replied | EventKind::Delivered | EventKind::Bounced, _) => {}
        }
    }

    /// A click is an open, too.
    fn count_unique_open(&self, event: &Event, deltas: &mut Deltas) {
        if self.open.first.is_none() && self.click.first.is_none() {
            deltas.add(Counter::of(event.delivery.campaign, METRIC_UNIQUE_OPENS));
        }
    }

    fn count_link(&mut self, event: &Event, deltas: &mut Deltas) {
        let Some(link) = event.link.and_then(|link| i16::try_from(link.0).ok()) else { return };
        let of = |metric| Counter { link, ..Counter::of(event.delivery.campaign, metric) };
        deltas.add(of(METRIC_LINK_CLICKS));
        if !self.links.contains(&link.into()) {
            self.links.push(link.into());
            deltas.add(of(METRIC_UNIQUE_LINK_CLICKS));
        }
    }
}

/// Applies events, in the order of their deliveries, to the deliveries' engagement.
pub(super) fn write_engagement(
    connection: &Connection,
    events: &[&Event],
    deltas: &mut Deltas,
) -> Result<()> {
    for group in events.chunk_by(|one, next| one.delivery == next.delivery) {
        let Some(first) = group.first() else { continue };
        let mut engagement = read_engagement(connection, first.delivery)?;
        for event in group {
            engagement.apply(event, deltas);
        }
        replace_engagement(connection, first.delivery, &engagement)?;
    }
    Ok(())
}

fn read_engagement(connection: &Connection, key: DeliveryKey) -> Result<Engagement> {
    let sql = "SELECT first_open_at, last_open_at, first_click_at, last_click_at, unsubscribed_at, complained_at, opens, clicks, links
         FROM engagement WHERE campaign = ?1 AND contact = ?2 AND occurrence = ?3";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([key.campaign.0, key.contact.0, key.occurrence])?;
    let Some(row) = rows.next()? else { return Ok(Engagement::default()) };
    Ok(Engagement {
        open: Span::read(row, 0)?,
        click: Span::read(row, 2)?,
        unsubscribed_at: row.get(4)?,
        complained_at: row.get(5)?,
        opens: row.get(6)?,
        clicks: row.get(7)?,
        links: numbers::decode(&row.get::<_, Vec<u8>>(8)?)?,
    })
}

fn replace_engagement(connection: &Connection, key: DeliveryKey, engagement: &Engagement) -> Result<()> {
    let sql = "INSERT OR REPLACE INTO engagement (campaign, contact, occurrence, first_open_at, last_open_at, first_click_at,
             last_click_at, unsubscribed_at, complained_at, opens, clicks, links)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
    connection.prepare_cached(sql)?.execute(params![
        key.campaign.0,
        key.contact.0,
        key.occurrence,
        engagement.open.first,
        engagement.open.last,
        engagement.click.first,
        engagement.click.last,
        engagement.unsubscribed_at,
        engagement.complained_at,
        engagement.opens,
        engagement.clicks,
        numbers::encode(&engagement.links),
    ])?;
    Ok(())
}

/// What a contact did with all that it got.
struct Activity {
    open: Span,
    click: Span,
    opens: i64,
    clicks: i64,
    /// By the contact's own clock.
    hours: Vec<i64>,
}

impl Activity {
    fn new() -> Self {
        Activity { open: Span::default(), click: Span::default(), opens: 0, clicks: 0, hours: vec![0; HOURS] }
    }

    fn apply(&mut self, event: &Event, context: &Context) {
        let (span, count) = match event.kind {
            EventKind::Opened => (&mut self.open, &mut self.opens),
            EventKind::Clicked => (&mut self.click, &mut self.clicks),
            _ => return,
        };
        span.cover(event.at);
        *count += 1;
        let hour = event.at.to_zoned(context.zone.clone()).hour();
        if let Some(count) = usize::try_from(hour).ok().and_then(|hour| self.hours.get_mut(hour)) {
            *count += 1;
        }
    }
}

/// Writes people's opens and clicks back to their contacts, hours by their own clocks.
pub(super) fn write_contacts(
    connection: &Connection,
    events: &[&Event],
    contexts: &HashMap<DeliveryKey, Context>,
) -> Result<()> {
    let mut activities: HashMap<i64, Activity> = HashMap::new();
    let touches = |event: &&&Event| matches!(event.kind, EventKind::Opened | EventKind::Clicked);
    for event in events.iter().filter(touches).filter(|event| event.machine.is_none()) {
        let Some(context) = contexts.get(&event.delivery) else { continue };
        let contact = event.delivery.contact.0;
        let activity = match activities.remove(&contact) {
            Some(activity) => activity,
            None => read_activity(connection, contact)?,
        };
        activities.entry(contact).or_insert(activity).apply(event, context);
    }
    activities.iter().try_for_each(|(contact, activity)| replace_activity(connection, *contact, activity))
}

fn read_activity(connection: &Connection, contact: i64) -> Result<Activity> {
    let sql = "SELECT first_open_at, last_open_at, first_click_at, last_click_at, opens, clicks, hours
         FROM contact_engagement WHERE contact = ?1";
    let found = connection
        .prepare_cached(sql)?
        .query_row([contact], |row| {
            let hours: Vec<u8> = row.get(6)?;
            let (open, click) = (Span::read(row, 0)?, Span::read(row, 2)?);
            Ok((Activity { open, click, opens: row.get(4)?, clicks: row.get(5)?, hours: Vec::new() }, hours))
        })
        .optional()?;
    let Some((activity, hours)) = found else { return Ok(Activity::new()) };
    // An erasure leaves none.
    let mut hours = numbers::decode(&hours)?;
    hours.resize(HOURS, 0);
    Ok(Activity { hours, ..activity })
}

fn replace_activity(connection: &Connection, contact: i64, activity: &Activity) -> Result<()> {
    let sql = "INSERT OR REPLACE INTO contact_engagement (contact, first_open_at, last_open_at, first_click_at, last_click_at,
             opens, clicks, hours)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    connection.prepare_cached(sql)?.execute(params![
        contact,
        activity.open.first,
        activity.open.last,
        activity.click.first,
        activity.click.last,
        activity.opens,
        activity.clicks,
        numbers::encode(&activity.hours),
    ])?;
    Ok(())
}
