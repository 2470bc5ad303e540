//! The parts of a daemon, in the order in which they drain.

use tokio_util::sync::CancellationToken;

use crate::lifecycle::Shutdown;

/// One stop a part, in the order in which they drain.
pub(super) struct Parts {
    pub(super) intake: Shutdown,
    pub(super) planning: Shutdown,
    pub(super) lanes: Shutdown,
    pub(super) tracking: Shutdown,
    /// Ends by itself once nothing more comes from tracking.
    pub(super) events: Shutdown,
    /// Ends by itself once nothing more comes from the lanes.
    pub(super) recorder: Shutdown,
    pub(super) heart: Shutdown,
    pub(super) publishing: Shutdown,
    pub(super) admin: Shutdown,
}

impl Parts {
    pub(super) fn new() -> Self {
        Parts {
            intake: Shutdown::new("intake"),
            planning: Shutdown::new("planning"),
            lanes: Shutdown::new("lanes"),
            tracking: Shutdown::new("tracking"),
            events: Shutdown::new("events"),
            recorder: Shutdown::new("recorder"),
            heart: Shutdown::new("heartbeat"),
            publishing: Shutdown::new("publishing"),
            admin: Shutdown::new("admin"),
        }
    }

    pub(super) fn in_order(&self) -> [&Shutdown; 9] {
        let Parts { intake, planning, lanes, tracking, events, recorder, heart, publishing, admin } = self;
        [intake, planning, lanes, tracking, events, recorder, heart, publishing, admin]
    }
}

/// The same stop as a token.
pub(super) fn token_of(part: &Shutdown) -> CancellationToken {
    let token = CancellationToken::new();
    let (part, cancel) = (part.clone(), token.clone());
    tokio::spawn(async move {
        part.asked().await;
        cancel.cancel();
    });
    token
}
