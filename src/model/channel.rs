//! Channels, lanes and purposes: the small closed vocabularies that jobs and rows share.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A closed set of words that is also stored as a small number and used as a metric label.
macro_rules! vocabulary {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $code:literal => $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $word)] $variant = $code),+ }

        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The word that users see and metrics carry.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }

            /// The number in the store; never changes once released.
            pub fn code(self) -> i16 {
                self as i16
            }

            pub fn from_code(code: i16) -> Option<Self> {
                match code { $($code => Some($name::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(word: &str) -> Result<Self, String> {
                match word {
                    $($word => Ok($name::$variant),)+
                    _ => Err(format!("`{word}` is none of {}", [$($word),+].join(", "))),
                }
            }
        }
    };
}
pub(crate) use vocabulary;

vocabulary! {
    /// How a person is reached.
    Channel { Email = 1 => "email", Sms = 2 => "sms", Wechat = 3 => "wechat", Push = 4 => "push" }
}

vocabulary! {
    /// Which work goes first on a channel.
    Lane { Transactional = 0 => "transactional", Normal = 1 => "normal", Bulk = 2 => "bulk" }
}

vocabulary! {
    /// Why a message is sent; decides which consent rules apply.
    Purpose {
        /// Needs consent, honours unsubscribes, carries a way to unsubscribe.
        Marketing = 1 => "marketing",
        /// About something the recipient did; ignores unsubscribes and missing consent.
        Service = 2 => "service",
    }
}
