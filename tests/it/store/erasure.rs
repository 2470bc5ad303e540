//! Erasure and export: what names a person is found everywhere before, and nowhere afterwards.

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use campaignd::model::access::Actor;
use campaignd::model::audit::{Action, Deed, Ending};
use campaignd::model::receipt::{About, News};
use campaignd::model::{Channel, DeliveryKey, EventKind, Reason, Receipt, State};
use campaignd::store::contacts::Suppression;
use campaignd::store::dispatching::{Lease, Outcomes};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::bed::{Bed, event, key, message, settled, tallied};
use super::on_each_store;

on_each_store!(
    nothing_names_the_erased,
    what_comes_late_is_forgotten_again,
    a_list_that_waits_brings_nobody_back,
    an_export_holds_everything_kept,
);

const ID: &str = "customer-eve-77";
const MAIL: &str = "eve.adams@example.com";
const PHONE: &str = "+4915123456789";
const DEVICE: &str = "DeviceTokenOfEveXyz";
const AGENT: &str = "Browser of Eve";
const ADDRESS: &str = "198.51.100.77";
/// What only Eve's rows say.
const SECRETS: [&str; 9] =
    [ID, MAIL, PHONE, DEVICE, AGENT, ADDRESS, "Evelyn", "Asia/Ulaanbaatar", "reference-of-eve"];

/// Ways in which a column may hold a text.
fn spellings(text: &str) -> Vec<String> {
    let escaped: String = text.chars().map(|c| format!("\\u{:04x}", u32::from(c))).collect();
    let percent = percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    let mut all = vec![text.to_owned(), hex::encode(text), escaped, percent];
    // Inside of something longer it may begin at any of three places of a group; its own ends depend on what is around.
    for shift in 0..3 {
        let encoded = BASE64_STANDARD.encode(format!("{}{text}", "x".repeat(shift)));
        let inner = encoded.get(4..encoded.len() - 4).unwrap();
        // A shorter one would be found by chance.
        all.extend((inner.len() >= 8).then(|| inner.to_owned()));
    }
    all.push(BASE64_URL_SAFE_NO_PAD.encode(text));
    // A hash without a key gives a phone number away to whoever tries them all.
    all.push(hex::encode(Sha256::digest(text)));
    all.iter().map(|spelling| spelling.to_lowercase()).collect()
}

/// Where the store has a text, in any spelling.
async fn found(bed: &Bed, text: &str) -> Vec<String> {
    let spellings = spellings(text);
    let holds = |row: &String| spellings.iter().any(|spelling| row.to_lowercase().contains(spelling));
    bed.rows().await.into_iter().filter(|(_, row)| holds(row)).map(|(table, _)| table).collect()
}

/// Eve and somebody else, written to, in lists, on lists, with receipts and events on their way in and out.
async fn a_life(bed: &Bed) -> DeliveryKey {
    let address =
        |channel: &str, address: &str| json!({"channel": channel, "address": address, "consent": true});
    bed.upsert(json!([
        {"external_id": ID, "attributes": {"name": "Evelyn", "mail": MAIL}, "tags": ["Evelyn"], "timezone": "Asia/Ulaanbaatar",
         "addresses": [address("email", "Eve.Adams@Example.com"), address("sms", "+49 151 2345-6789"), address("push", DEVICE)]},
        {"external_id": "other", "attributes": {"name": "Otto"}, "addresses": [address("email", "otto@example.com")]},
    ]))
    .await;
    let suppressed =
        |channel, address: &str| Suppression { channel, address: address.into(), reason: "asked".into() };
    bed.store.suppress(&[suppressed(Channel::Sms, PHONE)]).await.unwrap();
    let me = bed.store.join("one").await.unwrap();
    bed.planned("spring", json!({"contacts": [ID, "other"]}), json!({})).await;
    let lease = bed.lease(me).await.pop().unwrap();
    bed.intend(me, &lease).await.unwrap();
    let eve = sent(bed, &lease, me).await;
    let told = |id, about| Receipt {
        id,
        about,
        at: Timestamp::now(),
        news: News::Replied,
        detail: Some(format!("a reply of {MAIL}, {PHONE}")),
    };
    let reference =
        |reference: &str| About::Reference { provider: "relay".into(), reference: reference.into() };
    let parked =
        [told(Uuid::now_v7(), reference("reference-of-eve")), told(Uuid::now_v7(), reference("unknown"))];
    bed.store.park(&parked).await.unwrap();
    bed.store.record_receipts(&[told(Uuid::now_v7(), About::Delivery(eve))], true).await.unwrap();
    let by_address = About::Address { channel: Channel::Sms, address: PHONE.into() };
    bed.store.record_receipts(&[told(Uuid::now_v7(), by_address)], true).await.unwrap();
    bed.store.record_events(&[clicked(eve)], true).await.unwrap();
    let own = json!({"data": {"name": "Evelyn", "mail": MAIL, "phone": PHONE}});
    bed.accept(message("m1", "orders", json!({"address": MAIL}), own)).await;
    waiting_lists(bed).await;
    bed.store
        .audit(&[Deed::new(Actor::loopback(), Action::ContactExported, Ending::Done).contact(ID)])
        .await
        .unwrap();
    eve
}

fn clicked(delivery: DeliveryKey) -> campaignd::model::Event {
    let mut clicked = event(delivery, EventKind::Clicked);
    (clicked.client_ip, clicked.user_agent) = (Some(ADDRESS.parse().unwrap()), Some(AGENT.into()));
    clicked
}

/// Eve was refused once in words that name her, then taken; the other one was taken.
async fn sent(bed: &Bed, lease: &Lease, me: campaignd::store::jobs::Incarnation) -> DeliveryKey {
    let mut outcomes = Outcomes { closed: vec![lease.batch], ..Outcomes::default() };
    for member in &lease.members {
        outcomes.settled.push(settled(lease, member, State::Accepted, None));
    }
    let eve = &mut outcomes.settled[0];
    (eve.state, eve.reason) = (State::Rejected, Some(Reason::UnknownRecipient));
    (eve.detail, eve.referenced) = (Some(format!("550 <{MAIL}> unknown")), true);
    eve.provider_ref = Some("reference-of-eve".into());
    bed.store.record(me, &outcomes).await.unwrap();
    key(lease, &lease.members[0])
}

/// Campaigns whose lists name Eve by id, by each address and with data of her own, and are not planned yet.
async fn waiting_lists(bed: &Bed) {
    let later = json!({"send_at": Timestamp::now() + SignedDuration::from_hours(1)});
    let with = |more: Value| {
        let mut all = later.clone();
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    bed.campaign("by-id", json!({"contacts": ["other", ID]}), with(json!({}))).await;
    let inline = json!({"recipients": [{"address": " Eve.Adams@Example.com", "data": {"name": "Evelyn"}}], "consent": true});
    bed.campaign("by-mail", inline, with(json!({}))).await;
    let spaced =
        json!({"recipients": [{"address": "+49 (151) 2345 6789", "external_id": ID}], "consent": true});
    bed.campaign("by-phone", spaced, with(json!({"channel": "sms"}))).await;
    let device = json!({"recipients": [{"address": DEVICE}], "consent": true});
    bed.campaign("by-device", device, with(json!({"channel": "push"}))).await;
}

async fn nothing_names_the_erased(bed: &Bed) {
    let eve = a_life(bed).await;
    for secret in SECRETS {
        assert!(!found(bed, secret).await.is_empty(), "{secret} was kept somewhere");
    }
    let before = bed.tally("spring").await;
    assert!(bed.store.erase_contact(ID).await.unwrap());
    for secret in SECRETS {
        assert_eq!(found(bed, secret).await, [""; 0], "{secret}");
    }
    assert!(!found(bed, "otto@example.com").await.is_empty(), "others stay");
    assert_eq!(bed.tally("spring").await, before);
    assert_eq!(
        bed.store.suppressions(10).await.unwrap().len(),
        2,
        "the one asked for, and that of the refusal"
    );
    bed.check_law().await;
    bed.store.record_events(&[clicked(eve)], true).await.unwrap();
    for secret in SECRETS {
        assert_eq!(found(bed, secret).await, [""; 0], "{secret} after a click on an old link");
    }
    assert_eq!(bed.store.counts("spring").await.unwrap().unwrap().clicks.total, 2, "the click counts");
    let outbox = bed.outbox(100).await;
    assert!(outbox.len() >= 3 && outbox.iter().all(|row| row.payload["external_id"].is_null()), "{outbox:?}");
    assert_eq!(bed.store.parked(10).await.unwrap(), [], "nobody is meant any more");
}

async fn what_comes_late_is_forgotten_again(bed: &Bed) {
    bed.upsert(json!([{"external_id": ID, "addresses": [super::bed::email("eve")]}])).await;
    let me = bed.store.join("one").await.unwrap();
    bed.planned("spring", json!({"all": true}), json!({})).await;
    let lease = bed.lease(me).await.pop().unwrap();
    bed.intend(me, &lease).await.unwrap();
    assert!(bed.store.erase_contact(ID).await.unwrap());
    sent(bed, &lease, me).await;
    assert!(!found(bed, MAIL).await.is_empty(), "the provider's answer was on its way");
    let hour = SignedDuration::from_hours(1);
    assert_eq!(bed.store.erase_late(-hour).await.unwrap(), 0);
    assert_eq!(bed.store.erase_late(hour).await.unwrap(), 1);
    for secret in [MAIL, "reference-of-eve"] {
        assert_eq!(found(bed, secret).await, [""; 0], "{secret}");
    }
    assert_eq!(bed.tally("spring").await, tallied([("rejected/unknown_recipient", 1)]));
    bed.check_law().await;
}

async fn a_list_that_waits_brings_nobody_back(bed: &Bed) {
    bed.upsert(json!([{"external_id": "other", "addresses": [super::bed::email("other")]}])).await;
    let address = json!({"channel": "email", "address": MAIL, "consent": true});
    bed.upsert(json!([{"external_id": ID, "addresses": [address]}])).await;
    waiting_lists(bed).await;
    assert!(bed.store.erase_contact(ID).await.unwrap());
    bed.pass(SignedDuration::from_hours(1)).await;
    bed.plan(1_000).await;
    assert_eq!(bed.tally("by-id").await, tallied([("planned", 1), ("excluded/unknown_contact", 1)]));
    assert_eq!(bed.tally("by-mail").await, tallied([("excluded/unknown_contact", 1)]));
    assert!(
        bed.store.contact(ID).await.unwrap().is_none() && bed.store.owner_of(MAIL).await.unwrap().is_none()
    );
    for secret in [ID, MAIL] {
        assert_eq!(found(bed, secret).await, [""; 0], "{secret}");
    }
}

async fn an_export_holds_everything_kept(bed: &Bed) {
    a_life(bed).await;
    let contact = serde_json::to_value(bed.store.contact(ID).await.unwrap()).unwrap();
    let kept = serde_json::to_value(bed.store.kept_about(ID).await.unwrap().unwrap()).unwrap();
    let whole = format!("{contact}{kept}");
    for secret in SECRETS {
        assert!(whole.contains(secret), "{secret} is not in {whole}");
    }
    assert_eq!(contact["addresses"][0]["consent_source"], "test", "the evidence of consent");
    let deliveries = kept["deliveries"].as_array().unwrap();
    let spring = deliveries.iter().find(|one| one["campaign"] == "spring").unwrap();
    assert_eq!(spring["attempts_made"].as_array().unwrap().len(), 1);
    assert_eq!(spring["references"], json!(["relay: reference-of-eve"]));
    let events = spring["events"].as_array().unwrap();
    let click = events.iter().find(|event| event["kind"] == "clicked").unwrap();
    assert_eq!((&click["client_ip"], &click["user_agent"]), (&json!(ADDRESS), &json!(AGENT)));
    assert_eq!((events.len(), kept["other_events"].as_array().unwrap().len()), (2, 1));
    let order = deliveries.iter().find(|one| one["campaign"] == "orders").unwrap();
    assert_eq!(order["data"]["phone"], PHONE);
    let lists: Vec<&str> =
        kept["lists"].as_array().unwrap().iter().map(|entry| entry["campaign"].as_str().unwrap()).collect();
    assert_eq!(lists, ["by-id", "by-mail", "by-phone", "by-device"]);
    assert!(!whole.contains("otto") && !whole.contains("Otto"));
    assert!(bed.store.kept_about("nobody").await.unwrap().is_none());
}
