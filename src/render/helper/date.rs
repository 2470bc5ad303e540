//! Dates and times in the recipient's language (Unicode CLDR, Gregorian calendar) and time zone.

use icu_datetime::FixedCalendarDateTimeFormatter as Formatter;
use icu_datetime::fieldsets::{T, YMD, YMDE, YMDT};
use icu_datetime::input::{Date, DateTime, Time};
use jiff::civil;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde_json::Value;

use super::{Arg, Call, Refusal, wrong};

/// From here on a number counts milliseconds, not seconds: 1973 in the one, the year 5138 in the other.
const MILLISECONDS_FROM: i64 = 100_000_000_000;

const STYLES: [&str; 6] = ["short", "medium", "long", "full", "time", "datetime"];

/// `{{date when "long"}}`; `format` (strftime) instead of a style; `zone` instead of the recipient's time zone.
pub(super) fn date(call: &Call<'_>) -> Result<Value, Refusal> {
    let zone = zone(call)?;
    let pattern = call.option_text("format")?;
    let style = if call.params.len() > 1 { call.param(1).text()? } else { "medium".into() };
    if !STYLES.contains(&style.as_ref()) {
        return Err(wrong(format!("the style is one of {}", STYLES.join(", "))));
    }
    if let Some(pattern) = &pattern {
        jiff::fmt::strtime::format(pattern.as_ref(), &Zoned::default())
            .map_err(|_| wrong("`format` is not a strftime pattern, as %Y-%m-%d is"))?;
    }
    let Some(when) = moment(call.param(0), &zone)? else { return Ok(Value::Null) };
    match pattern {
        Some(pattern) => jiff::fmt::strtime::format(pattern.as_ref(), &when)
            .map(Value::from)
            .map_err(|_| wrong("`format` does not fit this date")),
        None => localized(call, &style, &when).map(Value::from),
    }
}

fn zone(call: &Call<'_>) -> Result<TimeZone, Refusal> {
    if let Some(name) = call.option_text("zone")? {
        return TimeZone::get(&name).map_err(|_| wrong("`zone` is no IANA time zone, as Asia/Shanghai is"));
    }
    Ok(call.timezone.and_then(|name| TimeZone::get(name).ok()).unwrap_or(TimeZone::UTC))
}

/// RFC 3339, a date or date and time without offset (then local), or Unix seconds or milliseconds; `None` for null.
fn moment(arg: Arg<'_>, zone: &TimeZone) -> Result<Option<Zoned>, Refusal> {
    let parsed = match arg.required()? {
        Value::Null => return Ok(None),
        Value::String(text) => parse(text.trim(), zone),
        Value::Number(number) => number.as_i64().and_then(|unix| {
            let instant = if unix.abs() < MILLISECONDS_FROM {
                Timestamp::from_second(unix)
            } else {
                Timestamp::from_millisecond(unix)
            };
            Some(instant.ok()?.to_zoned(zone.clone()))
        }),
        _ => None,
    };
    parsed
        .map(Some)
        .ok_or_else(|| wrong(format!("{} is no date, as 2026-04-01T09:00:00+08:00 is", arg.label())))
}

fn parse(text: &str, zone: &TimeZone) -> Option<Zoned> {
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Some(instant.to_zoned(zone.clone()));
    }
    text.parse::<civil::DateTime>().ok()?.to_zoned(zone.clone()).ok()
}

fn localized(call: &Call<'_>, style: &str, when: &Zoned) -> Result<String, Refusal> {
    let outside = |_| wrong("the date is out of range");
    let date =
        Date::try_new_gregorian(when.year().into(), when.month().unsigned_abs(), when.day().unsigned_abs())
            .map_err(outside)?;
    let time = Time::try_new(
        when.hour().unsigned_abs(),
        when.minute().unsigned_abs(),
        when.second().unsigned_abs(),
        0,
    )
    .map_err(outside)?;
    let input = DateTime { date, time };
    macro_rules! write {
        ($fields:expr) => {
            Formatter::try_new(call.locale().into(), $fields)
                .map(|formatter| formatter.format(&input).to_string())
        };
    }
    let text = match style {
        "short" => write!(YMD::short()),
        "long" => write!(YMD::long()),
        "full" => write!(YMDE::long()),
        "time" => write!(T::hm()),
        "datetime" => {
            write!(YMDT::medium().with_time_precision(icu_datetime::options::TimePrecision::Minute))
        }
        _ => write!(YMD::medium()),
    };
    // CLDR's narrow space before AM and PM would make a text message cost twice.
    text.map(|text| text.replace('\u{202f}', " ")).map_err(|_| wrong("the locale has no date format"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::eval;
    use serde_json::json;

    #[test]
    fn dates_follow_locale_and_time_zone() {
        let data = json!({"t": "2026-04-01T23:30:00Z", "d": "2026-04-01", "local": "2026-04-01T09:05", "unix": 1_775_000_000, "ms": 1_775_000_000_000_i64, "null": null});
        for (expression, locale, zone, answer) in [
            ("date t", "en-US", "UTC", "Apr 1, 2026"),
            ("date t", "en-US", "Asia/Shanghai", "Apr 2, 2026"),
            ("date t \"long\"", "zh-CN", "Asia/Shanghai", "2026年4月2日"),
            ("date t \"long\"", "de", "Europe/Berlin", "2. April 2026"),
            ("date t \"full\"", "en", "UTC", "Wednesday, April 1, 2026"),
            ("date t \"short\"", "en-US", "UTC", "4/1/26"),
            ("date t \"time\"", "en-US", "UTC", "11:30 PM"),
            ("date t \"time\"", "de", "UTC", "23:30"),
            ("date t \"datetime\"", "en", "UTC", "Apr 1, 2026, 11:30 PM"),
            ("date t format=\"%Y-%m-%d %H:%M\"", "en", "Asia/Shanghai", "2026-04-02 07:30"),
            ("date t format=\"%H:%M\" zone=\"America/New_York\"", "en", "Asia/Shanghai", "19:30"),
            ("date d", "en", "Pacific/Auckland", "Apr 1, 2026"),
            ("date local \"time\"", "en-GB", "Asia/Shanghai", "09:05"),
            ("date unix", "en", "UTC", "Mar 31, 2026"),
            ("date ms", "en", "UTC", "Mar 31, 2026"),
            ("date t", "en", "Mars/Olympus", "Apr 1, 2026"),
            ("date null", "en", "UTC", ""),
        ] {
            assert_eq!(
                eval(expression, data.clone(), locale, zone).unwrap(),
                answer,
                "{expression} {locale} {zone}"
            );
        }
    }

    #[test]
    fn wrong_calls_say_what_is_wrong() {
        let error = |expression| {
            eval(expression, json!({"t": "2026-04-01", "x": "tomorrow, maybe"}), "en", "UTC").unwrap_err()
        };
        assert_eq!(error("date x"), "date: `x` is no date, as 2026-04-01T09:00:00+08:00 is");
        assert!(error("date t \"huge\"").contains("the style is one of short, medium"));
        assert!(error("date t format=\"%!\"").contains("strftime"));
        assert!(error("date t zone=\"Mars\"").contains("IANA"));
    }
}
