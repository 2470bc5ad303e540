//! What an answer's headers say about coming again.

use std::time::Duration;

use http::{HeaderMap, header};
use jiff::Timestamp;
use jiff::fmt::rfc2822;

/// What providers ask for is believed up to this, the longest wait of any schedule: a wait must end, and can be counted in.
const LONGEST: Duration = Duration::from_secs(24 * 3_600);

/// A wait of so many seconds, at most a day.
pub fn wait(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds.min(LONGEST.as_secs_f64()).max(0.0))
}

/// `Retry-After` as seconds or as a date (RFC 9110, section 10.2.3); a date that has passed is no wait, and
/// none is longer than a day.
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if value.bytes().all(|byte| byte.is_ascii_digit()) {
        return value.parse().ok().map(wait);
    }
    let at = rfc2822::parse(value).ok()?.timestamp();
    Some(Duration::try_from(at.duration_since(now)).unwrap_or_default().min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_seconds_or_dates() {
        let now: Timestamp = "2026-04-01T10:00:00Z".parse().unwrap();
        for (value, wanted) in [
            ("120", Some(120)),
            ("0", Some(0)),
            ("Wed, 01 Apr 2026 10:00:30 GMT", Some(30)),
            ("Wed, 01 Apr 2026 09:00:00 GMT", Some(0)),
            ("86401", Some(86_400)),
            ("18446744073709551615", Some(86_400)),
            ("99999999999999999999999999", Some(86_400)),
            ("Sat, 01 Apr 9026 10:00:30 GMT", Some(86_400)),
            ("-1", None),
            ("", None),
            ("1e3", None),
            ("soon", None),
        ] {
            let headers = HeaderMap::from_iter([(header::RETRY_AFTER, value.parse().unwrap())]);
            assert_eq!(retry_after(&headers, now), wanted.map(Duration::from_secs), "{value}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn no_number_makes_a_wait_that_does_not_end() {
        for (seconds, wanted) in [(2.5, 2.5), (-1.0, 0.0), (1e300, 86_400.0), (f64::INFINITY, 86_400.0)] {
            assert_eq!(wait(seconds), Duration::from_secs_f64(wanted), "{seconds}");
        }
    }
}
