//! The demo's campaigns: one a channel, each to another kind of audience, and a standing one that messages feed. Pure:
//! the same people make the same jobs, so that a demo that is started again on its own data changes nothing.

use serde_json::{Value, json};

use super::people;
use crate::model::Channel;
use crate::model::contact::Contact;
use crate::store::contacts::Suppression;

/// Contacts of one job.
const CHUNK: usize = 500;
/// Every so many people one is suppressed.
const SUPPRESSED: usize = 83;
/// Every so many names of a list one stands there twice, or belongs to nobody.
const REPEATED: usize = 40;
const STRANGE: usize = 100;
/// The standing campaign.
pub(super) const STANDING: &str = "order-thanks";

/// A campaign, and how many recipients its ledger must name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) id: &'static str,
    pub(super) targeted: u64,
}

/// Everything that the demo hands in, in this order.
pub(super) struct Programme {
    /// Jobs that bring the people in.
    pub(super) contacts: Vec<Value>,
    pub(super) suppressed: Vec<Suppression>,
    /// Jobs of one campaign a channel.
    pub(super) campaigns: Vec<Value>,
    /// Single messages, to be handed in one by one.
    pub(super) messages: Vec<Value>,
    pub(super) expected: Vec<Expected>,
}

impl Programme {
    pub(super) fn of(people: &[Contact]) -> Programme {
        let texts = list(people);
        let messages = messages(people);
        let count = |of: fn(&Contact) -> bool| people.iter().filter(|person| of(person)).count() as u64;
        let expected = [
            ("spring-sale", people.len() as u64),
            ("spring-texts", texts.len() as u64),
            ("member-points", count(is_member)),
            ("app-birthday", count(is_valued)),
            (STANDING, messages.len() as u64),
        ];
        Programme {
            contacts: contacts(people),
            suppressed: suppressed(people),
            campaigns: vec![spring_sale(), spring_texts(&texts), member_points(), app_birthday()],
            messages,
            expected: expected.map(|(id, targeted)| Expected { id, targeted }).to_vec(),
        }
    }
}

fn contacts(people: &[Contact]) -> Vec<Value> {
    let jobs = people.chunks(CHUNK).enumerate();
    jobs.map(|(part, people)| json!({"type": "contacts", "id": format!("people-{part}"), "upsert": people}))
        .collect()
}

/// The first address of a few people, as after a complaint.
fn suppressed(people: &[Contact]) -> Vec<Suppression> {
    let chosen = people.iter().skip(SUPPRESSED / 2).step_by(SUPPRESSED);
    let addresses = chosen.filter_map(|person| person.addresses.as_ref()?.first());
    addresses
        .map(|address| Suppression {
            channel: address.channel,
            address: address.address.clone(),
            reason: "complained a year ago".to_owned(),
        })
        .collect()
}

/// To everyone who lives somewhere, which is everyone.
fn spring_sale() -> Value {
    json!({
        "type": "campaign", "id": "spring-sale", "name": "Spring sale", "channel": "email",
        "purpose": "marketing", "template": "spring-sale",
        "audience": {"segment": {"attribute": "city", "exists": true}},
        "data": {
            "discount": "20 %", "ends_at": "2026-04-03T00:00:00+08:00", "currency": "EUR",
            "products": [
                {"title": "Olive tree", "price": 39.9, "old_price": 49.9, "url": "https://shop.example/p/olive"},
                {"title": "Garden shears", "price": 17.5, "old_price": 21.9, "url": "https://shop.example/p/shears"},
                {"title": "Lavender, three pots", "price": 9.6, "old_price": 12, "url": "https://shop.example/p/lavender"},
            ],
        },
    })
}

/// To a list as lists are: with names that stand there twice and names that nobody has.
fn spring_texts(list: &[String]) -> Value {
    json!({
        "type": "campaign", "id": "spring-texts", "name": "Spring sale by text", "channel": "sms",
        "purpose": "marketing", "template": "spring-sale", "audience": {"contacts": list},
        "data": {"discount": "20 %"},
    })
}

fn list(people: &[Contact]) -> Vec<String> {
    let mut list = Vec::new();
    for (at, person) in people.iter().enumerate().filter(|(at, _)| at % 2 == 0) {
        list.push(person.external_id.clone());
        if at % REPEATED == 0 {
            list.push(person.external_id.clone());
        }
        if at % STRANGE == 0 {
            list.push(format!("left-us-{at}"));
        }
    }
    list
}

/// WeChat's template messages carry service, not marketing.
fn member_points() -> Value {
    json!({
        "type": "campaign", "id": "member-points", "name": "Points of our members", "channel": "wechat",
        "purpose": "service", "template": "member-points", "audience": {"segment": {"tag": "member"}},
    })
}

fn is_member(person: &Contact) -> bool {
    person.tags.iter().flatten().any(|tag| tag == "member")
}

fn app_birthday() -> Value {
    json!({
        "type": "campaign", "id": "app-birthday", "name": "The shop's birthday", "channel": "push",
        "purpose": "marketing", "template": "birthday",
        "audience": {"segment": {"attribute": "tier", "in": ["gold", "silver"]}},
    })
}

fn is_valued(person: &Contact) -> bool {
    person.attributes.get("tier").is_some_and(|tier| tier == "gold" || tier == "silver")
}

/// Thanks for orders, one a message, to people of whom some have no e-mail address.
fn messages(people: &[Contact]) -> Vec<Value> {
    let number = (people.len() / 20).clamp(10, 300);
    let step = (people.len() / number).max(1);
    let buyers = people.iter().step_by(step).take(number).enumerate();
    buyers
        .map(|(order, person)| {
            json!({
                "type": "message", "id": format!("order-{}", 9_000 + order), "campaign": STANDING,
                "channel": Channel::Email, "purpose": "service", "template": "order-thanks",
                "to": {"external_id": person.external_id},
                "data": {
                    "order_id": format!("{}", 9_000 + order), "currency": "EUR", "total": 57.4,
                    "lines": [
                        {"title": "Olive tree", "quantity": 1, "price": 39.9},
                        {"title": "Garden shears", "quantity": 1, "price": 17.5},
                    ],
                },
            })
        })
        .collect()
}

/// The external id of the person whose story is told as an example.
pub(super) fn example() -> String {
    people::id(1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::Job;

    #[test]
    fn every_job_is_one_that_the_daemon_takes() {
        for n in [1, 10, 300, 3_000] {
            let programme = Programme::of(&people::people(n, 1));
            let jobs = programme.contacts.iter().chain(&programme.campaigns).chain(&programme.messages);
            let mut ids = BTreeSet::new();
            for job in jobs {
                let read =
                    Job::read(job.to_string().as_bytes()).unwrap_or_else(|error| panic!("{n}: {error}"));
                assert!(ids.insert((read.job.kind(), read.job.id().to_owned())), "{}", read.job.id());
            }
            assert!(programme.expected.iter().all(|campaign| campaign.targeted > 0 || n < 10), "{n}");
        }
    }

    #[test]
    fn the_list_has_repeated_and_strange_names() {
        let list = list(&people::people(300, 1));
        let different: BTreeSet<_> = list.iter().collect();
        assert!(different.len() < list.len());
        assert!(list.iter().any(|name| name.starts_with("left-us")));
    }
}
