//! Tokens are made, listed and revoked, and whatever commands do stands in the audit log.

use serde_json::{Value, json};

use super::Shell;
use crate::store::Bed;

async fn shell() -> (Bed, Shell) {
    let bed = Bed::sqlite().await;
    let shell = Shell::new(&bed.url(), "");
    (bed, shell)
}

#[tokio::test]
async fn a_token_is_shown_once() {
    let (bed, shell) = shell().await;
    let made = shell.run(&["tokens", "create", "shop", "--scope", "send,read", "--expires", "90d"]).await;
    let token = made.stdout.trim();
    assert!(made.code == 0 && token.starts_with("cmpd_") && token.len() == 48, "{made:?}");
    assert!(made.stderr.starts_with("shop: valid until 20") && !made.stderr.contains(token), "{made:?}");
    let rows = bed.rows().await;
    assert!(rows.iter().all(|(_, row)| !row.contains(token)), "the store has its hash alone");
    let also = shell.json(&["tokens", "create", "boss", "--scope", "admin"]).await;
    assert_eq!((&also["scopes"], &also["expires_at"]), (&json!(["admin"]), &Value::Null));

    let listed = shell.json(&["tokens", "list"]).await;
    assert_eq!((&listed[0]["name"], &listed[1]["scopes"]), (&json!("boss"), &json!(["read", "send"])));
    assert!(listed.as_array().unwrap().iter().all(|token| token.get("hash").is_none()), "{listed}");
    assert_eq!(shell.run(&["tokens", "revoke", "shop"]).await.stdout, "shop: revoked\n");
    shell.run(&["tokens", "revoke", "shop"]).await.failed(1, "no live token has the name `shop`");
    let table = shell.run(&["tokens", "list"]).await.stdout;
    assert!(table.contains("revoked") && table.contains("live"), "{table}");
    let again = shell.run(&["tokens", "create", "shop", "--scope", "read"]).await;
    again.failed(1, "a token has, or had, the name `shop`");
}

#[tokio::test]
async fn what_is_no_token_is_refused_before_the_store() {
    let shell = Shell::alone();
    for (arguments, said) in [
        (&["tokens", "create", "Shop", "--scope", "read"][..], "1 to 64 of a-z"),
        (&["tokens", "create", "shop", "--scope", "all"], "write read, send or admin"),
        (&["tokens", "create", "shop"], "--scope"),
        (&["tokens", "create", "shop", "--scope", "read", "--expires", "soon"], "is no span"),
        (&["audit", "--since", "yesterday"], "neither a span"),
    ] {
        shell.run(arguments).await.failed(64, said);
    }
}

#[tokio::test]
async fn what_commands_do_is_in_the_log() {
    let (bed, shell) = shell().await;
    bed.people(2).await;
    bed.planned("spring", json!({"all": true}), json!({})).await;
    shell.write("list.csv", "bo@example.com\n");
    shell.write("people.csv", "external_id,email\nA,a@example.com\n");
    for arguments in [
        &["campaigns", "pause", "spring"][..],
        &["campaigns", "cancel", "nothing"],
        &["contacts", "import", "people.csv"],
        &["contacts", "export", "P1"],
        &["contacts", "erase", "p1@example.com"],
        &["resolve", "spring", "P2", "sent"],
        &["suppress", "add", "anna@example.com"],
        &["suppress", "import", "list.csv"],
        &["suppress", "remove", "x@example.com"],
        &["tokens", "create", "shop", "--scope", "send"],
    ] {
        shell.run(arguments).await;
    }
    let log = shell.json(&["audit"]).await;
    let log = log.as_array().unwrap();
    let deeds: Vec<String> = log
        .iter()
        .rev()
        .map(|one| {
            format!(
                "{} {} {}",
                one["action"].as_str().unwrap(),
                one["ending"].as_str().unwrap(),
                one["subject"].as_str().unwrap_or("-")
            )
        })
        .collect();
    assert_eq!(
        deeds,
        [
            "campaign_paused done spring",
            "campaign_cancelled not_found nothing",
            "contacts_imported done -",
            "contact_exported done -",
            "contact_erased done -",
            "delivery_resolved refused spring",
            "suppression_added done -",
            "suppression_added done -",
            "suppression_removed not_found -",
            "token_created done shop",
        ]
    );
    assert!(log.iter().all(|one| one["who"].as_str().unwrap().starts_with("cli:")), "{log:?}");
    let text = serde_json::to_string(log).unwrap();
    assert!(!text.contains("example.com") && !text.contains("P1") && !text.contains("cmpd_"), "{text}");
    let about = shell.json(&["audit", "--contact", "P1", "--since", "1h"]).await;
    assert_eq!(about.as_array().unwrap().len(), 2, "the erased one is found by the id that was: {about}");
    assert_eq!(shell.json(&["audit", "--limit", "1"]).await[0]["action"], "token_created");
    assert!(shell.run(&["audit"]).await.stdout.starts_with("AT "));
}

#[tokio::test]
async fn an_export_holds_what_lists_and_events_say() {
    let (bed, shell) = shell().await;
    bed.people(1).await;
    bed.planned("spring", json!({"all": true}), json!({})).await;
    let later = json!({"send_at": "2099-01-01T00:00:00Z"});
    bed.campaign("later", json!({"contacts": ["P1", "stranger"]}), later).await;
    let export = shell.json(&["contacts", "export", "P1"]).await;
    assert_eq!(export["contact"]["addresses"][0]["consent_source"], "test");
    assert_eq!(
        (&export["deliveries"][0]["campaign"], &export["lists"][0]["campaign"]),
        (&json!("spring"), &json!("later"))
    );
    assert_eq!(export["timeline"].as_array().unwrap().len(), 1);
    shell.run(&["contacts", "export", "stranger"]).await.failed(1, "no contact");
}
