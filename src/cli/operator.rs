//! Who runs a command, for the audit log: the user that the operating system knows, not one that the environment claims.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::session::Session;
use super::warn;
use crate::access;
use crate::model::access::Actor;
use crate::model::audit::{Action, Deed, Ending};

/// A deed of whoever runs this command.
pub(super) fn deed(action: Action, ending: Ending) -> Deed {
    Deed::new(Actor::command(&user()), action, ending)
}

/// What a yes or a no of the store says of a deed.
pub(super) fn ending(done: bool) -> Ending {
    if done { Ending::Done } else { Ending::NotFound }
}

impl Session {
    /// Writes the audit log. What it does not take is done all the same, and told.
    pub(super) async fn note(&self, deed: Deed) {
        if access::record(&*self.store, vec![deed]).await.is_err() {
            warn("this is not in the audit log: the store did not take it");
        }
    }
}

/// The name behind the effective user id; the number where `/etc/passwd` knows none.
fn user() -> String {
    // The owner of a process's folder is its effective user (proc(5)).
    let Ok(process) = fs::metadata("/proc/self") else { return "unknown".to_owned() };
    let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
    name_of(process.uid(), &accounts).unwrap_or_else(|| process.uid().to_string())
}

fn name_of(user: u32, accounts: &str) -> Option<String> {
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, number) = (fields.next()?, fields.next()?, fields.next()?);
        (number.parse() == Ok(user)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_known_by_number() {
        let accounts = "root:x:0:0:root:/root:/bin/sh\nbroken\nanna:x:1000:1000::/home/anna:/bin/sh\n";
        assert_eq!(name_of(1000, accounts).as_deref(), Some("anna"));
        assert_eq!(name_of(7, accounts), None);
        assert_ne!(user(), "unknown");
    }
}
