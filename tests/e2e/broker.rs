//! RabbitMQ beside the campaigns: urgent messages in, events out.

use serde_json::json;

use crate::harness::consume::Listener;
use crate::harness::http::post_form;
use crate::harness::publish::publish;
use crate::harness::shop::{ONLY_PEOPLE, Shop, campaign, message};

#[tokio::test]
async fn what_people_do_is_told_to_who_listens() {
    let shop = Shop::open_with_broker(ONLY_PEOPLE).await;
    let listener = Listener::start(&shop.setup.amqp_url, "campaignd.events").await;
    shop.people(1).await;
    shop.submit(campaign("spring", json!({}))).await;
    let finished = listener.hears("campaign.finished").await;
    assert_eq!((finished["campaign"].as_str(), finished["targeted"].as_i64()), (Some("spring"), Some(1)));
    let [mail] = shop.sink.mails().try_into().unwrap();
    let links = mail.links();
    shop.follow(&mail.pixel()).await;
    shop.follow(&links[1]).await;
    post_form(shop.setup.public, shop.path(&links[2]), "List-Unsubscribe=One-Click").await.unwrap();
    let mut ids = vec![finished["id"].clone()];
    for (key, event) in
        [("email.opened", "opened"), ("email.clicked", "clicked"), ("email.unsubscribed", "unsubscribed")]
    {
        let body = listener.hears(key).await;
        assert_eq!(body["event"], event);
        assert_eq!((body["campaign"].as_str(), body["external_id"].as_str()), (Some("spring"), Some("P1")));
        assert!(!ids.contains(&body["id"]) && body["id"].is_string(), "{body}");
        ids.push(body["id"].clone());
    }
}

#[tokio::test]
async fn a_single_message_reaches_an_address_that_was_unknown() {
    let shop = Shop::open_with_broker("").await;
    let options = ["--routing-key", "campaignd.messages"];
    let job = message("order-1", json!({"address": "New@Example.org"}), json!({"data": {"name": "Anna"}}));
    for _ in 0..2 {
        assert_eq!(publish(&shop.setup.amqp_url, &options, &job.to_string()).await, Ok(1));
    }
    shop.people(1).await;
    let job = message("order-2", json!({"external_id": "P1"}), json!({}));
    assert_eq!(publish(&shop.setup.amqp_url, &options, &job.to_string()).await, Ok(1));
    let mails = shop.mails(2).await;
    let subjects: Vec<_> = mails.iter().filter_map(|mail| mail.header("subject")).collect();
    assert_eq!(subjects, ["Hello Anna", "Hello Name P1"]);
    assert_eq!(shop.books.status("orders").await, Some(campaignd::model::CampaignStatus::Standing));
    shop.books.assert_balanced("orders").await;
    assert_eq!(shop.reached().len(), 2);
}
