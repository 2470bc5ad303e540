//! Contacts and suppressions, in and out.

use serde_json::{Value, json};

use super::{Shell, sample};
use crate::harness::database::TestDb;

async fn shell() -> (TestDb, Shell) {
    let db = TestDb::create().await;
    let shell = Shell::new(&db.url(), "");
    shell.run(&["contacts", "show", "x"]).await.failed(1, "run `campaignd migrate`");
    let migrated = shell.json(&["migrate"]).await;
    assert_eq!(migrated["before"], 0);
    assert_eq!(shell.json(&["migrate"]).await["before"], migrated["after"]);
    (db, shell)
}

#[tokio::test]
async fn a_good_file_goes_in_whole_and_repeated_addresses_stay_with_the_first() {
    let (_db, shell) = shell().await;
    let answer = shell.run(&["contacts", "import", &sample("contacts.csv"), "--consent"]).await;
    assert_eq!(answer.code, 0, "{answer:?}");
    assert_eq!(answer.stdout, "180 rows imported, 0 skipped; addresses that stay with other contacts: 4\n");
    assert_eq!(answer.stderr.lines().count(), 4, "{answer:?}");
    assert!(!answer.stderr.contains('@') && !answer.stderr.contains("+86"), "{answer:?}");

    let contact = shell.json(&["contacts", "show", "C-0001"]).await;
    assert_eq!(contact["attributes"]["member_no"], "00001");
    assert_eq!(
        (&contact["attributes"]["vip"], &contact["attributes"]["points"]),
        (&json!(false), &json!(37))
    );
    assert_eq!(contact["tags"], json!(["newsletter", "vip"]));
    let addresses = contact["addresses"].as_array().unwrap();
    assert_eq!(addresses.len(), 3);
    for address in addresses {
        assert_eq!(address["consent_source"], format!("import {}", sample("contacts.csv")));
    }
    assert_eq!(shell.json(&["contacts", "show", "WANG.WEI@mail.example"]).await, contact);
    let again = shell.json(&["contacts", "import", &sample("contacts.csv")]).await;
    assert_eq!(again, json!({"imported": 180, "skipped": 0, "addresses_kept_elsewhere": 4}));
    let text = shell.run(&["contacts", "show", "C-0001"]).await.stdout;
    assert!(text.contains("agreed to marketing"), "{text}");
}

#[tokio::test]
async fn bad_rows_are_told_by_line_and_the_rest_goes_in() {
    let (_db, shell) = shell().await;
    let answer = shell.run(&["contacts", "import", &sample("contacts-bad.csv")]).await;
    assert_eq!(answer.code, 65);
    assert_eq!(answer.stdout, "2 rows imported, 14 skipped; addresses that stay with other contacts: 0\n");
    let told: Vec<(u64, &str)> = answer
        .stderr
        .lines()
        .map(|line| line.strip_prefix("line ").unwrap().split_once(": ").unwrap())
        .map(|(line, problem)| (line.parse().unwrap(), problem))
        .collect();
    let lines: Vec<u64> = told.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17]);
    for (line, part) in [
        (3, "not a valid email address: it has no @"),
        (5, "not a valid sms address"),
        (6, "external_id: "),
        (9, "locale: `e` is no language tag"),
        (10, "timezone: "),
        (11, "has 10 columns, the header 7"),
        (13, "is not UTF-8"),
        (14, "NUL"),
        (15, "no IANA time zone"),
        (17, "a quote that never closes"),
    ] {
        let (_, problem) = told.iter().find(|(told, _)| *told == line).unwrap();
        assert!(problem.contains(part), "{line}: {problem}");
    }
    let contact = shell.json(&["contacts", "show", "B-good-2"]).await;
    assert_eq!(
        (&contact["attributes"]["city"], &contact["addresses"][0]["consent_at"]),
        (&json!("Köln"), &Value::Null)
    );
}

#[tokio::test]
async fn ndjson_goes_in_over_several_batches_and_the_later_row_wins() {
    let (_db, shell) = shell().await;
    let mut lines: Vec<String> = (0..4_500)
        .map(|i| json!({"external_id": format!("N-{}", i % 2_500), "attributes": {"turn": i}}).to_string())
        .collect();
    lines.insert(3_000, "[]".to_owned());
    shell.write("people", lines.join("\n"));
    let answer = shell.run(&["contacts", "import", "people"]).await;
    assert_eq!((answer.code, answer.stderr.as_str()), (65, "line 3001: a contact is a JSON object\n"));
    let turn = async |id: &str| shell.json(&["contacts", "show", id]).await["attributes"]["turn"].clone();
    assert_eq!((turn("N-7").await, turn("N-2400").await), (json!(2_507), json!(2_400)));
}

#[tokio::test]
async fn a_file_that_makes_no_sense_is_refused_whole() {
    let (_db, shell) = shell().await;
    shell.run(&["contacts", "import", "gone.csv"]).await.failed(64, "cannot open gone.csv");
    for (name, contents, said) in [
        ("empty.csv", &b""[..], "empty.csv: the file is empty"),
        ("semicolons.csv", b"external_id;email\na;b\n", "no column `external_id`"),
        ("twice.csv", b"external_id,email,Email\n", "names `Email` twice"),
        ("utf16.csv", b"\xFF\xFEe\0x\0", "UTF-16: save it as UTF-8"),
    ] {
        shell.write(name, contents);
        shell.run(&["contacts", "import", name]).await.failed(65, said);
    }
}

#[tokio::test]
async fn a_contact_is_exported_and_erased() {
    let (_db, shell) = shell().await;
    shell.write("one.csv", "external_id,email,city\nE-1,Eve@Example.com,Köln\n");
    shell.json(&["contacts", "import", "one.csv"]).await;
    let export = shell.run(&["contacts", "export", "eve@example.com"]).await;
    let export: Value = serde_json::from_str(&export.stdout).unwrap();
    assert_eq!((&export["contact"]["external_id"], &export["timeline"]), (&json!("E-1"), &json!([])));
    assert_eq!(shell.run(&["contacts", "erase", "E-1"]).await.stdout, "E-1: erased\n");
    for command in ["show", "export", "erase"] {
        shell.run(&["contacts", command, "E-1"]).await.failed(1, "no contact");
    }
    let missing = shell.run(&["contacts", "show", "eve@example.com"]).await;
    missing.failed(1, "`e***@example.com`");
}

#[tokio::test]
async fn suppressions_come_and_go() {
    let (_db, shell) = shell().await;
    let add = ["suppress", "add", "Anna@Example.com", "+49 151 1234567"];
    assert_eq!(shell.json(&add).await, json!({"new": 2, "known": 0}));
    assert_eq!(shell.run(&add).await.stdout, "0 suppressed, 2 already were\n");
    shell.write("list.csv", "email,when\nbo@example.com,today\nnope,today\nanna@example.com,\n");
    let import = shell.run(&["suppress", "import", "list.csv"]).await;
    assert_eq!((import.code, import.stdout.as_str()), (65, "1 suppressed, 1 already were, 1 skipped\n"));
    assert!(import.stderr.starts_with("line 3: "), "{import:?}");
    let list = shell.json(&["suppress", "list"]).await;
    assert_eq!(list.as_array().unwrap().len(), 3);
    assert!(shell.run(&["suppress", "list"]).await.stdout.contains("import list.csv"));
    assert_eq!(shell.run(&["suppress", "remove", "anna@example.com"]).await.code, 0);
    assert_eq!(shell.run(&["suppress", "remove", "anna@example.com"]).await.code, 1);
}
