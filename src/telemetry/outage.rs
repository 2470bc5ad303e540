//! What one part of the daemon tells of a store that is away: once that it is, once that it is back and after how long.
//! However often the part asks meanwhile, the log stays short enough to read.

use std::error::Error;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;
use tracing::{info, warn};

/// One part's view of the store; tasks that do the same work share one.
#[derive(Debug)]
pub struct Outage {
    part: String,
    since: Mutex<Option<Instant>>,
}

impl Outage {
    /// `part` is how the log names the part.
    pub fn new(part: impl Into<String>) -> Self {
        Outage { part: part.into(), since: Mutex::default() }
    }

    /// The store did not answer, and is asked again.
    pub fn goes_on(&self, error: &(dyn Error + 'static)) {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        if since.is_none() {
            *since = Some(Instant::now());
            warn!(part = self.part, error, "the store is away; it is asked again until it is back");
        }
    }

    /// The store answered.
    pub fn ends(&self) {
        let since = self.since.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(since) = since {
            info!(part = self.part, seconds = since.elapsed().as_secs_f64(), "the store is back");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;
    use std::time::Duration;

    use tracing_subscriber::fmt::SubscriberBuilder;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_two_lines() {
        let lines = Lines::default();
        let sink = lines.clone();
        let subscriber = SubscriberBuilder::default().json().with_writer(move || sink.clone()).finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        let outage = Outage::new("planner");
        outage.ends();
        for _ in 0..3 {
            outage.goes_on(&io::Error::other("refused"));
            outage.goes_on(&io::Error::other("refused"));
            tokio::time::advance(Duration::from_secs(40)).await;
            outage.ends();
            outage.ends();
        }
        let written = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<serde_json::Value> =
            written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let told = |line: &serde_json::Value| {
            let (fields, level) = (&line["fields"], line["level"].as_str().unwrap().to_owned());
            assert_eq!(fields["part"], "planner");
            (level, fields["error"].as_str().map(str::to_owned), fields["seconds"].as_f64())
        };
        let one =
            [("WARN".to_owned(), Some("refused".to_owned()), None), ("INFO".to_owned(), None, Some(40.0))];
        assert_eq!(lines.iter().map(told).collect::<Vec<_>>(), [one.clone(), one.clone(), one].concat());
    }
}
