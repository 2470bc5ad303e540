//! The tokens that a team signs: whose they are, how old they are, how often they change.
//!
//! <https://developer.apple.com/documentation/usernotifications/establishing-a-token-based-connection-to-apns>

use std::sync::{Mutex, PoisonError};

use crate::jwt::PublicKey;

/// A token is good for so many seconds.
const LIFE: i64 = 3600;
/// The sender's clock may be ahead by so many seconds.
const AHEAD: i64 = 300;

#[derive(Debug)]
pub(super) struct ProviderTokens {
    key: PublicKey,
    team_id: String,
    key_id: String,
    updates_apart: i64,
    newest: Mutex<Option<Known>>,
}

/// The newest token, so that each of many requests need not be verified.
#[derive(Debug)]
struct Known {
    token: String,
    issued: i64,
    /// When it was first seen.
    seen: i64,
}

impl ProviderTokens {
    pub(super) fn new(key: PublicKey, team_id: String, key_id: String, updates_apart: i64) -> Self {
        ProviderTokens { key, team_id, key_id, updates_apart, newest: Mutex::default() }
    }

    /// Whether the token is good; else Apple's reason. The token before the newest one is no longer known.
    pub(super) fn check(&self, token: &str, now: i64) -> Result<(), &'static str> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let known = newest.as_ref().filter(|known| known.token == token);
        let issued = match known {
            Some(known) => known.issued,
            None => self.verified(token)?,
        };
        if issued > now + AHEAD {
            return Err("InvalidProviderToken");
        }
        if now - issued >= LIFE {
            return Err("ExpiredProviderToken");
        }
        if known.is_none() {
            if newest.as_ref().is_some_and(|last| now - last.seen < self.updates_apart) {
                return Err("TooManyProviderTokenUpdates");
            }
            *newest = Some(Known { token: token.to_owned(), issued, seen: now });
        }
        Ok(())
    }

    /// When the token was issued.
    fn verified(&self, token: &str) -> Result<i64, &'static str> {
        let token = self.key.verify(token).ok_or("InvalidProviderToken")?;
        let own = token.header["kid"] == self.key_id.as_str() && token.claims["iss"] == self.team_id.as_str();
        token.claims["iat"].as_i64().filter(|_| own).ok_or("InvalidProviderToken")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tokens of official clients, by when they were issued.
    fn captured(issued: i64) -> &'static str {
        let capture = include_str!("../../captures/apns_h2.txt");
        let mut tokens = capture.split("authorization: bearer ").skip(1);
        let index = match issued {
            1_795_281_583 => 0,
            1_795_281_600 => 3,
            _ => 5,
        };
        tokens.nth(index).and_then(|rest| rest.split('\n').next()).unwrap()
    }

    fn tokens(updates_apart: i64) -> ProviderTokens {
        let key = PublicKey::p256(include_str!("../../captures/p256_test_public.pem")).unwrap();
        ProviderTokens::new(key, "TEAMID1234".to_owned(), "KEYID12345".to_owned(), updates_apart)
    }

    #[test]
    fn a_token_is_good_for_an_hour() {
        let issued = 1_795_281_583;
        for (age, wanted) in [
            (-301, Err("InvalidProviderToken")),
            (-300, Ok(())),
            (3599, Ok(())),
            (3600, Err("ExpiredProviderToken")),
        ] {
            assert_eq!(tokens(1200).check(captured(issued), issued + age), wanted, "{age}");
        }
        let tokens = tokens(1200);
        assert_eq!(tokens.check(captured(issued), issued), Ok(()));
        assert_eq!(tokens.check(captured(issued), issued + 3600), Err("ExpiredProviderToken"));
        assert_eq!(tokens.check("a.b.c", issued), Err("InvalidProviderToken"));
    }

    #[test]
    fn a_new_token_waits_for_twenty_minutes() {
        let (first, second) = (1_795_281_583, 1_795_281_600);
        let tokens = tokens(1200);
        assert_eq!(tokens.check(captured(first), second), Ok(()));
        assert_eq!(tokens.check(captured(second), second + 1199), Err("TooManyProviderTokenUpdates"));
        assert_eq!(tokens.check(captured(first), second + 1199), Ok(()));
        assert_eq!(tokens.check(captured(second), second + 1200), Ok(()));
    }
}
