//! A folder that a mail server delivers to, one file a mail: what is in `new/` is read, and moved to `cur/` as seen once
//! its receipts are durable (<https://cr.yp.to/proto/maildir.html>). Deletes nothing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::fs::{self, File};
use tokio::io::AsyncReadExt as _;
use tokio::time::sleep;
use tracing::{info, warn};

use super::{Book, Kind, LOOKED_AT, Reader};
use crate::lifecycle::Shutdown;

/// Mails whose receipts are written together.
const GROUP: usize = 200;

/// Reads a maildir again and again.
#[derive(Debug, Clone)]
pub struct Maildir {
    /// The folder that has `new/` and `cur/` in it.
    pub path: PathBuf,
    pub reader: Reader,
    pub book: Arc<dyn Book>,
    /// From one look into the folder to the next.
    pub every: Duration,
}

/// Why the mails stay where they are for now.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stuck {
    #[error("{} cannot be read; is it a maildir that this user may read?", .path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("a mail cannot be moved from new/ to cur/ in {}; may this user write there?", .path.display())]
    Move { path: PathBuf, source: io::Error },
    #[error("the store does not answer")]
    Store,
}

impl Maildir {
    /// Until `part` is asked to end. What cannot be read or written is tried again.
    pub async fn run(self, part: Shutdown) {
        let mut well = true;
        while !part.is_asked() {
            let _activity = part.activity("bounces in the maildir");
            let round = self.round().await;
            if well != round.is_ok() {
                well = !well;
                match &round {
                    Ok(_) => info!("the maildir of bounces is read again"),
                    Err(stuck) => {
                        warn!(error = stuck as &dyn std::error::Error, "bounces stay in their maildir");
                    }
                }
            }
            if round.is_ok_and(|taken| taken == GROUP) {
                continue;
            }
            tokio::select! {
                () = part.asked() => {}
                () = sleep(self.every) => {}
            }
        }
    }

    /// Takes up to [`GROUP`] mails and tells how many.
    pub(super) async fn round(&self) -> Result<usize, Stuck> {
        let (mut mails, mut receipts) = (Vec::new(), Vec::new());
        for name in self.names().await? {
            let Some(mail) = self.mail(&name).await? else { continue };
            let reading = self.reader.read(&mail, &[], Timestamp::now());
            receipts.extend(reading.receipts);
            mails.push((name, reading.kind));
        }
        if !receipts.is_empty() {
            self.book.file(receipts).await.map_err(|_| Stuck::Store)?;
        }
        for (name, kind) in &mails {
            self.seen(name, *kind).await?;
        }
        Ok(mails.len())
    }

    async fn names(&self) -> Result<Vec<PathBuf>, Stuck> {
        let new = self.path.join("new");
        let folder = |source| Stuck::Folder { path: new.clone(), source };
        let mut entries = fs::read_dir(&new).await.map_err(folder)?;
        let mut names = Vec::new();
        while names.len() < GROUP
            && let Some(entry) = entries.next_entry().await.map_err(folder)?
        {
            let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            if !hidden && entry.file_type().await.map_err(folder)?.is_file() {
                names.push(entry.path());
            }
        }
        Ok(names)
    }

    /// The front of a mail; `None` where another reader was faster.
    async fn mail(&self, path: &Path) -> Result<Option<Vec<u8>>, Stuck> {
        let mut mail = Vec::new();
        let read = async {
            let file = File::open(path).await?;
            file.take(LOOKED_AT as u64).read_to_end(&mut mail).await
        };
        match read.await {
            Ok(_) => Ok(Some(mail)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Stuck::Folder { path: self.path.join("new"), source }),
        }
    }

    async fn seen(&self, from: &Path, kind: Kind) -> Result<(), Stuck> {
        let mut name = from.file_name().unwrap_or_default().to_owned();
        if !name.as_encoded_bytes().contains(&b':') {
            name.push(":2,S");
        }
        match fs::rename(from, self.path.join("cur").join(name)).await {
            Ok(()) => {
                self.book.took(kind);
                Ok(())
            }
            Err(error)
                if error.kind() == io::ErrorKind::NotFound && !fs::try_exists(from).await.unwrap_or(true) =>
            {
                Ok(())
            }
            Err(source) => Err(Stuck::Move { path: self.path.clone(), source }),
        }
    }
}
