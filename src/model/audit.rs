//! What the audit log keeps: a closed list of deeds that change what is sent, to whom, or who may say so.

use std::fmt;

use super::access::Actor;
use super::campaign::Control;

/// Each word is part of the log's format: it is added to, never renamed.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            pub const ALL: &[$name] = &[$($name::$variant),+];

            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// What was done.
    Action {
        /// A campaign or a control came as a job. Messages and contacts are too many to be kept one by one.
        JobAccepted = "job_accepted",
        CampaignPaused = "campaign_paused",
        CampaignResumed = "campaign_resumed",
        CampaignCancelled = "campaign_cancelled",
        DeliveryResolved = "delivery_resolved",
        ContactsImported = "contacts_imported",
        ContactExported = "contact_exported",
        ContactErased = "contact_erased",
        SuppressionAdded = "suppression_added",
        SuppressionRemoved = "suppression_removed",
        TestSent = "test_sent",
        DeadRetried = "dead_retried",
        DeadDropped = "dead_dropped",
        TokenCreated = "token_created",
        TokenRevoked = "token_revoked",
        /// Another key of tracking tokens, which signs from then on.
        KeyRotated = "key_rotated",
        KeyRetired = "key_retired",
        ConfigReloaded = "config_reloaded",
    }
}

impl From<Control> for Action {
    fn from(control: Control) -> Self {
        match control {
            Control::Pause => Action::CampaignPaused,
            Control::Resume => Action::CampaignResumed,
            Control::Cancel => Action::CampaignCancelled,
        }
    }
}

words! {
    /// What became of it.
    Ending {
        Done = "done",
        /// There is no such thing.
        NotFound = "not_found",
        /// A rule said no, or what was given was wrong; nothing changed.
        Refused = "refused",
        /// It broke off: some of it may have been done.
        Failed = "failed",
    }
}

/// One line of the audit log, before it is written. Holds no address and no body: a contact's id is here only to be
/// hashed by the store, since it may be the last thing that names an erased person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deed {
    pub who: Actor,
    pub action: Action,
    /// A campaign, a job, a token, a tracking key or dead letters, by id.
    pub subject: Option<String>,
    /// An external id. Kept as its keyed hash alone.
    pub contact: Option<String>,
    /// The hash of a job's content.
    pub content: Option<[u8; 32]>,
    pub ending: Ending,
    /// How many, or which way.
    pub detail: Option<String>,
}

impl Deed {
    pub fn new(who: Actor, action: Action, ending: Ending) -> Self {
        Deed { who, action, subject: None, contact: None, content: None, ending, detail: None }
    }

    #[must_use]
    pub fn subject(self, subject: impl Into<String>) -> Self {
        Deed { subject: Some(subject.into()), ..self }
    }

    #[must_use]
    pub fn contact(self, external_id: impl Into<String>) -> Self {
        Deed { contact: Some(external_id.into()), ..self }
    }

    #[must_use]
    pub fn detail(self, detail: impl Into<String>) -> Self {
        Deed { detail: Some(detail.into()), ..self }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn words_are_told_apart() {
        let actions: BTreeSet<_> = Action::ALL.iter().map(|action| action.as_str()).collect();
        let endings: BTreeSet<_> = Ending::ALL.iter().map(|ending| ending.as_str()).collect();
        assert_eq!((actions.len(), endings.len()), (Action::ALL.len(), Ending::ALL.len()));
    }
}
