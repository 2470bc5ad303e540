//! Beijing's clock, by which Chinese providers count their windows and write their times: UTC+8 all year.

use std::time::Duration;

use jiff::civil::{Date, DateTime};
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, ToSpan as _, Zoned};

const OFFSET: Offset = Offset::constant(8);

/// When a provider takes more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::provider) enum Until {
    Seconds(u64),
    NextMinute,
    NextHour,
    NextDay,
    NextMonth,
    /// When marketing may go out again: from 08:00 to 22:00.
    Morning,
}

impl Until {
    /// How long that is; never nothing.
    pub(in crate::provider) fn from(self, now: Timestamp) -> Duration {
        let local = now.to_zoned(TimeZone::fixed(OFFSET));
        let (date, time) = (local.date(), local.time());
        let second =
            i64::from(time.hour()) * 3_600 + i64::from(time.minute()) * 60 + i64::from(time.second());
        let seconds = match self {
            Until::Seconds(seconds) => return Duration::from_secs(seconds),
            Until::NextMinute => 60 - second % 60,
            Until::NextHour => 3_600 - second % 3_600,
            Until::NextDay => 86_400 - second,
            Until::NextMonth => return until_month_after(date, &local),
            Until::Morning => match time.hour() {
                0..8 => 8 * 3_600 - second,
                // The provider's clock and ours do not agree; a minute settles that.
                8..22 => 60,
                _ => 32 * 3_600 - second,
            },
        };
        Duration::from_secs(seconds.unsigned_abs().max(1))
    }
}

fn until_month_after(date: Date, now: &Zoned) -> Duration {
    const MONTH: Duration = Duration::from_secs(31 * 86_400);
    let first =
        date.first_of_month().checked_add(1.month()).and_then(|date| date.to_zoned(TimeZone::fixed(OFFSET)));
    first.ok().and_then(|first| Duration::try_from(first.duration_since(now)).ok()).unwrap_or(MONTH)
}

/// `2017-01-01 00:00:00` as providers write it, without a zone.
pub(in crate::provider) fn instant(text: &str) -> Option<Timestamp> {
    let at: DateTime = text.trim().parse().ok()?;
    OFFSET.to_timestamp(at).ok()
}

/// `20170101`, the day of an instant as providers are asked for it.
pub(in crate::provider) fn day(at: Timestamp) -> String {
    at.to_zoned(TimeZone::fixed(OFFSET)).strftime("%Y%m%d").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_end_by_beijings_clock() {
        for (now, until, wanted) in [
            ("2026-11-21T02:00:59Z", Until::NextMinute, 1),
            ("2026-11-21T02:00:00Z", Until::NextMinute, 60),
            ("2026-11-21T02:59:00Z", Until::NextHour, 60),
            ("2026-11-21T15:00:00Z", Until::NextDay, 3_600),
            ("2026-11-21T16:00:00Z", Until::NextDay, 86_400),
            ("2026-12-31T15:00:00Z", Until::NextMonth, 3_600),
            ("2026-11-29T16:00:00Z", Until::NextMonth, 86_400),
            ("2026-11-21T14:00:00Z", Until::Morning, 10 * 3_600),
            ("2026-11-21T23:59:59Z", Until::Morning, 1),
            ("2026-11-21T18:00:00Z", Until::Morning, 6 * 3_600),
            ("2026-11-21T03:00:00Z", Until::Morning, 60),
            ("2026-11-21T03:00:00Z", Until::Seconds(30), 30),
        ] {
            let wait = until.from(now.parse().unwrap());
            assert_eq!(wait, Duration::from_secs(wanted), "{now} {until:?}");
        }
    }

    #[test]
    fn written_times_are_beijings() {
        assert_eq!(instant("2017-01-01 00:00:00"), Some("2016-12-31T16:00:00Z".parse().unwrap()));
        assert_eq!(instant("2026-11-21 08:03:04").unwrap().to_string(), "2026-11-21T00:03:04Z");
        assert_eq!(day("2016-12-31T16:00:00Z".parse().unwrap()), "20170101");
        for bad in ["", "yesterday", "2017-13-01 00:00:00"] {
            assert_eq!(instant(bad), None);
        }
    }
}
