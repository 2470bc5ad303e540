//! A provider inside the program, for trying things out: nothing leaves the machine.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Message, Provider, Receipts, Session};
use crate::model::receipt::{About, News};
use crate::model::{Outcome, Receipt};

/// Messages of one call.
const CHUNK: usize = 100;

/// One account; its sessions share it.
#[derive(Debug)]
pub struct Sandbox {
    name: Arc<str>,
    receipts: Receipts,
}

impl Sandbox {
    pub fn new(name: &str, receipts: Receipts) -> Self {
        Sandbox { name: name.into(), receipts }
    }
}

impl Provider for Sandbox {
    fn session(&self) -> Box<dyn Session> {
        Box::new(SandboxSession { name: self.name.clone(), receipts: self.receipts.clone() })
    }

    fn chunk_size(&self) -> usize {
        CHUNK
    }
}

struct SandboxSession {
    name: Arc<str>,
    receipts: Receipts,
}

#[async_trait]
impl Session for SandboxSession {
    async fn ready(&mut self) -> Result<(), Outcome> {
        Ok(())
    }

    async fn send(&mut self, messages: &[Message]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(messages.len());
        for message in messages {
            message.permit.spend();
            let key = message.delivery.to_string();
            let receipt = Receipt {
                id: Receipt::id(&self.name, &key, "delivered"),
                about: About::Delivery(message.delivery),
                at: Timestamp::now(),
                news: News::Delivered,
                detail: None,
            };
            self.receipts.bring(receipt).await;
            outcomes.push(Outcome::Accepted { provider_ref: Some(key) });
        }
        outcomes
    }

    async fn close(&mut self) {}
}
