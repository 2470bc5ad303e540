//! Keys of tracking tokens are listed without their secrets, rotated, and not retired by mistake.

use jiff::SignedDuration;
use serde_json::json;

use super::Shell;
use crate::store::Bed;

#[tokio::test]
async fn a_key_is_rotated_and_its_forerunner_retired() {
    let bed = Bed::sqlite().await;
    let shell = Shell::new(&bed.url(), "");
    let listed = shell.json(&["keys", "list"]).await;
    assert_eq!(
        (listed.as_array().unwrap().len(), &listed[0]["id"], &listed[0]["state"]),
        (1, &json!(0), &json!("signs"))
    );
    shell.run(&["keys", "retire", "0", "--yes"]).await.failed(1, "key 0 is the one that signs");
    bed.pass(SignedDuration::from_hours(1)).await;
    let made = shell.run(&["keys", "rotate"]).await;
    assert!(made.code == 0 && made.stdout.starts_with("key 1 signs from 20"), "{made:?}");
    assert!(made.stderr.contains("Back up the store"), "{made:?}");
    bed.pass(SignedDuration::from_mins(2)).await;
    let table = shell.run(&["keys", "list"]).await.stdout;
    let words: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().take(2).collect()).collect();
    assert_eq!(words, [["ID", "STATE"], ["0", "verifies"], ["1", "signs"]]);

    let warned = shell.run(&["keys", "retire", "0"]).await;
    warned.failed(1, "would have no working links");
    assert_eq!(shell.json(&["keys", "list"]).await[0]["state"], "verifies", "nothing is done without --yes");
    let done = shell.run(&["keys", "retire", "0", "--yes"]).await;
    assert_eq!((done.code, done.stdout.as_str()), (0, "key 0: retired; daemons know within seconds\n"));
    shell.run(&["keys", "retire", "0", "--yes"]).await.failed(1, "key 0 is retired already");
    shell.run(&["keys", "retire", "7", "--yes"]).await.failed(1, "there is no key 7");
    shell.run(&["keys", "retire", "256"]).await.failed(64, "256");

    let keys = bed.store.tracking_keys().await.unwrap();
    let secret = hex::encode(keys[1].secret.unwrap());
    let listed = shell.json(&["keys", "list"]).await.to_string();
    assert!(!listed.contains("secret") && !listed.contains(&secret), "{listed}");
    let log = shell.json(&["audit"]).await;
    let deed = |at: usize| {
        format!(
            "{} {} {}",
            log[at]["action"].as_str().unwrap(),
            log[at]["subject"].as_str().unwrap(),
            log[at]["ending"].as_str().unwrap()
        )
    };
    assert_eq!(
        [0, 1, 2, 3, 4].map(deed),
        [
            "key_retired key 7 not_found",
            "key_retired key 0 refused",
            "key_retired key 0 done",
            "key_rotated key 1 done",
            "key_retired key 0 refused",
        ]
    );
}

#[tokio::test]
async fn where_no_number_is_free_the_advice_is_to_retire() {
    let bed = Bed::sqlite().await;
    let shell = Shell::new(&bed.url(), "");
    bed.store.tracking_keys().await.unwrap();
    while bed.store.rotate_tracking_key().await.unwrap().is_some() {}
    shell
        .run(&["keys", "rotate"])
        .await
        .failed(1, "256 keys live, and a token has room for no other number: retire");
}
