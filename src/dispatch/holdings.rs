//! The leases that this daemon knows of. A connection that is cut between a lease's commit and its answer leaves a
//! batch with a daemon that does not know it; here it is found and given back.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::sleep;
use tracing::warn;

use crate::lifecycle::Shutdown;
use crate::store::dispatching::Hold;
use crate::store::jobs::Incarnation;
use crate::store::{Error, Store};

/// How often the store is asked what we hold. A lease that nobody here knows at two looks in a row is given back: one
/// that is granted at this moment is known at the next.
const LOOK: Duration = Duration::from_secs(5);

/// Giving back by mistake what is still on its way here does no harm: its first intent is refused.
#[derive(Debug, Clone, Default)]
pub struct Holdings(Arc<Mutex<HashSet<Hold>>>);

impl Holdings {
    fn known(&self) -> MutexGuard<'_, HashSet<Hold>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, holds: impl IntoIterator<Item = Hold>) {
        self.known().extend(holds);
    }

    pub(super) fn remove(&self, holds: impl IntoIterator<Item = Hold>) {
        let mut known = self.known();
        for hold in holds {
            known.remove(&hold);
        }
    }

    /// Those of `held` that nobody here knows.
    fn strange(&self, held: Vec<Hold>) -> HashSet<Hold> {
        let known = self.known();
        held.into_iter().filter(|hold| !known.contains(hold)).collect()
    }

    /// Gives back what was granted and never heard of, until the part is asked to stop.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn reconcile(
        self,
        store: Arc<dyn Store>,
        me: Incarnation,
        shutdown: Shutdown,
    ) -> Result<(), Error> {
        let mut strange = HashSet::new();
        loop {
            tokio::select! {
                () = shutdown.asked() => return Ok(()),
                () = sleep(LOOK) => {}
            }
            match self.look(&*store, me, &strange).await {
                Ok(still) => strange = still,
                Err(error) if error.is_transient() => strange.clear(),
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives back what is as `strange` as at the last look; returns what is strange for the first time.
    async fn look(
        &self,
        store: &dyn Store,
        me: Incarnation,
        strange: &HashSet<Hold>,
    ) -> Result<HashSet<Hold>, Error> {
        let (lost, new): (Vec<Hold>, Vec<Hold>) =
            self.strange(store.holds(me).await?).into_iter().partition(|hold| strange.contains(hold));
        if !lost.is_empty() {
            warn!(batches = lost.len(), "leases whose answers got lost are given back");
            store.release(me, &lost).await?;
        }
        Ok(new.into_iter().collect())
    }
}
