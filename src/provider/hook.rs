//! What comes back from providers: their calls to our public listener, and notices over connections of our own.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use tokio::sync::mpsc;

use super::unheard::Unheard;
use crate::model::Receipt;

/// A provider's call as it came, its body read whole.
#[derive(Debug)]
pub struct HookRequest {
    pub method: Method,
    /// What stands behind `/hooks/NAME`, without its slash; where a provider's secret path goes.
    pub tail: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The client, behind trusted proxies the one that they name.
    pub peer: IpAddr,
}

/// What the provider hears once the receipts are durable.
#[derive(Debug, Default)]
pub struct HookAnswer {
    pub receipts: Vec<Receipt>,
    pub content_type: Option<&'static str>,
    pub body: Bytes,
}

/// Why a call is not taken. The status tells the provider whether to come again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookRefusal {
    pub status: StatusCode,
    /// What to set right; holds no secret and no address.
    pub detail: String,
}

/// Understands one account's calls: authenticates them as the provider documents, and reads them.
#[async_trait]
pub trait Hook: Send + Sync + std::fmt::Debug {
    /// Comes before [`Hook::receive`] and does what needs the network, such as fetching a key. Most need none.
    ///
    /// # Errors
    /// Calls that cannot be received now or ever.
    async fn prepare(&self, _request: &HookRequest) -> Result<(), HookRefusal> {
        Ok(())
    }

    /// # Errors
    /// Calls that are not the provider's, or not understood: nothing of them is recorded.
    fn receive(&self, request: &HookRequest) -> Result<HookAnswer, HookRefusal>;
}

/// Takes the receipts that come over connections of our own, and knows which are still to come.
#[derive(Debug, Clone)]
pub struct Receipts {
    sender: mpsc::Sender<Receipt>,
    unheard: Arc<Unheard>,
}

impl Receipts {
    /// `queue` receipts wait at most; then whoever brings more waits.
    pub fn new(queue: usize) -> (Self, mpsc::Receiver<Receipt>) {
        let (sender, receiver) = mpsc::channel(queue);
        (Receipts { sender, unheard: Arc::default() }, receiver)
    }

    /// Waits while the store is behind. Without a reader, as at the end of the program, receipts are let go; returns
    /// whether there was one.
    pub async fn bring(&self, receipt: Receipt) -> bool {
        self.sender.send(receipt).await.is_ok()
    }

    /// Whether anybody takes receipts; nobody does where the program only sends a test.
    pub fn are_read(&self) -> bool {
        !self.sender.is_closed()
    }

    /// What is asked about; to be told of receipts that come by other ways.
    pub fn unheard(&self) -> &Arc<Unheard> {
        &self.unheard
    }
}
