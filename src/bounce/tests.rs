//! Reports of many servers, and the two ways on which they come.

mod lmtp;
mod maildir;
mod reports;

use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;

use super::{Book, Kind, Reader, Unavailable};
use crate::model::{CampaignNo, ContactNo, DeliveryKey, Receipt};
use crate::token::{Key, Keyring};

const DELIVERY: DeliveryKey = DeliveryKey { campaign: CampaignNo(7), contact: ContactNo(9), occurrence: 0 };

fn keyring() -> Arc<Keyring> {
    Arc::new(Keyring::new(Key::new(0, &[7; 32]), Vec::new()))
}

fn reader() -> Reader {
    Reader::new(keyring(), false)
}

fn address() -> String {
    let mut address = "bounce+".to_owned();
    keyring().mint_bounce(DELIVERY, &mut address);
    address + "@b.example.com"
}

/// A mail of `tests/data/bounces` about [`DELIVERY`], with line ends as they travel.
fn mail(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/bounces");
    let (mut token, mut unsubscribe) = (String::new(), String::new());
    keyring().mint_bounce(DELIVERY, &mut token);
    keyring().mint_unsubscribe(DELIVERY, &mut unsubscribe);
    let mail = std::fs::read_to_string(folder.join(name).with_extension("eml")).unwrap();
    mail.replace("{token}", &token).replace("{unsubscribe}", &unsubscribe).replace('\n', "\r\n")
}

/// Keeps what is filed; may be away.
#[derive(Debug, Default)]
struct Notebook {
    away: AtomicBool,
    receipts: Mutex<Vec<Receipt>>,
    kinds: Mutex<Vec<Kind>>,
}

impl Notebook {
    fn receipts(&self) -> Vec<Receipt> {
        self.receipts.lock().unwrap().clone()
    }

    fn kinds(&self) -> Vec<Kind> {
        self.kinds.lock().unwrap().clone()
    }

    fn goes(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }
}

#[async_trait]
impl Book for Notebook {
    async fn file(&self, receipts: Vec<Receipt>) -> Result<(), Unavailable> {
        if self.away.load(Ordering::SeqCst) {
            return Err(Unavailable);
        }
        self.receipts.lock().unwrap().extend(receipts);
        Ok(())
    }

    fn took(&self, kind: Kind) {
        self.kinds.lock().unwrap().push(kind);
    }
}
