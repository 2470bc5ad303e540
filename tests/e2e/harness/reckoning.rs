//! A campaign's ledger held against the mail server's own record: who was lost, who got it twice, who is in doubt.

use std::collections::BTreeMap;
use std::fmt;

use campaignd_loadtest::smtp::{Options, Sink};

use super::books::{Fates, Tally};
use super::daemon::Setup;
use super::shop::{Shop, mailbox};
use crate::services::wait::eventually;

/// The law of the ledger as figures. `Display` is the line that a test prints.
#[derive(Debug)]
pub struct Reckoning {
    pub campaign: String,
    pub people: usize,
    /// Mails to its people that the server took.
    pub mails: usize,
    /// Of whom the ledger says nothing, or that they have a mail which the server never saw.
    pub lost: Vec<String>,
    /// Who got more than one.
    pub doubled: Vec<String>,
    /// Who got one though the ledger says otherwise: neither accepted nor unknown.
    pub denied: Vec<String>,
    pub tally: Tally,
}

impl Reckoning {
    /// `fates` by external id, `taken` by mailbox; the audience is `P1` to `Pn`.
    fn of(campaign: &str, people: usize, fates: &Fates, taken: &BTreeMap<String, usize>) -> Reckoning {
        let ids = || (1..=people).map(|i| format!("P{i}"));
        let times = |id: &str| taken.get(&mailbox(id)).copied().unwrap_or(0);
        let got = |id: &str| times(id) > 0;
        let fate = |id: &str| fates.get(id).map(String::as_str);
        let lost = |id: &String| match fate(id) {
            None => true,
            Some(fate) => fate == "accepted" && !got(id),
        };
        let denied = |id: &String| {
            got(id) && !fate(id).is_some_and(|fate| fate == "accepted" || fate.starts_with("unknown/"))
        };
        let mut tally = Tally::new();
        for fate in fates.values() {
            *tally.entry(fate.clone()).or_default() += 1;
        }
        Reckoning {
            campaign: campaign.to_owned(),
            people,
            mails: ids().map(|id| times(&id)).sum(),
            lost: ids().filter(lost).collect(),
            doubled: ids().filter(|id| times(id) > 1).collect(),
            denied: ids().filter(denied).collect(),
            tally,
        }
    }

    /// How many the ledger calls `unknown`, whatever the reason.
    pub fn unknown(&self) -> usize {
        let unknown = self.tally.iter().filter(|(fate, _)| fate.starts_with("unknown/"));
        unknown.map(|(_, n)| usize::try_from(*n).expect("a count")).sum()
    }

    /// Nobody lost, nobody mailed twice, nobody mailed unsaid; prints the figures first.
    pub fn assert_law(&self) {
        println!("{self}");
        assert!(self.lost.is_empty(), "lost: {:?}", self.lost);
        assert!(self.doubled.is_empty(), "doubled: {:?}", self.doubled);
        assert!(self.denied.is_empty(), "denied: {:?}", self.denied);
        assert_eq!(self.tally.values().sum::<i64>(), i64::try_from(self.people).expect("a count"));
    }
}

impl fmt::Display for Reckoning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Reckoning { campaign, people, mails, lost, doubled, denied, tally } = self;
        write!(
            f,
            "{campaign}: {people} people, {mails} mails taken, {} lost, {} doubled, {} denied, ledger {tally:?}",
            lost.len(),
            doubled.len(),
            denied.len(),
        )
    }
}

impl Shop<Sink> {
    /// A shop whose mails arrive at a server in this process, on a store of its own.
    pub async fn at_sink(options: Options, channel: &str) -> Shop<Sink> {
        let sink = Sink::start("127.0.0.1:0", options).await.expect("a free port");
        let setup = Setup::without_broker(sink.addr(), "").await;
        setup.configure("channels.email", channel);
        Shop::with(setup, sink).await
    }

    /// Waits until the server has taken so many, as long as it goes on.
    pub async fn taken(&self, n: u64) {
        let count = || self.sink.counts().messages;
        let mut before = count();
        while before < n {
            before = eventually(&format!("more than {before} of {n} mails"), async || {
                Some(count()).filter(|now| *now != before)
            })
            .await;
        }
    }

    /// Waits for the campaign's end and holds its ledger against what the server took; its audience is `P1` to `Pn`, whom
    /// nothing else mails.
    pub async fn reckoning(&self, campaign: &str, people: usize) -> Reckoning {
        let fates = self.books.finished(campaign).await;
        let mut taken: BTreeMap<String, usize> = BTreeMap::new();
        for to in self.sink.messages().into_iter().flat_map(|message| message.to) {
            *taken.entry(to).or_default() += 1;
        }
        Reckoning::of(campaign, people, &fates, &taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wrong_is_found() {
        let fates = [("P1", "accepted"), ("P2", "accepted"), ("P3", "unknown/crash"), ("P4", "rejected/x")];
        let fates: Fates = fates.map(|(id, fate)| (id.to_owned(), fate.to_owned())).into();
        let taken = [("p1", 2), ("p3", 1), ("p4", 1), ("stranger", 2)];
        let taken = taken.map(|(name, n)| (mailbox(name), n)).into();
        let found = Reckoning::of("c", 5, &fates, &taken);
        assert_eq!(found.lost, ["P2", "P5"]);
        assert_eq!(found.doubled, ["P1"]);
        assert_eq!(found.denied, ["P4"]);
        assert_eq!((found.mails, found.unknown()), (4, 1));
    }
}
