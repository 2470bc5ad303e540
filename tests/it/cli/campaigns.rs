//! Campaigns, reports and explanations from the ledger.

use serde_json::{Value, json};

use super::Shell;
use crate::store::Bed;

/// A campaign to P1, P2 and an id that nobody has; P1 was in doubt when its daemon died.
async fn bed() -> (Bed, Shell) {
    let bed = Bed::postgres().await;
    bed.people(2).await;
    bed.planned("spring", json!({"contacts": ["P1", "P2", "P3"]}), json!({"name": "Spring"})).await;
    let shell = Shell::new(&bed.url(), "");
    (bed, shell)
}

#[tokio::test]
async fn campaigns_are_listed_shown_and_controlled() {
    let (_bed, shell) = bed().await;
    let list = shell.json(&["campaigns"]).await;
    assert_eq!(list, shell.json(&["campaigns", "list"]).await);
    assert_eq!((&list[0]["id"], &list[0]["targeted"]), (&json!("spring"), &json!(3)));
    assert_eq!(shell.json(&["campaigns", "--limit", "1", "--offset", "1"]).await, json!([]));
    assert!(shell.run(&["campaigns"]).await.stdout.starts_with("ID "));
    let shown = shell.run(&["campaigns", "show", "spring"]).await.stdout;
    assert!(shown.contains("name         Spring\n"), "{shown}");
    for (action, status) in [("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")] {
        let answer = shell.json(&["campaigns", action, "spring"]).await;
        assert_eq!(answer, json!({"id": "spring", "status": status}));
        shell.run(&["campaigns", action, "summer"]).await.failed(1, "no campaign `summer`");
    }
    shell.run(&["campaigns", "show", "summer"]).await.failed(1, "no campaign `summer`");
}

#[tokio::test]
async fn a_report_comes_in_three_formats() {
    let (_bed, shell) = bed().await;
    let report = shell.json(&["report", "spring"]).await;
    assert_eq!(report["states"]["excluded"], 1);
    let mut formatted: Value =
        serde_json::from_str(&shell.run(&["report", "spring", "--format", "json"]).await.stdout).unwrap();
    formatted["as_of"] = report["as_of"].clone();
    assert_eq!(formatted, report);
    let csv = shell.run(&["report", "spring", "--format", "csv"]).await;
    assert!(csv.code == 0 && csv.stdout.contains("unknown_contact"), "{csv:?}");
    let table = shell.run(&["report", "spring"]).await;
    assert!(table.code == 0 && table.stdout.contains("unknown_contact"), "{table:?}");
    shell.run(&["report", "summer"]).await.failed(1, "no campaign `summer`");
}

#[tokio::test]
async fn every_decision_is_explained() {
    let (_bed, shell) = bed().await;
    let text = shell.run(&["explain", "spring", "P3"]).await;
    assert!(
        text.stdout.starts_with("P3 in spring (email): excluded\n  reason       unknown_contact"),
        "{text:?}"
    );
    let by_id = shell.json(&["explain", "spring", "P1"]).await;
    assert_eq!(by_id[0]["state"], "planned");
    assert_eq!(shell.json(&["explain", "spring", "p1@example.com"]).await, by_id);
    shell.run(&["explain", "summer", "P1"]).await.failed(1, "no campaign `summer`");
    shell.run(&["explain", "spring", "P9"]).await.failed(1, "no contact has");
}

#[tokio::test]
async fn a_doubt_is_settled_by_hand() {
    let (bed, shell) = bed().await;
    shell.run(&["resolve", "spring", "P1", "sent"]).await.failed(1, "is not `unknown`");
    shell.run(&["resolve", "spring", "P9", "sent"]).await.failed(1, "no delivery");
    let me = bed.store.join("one").await.unwrap();
    let lease = bed.lease(me).await.pop().unwrap();
    bed.intend(me, &lease).await.unwrap();
    assert_eq!(bed.store.rescue(me).await.unwrap().unknown, 2);
    let answer = shell.json(&["resolve", "spring", "P1@example.com", "sent"]).await;
    assert_eq!(answer, json!({"campaign": "spring", "external_id": "P1", "state": "accepted"}));
    assert_eq!(shell.run(&["resolve", "spring", "P2", "not-sent"]).await.code, 0);
    assert_eq!(bed.fate("spring", "P1").await, ["accepted"]);
    assert_eq!(bed.fate("spring", "P2").await, ["rejected/resolved_by_hand"]);
    let text = shell.run(&["explain", "spring", "P1"]).await.stdout;
    assert!(text.starts_with("P1 in spring (email): accepted"), "{text}");
}
