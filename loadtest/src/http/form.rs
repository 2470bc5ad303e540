//! Queries and forms: pairs read leniently, written strictly.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// RFC 3986, section 2.3: what is never encoded.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The decoded pairs of a query or an `application/x-www-form-urlencoded` body, in their order; `+` is a space.
///
/// # Errors
/// None where a decoded pair is not UTF-8.
pub fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(key)?, decode(value)?))
        })
        .collect()
}

fn decode(text: &str) -> Option<String> {
    let spaced: Cow<'_, str> = if text.contains('+') { text.replace('+', " ").into() } else { text.into() };
    percent_decode_str(&spaced).decode_utf8().ok().map(Cow::into_owned)
}

/// RFC 3986 encoding of everything but the unreserved characters.
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

/// The pairs as a form or a query, each strictly encoded.
pub fn write<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut form = String::new();
    for (key, value) in pairs {
        if !form.is_empty() {
            form.push('&');
        }
        form.extend(utf8_percent_encode(key, UNRESERVED));
        form.push('=');
        form.extend(utf8_percent_encode(value, UNRESERVED));
    }
    form
}

/// The value of the first pair with this key.
pub fn value<'a>(pairs: &'a [(String, String)], key: &str) -> Option<&'a str> {
    pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded_and_written_strictly() {
        let read = pairs("a=%E5%BC%A0+x*~&b&c=1%3D").unwrap();
        assert_eq!(value(&read, "a"), Some("张 x*~"));
        assert_eq!(value(&read, "b"), Some(""));
        let written = write(read.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        assert_eq!(written, "a=%E5%BC%A0%20x%2A~&b=&c=1%3D");
        assert_eq!(pairs("a=%ff"), None);
    }
}
