//! What loads the daemon, and what shows how fast its neighbours are without it: programs that do one thing, print what
//! came of it as a line of JSON, and end.

mod bare;
mod empty;
mod ledger;
mod publish;
mod visit;

use std::time::{Duration, SystemTime};

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum Drive {
    /// Publish single messages to RabbitMQ, at a rate or as fast as it confirms them
    Publish(publish::Publish),
    /// Delete the daemon's queues with all that is in them
    Empty(empty::Empty),
    /// Follow links, each of them twice
    Visit(visit::Visit),
    /// Write the ledger's rows to PostgreSQL in batches, as the daemon would at best
    Ledger(ledger::Ledger),
    /// Answer opens and clicks, and nothing else: no token is checked, nothing is kept. Until SIGTERM
    BareTracking(bare::BareTracking),
}

pub(crate) async fn drive(what: Drive) -> anyhow::Result<()> {
    match what {
        Drive::Publish(args) => publish::run(args).await,
        Drive::Empty(args) => empty::run(args).await,
        Drive::Visit(args) => visit::run(args).await,
        Drive::Ledger(args) => ledger::run(args).await,
        Drive::BareTracking(args) => bare::run(args).await,
    }
}

/// Prints the result.
#[expect(clippy::print_stdout, reason = "the figures are the program's result")]
fn tell(result: &serde_json::Value) {
    println!("{result}");
}

/// On the clock that all processes of the machine share, in microseconds.
pub(crate) fn now_micros() -> u128 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_micros()
}

/// The value below which this share of them lies.
fn percentile(sorted: &[Duration], share: f64) -> Duration {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index: rounded, and in bounds"
    )]
    let place = (sorted.len() as f64 * share) as usize;
    sorted.get(place.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// In milliseconds.
fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_of_the_list() {
        let sorted: Vec<Duration> = (0..100).map(Duration::from_millis).collect();
        assert_eq!(percentile(&sorted, 0.5), Duration::from_millis(50));
        assert_eq!(percentile(&sorted, 0.99), Duration::from_millis(99));
        assert_eq!(percentile(&sorted, 1.0), Duration::from_millis(99));
        assert_eq!(percentile(&[], 0.5), Duration::ZERO);
    }
}
