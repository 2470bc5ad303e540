//! Campaigns, their reports and their deliveries.

use campaignd::model::event::{Event, MachineRule};
use campaignd::model::{CampaignNo, DeliveryKey, EventKind, LinkNo, Reason, State};
use campaignd::store::dispatching::{Lease, Outcomes, Settled};
use campaignd::store::jobs::Incarnation;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::api::Api;

/// Leases the one batch that waits and settles its members in their order; without a state one stays on its way.
async fn settle(api: &Api, fates: &[Option<(State, Option<Reason>)>]) -> (Incarnation, Lease) {
    let me = api.bed.store.join("one").await.unwrap();
    let lease = api.bed.lease(me).await.pop().unwrap();
    api.bed.intend(me, &lease).await.unwrap();
    let settled = lease.members.iter().zip(fates).filter_map(|(member, fate)| {
        let (state, reason) = (*fate)?;
        Some(Settled {
            delivery: key(lease.campaign, member.contact.0),
            batch: lease.batch,
            state,
            reason,
            attempts: 1,
            provider: Some("relay".into()),
            provider_ref: Some("250 queued".into()),
            referenced: false,
            segments: 0,
            at: Timestamp::now(),
            detail: reason.map(|_| "550 no such user".into()),
        })
    });
    let outcomes = Outcomes { settled: settled.collect(), ..Outcomes::default() };
    api.bed.store.record(me, &outcomes).await.unwrap();
    (me, lease)
}

fn key(campaign: CampaignNo, contact: i64) -> DeliveryKey {
    DeliveryKey { campaign, contact: campaignd::model::ContactNo(contact), occurrence: 0 }
}

fn event(delivery: DeliveryKey, kind: EventKind, machine: Option<MachineRule>) -> Event {
    Event {
        id: uuid::Uuid::now_v7(),
        at: Timestamp::now(),
        kind,
        delivery,
        link: (kind == EventKind::Clicked).then_some(LinkNo(0)),
        machine,
        reason: None,
        detail: None,
        client_ip: None,
        user_agent: None,
    }
}

const SENT: Option<(State, Option<Reason>)> = Some((State::Accepted, None));

#[tokio::test]
async fn a_report_accounts_for_everyone() {
    let api = Api::start().await;
    api.bed.people(5).await;
    let audience = json!({"contacts": ["P1", "P2", "P3", "P4", "P4", "nobody"]});
    api.bed.planned("spring", audience, json!({"name": "Spring sale"})).await;
    let refused = Some((State::Rejected, Some(Reason::UnknownRecipient)));
    let (_, lease) = settle(&api, &[SENT, SENT, refused, None]).await;
    let [one, two] = [0, 1].map(|at: usize| key(lease.campaign, lease.members[at].contact.0));
    let events = [
        event(one, EventKind::Opened, None),
        event(one, EventKind::Opened, None),
        event(two, EventKind::Clicked, None),
        event(two, EventKind::Clicked, Some(MachineRule::Prefetch)),
        event(two, EventKind::Unsubscribed, None),
    ];
    api.bed.store.record_events(&events, false).await.unwrap();

    let report = api.read("/v1/campaigns/spring/report").await;
    assert_eq!((&report["campaign"], &report["name"]), (&json!("spring"), &json!("Spring sale")));
    assert_eq!((&report["status"], &report["targeted"]), (&json!("running"), &json!(6)));
    let states = report["states"].as_object().unwrap();
    assert_eq!(states.values().map(|n| n.as_i64().unwrap()).sum::<i64>(), 6);
    assert_eq!(counted(&report), json!({"accepted": 2, "excluded": 2, "rejected": 1, "sending": 1}));
    assert_eq!(
        report["reasons"],
        json!([
            {"state": "rejected", "reason": "unknown_recipient", "count": 1},
            {"state": "excluded", "reason": "duplicate", "count": 1},
            {"state": "excluded", "reason": "unknown_contact", "count": 1},
        ])
    );
    assert_eq!((&report["sent"], &report["delivered"]), (&json!(2), &Value::Null));
    assert_eq!(report["opens"], json!({"unique": 2, "total": 2, "machine": 0}));
    assert_eq!(report["clicks"], json!({"unique": 1, "total": 1, "machine": 1}));
    assert_eq!(report["rates"]["click_to_open"], json!({"numerator": 1, "denominator": 2, "value": 0.5}));
    assert_eq!(report["rates"]["unsubscribe"], json!({"numerator": 1, "denominator": 2, "value": 0.5}));
    assert_eq!(report["links"][0], json!({"url": "https://shop.example/a", "clicks": 1, "unique": 1}));
    assert_eq!(
        report["series"].as_array().unwrap().iter().map(|hour| hour["sent"].as_i64().unwrap()).sum::<i64>(),
        2
    );

    let csv = api.get("/v1/campaigns/spring/report.csv").await;
    assert!(csv.headers["content-disposition"].to_str().unwrap().contains("spring-report.csv"));
    assert!(csv.text.lines().any(|line| line == "rate,click_to_open,,0.5,1,2"), "{}", csv.text);
    api.bed.check_law().await;
}

/// The states that are not 0.
fn counted(report: &Value) -> Value {
    let states = report["states"].as_object().unwrap();
    states.iter().filter(|(_, n)| **n != 0).map(|(state, n)| (state.clone(), n.clone())).collect()
}

#[tokio::test]
async fn campaigns_are_listed_newest_first_page_by_page() {
    let api = Api::start().await;
    api.bed.people(1).await;
    for id in ["one", "two", "three"] {
        api.bed.campaign(id, json!({"all": true}), json!({"rate": "5/s"})).await;
    }
    let ids = |page: &Value| -> Vec<String> {
        let rows = page["campaigns"].as_array().unwrap().iter();
        rows.map(|row| row["id"].as_str().unwrap().to_owned()).collect()
    };
    let first = api.read("/v1/campaigns?limit=2").await;
    assert_eq!((ids(&first), &first["next_offset"]), (vec!["three".into(), "two".into()], &json!(2)));
    let last = api.read("/v1/campaigns?limit=2&offset=2").await;
    assert_eq!((ids(&last), &last["next_offset"]), (vec!["one".into()], &Value::Null));
    let whole = api.read("/v1/campaigns?limit=3").await;
    assert_eq!((ids(&whole).len(), &whole["next_offset"]), (3, &Value::Null));
    let one = api.read("/v1/campaigns/one").await;
    assert_eq!((&one["rate"], &one["template"]), (&json!(["5/s"]), &json!("t")));
}

#[tokio::test]
async fn controls_answer_with_the_status_they_brought() {
    let api = Api::start().await;
    api.bed.people(2).await;
    api.bed.planned("spring", json!({"all": true}), json!({})).await;
    for (action, status) in [
        ("pause", "paused"),
        ("pause", "paused"),
        ("resume", "running"),
        ("cancel", "cancelled"),
        ("resume", "cancelled"),
    ] {
        let answer = api.ask("POST", &format!("/v1/campaigns/spring/{action}"), "").await;
        assert_eq!(
            (answer.status, answer.json()),
            (200, json!({"id": "spring", "status": status})),
            "{action}"
        );
    }
    api.bed.store.settle_stopped().await.unwrap();
    assert_eq!(counted(&api.read("/v1/campaigns/spring/report").await), json!({"cancelled": 2}));
}

#[tokio::test]
async fn deliveries_are_paged_and_filtered() {
    let api = Api::start().await;
    api.bed.people(5).await;
    api.bed.planned("spring", json!({"all": true}), json!({})).await;
    settle(&api, &[SENT, SENT]).await;
    let (mut seen, mut path) = (Vec::new(), "/v1/campaigns/spring/deliveries?limit=2".to_owned());
    let mut pages = 0;
    loop {
        let page = api.read(&path).await;
        pages += 1;
        let rows = page["deliveries"].as_array().unwrap().clone();
        seen.extend(rows.iter().map(|row| row["external_id"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/campaigns/spring/deliveries?limit=2&cursor={cursor}");
    }
    assert_eq!((pages, seen.join(" ").as_str()), (3, "P1 P2 P3 P4 P5"));
    let accepted = api.read("/v1/campaigns/spring/deliveries?state=accepted").await;
    assert_eq!(accepted["deliveries"].as_array().unwrap().len(), 2);
    assert_eq!(accepted["deliveries"][0]["provider"], "relay");
    let none = api.read("/v1/campaigns/spring/deliveries?state=expired").await;
    assert_eq!(none, json!({"deliveries": [], "next_cursor": null}));
}

#[tokio::test]
async fn one_contact_is_explained() {
    let api = Api::start().await;
    api.bed.people(1).await;
    api.bed.planned("spring", json!({"contacts": ["P1", "gone"]}), json!({})).await;
    let refused = Some((State::Rejected, Some(Reason::UnknownRecipient)));
    let (_, lease) = settle(&api, &[refused]).await;
    let delivery = key(lease.campaign, lease.members[0].contact.0);
    let machine = Some(MachineRule::KnownAgent);
    api.bed.store.record_events(&[event(delivery, EventKind::Clicked, machine)], false).await.unwrap();
    let explained = api.read("/v1/campaigns/spring/deliveries/P1").await;
    let one = &explained["deliveries"][0];
    assert_eq!((&one["state"], &one["reason"]), (&json!("rejected"), &json!("unknown_recipient")));
    assert_eq!(one["attempts_made"][0]["detail"], "550 no such user");
    assert_eq!(
        (&one["events"][0]["kind"], &one["events"][0]["machine"]),
        (&json!("clicked"), &json!("known_agent"))
    );
    let timeline = api.read("/v1/contacts/P1/timeline").await;
    let clicked =
        timeline["timeline"].as_array().unwrap().iter().find(|entry| entry["type"] == "event").unwrap();
    assert_eq!((&clicked["kind"], &clicked["machine"]), (&json!("clicked"), &json!(true)));
    let gone = api.read("/v1/campaigns/spring/deliveries/gone").await;
    assert_eq!(gone["deliveries"][0]["reason"], "unknown_contact");
    let missed = api.get("/v1/campaigns/spring/deliveries/P9").await;
    assert_eq!(missed.status, 404);
    assert!(missed.json()["detail"].as_str().unwrap().contains("does not target"));
}

#[tokio::test]
async fn ids_may_have_any_characters() {
    let api = Api::start().await;
    let odd = "春/50 %?#+&";
    api.bed.upsert(json!([{"external_id": odd, "addresses": [{"channel": "email", "address": "a@example.com", "consent": true}]}])).await;
    api.bed.planned(odd, json!({"all": true}), json!({})).await;
    let id = "%E6%98%A5%2F50%20%25%3F%23+%26";
    assert_eq!(api.read(&format!("/v1/campaigns/{id}")).await["id"], odd);
    let explained = api.read(&format!("/v1/campaigns/{id}/deliveries/{id}")).await;
    assert_eq!((&explained["campaign"], &explained["external_id"]), (&json!(odd), &json!(odd)));
    assert_eq!(api.read(&format!("/v1/contacts/{id}")).await["external_id"], odd);
}

#[tokio::test]
async fn what_is_not_there_is_404_everywhere() {
    let api = Api::start().await;
    for (method, path) in [
        ("GET", ""),
        ("POST", "/pause"),
        ("POST", "/resume"),
        ("POST", "/cancel"),
        ("GET", "/report"),
        ("GET", "/report.csv"),
        ("GET", "/deliveries"),
        ("GET", "/deliveries/P1"),
    ] {
        let answer = api.ask(method, &format!("/v1/campaigns/nothing{path}"), "").await;
        assert_eq!(answer.status, 404, "{method} {path}");
        assert!(answer.json()["detail"].as_str().unwrap().contains("no such campaign"), "{}", answer.text);
    }
}
