//! Several daemons on one store share its rates: whatever happens to one of them, the mail server never sees more than
//! one rate, and everyone gets the mail once.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::harness::daemon::{Daemon, Setup};
use crate::harness::mail::{ClockSink, RecordingSink};
use crate::harness::publish::publish;
use crate::harness::shop::{Shop, campaign, mailbox, write_templates};
use crate::rate::{Pace, assert_law};
use crate::services::wait::eventually;

/// Messages in doubt that a killed daemon may leave.
const WINDOW: usize = 100;

/// Daemons of one shop, the shop's own first.
struct Fleet {
    clock: ClockSink,
    shop: Shop,
    others: Vec<(Setup, Daemon)>,
    rate: String,
}

impl Fleet {
    async fn start(rate: &str, daemons: usize, people: usize) -> Fleet {
        let clock = ClockSink::start(Duration::ZERO).await;
        let setup = Setup::new(clock.address(), "").await;
        configure(&setup, rate);
        let shop = Shop::with(setup, RecordingSink::start().await).await;
        shop.people(people).await;
        let mut fleet = Fleet { clock, shop, others: Vec::new(), rate: rate.to_owned() };
        for _ in 1..daemons {
            fleet.join().await;
        }
        fleet
    }

    async fn join(&mut self) {
        let setup = self.shop.setup.beside(self.clock.address());
        configure(&setup, &self.rate);
        write_templates(&setup);
        let daemon = Daemon::start(&setup).await;
        self.others.push((setup, daemon));
    }

    async fn begin(&self) {
        let options = ["--exchange", "campaignd", "--routing-key", "jobs"];
        let job = campaign("all", json!({})).to_string();
        assert_eq!(publish(&self.shop.setup.amqp_url, &options, &job).await, Ok(1));
    }

    /// Waits until so many mails have come.
    async fn mails(&self, n: usize) {
        let mut seen = 0;
        while seen < n {
            seen = eventually("more mails", async || {
                let now = self.clock.arrivals().len();
                (now > seen).then_some(now)
            })
            .await;
        }
    }

    /// When mails came, once all is over: nobody is lost, nobody got two.
    async fn times(&self, people: usize) -> Vec<f64> {
        let fates = self.shop.books.finished("all").await;
        let arrivals = self.clock.arrivals();
        let reached: BTreeSet<&str> = arrivals.iter().map(|(_, to)| to.as_str()).collect();
        assert_eq!(reached.len(), arrivals.len(), "nobody gets a mail twice");
        assert_eq!(fates.len(), people);
        let doubtful = fates.values().filter(|fate| *fate == "unknown/crash").count();
        assert!(doubtful <= WINDOW, "{doubtful} in doubt");
        for (id, fate) in &fates {
            match fate.as_str() {
                "accepted" => assert!(reached.contains(mailbox(id).as_str()), "{id} has no mail"),
                "unknown/crash" => {}
                fate => panic!("{id} is {fate}"),
            }
        }
        arrivals.iter().map(|(at, _)| *at).collect()
    }
}

fn configure(setup: &Setup, rate: &str) {
    setup.configure("channels.email", &format!("{rate}\nunknown_window = {WINDOW}"));
}

fn now() -> f64 {
    SystemTime::UNIX_EPOCH.elapsed().expect("a clock after 1970").as_secs_f64()
}

fn fullest_second(times: &[f64]) -> usize {
    let within = |from: &f64| times.iter().filter(|at| (*from..=*from + 1.0).contains(*at)).count();
    times.iter().map(within).max().unwrap_or(0)
}

/// Mails a second in the best ten between two moments: what a busy machine loses in the others is lost for good.
fn reached(times: &[f64], from: f64, to: f64, pace: &Pace) -> f64 {
    let times: Vec<f64> = times.iter().copied().filter(|at| (from..to).contains(at)).collect();
    let stretch = 10 * pace.rate as usize;
    let shortest = times.windows(stretch + 1).map(|times| times[stretch] - times[0]).fold(f64::MAX, f64::min);
    stretch as f64 / shortest
}

#[tokio::test]
async fn one_rate_for_all_while_one_is_killed_and_one_joins() {
    let pace = Pace { rate: 300, burst: 30, mails: 8_000 };
    let mut fleet = Fleet::start("rate = \"300/s\"", 3, pace.mails).await;
    fleet.begin().await;
    fleet.mails(300).await;
    let began = now();
    fleet.mails(5_000).await;
    let killed = now();
    fleet.others[0].1.process.sigkill();
    fleet.join().await;
    let times = fleet.times(pace.mails).await;
    let (fullest, before) = (fullest_second(&times), reached(&times, began, killed, &pace));
    let whole = times.iter().filter(|at| (began..killed).contains(*at)).count() as f64 / (killed - began);
    println!("fullest second {fullest}; best ten seconds {before:.1}/s ({whole:.1}/s in all)");
    assert_law(&times, &pace);
    assert!(fullest <= (pace.rate + pace.burst) as usize, "{fullest} mails in one second");
    assert!(before >= 0.95 * f64::from(pace.rate), "only {before:.1} mails/s");
}

#[tokio::test]
async fn one_that_wakes_up_and_one_that_comes_back_change_nothing() {
    let pace = Pace { rate: 300, burst: 30, mails: 5_000 };
    let mut fleet = Fleet::start("rate = \"300/s\"", 2, pace.mails).await;
    fleet.begin().await;
    for (frozen, thawed) in [(500, 1_200), (1_800, 2_200), (2_600, 2_900)] {
        fleet.mails(frozen).await;
        fleet.others[0].1.process.freeze();
        fleet.mails(thawed).await;
        fleet.others[0].1.process.thaw();
    }
    fleet.mails(3_300).await;
    fleet.shop.restart().await;
    let times = fleet.times(pace.mails).await;
    assert_law(&times, &pace);
}

#[tokio::test]
async fn a_burst_of_one_keeps_the_mails_of_all_apart() {
    let pace = Pace { rate: 20, burst: 1, mails: 200 };
    let fleet = Fleet::start("rate = \"20/s\"\nburst = 1", 3, pace.mails).await;
    fleet.begin().await;
    let times = fleet.times(pace.mails).await;
    println!("{:.2}/s", times.len() as f64 / (times.last().unwrap() - times[0]));
    assert_law(&times, &pace);
}

#[tokio::test]
async fn changed_rates_are_shared_and_bring_no_burst() {
    let pace = Pace { rate: 200, burst: 20, mails: 3_000 };
    let mut fleet = Fleet::start("rate = \"100/s\"", 2, pace.mails).await;
    fleet.begin().await;
    fleet.mails(500).await;
    let from = |setup: &Setup| {
        let config = std::fs::read_to_string(setup.path().join("config.toml")).expect("the configuration");
        setup.write("config.toml", &config.replace("100/s", "200/s"));
    };
    from(&fleet.shop.setup);
    from(&fleet.others[0].0);
    fleet.shop.daemon.process.sighup();
    fleet.others[0].1.process.sighup();
    fleet.mails(1_500).await;
    let changed = now();
    let times = fleet.times(pace.mails).await;
    let after: Vec<f64> = times.into_iter().filter(|at| *at > changed).collect();
    assert_law(&after, &pace);
}
