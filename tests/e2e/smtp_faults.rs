//! A mail server that is down, puts off, refuses and hangs up: each message fares as its fault says, and the campaign
//! ends when all are settled.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use campaignd::model::CampaignStatus;
use campaignd_loadtest::smtp::{Action, Event, Keep, Options};
use serde_json::json;

use crate::harness::shop::{Shop, campaign, mailbox};
use crate::services::wait::eventually;

const PEOPLE: usize = 20_000;
const CONCURRENCY: usize = 32;
/// How long the server is away; the fault itself, not a wait for anything.
const OUTAGE: Duration = Duration::from_secs(60);

/// What the server does to a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Fault {
    None,
    /// 451 the first time.
    PutOff,
    /// 451 every time.
    PutOffForEver,
    /// 550.
    Refused,
    /// The first time the connection ends at DATA, before the go-ahead.
    CutAtData,
    /// The connection ends after the final dot, without an answer; the mail is taken.
    CutAfterDot,
}

impl Fault {
    /// 2 % are put off, 2 % refused, 1 % cut before the dot, 1 % after it, 0.5 % put off for ever.
    fn of(to: &str) -> Fault {
        let mut hasher = DefaultHasher::new();
        to.hash(&mut hasher);
        match hasher.finish() % 1_000 {
            0..20 => Fault::PutOff,
            20..40 => Fault::Refused,
            40..50 => Fault::CutAtData,
            50..60 => Fault::CutAfterDot,
            60..65 => Fault::PutOffForEver,
            _ => Fault::None,
        }
    }

    /// What must stand in the ledger.
    fn fate(self) -> &'static str {
        match self {
            Fault::None | Fault::PutOff | Fault::CutAtData => "accepted",
            Fault::PutOffForEver => "failed/retries_exhausted",
            Fault::Refused => "rejected/unknown_recipient",
            Fault::CutAfterDot => "unknown/connection_lost",
        }
    }

    /// How often the server hears of the recipient.
    fn attempts(self) -> u32 {
        match self {
            Fault::None | Fault::Refused | Fault::CutAfterDot => 1,
            Fault::PutOff | Fault::CutAtData => 2,
            Fault::PutOffForEver => 3,
        }
    }
}

/// RCPT commands by recipient.
type Attempts = Arc<Mutex<HashMap<String, u32>>>;

fn faulty(attempts: &Attempts) -> Options {
    let attempts = attempts.clone();
    let script = move |event: Event<'_>| match event {
        Event::Rcpt { to, .. } => {
            let mut attempts = attempts.lock().unwrap();
            let attempt = attempts.entry(to.to_owned()).or_default();
            *attempt += 1;
            match Fault::of(to) {
                Fault::PutOff if *attempt == 1 => Action::reply("451 4.7.1 try again later"),
                Fault::PutOffForEver => Action::reply("451 4.7.1 try again later"),
                Fault::Refused => Action::reply("550 5.1.1 no such mailbox"),
                _ => Action::Go,
            }
        }
        Event::Data { to: [to], .. }
            if Fault::of(to) == Fault::CutAtData && attempts.lock().unwrap()[to] == 1 =>
        {
            Action::Cut
        }
        Event::End { to: [to], .. } if Fault::of(to) == Fault::CutAfterDot => Action::Cut,
        _ => Action::Go,
    };
    Options { keep: Keep::Envelopes, ..Options::default() }.script(script)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_has_its_consequence_and_the_end_waits_for_all() {
    let attempts = Attempts::default();
    let channel = format!("retry = [\"3s\", \"20s\"]\nconcurrency = {CONCURRENCY}");
    let mut shop = Shop::at_sink(faulty(&attempts), &channel).await;
    shop.people(PEOPLE).await;
    shop.submit(campaign("all", json!({}))).await;

    shop.taken(PEOPLE as u64 / 4).await;
    shop.sink.stop().await;
    tokio::time::sleep(OUTAGE).await;
    assert_eq!(shop.books.status("all").await, Some(CampaignStatus::Running), "it waits for its server");
    shop.sink.resume().await.unwrap();

    // When only those are left who were put off twice, the campaign is not over.
    let stubborn = (1..=PEOPLE).filter(|i| fault(*i) == Fault::PutOffForEver).count();
    eventually("the last retries", async || {
        let tally = shop.books.tally("all").await;
        let planned = *tally.get("planned").unwrap_or(&0);
        (planned <= stubborn as i64).then_some(())
    })
    .await;
    assert_eq!(shop.books.status("all").await, Some(CampaignStatus::Running), "some wait for a retry");

    let reckoning = shop.reckoning("all", PEOPLE).await;
    reckoning.assert_law();
    assert_consequences(&shop.books.fates("all").await, &attempts.lock().unwrap());
}

fn fault(i: usize) -> Fault {
    Fault::of(&mailbox(&format!("P{i}")))
}

fn assert_consequences(fates: &crate::harness::books::Fates, attempts: &HashMap<String, u32>) {
    let mut seen: HashMap<Fault, usize> = HashMap::new();
    let mut struck = 0;
    for i in 1..=PEOPLE {
        let (id, fault) = (format!("P{i}"), fault(i));
        *seen.entry(fault).or_default() += 1;
        let (fate, attempts) = (fates[&id].as_str(), attempts[&mailbox(&id)]);
        // The outage struck whoever was under way: at most one a connection.
        if fate == "unknown/connection_lost" && fault != Fault::CutAfterDot {
            struck += 1;
            continue;
        }
        assert_eq!(fate, fault.fate(), "{id}: {fault:?}");
        assert!(attempts >= fault.attempts(), "{id}: {fault:?}, {attempts} attempts");
    }
    println!("by fault {seen:?}; {struck} in doubt for the outage");
    assert!(struck <= CONCURRENCY, "{struck} in doubt");
    assert!(seen.len() == 6, "each fault occurs: {seen:?}");
}

const BIG: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_amid_a_big_mail_is_safe_to_retry() {
    let cuts = Arc::new(Mutex::new(HashMap::<String, u32>::new()));
    let counted = cuts.clone();
    let options = Options { keep: Keep::Envelopes, narrow: true, ..Options::default() };
    let options = options.script(move |event| match event {
        Event::Data { to: [to], .. } if to.ends_with("0@example.com") => {
            let mut counted = counted.lock().unwrap();
            let times = counted.entry(to.clone()).or_default();
            *times += 1;
            if *times == 1 { Action::CutInContent } else { Action::Go }
        }
        _ => Action::Go,
    });
    let mut shop = Shop::at_sink(options, "retry = [\"1s\", \"2s\"]").await;
    // More than a fresh connection holds under way, so that the dot is not written when the server hangs up.
    shop.setup.configure("providers.relay", "max_messages = 1");
    let page = format!("<p>Dear {{{{name}}}}</p>{}", "<p>A page of the catalogue.</p>\n".repeat(7_500));
    shop.setup
        .write("templates/big/template.toml", "[email]\nsubject = \"All\"\nhtml = \"email.html.hbs\"\n");
    shop.setup.write("templates/big/email.html.hbs", &page);
    shop.restart().await;
    shop.people(BIG).await;
    shop.submit(campaign("all", json!({"template": "big"}))).await;
    let reckoning = shop.reckoning("all", BIG).await;
    reckoning.assert_law();
    assert_eq!((reckoning.mails, reckoning.unknown()), (BIG, 0));
    let cuts = cuts.lock().unwrap();
    println!("{} mails cut amid their content", cuts.len());
    assert!(cuts.len() == BIG / 10 && cuts.values().all(|times| *times == 2), "{cuts:?}");
}
