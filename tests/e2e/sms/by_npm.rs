//! SMPP to an SMSC that is not ours, npm's `smpp`: parts, refusals, throttling, receipts, a reply, and a lost connection.

use std::collections::BTreeMap;

use campaignd::model::CampaignStatus;
use serde::Deserialize;
use serde_json::json;

use super::{TextShop, billed, id, name, phone};
use crate::harness::node::NodePeer;

const PEOPLE: usize = 500;
const WINDOW: usize = 10;
const TEMPLATE: &str =
    "[sms]\ntext = \"{{name}}, all is 20 % off this week in the garden shop. Reply STOP to opt out.\"\n";

fn text(i: usize) -> String {
    format!("{}, all is 20 % off this week in the garden shop. Reply STOP to opt out.", name(i))
}

/// A `submit_sm` as `peers/node/smsc.js` writes it.
#[derive(Deserialize)]
struct Submit {
    destination: String,
    header: String,
    text: String,
    status: u32,
}

impl Submit {
    /// The part's number: the last octet of the user data header.
    fn part(&self) -> u8 {
        self.header.get(self.header.len().saturating_sub(2)..).map_or(1, |last| last.parse().unwrap_or(1))
    }
}

/// What was taken, by number: its parts in their order.
fn taken(smsc: &NodePeer) -> BTreeMap<String, Vec<Submit>> {
    let mut taken: BTreeMap<String, Vec<Submit>> = BTreeMap::new();
    for submit in smsc.seen::<Submit>().into_iter().filter(|submit| submit.status == 0) {
        taken.entry(format!("+{}", submit.destination)).or_default().push(submit);
    }
    for parts in taken.values_mut() {
        parts.sort_by_key(Submit::part);
    }
    taken
}

async fn open(smsc: &NodePeer) -> TextShop {
    let accounts = format!(
        "[channels.sms]\nproviders = [\"carrier\"]\nretry = [\"100ms\", \"300ms\"]\n[providers.carrier]\nkind = \"smpp\"\n\
         host = \"127.0.0.1\"\nport = {}\nsystem_id = \"user\"\npassword = \"pass\"\nfrom = \"SHOP\"\n\
         window = {WINDOW}\ntimeout = \"60s\"\n",
        smsc.address().port()
    );
    TextShop::open(&accounts, TEMPLATE, PEOPLE).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_smsc_of_others_takes_each_message_once_and_its_receipts_find_them() {
    let smsc = NodePeer::start("smsc.js").await;
    let shop = open(&smsc).await;
    shop.campaign("spring", json!({"all": true}), json!({})).await;
    shop.books.until("spring", CampaignStatus::Finished).await;

    let told = shop.books.fates("spring").await;
    let doubts = |i| told[&id(i)] == "unknown/connection_lost";
    let doubtful = (1..=PEOPLE).filter(|i| doubts(*i)).count();
    assert!((1..=WINDOW).contains(&doubtful), "{doubtful}");
    let expected = shop.fates(|i| {
        let fate = match i % 100 {
            _ if doubts(i) => "unknown/connection_lost",
            1 => "rejected/unknown_recipient",
            3 => "bounced/recipient_refused",
            _ => "delivered",
        };
        fate.to_owned()
    });
    shop.settle("spring", &expected).await;
    let taken = taken(&smsc);
    for i in (1..=PEOPLE).filter(|i| !doubts(*i)) {
        let parts = taken.get(&phone(i)).map(Vec::as_slice).unwrap_or_default();
        let read: String = parts.iter().map(|part| part.text.as_str()).collect();
        let wanted = if i % 100 == 1 { String::new() } else { text(i) };
        assert_eq!(read, wanted, "{i}: each part once, in order");
    }
    shop.assert_report("spring", &expected, billed(&expected, text)).await;

    let left = (1..=PEOPLE).filter(|i| i % 100 == 6 && !doubts(*i)).map(id);
    let audience: Vec<String> = left.clone().chain([id(107), id(110)]).collect();
    shop.assert_unsubscribed(6, true).await;
    shop.campaign("again", json!({"contacts": audience}), json!({})).await;
    shop.books.until("again", CampaignStatus::Finished).await;
    let stay = [(id(107), "delivered".to_owned()), (id(110), "delivered".to_owned())];
    let expected = left.map(|id| (id, "excluded/unsubscribed".to_owned())).chain(stay).collect();
    shop.settle("again", &expected).await;

    shop.message("order-1", json!({"external_id": id(107)})).await;
    shop.orders_delivered(1).await;
}
