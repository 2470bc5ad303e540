//! Who asks, and what they may do: scopes, and the names under which the audit log keeps people and programs.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// What an API token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Whatever only reads: campaigns, reports, contacts, metrics.
    Read,
    /// Handing in jobs, except controls, and writing contacts.
    Send,
    /// Everything.
    Admin,
}

impl Scope {
    pub const ALL: [Scope; 3] = [Scope::Read, Scope::Send, Scope::Admin];

    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::Send => "send",
            Scope::Admin => "admin",
        }
    }

    fn bit(self) -> i16 {
        match self {
            Scope::Read => 1,
            Scope::Send => 2,
            Scope::Admin => 4,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Scope::ALL.into_iter().find(|scope| scope.as_str() == text);
        found.ok_or_else(|| format!("`{text}` is no scope: write read, send or admin"))
    }
}

/// A set of scopes; `admin` includes the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scopes(i16);

impl Scopes {
    pub const ALL: Scopes = Scopes(7);

    pub fn allow(self, scope: Scope) -> bool {
        self.0 & (scope.bit() | Scope::Admin.bit()) != 0
    }

    /// What is left where nothing but reading is allowed.
    #[must_use]
    pub fn reading(self) -> Scopes {
        if self.allow(Scope::Read) { Scopes(Scope::Read.bit()) } else { Scopes::default() }
    }

    /// As the store keeps them.
    pub fn code(self) -> i16 {
        self.0
    }

    pub fn from_code(code: i16) -> Option<Scopes> {
        (0..=Scopes::ALL.0).contains(&code).then_some(Scopes(code))
    }

    pub fn names(self) -> Vec<&'static str> {
        let given = Scope::ALL.into_iter().filter(|scope| self.0 & scope.bit() != 0);
        given.map(Scope::as_str).collect()
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Scopes(scopes.into_iter().fold(0, |set, scope| set | scope.bit()))
    }
}

impl Serialize for Scopes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.names())
    }
}

/// Who did something, as the audit log keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Actor(String);

impl Actor {
    /// The holder of an API token.
    pub fn token(name: &str) -> Self {
        Actor(format!("token:{name}"))
    }

    /// A program of this machine that showed no token.
    pub fn loopback() -> Self {
        Actor("loopback".to_owned())
    }

    /// A user of the operating system, by a command.
    pub fn command(user: &str) -> Self {
        Actor(format!("cli:{user}"))
    }

    /// Whoever may publish to the queues.
    pub fn rabbitmq() -> Self {
        Actor("rabbitmq".to_owned())
    }

    /// Whoever may send the daemon a signal.
    pub fn signal() -> Self {
        Actor("signal".to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Who sent a request to the admin listener, and what they may do there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub actor: Actor,
    pub scopes: Scopes,
}

impl Caller {
    /// Where the listener is on loopback, every program of the machine may do everything.
    pub fn loopback() -> Self {
        Caller { actor: Actor::loopback(), scopes: Scopes::ALL }
    }
}

/// Whether a text may name a token: it stands in logs and in the audit log.
///
/// # Errors
/// What a name looks like.
pub fn check_token_name(name: &str) -> Result<(), String> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
    if (1..=64).contains(&name.len()) && name.bytes().all(plain) {
        return Ok(());
    }
    Err("a token's name has 1 to 64 of a-z, 0-9, `-` and `_`".to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn admin_is_everything_and_the_others_are_themselves() {
        let only = |scope: Scope| Scopes::from_iter([scope]);
        for scope in Scope::ALL {
            assert!(only(Scope::Admin).allow(scope));
            assert!(only(scope).allow(scope) && !Scopes::default().allow(scope));
        }
        assert!(!only(Scope::Send).allow(Scope::Read) && !only(Scope::Read).allow(Scope::Send));
        assert!(!only(Scope::Read).allow(Scope::Admin) && !only(Scope::Send).allow(Scope::Admin));
    }

    #[test]
    fn reading_is_never_more_than_was_given() {
        assert_eq!(Scopes::ALL.reading().names(), ["read"]);
        assert_eq!(Scopes::from_iter([Scope::Send]).reading(), Scopes::default());
    }

    #[test]
    fn names_are_plain_words() {
        assert!(["billing", "shop-2", "a_b"].iter().all(|name| check_token_name(name).is_ok()));
        let long = "x".repeat(65);
        assert!(["", "Shop", "a b", "a:b", &long].iter().all(|name| check_token_name(name).is_err()));
    }

    proptest! {
        #[test]
        fn scopes_survive_being_stored(code in any::<i16>()) {
            if let Some(scopes) = Scopes::from_code(code) {
                prop_assert_eq!(scopes.code(), code);
                let named: Scopes = scopes.names().iter().map(|name| name.parse::<Scope>().unwrap()).collect();
                prop_assert_eq!(named, scopes);
            }
        }
    }
}
