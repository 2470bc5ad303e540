//! The provider against an SMSC that counts whole messages by itself, over real sockets.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use campaignd_loadtest::callback::Plan;
use campaignd_loadtest::script::Rule;
use campaignd_loadtest::smpp::{Ids, Options, Smsc};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Smpp;
use crate::config::{Codes, Secret, SmppSettings};
use crate::model::content::SmsContent;
use crate::model::receipt::{About, News};
use crate::model::{CampaignNo, Channel, ContactNo, Content, DeliveryKey, Outcome, Purpose, Reason, Receipt};
use crate::provider::certificate::certificate;
use crate::provider::{Body, Message, Permit, Provider as _, Receipts, Session};

/// More than any of these waits takes; a test that hangs fails by it.
const PATIENCE: Duration = Duration::from_secs(30);

fn settings(port: u16) -> SmppSettings {
    SmppSettings {
        host: "127.0.0.1".to_owned(),
        port,
        tls: false,
        ca_file: None,
        system_id: "user".to_owned(),
        password: Secret::new("pass"),
        system_type: String::new(),
        from: Some("SHOP".to_owned()),
        from_ton: None,
        from_npi: None,
        window: NonZeroU16::new(50).unwrap(),
        binds: NonZeroU16::MIN,
        hex_ids: false,
        enquire: Duration::from_secs(20),
        timeout: Duration::from_secs(20),
        codes: Codes::default(),
    }
}

fn message(number: i64, text: &str) -> Message {
    Message {
        delivery: DeliveryKey { campaign: CampaignNo(12), contact: ContactNo(number), occurrence: 0 },
        attempt: 1,
        campaign: "spring".into(),
        purpose: Purpose::Marketing,
        to: format!("+8613800{number:06}"),
        unsubscribe: None,
        body: Body::Content(Content::Sms(SmsContent {
            text: Some(text.to_owned()),
            ..SmsContent::default()
        })),
        permit: Permit::default(),
    }
}

fn messages(count: i64) -> Vec<Message> {
    (1..=count).map(|number| message(number, &format!("Sale {number} €"))).collect()
}

fn destination(number: i64) -> String {
    format!("8613800{number:06}")
}

async fn smsc(options: Options) -> Smsc {
    Smsc::start("127.0.0.1:0", options).await.unwrap()
}

fn plan() -> Plan {
    Plan { after: Duration::from_millis(1), ..Options::default().receipts }
}

fn ruled(rules: impl Into<Vec<Rule>>) -> Options {
    Options { rules: rules.into(), receipts: plan(), ..Options::default() }
}

fn provider(settings: &SmppSettings) -> (Smpp, mpsc::Receiver<Receipt>) {
    let (receipts, told) = Receipts::new(10_000);
    (Smpp::new("smsc", settings, receipts).unwrap(), told)
}

async fn ready(provider: &Smpp) -> Box<dyn Session> {
    let mut session = provider.session();
    session.ready().await.unwrap();
    session
}

/// Labels and reasons, which is what the ledger keeps.
fn verdicts(outcomes: &[Outcome]) -> Vec<(&'static str, Option<Reason>)> {
    outcomes.iter().map(|outcome| (outcome.as_str(), outcome.reason())).collect()
}

fn references(outcome: &Outcome) -> Vec<String> {
    let Outcome::Accepted { provider_ref: Some(ids) } = outcome else { panic!("{outcome:?}") };
    ids.split(' ').map(str::to_owned).collect()
}

async fn next(told: &mut mpsc::Receiver<Receipt>) -> Receipt {
    timeout(PATIENCE, told.recv()).await.unwrap().unwrap()
}

fn reference(receipt: &Receipt) -> String {
    let About::Reference { provider, reference } = &receipt.about else { panic!("{receipt:?}") };
    assert_eq!(provider, "smsc");
    reference.clone()
}

const ACCEPTED: (&str, Option<Reason>) = ("accepted", None);
const RETURNED: (&str, Option<Reason>) = ("returned", None);
const THROTTLED: (&str, Option<Reason>) = ("throttled", Some(Reason::Throttled));
const NO_ANSWER: (&str, Option<Reason>) = ("unknown", Some(Reason::NoAnswer));
const LOST: (&str, Option<Reason>) = ("unknown", Some(Reason::ConnectionLost));

#[tokio::test]
async fn messages_go_in_a_window_and_their_receipts_find_them() {
    let smsc = smsc(Options { window: 20, ..ruled([]) }).await;
    let settings = SmppSettings { window: NonZeroU16::new(20).unwrap(), ..settings(smsc.addr().port()) };
    let (provider, mut told) = provider(&settings);
    assert_eq!((provider.chunk_size(), provider.references()), (20, true));
    let mut session = ready(&provider).await;
    // More than the window holds: the SMSC would throttle what exceeds it.
    let outcomes = session.send(&messages(200)).await;
    assert_eq!(verdicts(&outcomes), vec![ACCEPTED; 200]);
    let counts = smsc.tally().counts();
    assert_eq!((counts.messages, counts.recipients, smsc.submitted()), (200, 200, 200));
    let taken = smsc.tally().newest().pop().unwrap();
    assert_eq!((&*taken.source, &*taken.text, taken.data_coding), ("SHOP", "Sale 200 €", 0));
    let mut found = Vec::new();
    for _ in 0..200 {
        let receipt = next(&mut told).await;
        assert_eq!(receipt.news, News::Delivered);
        found.push(reference(&receipt));
    }
    found.sort_unstable();
    let mut given: Vec<String> = outcomes.iter().flat_map(references).collect();
    given.sort_unstable();
    assert_eq!(found, given);
    smsc.settled(|counts| counts.taken == 200).await;
    session.close().await;
}

#[tokio::test]
async fn a_long_message_is_delivered_once_with_its_last_part() {
    // The receipts of some come before the answers, others twice.
    for plan in [plan(), Plan { early: 1.0, ..plan() }, Plan { repeated: 1.0, ..plan() }] {
        let repeated = plan.repeated > 0.0;
        let smsc = smsc(Options { receipts: plan, ids: Ids::HexThenDecimal, ..Options::default() }).await;
        let settings = SmppSettings { hex_ids: true, ..settings(smsc.addr().port()) };
        let (provider, mut told) = provider(&settings);
        let mut session = ready(&provider).await;
        let text = "【花园商店】双11大促".repeat(20);
        let outcomes =
            session.send(&[message(1, &text), message(2, &"a".repeat(400)), message(3, "x")]).await;
        let ids: Vec<Vec<String>> = outcomes.iter().map(references).collect();
        assert_eq!(ids.iter().map(Vec::len).collect::<Vec<_>>(), [4, 3, 1]);
        let texts: Vec<String> = smsc.tally().newest().iter().map(|message| message.text.clone()).collect();
        assert!(texts.contains(&text) && texts.contains(&"a".repeat(400)), "{texts:?}");
        let parts = if repeated { 16 } else { 8 };
        timeout(PATIENCE, smsc.settled(|counts| counts.taken == parts)).await.unwrap();
        drop((session, provider));
        let mut delivered: Vec<usize> = Vec::new();
        while let Some(receipt) = told.recv().await {
            assert_eq!(receipt.news, News::Delivered);
            delivered.push(ids.iter().position(|ids| ids.contains(&reference(&receipt))).unwrap());
        }
        delivered.sort_unstable();
        // A repeat for a message that is known to be delivered does no harm.
        delivered.dedup();
        assert_eq!(delivered, [0, 1, 2]);
    }
}

#[tokio::test]
async fn a_part_that_bounces_bounces_the_message() {
    let smsc = smsc(ruled([Rule::nth(2).receipt("UNDELIV")])).await;
    let (provider, mut told) = provider(&settings(smsc.addr().port()));
    let mut session = ready(&provider).await;
    let outcomes = session.send(&[message(1, &"a".repeat(300))]).await;
    let ids = references(&outcomes[0]);
    let receipt = next(&mut told).await;
    assert_eq!((receipt.news.as_str(), reference(&receipt)), ("bounced", ids[1].clone()));
    smsc.settled(|counts| counts.taken == 2).await;
    drop((session, provider));
    assert_eq!(told.recv().await, None);
}

#[tokio::test]
async fn each_refusal_is_of_its_own_message() {
    let rules = [
        Rule::to(destination(2)).code("0x0B"),
        Rule::to(destination(3)).code("0x0A"),
        Rule::to(destination(4)).code("0x08"),
        Rule::to(destination(5)).code("0x58"),
        Rule::to(destination(6)).code("0x0F"),
    ];
    let smsc = smsc(ruled(rules)).await;
    let (provider, _told) = provider(&settings(smsc.addr().port()));
    let outcomes = ready(&provider).await.send(&messages(7)).await;
    let wanted = [
        ACCEPTED,
        ("rejected", Some(Reason::UnknownRecipient)),
        ("rejected", Some(Reason::MessageRefused)),
        ("retry", Some(Reason::TemporaryFailure)),
        THROTTLED,
        ("account_refused", Some(Reason::AccountRefused)),
        ACCEPTED,
    ];
    assert_eq!(verdicts(&outcomes), wanted);
    assert_eq!(outcomes[1].detail(), Some("0x0B ESME_RINVDSTADR"));
    assert_eq!(
        outcomes[4],
        Outcome::Throttled { after: Some(Duration::from_secs(1)), detail: "0x58 ESME_RTHROTTLED".into() }
    );
}

#[tokio::test]
async fn a_throttled_account_sends_nothing_more_for_a_while() {
    let smsc = smsc(ruled([Rule::nth(2).code("0x58")])).await;
    let settings = SmppSettings { window: NonZeroU16::MIN, ..settings(smsc.addr().port()) };
    let (provider, _told) = provider(&settings);
    let outcomes = ready(&provider).await.send(&messages(4)).await;
    assert_eq!(verdicts(&outcomes), [ACCEPTED, THROTTLED, RETURNED, RETURNED]);
    assert_eq!(smsc.submitted(), 2);
}

#[tokio::test]
async fn a_message_torn_by_throttling_is_made_whole() {
    let smsc = smsc(ruled([Rule::nth(2).code("0x58")])).await;
    let (provider, mut told) = provider(&settings(smsc.addr().port()));
    let mut session = ready(&provider).await;
    let outcomes = session.send(&[message(1, &"a".repeat(400))]).await;
    let ids = references(&outcomes[0]);
    assert_eq!((ids.len(), smsc.submitted(), smsc.unfinished()), (3, 4, 0));
    assert_eq!(smsc.tally().newest()[0].ids, ids, "in the order of the parts");
    assert_eq!(smsc.tally().newest()[0].text, "a".repeat(400));
    assert_eq!(next(&mut told).await.news, News::Delivered);
}

#[tokio::test]
async fn a_message_of_which_a_part_is_refused_for_good_is_in_doubt() {
    let smsc = smsc(ruled([Rule::nth(3).code("0x65")])).await;
    let (provider, _told) = provider(&settings(smsc.addr().port()));
    let mut session = ready(&provider).await;
    let outcomes = session.send(&[message(1, &"a".repeat(400)), message(2, "x")]).await;
    assert_eq!(verdicts(&outcomes), [NO_ANSWER, ACCEPTED]);
    let detail = "part 3 of 3 was refused after others were taken: 0x65 ESME_RX_P_APPN";
    assert_eq!(outcomes[0].detail(), Some(detail));
    assert_eq!(smsc.submitted(), 4, "nothing of it is sent again");
}

#[tokio::test]
async fn what_a_cut_leaves_unanswered_is_in_doubt_and_nothing_else() {
    for (rule, taken) in [(Rule::nth(3).cut_before(), 0), (Rule::nth(3).cut_after(), 1)] {
        let smsc = smsc(ruled([rule])).await;
        let settings = SmppSettings { window: NonZeroU16::MIN, ..settings(smsc.addr().port()) };
        let (provider, _told) = provider(&settings);
        let mut session = ready(&provider).await;
        let sent = messages(5);
        let outcomes = session.send(&sent).await;
        assert_eq!(verdicts(&outcomes), [ACCEPTED, ACCEPTED, LOST, RETURNED, RETURNED]);
        assert_eq!(smsc.tally().to(&destination(3)), taken);
        // What was returned goes over a new bind.
        session.ready().await.unwrap();
        assert_eq!(verdicts(&session.send(&sent[3..]).await), [ACCEPTED; 2]);
        assert_eq!(smsc.tally().counts().repeated, 0);
    }
}

#[tokio::test]
async fn a_cut_tears_no_more_messages_than_the_window_holds() {
    let smsc = smsc(ruled([Rule::nth(41).cut_before()])).await;
    let settings = SmppSettings { window: NonZeroU16::new(4).unwrap(), ..settings(smsc.addr().port()) };
    let (provider, _told) = provider(&settings);
    let mut sending = JoinSet::new();
    for number in 0..16_i64 {
        let mut session = ready(&provider).await;
        let long = move |n| message(4 * number + n, &"a".repeat(300));
        sending.spawn(async move { session.send(&[long(1), long(2), long(3), long(4)]).await });
    }
    let outcomes = sending.join_all().await.concat();
    let doubtful = verdicts(&outcomes).into_iter().filter(|verdict| *verdict == LOST).count();
    assert!((1..=4).contains(&doubtful), "{doubtful} of {}", outcomes.len());
}

#[tokio::test]
async fn a_late_answer_is_in_doubt_and_holds_nobody_up() {
    let smsc = smsc(ruled([Rule::to(destination(2)).wait(PATIENCE * 2)])).await;
    let settings = SmppSettings {
        timeout: Duration::from_millis(300),
        window: NonZeroU16::new(2).unwrap(),
        ..settings(smsc.addr().port())
    };
    let (provider, _told) = provider(&settings);
    let mut session = ready(&provider).await;
    let outcomes = session.send(&messages(20)).await;
    let mut wanted = vec![ACCEPTED; 20];
    wanted[1] = NO_ANSWER;
    assert_eq!(verdicts(&outcomes), wanted);
    session.ready().await.unwrap();
    assert_eq!(verdicts(&session.send(&messages(1)).await), [ACCEPTED]);
    assert_eq!(smsc.tally().to(&destination(2)), 1);
}

#[tokio::test]
async fn a_provider_that_says_nothing_is_left() {
    let smsc = smsc(ruled([])).await;
    let settings = SmppSettings { enquire: Duration::from_millis(50), ..settings(smsc.addr().port()) };
    let (provider, _told) = provider(&settings);
    let mut session = ready(&provider).await;
    smsc.deafen(true);
    let outcomes = timeout(PATIENCE, session.send(&messages(1))).await.unwrap();
    assert_eq!(verdicts(&outcomes), [LOST]);
    smsc.deafen(false);
    session.ready().await.unwrap();
    assert_eq!(verdicts(&session.send(&messages(1)[..]).await), [ACCEPTED]);
}

#[tokio::test]
async fn binds_that_are_refused_say_why() {
    let smsc = smsc(ruled([])).await;
    let wrong = SmppSettings { password: Secret::new("past"), ..settings(smsc.addr().port()) };
    let (provider_, _told) = provider(&wrong);
    let refused = provider_.session().ready().await.unwrap_err();
    let detail = "not bound: 0x0E ESME_RINVPASWD; check system_id, password, system_type and binds";
    assert_eq!(refused, Outcome::AccountRefused { detail: detail.to_owned() });
    timeout(PATIENCE, provider_.listen()).await.unwrap();
    assert!(!format!("{provider_:?}").contains("past"));

    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = nobody.local_addr().unwrap().port();
    let (provider_, _told) = provider(&settings(port));
    let closing = async { drop(nobody.accept().await.unwrap()) };
    let mut session = provider_.session();
    let (failed, ()) = tokio::join!(session.ready(), closing);
    assert_eq!(failed.unwrap_err().reason(), Some(Reason::ConnectionFailed));
    drop(nobody);
    assert_eq!(session.ready().await.unwrap_err().reason(), Some(Reason::ConnectionFailed));
    assert_eq!(verdicts(&session.send(&messages(2)).await), [RETURNED; 2]);
}

#[tokio::test]
async fn receipts_come_while_nothing_is_sent_and_after_a_cut() {
    let smsc = smsc(Options {
        receipts: Plan { after: Duration::from_millis(100), ..plan() },
        ..Options::default()
    })
    .await;
    let (provider, mut told) = provider(&settings(smsc.addr().port()));
    let mut session = ready(&provider).await;
    assert_eq!(verdicts(&session.send(&messages(3)).await), [ACCEPTED; 3]);
    session.close().await;
    let provider = Arc::new(provider);
    let listening = Arc::clone(&provider);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { listening.listen().await });
    for _ in 0..3 {
        assert_eq!(next(&mut told).await.news, News::Delivered);
    }
    smsc.cut();
    timeout(PATIENCE, tasks.join_next()).await.unwrap();
}

#[tokio::test]
async fn replies_are_handed_on() {
    let smsc = smsc(ruled([])).await;
    let (provider, mut told) = provider(&settings(smsc.addr().port()));
    let _session = ready(&provider).await;
    smsc.bound(1).await;
    for (words, news) in
        [("thanks", News::Replied), ("退订", News::Unsubscribed), ("Stop", News::Unsubscribed)]
    {
        assert!(smsc.reply(&destination(1), "SHOP", words).await);
        let receipt = next(&mut told).await;
        let address = format!("+{}", destination(1));
        assert_eq!((receipt.news, receipt.about), (news, About::Address { channel: Channel::Sms, address }));
    }
}

#[tokio::test]
async fn receipts_that_find_no_room_come_again() {
    let smsc = smsc(Options { receipts: Plan { connections: 600, ..plan() }, ..Options::default() }).await;
    let (receipts, mut told) = Receipts::new(1);
    let provider = Smpp::new("smsc", &settings(smsc.addr().port()), receipts).unwrap();
    let mut session = ready(&provider).await;
    assert_eq!(verdicts(&session.send(&messages(600)).await), vec![ACCEPTED; 600]);
    timeout(PATIENCE, smsc.settled(|counts| counts.refused > 0)).await.unwrap();
    let mut found = std::collections::HashSet::new();
    while found.len() < 600 {
        found.insert(reference(&next(&mut told).await));
    }
}

#[tokio::test]
async fn sessions_share_binds_in_turn() {
    let smsc = smsc(ruled([])).await;
    let settings = SmppSettings { binds: NonZeroU16::new(2).unwrap(), ..settings(smsc.addr().port()) };
    let (provider, _told) = provider(&settings);
    let mut sessions = Vec::new();
    for _ in 0..4 {
        sessions.push(ready(&provider).await);
    }
    let (first, second) =
        (provider.account.bound(0).await.unwrap(), provider.account.bound(1).await.unwrap());
    assert!(!Arc::ptr_eq(&first, &second));
    assert_eq!((Arc::strong_count(&first), Arc::strong_count(&second)), (3, 3));
    smsc.bound(2).await;
}

#[tokio::test]
async fn tls_is_spoken_from_the_first_byte() {
    let smsc = smsc(ruled([])).await;
    let (acceptor, ca_file) = certificate();
    let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, behind) = (front.local_addr().unwrap().port(), smsc.addr());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let (stream, _) = front.accept().await.unwrap();
        let mut outer = acceptor.accept(stream).await.unwrap();
        let mut inner = tokio::net::TcpStream::connect(behind).await.unwrap();
        tokio::io::copy_bidirectional(&mut outer, &mut inner).await.ok();
    });
    let settings = SmppSettings { tls: true, ca_file: Some(ca_file.path().to_owned()), ..settings(port) };
    let (provider, mut told) = provider(&settings);
    let mut session = ready(&provider).await;
    assert_eq!(verdicts(&session.send(&messages(100)).await), vec![ACCEPTED; 100]);
    assert_eq!(next(&mut told).await.news, News::Delivered);
}

#[tokio::test]
async fn what_has_no_text_fails_here() {
    let smsc = smsc(ruled([])).await;
    let (provider, _told) = provider(&settings(smsc.addr().port()));
    let without = Message { body: Body::Content(Content::Sms(SmsContent::default())), ..message(1, "") };
    let outcomes =
        ready(&provider).await.send(&[without, message(2, &"中".repeat(67 * 256)), message(3, "x")]).await;
    let failed = ("failed", Some(Reason::RenderError));
    assert_eq!(verdicts(&outcomes), [failed, failed, ACCEPTED]);
}

#[tokio::test]
async fn who_reads_no_receipts_takes_none() {
    let smsc = smsc(ruled([])).await;
    let (receipts, _) = Receipts::new(1);
    let deaf = Smpp::new("smsc", &settings(smsc.addr().port()), receipts).unwrap();
    let mut session = ready(&deaf).await;
    assert_eq!(verdicts(&session.send(&messages(3)).await), [ACCEPTED; 3]);
    let (provider, mut told) = provider(&settings(smsc.addr().port()));
    let _reading = ready(&provider).await;
    for _ in 0..3 {
        assert_eq!(next(&mut told).await.news, News::Delivered);
    }
    assert_eq!(smsc.receipts().refused, 0);
}
