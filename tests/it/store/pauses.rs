//! Campaigns that are paused by themselves: what they are judged by, what users see, what a resume forgives.

use campaignd::model::receipt::{About, Bounce, News};
use campaignd::model::{
    CampaignStatus, Channel, Control, DeliveryKey, EventKind, PauseCause, Quality, Reason, Receipt, State,
};
use campaignd::store::dispatching::Outcomes;
use jiff::Timestamp;
use serde_json::json;

use super::bed::{Bed, event, key, settled};
use super::on_each_store;

on_each_store!(
    a_campaign_is_judged_by_bounces_complaints_and_dead_addresses,
    a_pause_names_its_cause_and_is_told,
    a_resume_forgives_what_was,
    only_what_sends_is_judged,
);

/// Six people: four accepted, one whose address is dead, one that waits. Returns those who were accepted.
async fn sent(bed: &Bed) -> Vec<DeliveryKey> {
    bed.people(6).await;
    let me = bed.store.join("one").await.unwrap();
    bed.planned("spring", json!({"all": true}), json!({})).await;
    let lease = bed.lease(me).await.pop().unwrap();
    bed.intend(me, &lease).await.unwrap();
    let mut outcomes: Vec<_> =
        lease.members[..4].iter().map(|member| settled(&lease, member, State::Accepted, None)).collect();
    let dead = settled(&lease, &lease.members[4], State::Rejected, Some(Reason::UnknownRecipient));
    outcomes.push(dead);
    bed.store.record(me, &Outcomes { settled: outcomes, ..Outcomes::default() }).await.unwrap();
    lease.members[..4].iter().map(|member| key(&lease, member)).collect()
}

async fn bounce(bed: &Bed, delivery: DeliveryKey) {
    let news = News::Bounced { bounce: Bounce::Soft, reason: Reason::MailboxFull };
    let id = Receipt::id("relay", &delivery.to_string(), "bounced");
    let about = About::Delivery(delivery);
    let receipt = Receipt { id, about, at: Timestamp::now(), news, detail: None };
    bed.store.record_receipts(&[receipt], false).await.unwrap();
}

async fn quality(bed: &Bed) -> Quality {
    let mut running = bed.store.running(Channel::Email).await.unwrap();
    assert_eq!((running.len(), running[0].id.as_str()), (1, "spring"));
    running.remove(0).quality
}

async fn a_campaign_is_judged_by_bounces_complaints_and_dead_addresses(bed: &Bed) {
    let accepted = sent(bed).await;
    assert_eq!(quality(bed).await, Quality { sent: 5, bounced: 1, complained: 0 });
    bounce(bed, accepted[0]).await;
    bed.store.record_events(&[event(accepted[1], EventKind::Complained)], false).await.unwrap();
    let wanted = Quality { sent: 5, bounced: 2, complained: 1 };
    assert_eq!(quality(bed).await, wanted);
    bed.store.fold_counters().await.unwrap();
    assert_eq!(quality(bed).await, wanted);
    assert_eq!(bed.store.running(Channel::Sms).await.unwrap(), []);
}

async fn a_pause_names_its_cause_and_is_told(bed: &Bed) {
    sent(bed).await;
    assert!(bed.store.pause("spring", PauseCause::Bounces, true).await.unwrap());
    assert!(!bed.store.pause("spring", PauseCause::Complaints, true).await.unwrap(), "once");
    let campaign = bed.store.campaign("spring").await.unwrap().unwrap();
    assert_eq!((campaign.status, campaign.pause_cause), (CampaignStatus::Paused, Some(PauseCause::Bounces)));
    let told = bed.outbox(10).await;
    assert_eq!((told.len(), told[0].routing_key.as_str()), (1, "campaign.paused"));
    let wanted =
        json!({"event": "campaign.paused", "campaign": "spring", "channel": "email", "cause": "bounces"});
    for (field, value) in wanted.as_object().unwrap() {
        assert_eq!(&told[0].payload[field], value);
    }
}

async fn a_resume_forgives_what_was(bed: &Bed) {
    let accepted = sent(bed).await;
    bed.store.pause("spring", PauseCause::Bounces, false).await.unwrap();
    assert_eq!(bed.store.running(Channel::Email).await.unwrap(), []);
    bed.store.control("spring", Control::Resume).await.unwrap();
    let campaign = bed.store.campaign("spring").await.unwrap().unwrap();
    assert_eq!((campaign.status, campaign.pause_cause), (CampaignStatus::Running, None));
    assert_eq!(quality(bed).await, Quality::default());
    bounce(bed, accepted[0]).await;
    assert_eq!(quality(bed).await, Quality { sent: 0, bounced: 1, complained: 0 });
    bed.store.control("spring", Control::Pause).await.unwrap();
    let campaign = bed.store.campaign("spring").await.unwrap().unwrap();
    assert_eq!(campaign.pause_cause, None, "a hand gives no cause");
}

async fn only_what_sends_is_judged(bed: &Bed) {
    sent(bed).await;
    bed.store.control("spring", Control::Cancel).await.unwrap();
    assert_eq!(bed.store.running(Channel::Email).await.unwrap(), []);
    assert!(!bed.store.pause("spring", PauseCause::Bounces, true).await.unwrap());
    assert!(!bed.store.pause("nobody", PauseCause::Bounces, true).await.unwrap());
    assert!(bed.outbox(10).await.is_empty());
}
