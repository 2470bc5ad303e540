//! Rates that daemons share: the slices of a line never overlap, whoever takes them.

use std::time::Duration;

use campaignd::store::rates::{Offer, Wish};
use tokio::task::JoinSet;

use super::Bed;

fn wish(line: &str, millis: u64) -> Wish {
    Wish { line: line.into(), length: Duration::from_millis(millis), behind: Duration::ZERO }
}

async fn take(bed: &Bed, wish: Wish) -> Offer {
    let rates = bed.store.shared_rates().expect("a store for several daemons");
    rates.take(&[wish]).await.unwrap().pop().unwrap().expect("an offer")
}

#[tokio::test]
async fn a_file_has_one_daemon_and_shares_nothing() {
    assert!(Bed::sqlite().await.store.shared_rates().is_none());
}

#[tokio::test]
async fn a_new_line_begins_now_and_slices_follow_each_other() {
    let bed = Bed::postgres().await;
    let minute = Duration::from_secs(60);
    let first = take(&bed, Wish { behind: minute, ..wish("provider:relay 300/s", 100) }).await;
    assert!(first.taken && first.from > first.now - 30_000_000, "no burst");
    let second = take(&bed, wish("provider:relay 300/s", 100)).await;
    assert!(second.taken && second.from >= first.from + 100_000);
    let other = take(&bed, wish("provider:relay 100/s", 100)).await;
    assert!(other.taken && other.from <= other.now);
}

#[tokio::test]
async fn a_line_that_rested_begins_as_far_behind_as_its_burst_allows() {
    let bed = Bed::postgres().await;
    let line = "provider:relay 300/s";
    let now = take(&bed, wish(line, 0)).await.from;
    bed.store.shared_rates().unwrap().give_back(line, now - 3_600_000_000, now).await.unwrap();
    let rested = take(&bed, Wish { behind: Duration::from_secs(60), ..wish(line, 100) }).await;
    assert_eq!((rested.taken, rested.from), (true, rested.now - 60_000_000));
}

#[tokio::test]
async fn nobody_takes_what_begins_later_than_soon() {
    let bed = Bed::postgres().await;
    let long = take(&bed, wish("campaign:1 10/h", 360_000)).await;
    assert!(long.taken);
    let refused = take(&bed, wish("campaign:1 10/h", 360_000)).await;
    assert_eq!((refused.taken, refused.from), (false, long.from + 360_000_000));
}

#[tokio::test]
async fn the_end_of_a_line_is_given_back_unless_it_has_gone_on() {
    let bed = Bed::postgres().await;
    let line = "campaign:1 10/h";
    let rates = bed.store.shared_rates().unwrap();
    let taken = take(&bed, wish(line, 360_000)).await;
    let end = taken.from + 360_000_000;
    rates.give_back(line, taken.from, end - 1).await.unwrap();
    assert!(!take(&bed, wish(line, 100)).await.taken, "that was not its end");
    rates.give_back(line, taken.from + 5, end).await.unwrap();
    let again = take(&bed, wish(line, 100)).await;
    assert!(again.taken && again.from >= taken.from + 5 && again.from < end);
}

#[tokio::test]
async fn one_request_takes_from_several_lines() {
    let bed = Bed::postgres().await;
    let wishes = ["b", "a", "c"].map(|line| wish(line, 100));
    let rates = bed.store.shared_rates().unwrap();
    let first: Vec<Offer> = rates.take(&wishes[..2]).await.unwrap().into_iter().flatten().collect();
    let all: Vec<Offer> = rates.take(&wishes).await.unwrap().into_iter().flatten().collect();
    assert_eq!((first.len(), all.len()), (2, 3));
    for (before, after) in first.iter().zip(&all) {
        assert!(after.taken && after.from >= before.from + 100_000);
    }
}

#[tokio::test]
async fn slices_never_overlap_however_many_ask() {
    let bed = Bed::postgres().await;
    let mut daemons = JoinSet::new();
    for _ in 0..8 {
        let store = bed.store.clone();
        daemons.spawn(async move {
            let mut taken = Vec::new();
            while taken.len() < 40 {
                let wishes = [wish("a", 1), wish("b", 2)];
                let offers = store.shared_rates().unwrap().take(&wishes).await.unwrap();
                let a = offers[0].expect("an offer");
                taken.extend(a.taken.then_some((a.from, a.now)));
            }
            taken
        });
    }
    let mut slices: Vec<(i64, i64)> = daemons.join_all().await.into_iter().flatten().collect();
    slices.sort_unstable();
    assert_eq!(slices.len(), 320);
    assert!(slices.windows(2).all(|pair| pair[1].0 >= pair[0].0 + 1_000));
}

#[tokio::test]
async fn lines_that_rest_for_a_day_are_forgotten() {
    let bed = Bed::postgres().await;
    let rates = bed.store.shared_rates().unwrap();
    let hour = 3_600_000_000;
    take(&bed, wish("new", 0)).await;
    for (line, hours) in [("old", 25), ("young", 23)] {
        let now = take(&bed, wish(line, 0)).await.from;
        rates.give_back(line, now - hours * hour, now).await.unwrap();
    }
    assert_eq!(rates.forget_lines().await.unwrap(), 1);
    assert_eq!(rates.forget_lines().await.unwrap(), 0);
}
