//! Keeps open what an account's receipts come by, also while there is nothing to send.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::backoff::Redial;
use crate::lifecycle::Shutdown;
use crate::provider::Provider;

/// What stayed open for so long was well: the next dial comes soon.
const WELL: Duration = Duration::from_secs(30);

/// Listens again and again until the part is asked to end.
pub(super) async fn listen(provider: Arc<dyn Provider>, part: Shutdown) {
    let mut redial = Redial::default();
    while !part.is_asked() {
        let began = Instant::now();
        tokio::select! {
            () = part.asked() => return,
            () = provider.listen() => {}
        }
        if began.elapsed() >= WELL {
            redial.reset();
        }
        tokio::select! {
            () = part.asked() => return,
            () = sleep(redial.delay(fastrand::f64())) => {}
        }
    }
}
