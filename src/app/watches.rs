//! What is looked at now and then: the store for readiness, the dead letters for their metric.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::amqp::{Broker, Topology, dead};
use crate::lifecycle::Shutdown;
use crate::store::{CONNECTION_WAIT, Error, Store};
use crate::telemetry::{Component, Metrics};

/// How often the dead letters are counted.
const DEAD_LETTERS: Duration = Duration::from_secs(30);
/// How often readiness asks the store.
pub(super) const STORE_CHECK: Duration = Duration::from_secs(2);

/// Readiness follows the store.
pub(super) async fn store(store: Arc<dyn Store>, component: Component, part: Shutdown) -> Result<(), Error> {
    while !part.is_asked() {
        match timeout(CONNECTION_WAIT, store.check()).await {
            Ok(Ok(())) => component.ready(),
            Ok(Err(error)) => component.not_ready(error.to_string()),
            Err(_) => component.not_ready("the store does not answer"),
        }
        tokio::select! {
            () = part.asked() => {}
            () = sleep(STORE_CHECK) => {}
        }
    }
    Ok(())
}

/// Counts the dead letters; a broker that is away is the intake's matter.
pub(super) async fn dead_letters(broker: Broker, metrics: Arc<Metrics>, part: Shutdown) -> Result<(), Error> {
    let topology = Topology::default();
    while !part.is_asked() {
        if let Ok(listing) = dead::list(&broker, &topology, 0).await {
            let total = i64::from(listing.total);
            metrics.dead_letters.with_label_values(&[topology.dead().as_str()]).set(total);
        }
        tokio::select! {
            () = part.asked() => {}
            () = sleep(DEAD_LETTERS) => {}
        }
    }
    Ok(())
}
