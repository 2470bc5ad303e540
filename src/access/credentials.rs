//! What a request shows of itself: a token as `Bearer` (RFC 6750), or, from a browser, as the password of `Basic` (RFC 7617).

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Credentials {
    None,
    Bearer(String),
    /// A browser sends it along with whatever any page makes it ask for: good for reading alone.
    Basic(String),
    /// Something else, or more than one.
    Unreadable,
}

impl Credentials {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut lines = headers.get_all(AUTHORIZATION).iter();
        match (lines.next(), lines.next()) {
            (None, _) => Credentials::None,
            (Some(line), None) => line.to_str().ok().and_then(read).unwrap_or(Credentials::Unreadable),
            _ => Credentials::Unreadable,
        }
    }
}

fn read(line: &str) -> Option<Credentials> {
    let (scheme, value) = line.split_once(' ')?;
    let value = value.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(Credentials::Bearer(value.to_owned()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(BASE64_STANDARD.decode(value).ok()?).ok()?;
    // Whatever name a browser's user gave: the token alone counts.
    let (_, password) = pair.split_once(':')?;
    Some(Credentials::Basic(password.to_owned()))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn of(lines: &[&str]) -> Credentials {
        let lines = lines.iter().map(|line| (AUTHORIZATION, HeaderValue::from_str(line).unwrap()));
        let mut headers = HeaderMap::new();
        lines.for_each(|(name, value)| {
            headers.append(name, value);
        });
        Credentials::of(&headers)
    }

    #[test]
    fn both_schemes_are_read_in_any_case() {
        assert_eq!(of(&[]), Credentials::None);
        assert_eq!(of(&["Bearer abc"]), Credentials::Bearer("abc".into()));
        assert_eq!(of(&["bEARER  abc "]), Credentials::Bearer("abc".into()));
        assert_eq!(of(&["Basic YW5uYTpzZWM6cmV0"]), Credentials::Basic("sec:ret".into()));
        for lines in [
            &["Bearer"][..],
            &["abc"],
            &["Digest a=b"],
            &["Basic !"],
            &["Basic YW5uYQ=="],
            &["Bearer a", "Bearer a"],
        ] {
            assert_eq!(of(lines), Credentials::Unreadable, "{lines:?}");
        }
    }

    proptest! {
        #[test]
        fn no_line_breaks_it(line in "[ -~]{0,60}") {
            drop(of(&[&line]));
        }
    }
}
