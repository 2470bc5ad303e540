//! Circuits on paused time.

use tokio::time::{advance, timeout};

use super::*;
use crate::dispatch::OnDoubt;
use crate::dispatch::testing::account;

fn circuits(names: &[&str]) -> Circuits {
    let accounts: Vec<Account> = names.iter().map(|name| account(name, None, OnDoubt::Hold)).collect();
    Circuits::new(&accounts, &Arc::new(Metrics::new().unwrap()))
}

fn one() -> Arc<Circuit> {
    circuits(&["relay"]).all.remove(0)
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn accepted() -> Outcome {
    Outcome::Accepted { provider_ref: None }
}

fn silence() -> Outcome {
    Outcome::Unknown { reason: Reason::NoAnswer, detail: String::new() }
}

fn refused_connection() -> Outcome {
    Outcome::Retry { reason: Reason::ConnectionFailed, after: None, detail: String::new() }
}

/// The reason that the metric shows.
fn paused(circuit: &Circuit) -> Vec<&'static str> {
    let shown = |cause: &Cause| {
        circuit.metrics.provider_paused.with_label_values(&[&*circuit.account, cause.as_str()]).get() == 1
    };
    Cause::ALL.iter().filter(|cause| shown(cause)).map(|cause| cause.as_str()).collect()
}

async fn admitted(circuit: &Circuit) -> Option<Admission> {
    timeout(Duration::from_millis(1), circuit.admit()).await.ok()
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_open_it_and_a_probe_closes_it() {
    let circuit = one();
    for _ in 1..FAILURES {
        circuit.heard(&[silence()], 0.5);
    }
    circuit.heard(&[accepted(), silence()], 0.5);
    for _ in 1..FAILURES {
        circuit.heard(&[silence()], 0.5);
    }
    assert!(circuit.lets(Admission::Free), "something good came in between");
    circuit.heard(&[silence(), Outcome::Returned], 0.5);
    assert!(!circuit.lets(Admission::Free));
    assert_eq!((circuit.passes().is_err(), paused(&circuit)), (true, vec!["failing"]));
    assert_eq!(admitted(&circuit).await, None);
    advance(FAILING).await;
    assert!(circuit.passes().is_ok(), "messages for the probe may be intended");
    assert_eq!(admitted(&circuit).await, Some(Admission::Probe));
    assert_eq!(admitted(&circuit).await, None, "one probes");
    assert!(circuit.lets(Admission::Probe) && !circuit.lets(Admission::Free));
    circuit.heard(&[accepted()], 0.5);
    assert_eq!((admitted(&circuit).await, paused(&circuit)), (Some(Admission::Free), vec![]));
}

#[tokio::test(start_paused = true)]
async fn full_mailboxes_say_that_the_provider_works() {
    let circuit = one();
    let full = Outcome::Retry { reason: Reason::MailboxFull, after: None, detail: "452".into() };
    for _ in 0..2 * FAILURES {
        circuit.heard(std::slice::from_ref(&full), 0.5);
    }
    assert!(circuit.lets(Admission::Free));
    circuit.heard(&[Outcome::Throttled { after: None, detail: "421".into() }], 0.5);
    advance(THROTTLED).await;
    assert_eq!(admitted(&circuit).await, Some(Admission::Probe));
    circuit.heard(&[full], 0.5);
    assert_eq!((admitted(&circuit).await, paused(&circuit)), (Some(Admission::Free), vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_fails_opens_it_for_longer() {
    let circuit = one();
    (0..FAILURES).for_each(|_| circuit.heard(&[silence()], 0.5));
    for wait in [5, 10, 20, 40, 80, 160, 300, 300].map(seconds) {
        advance(wait - seconds(1)).await;
        assert_eq!(admitted(&circuit).await, None);
        advance(seconds(1)).await;
        assert_eq!(admitted(&circuit).await, Some(Admission::Probe));
        circuit.heard(&[silence()], 0.5);
        circuit.left(Admission::Probe, true);
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_tells_nothing_is_left_to_the_next() {
    let circuit = one();
    (0..FAILURES).for_each(|_| circuit.heard(&[silence()], 0.5));
    advance(FAILING).await;
    assert_eq!(admitted(&circuit).await, Some(Admission::Probe));
    circuit.heard(&[Outcome::Returned], 0.5);
    circuit.left(Admission::Probe, true);
    assert_eq!(admitted(&circuit).await, Some(Admission::Probe));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_intended_for_what_cannot_be_reached() {
    let circuit = one();
    assert_eq!(circuit.unreached(&refused_connection(), 1.0), None);
    assert_eq!((circuit.passes(), paused(&circuit)), (Err(None), vec!["unreachable"]));
    advance(seconds(60)).await;
    assert_eq!(circuit.passes(), Err(None), "only a dial can tell");
    assert_eq!(admitted(&circuit).await, Some(Admission::Probe));
    assert_eq!(circuit.reached(Admission::Probe), Admission::Free);
    assert_eq!((circuit.passes(), paused(&circuit)), (Ok(()), vec![]));
}

#[tokio::test(start_paused = true)]
async fn what_fails_and_goes_away_is_probed_when_it_is_back() {
    let circuit = one();
    (0..FAILURES).for_each(|_| circuit.heard(&[silence()], 0.5));
    advance(FAILING).await;
    assert_eq!(admitted(&circuit).await, Some(Admission::Probe));
    assert_eq!(circuit.unreached(&refused_connection(), 0.0), None);
    circuit.left(Admission::Probe, false);
    assert_eq!(paused(&circuit), ["unreachable"]);
    assert_eq!(admitted(&circuit).await, Some(Admission::Probe));
    assert_eq!(circuit.reached(Admission::Probe), Admission::Probe);
    assert_eq!((circuit.passes(), paused(&circuit)), (Ok(()), vec!["failing"]));
}

#[tokio::test(start_paused = true)]
async fn a_session_too_many_leaves_the_others_alone() {
    let circuit = one();
    assert_eq!(circuit.reached(Admission::Free), Admission::Free);
    let throttled = Outcome::Throttled { after: None, detail: String::new() };
    assert!(circuit.unreached(&throttled, 0.5).is_some());
    assert!(circuit.unreached(&refused_connection(), 0.5).is_some());
    assert!(circuit.lets(Admission::Free));
    circuit.left(Admission::Free, true);
    assert!(circuit.unreached(&refused_connection(), 0.5).is_none());
    assert!(!circuit.lets(Admission::Free));
}

#[tokio::test(start_paused = true)]
async fn a_throttle_opens_it_for_as_long_as_it_says() {
    let circuit = one();
    circuit.heard(&[Outcome::Throttled { after: Some(seconds(7)), detail: String::new() }], 0.5);
    let refused = Outcome::Throttled { after: Some(seconds(2)), detail: String::new() };
    circuit.heard(&[refused], 0.5);
    advance(seconds(6)).await;
    assert_eq!(admitted(&circuit).await, None);
    advance(seconds(1)).await;
    assert_eq!(admitted(&circuit).await, Some(Admission::Probe));
}

#[tokio::test(start_paused = true)]
async fn a_stream_waits_for_its_own_accounts() {
    let circuits = circuits(&["one", "two"]);
    let [one, two] = [&circuits.all[0], &circuits.all[1]];
    one.unreached(&refused_connection(), 0.5);
    circuits.pass(&["one", "two"]).await;
    assert!(circuits.any_passes());
    assert!(timeout(seconds(100), circuits.pass(&["one"])).await.is_err());
    two.heard(&[Outcome::AccountRefused { detail: String::new() }], 0.5);
    assert!(!circuits.any_passes());
    let began = Instant::now();
    circuits.pass(&["one", "two"]).await;
    assert!(began.elapsed() >= ACCOUNT_REFUSED);
}

#[tokio::test(start_paused = true)]
async fn how_long_an_account_rests_is_known_until_it_is_tried() {
    let circuits = circuits(&["one", "other"]);
    let refused = Outcome::AccountRefused { detail: String::new() };
    circuits.all[0].heard(&[refused], 0.5);
    assert_eq!((circuits.rest("one"), circuits.rest("other")), (ACCOUNT_REFUSED, Duration::ZERO));
    advance(ACCOUNT_REFUSED - seconds(1)).await;
    assert_eq!(circuits.rest("one"), seconds(1));
    advance(seconds(1)).await;
    assert_eq!(
        (admitted(&circuits.all[0]).await, circuits.rest("one")),
        (Some(Admission::Probe), Duration::ZERO)
    );
}
