//! Push from a job in RabbitMQ to the report, one simulated service a file. None of them sends receipts: what they
//! take is `accepted` for good.

mod apns;
mod fcm;
mod getui;
mod jpush;

use campaignd_loadtest::tally::Counts;

use crate::harness::crowd::Crowd;
use crate::harness::daemon::Setup;
use crate::harness::mail::RecordingSink;

const TEMPLATE: &str = r#"[push]
title = "Hello {{name}}"
body = "You have {{points}} points."
url = "app://points"
"#;

/// People whom `app` sends to, its settings being `account`. Files are `(name, content)`, beside the configuration.
async fn crowd(account: &str, files: &[(&str, &str)], size: usize, address: fn(usize) -> String) -> Crowd {
    let more =
        format!("[channels.push]\nproviders = \"app\"\nretry = [\"1s\", \"1s\"]\n[providers.app]\n{account}");
    let setup = Setup::new(RecordingSink::start().await.address(), &more).await;
    for (name, content) in files {
        setup.write(name, content);
    }
    Crowd::gather(setup, "push", TEMPLATE, size, address).await
}

/// So many people have each got one message, by the service's own record.
fn once(people: usize) -> Counts {
    let people = people as u64;
    Counts { messages: people, recipients: people, repeated: 0 }
}
