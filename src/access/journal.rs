//! The one place that writes the audit log.
//!
//! A row follows its deed in a transaction of its own, so a crash between the two leaves a deed without a row; one that
//! the store does not take is told in the process's log instead.

use tracing::error;

use crate::model::audit::Deed;
use crate::store::{Audit, Error};
use crate::telemetry::logs::without_addresses;

/// Bytes of a subject or a detail, at most.
const LONGEST: usize = 400;

/// Writes deeds, with anything that looks like an address masked.
///
/// # Errors
/// As the store's; the deeds are in the log then.
pub async fn record<S: Audit + ?Sized>(store: &S, mut deeds: Vec<Deed>) -> Result<(), Error> {
    if deeds.is_empty() {
        return Ok(());
    }
    for deed in &mut deeds {
        for text in [&mut deed.subject, &mut deed.detail].into_iter().flatten() {
            *text = short(&without_addresses(text));
        }
    }
    let written = store.audit(&deeds).await;
    if let Err(error) = &written {
        for Deed { who, action, subject, ending, .. } in &deeds {
            let who = who.as_str();
            error!(error = error as &dyn std::error::Error, who, %action, subject, %ending, "not in the audit log");
        }
    }
    written
}

fn short(text: &str) -> String {
    let end = (0..=LONGEST.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;

    use super::*;
    use crate::model::access::Actor;
    use crate::model::audit::{Action, Ending};
    use crate::store::audit::{AuditQuery, AuditRecord};

    #[derive(Default)]
    struct Pages(Mutex<Vec<Deed>>);

    #[async_trait]
    impl Audit for Pages {
        async fn audit(&self, deeds: &[Deed]) -> Result<(), Error> {
            self.0.lock().unwrap().extend_from_slice(deeds);
            Ok(())
        }

        async fn audit_log(&self, _: &AuditQuery) -> Result<Vec<AuditRecord>, Error> {
            panic!("it only writes")
        }

        async fn prune_audit(&self, _: u32) -> Result<u64, Error> {
            panic!("it only writes")
        }
    }

    #[tokio::test]
    async fn addresses_do_not_get_in() {
        let pages = Pages::default();
        let deed = Deed::new(Actor::loopback(), Action::JobAccepted, Ending::Done)
            .subject("campaign for-anna@example.com")
            .detail(format!("+8613800138000 {}", "字".repeat(200)));
        record(&pages, vec![deed]).await.unwrap();
        let written = pages.0.lock().unwrap().remove(0);
        assert_eq!(written.subject.as_deref(), Some("campaign f***@example.com"));
        let detail = written.detail.unwrap();
        assert!(detail.starts_with("***00 字") && detail.len() <= LONGEST, "{detail}");
    }
}
