//! The languages that pages have, and which one a browser prefers.

use axum::http::{HeaderMap, header};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    English,
    Chinese,
}

impl Language {
    /// The preferred one of the two by `Accept-Language` (RFC 9110, section 12.5.4); English where it names neither.
    pub fn preferred(headers: &HeaderMap) -> Self {
        let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        let mut best = (0.0, Self::English);
        for (weight, language) in accepted.unwrap_or_default().split(',').filter_map(weighed) {
            if weight > best.0 {
                best = (weight, language);
            }
        }
        best.1
    }

    /// As `lang` and `Content-Language` take it (RFC 5646).
    pub fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Chinese => "zh",
        }
    }
}

/// One entry of `Accept-Language`, as `zh-CN;q=0.8`, where it names one of ours.
fn weighed(entry: &str) -> Option<(f32, Language)> {
    let (range, parameter) = entry.split_once(';').unwrap_or((entry, "q=1"));
    let language = match range.trim().split('-').next()?.to_ascii_lowercase().as_str() {
        "en" => Language::English,
        "zh" => Language::Chinese,
        _ => return None,
    };
    let weight = parameter.trim().strip_prefix("q=")?.parse().ok()?;
    Some((weight, language))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_preferred_language_wins() {
        for (accepted, expected) in [
            ("zh-CN,zh;q=0.9,en;q=0.8", Language::Chinese),
            ("de-DE,de;q=0.9,en;q=0.5,zh;q=0.4", Language::English),
            ("en;q=0.3, ZH-Hant-TW;q=0.7", Language::Chinese),
            ("zh;q=0", Language::English),
            ("fr", Language::English),
            ("zh;q=nonsense,;;,=", Language::English),
            ("", Language::English),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_LANGUAGE, HeaderValue::from_static(accepted));
            assert_eq!(Language::preferred(&headers), expected, "{accepted}");
        }
        assert_eq!(Language::preferred(&HeaderMap::new()), Language::English);
    }
}
