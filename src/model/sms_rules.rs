//! What carriers and regulators demand of text messages, as rules that a channel may be held to: a signature, a way to
//! opt out, hours. Says what breaks them; what becomes of that is others' business.

use std::fmt;

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

use super::opt_out::{half_width, is_punctuation};
use super::{Purpose, Reason};

/// Without any, every message is as it should be, at every hour.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SmsRules {
    pub text: TextRules,
    /// When marketing may be sent; `None`: always.
    pub hours: Option<Hours>,
}

/// What a text must have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextRules {
    /// Every text begins or ends with a 【signature】.
    pub signature: bool,
    /// A marketing text ends with one of these; empty: with whatever it likes.
    opt_out: Vec<String>,
}

/// Which rule a text breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breach {
    Signature,
    OptOut,
}

/// Characters of a signature, without its brackets.
const SIGNATURE: std::ops::RangeInclusive<usize> = 2..=12;
/// What Chinese providers ask for (Tencent Cloud: 拒收请回复R), and what older templates have.
const CHINESE_OPT_OUTS: [&str; 5] = ["拒收请回复R", "退订回T", "退订回TD", "回T退订", "回TD退订"];
/// When Chinese providers carry marketing (Tencent Cloud: `MarketingSendTimeConstraint`).
const CHINESE_HOURS: (u16, u16) = (8 * 60, 22 * 60);

impl SmsRules {
    /// Mainland China's, as its providers document them.
    pub fn china() -> Self {
        let (from, to) = CHINESE_HOURS;
        SmsRules {
            text: TextRules::new(true, CHINESE_OPT_OUTS),
            hours: Some(Hours { from, to, zone: Hours::china() }),
        }
    }
}

impl TextRules {
    pub fn new(signature: bool, opt_out: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let opt_out = opt_out.into_iter().map(|wording| plain(bare(wording.as_ref()))).collect();
        TextRules { signature, opt_out }
    }

    /// Accepts these ways to opt out instead.
    #[must_use]
    pub fn with_opt_out(self, opt_out: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        TextRules::new(self.signature, opt_out)
    }

    /// The rule that this message breaks.
    pub fn breach(&self, text: &str, purpose: Purpose) -> Option<Breach> {
        let text = text.trim();
        if self.signature && signature_first(text).or_else(|| signature_last(text)).is_none() {
            return Some(Breach::Signature);
        }
        let ends_well = |text: String| self.opt_out.iter().any(|wording| text.ends_with(wording));
        let asked = purpose == Purpose::Marketing && !self.opt_out.is_empty();
        (asked && !ends_well(plain(bare(text)))).then_some(Breach::OptOut)
    }

    /// The rule that every message of this template breaks, whatever stands for its `{{tags}}`.
    pub fn certain_breach(&self, template: &str, purpose: Purpose) -> Option<Breach> {
        let template = template.trim();
        let Some((_, tail)) = template.rsplit_once("}}") else { return self.breach(template, purpose) };
        let may_sign = template.starts_with(['【', '{']) || tail.is_empty() || tail.ends_with('】');
        if self.signature && !may_sign {
            return Some(Breach::Signature);
        }
        // The tag stands within the signature at the end: what comes before it is not looked at.
        let hidden = tail.contains('】') && !tail.contains('【');
        let tail = plain(bare(tail));
        let may_end = |wording: &String| tail.ends_with(wording) || wording.ends_with(&tail);
        let asked = purpose == Purpose::Marketing && !self.opt_out.is_empty();
        (asked && !hidden && !self.opt_out.iter().any(may_end)).then_some(Breach::OptOut)
    }

    /// Whether a provider that puts 【】 around signatures by itself may be given this one. What has tags may.
    pub fn takes_name(&self, sign_name: &str) -> bool {
        !self.signature || sign_name.contains("{{") || is_signature(sign_name.trim())
    }
}

impl Breach {
    pub fn reason(self) -> Reason {
        match self {
            Breach::Signature => Reason::NoSignature,
            Breach::OptOut => Reason::NoOptOut,
        }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Breach::Signature => {
                "the channel's rules want a signature of 2 to 12 characters at the text's beginning or end, as 【Shop】"
            }
            Breach::OptOut => {
                "the channel's rules want marketing to end with a way to opt out, as 拒收请回复R; `opt_out` lists what counts"
            }
        })
    }
}

fn is_signature(name: &str) -> bool {
    SIGNATURE.contains(&name.chars().count()) && !name.contains(['【', '】'])
}

fn signature_first(text: &str) -> Option<&str> {
    let (name, _) = text.strip_prefix('【')?.split_once('】')?;
    is_signature(name).then_some(name)
}

fn signature_last(text: &str) -> Option<&str> {
    let (_, name) = text.strip_suffix('】')?.rsplit_once('【')?;
    is_signature(name).then_some(name)
}

/// A text without its signature at the end, and without the punctuation before that.
fn bare(text: &str) -> &str {
    let text = text.trim_end();
    let unsigned = text.strip_suffix('】').and_then(|text| text.rsplit_once('【')).map(|(text, _)| text);
    unsigned.unwrap_or(text).trim_end_matches(|c: char| c.is_whitespace() || is_punctuation(half_width(c)))
}

/// One spelling whatever case and width.
fn plain(text: &str) -> String {
    text.chars().map(half_width).flat_map(char::to_uppercase).collect()
}

/// A part of every day, by the clocks of one place; it may go over midnight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours {
    /// Minutes since midnight.
    from: u16,
    to: u16,
    zone: TimeZone,
}

impl Hours {
    /// China's clock: UTC+8 all year, everywhere.
    pub fn china() -> TimeZone {
        TimeZone::fixed(Offset::constant(8))
    }

    /// `08:00-22:00`, up to `24:00`.
    ///
    /// # Errors
    /// What to write instead.
    pub fn new(text: &str, zone: TimeZone) -> Result<Self, String> {
        let read = || {
            let (from, to) = text.split_once('-')?;
            let (from, to) = (minutes(from)?, minutes(to)?);
            (from != to && from < 24 * 60).then_some((from, to))
        };
        let (from, to) = read().ok_or_else(|| format!("`{text}` is not hours of a day, as `08:00-22:00`"))?;
        Ok(Hours { from, to, zone })
    }

    pub fn contains(&self, now: Timestamp) -> bool {
        let time = self.zone.to_datetime(now).time();
        let minute = u16::from(time.hour().unsigned_abs()) * 60 + u16::from(time.minute().unsigned_abs());
        if self.from < self.to {
            (self.from..self.to).contains(&minute)
        } else {
            minute >= self.from || minute < self.to
        }
    }
}

fn minutes(text: &str) -> Option<u16> {
    let (hour, minute) = text.trim().split_once(':')?;
    let two_digits = |text: &str| (text.len() == 2).then(|| text.parse::<u16>().ok()).flatten();
    let (hour, minute) = (two_digits(hour)?, two_digits(minute)?);
    (minute < 60 && hour * 60 + minute <= 24 * 60).then_some(hour * 60 + minute)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn china() -> TextRules {
        SmsRules::china().text
    }

    #[test]
    fn texts_are_signed_and_marketing_can_be_left() {
        let marketing = |text: &str| china().breach(text, Purpose::Marketing);
        for good in [
            "【花园商店】春天到了，拒收请回复R",
            "【花园商店】春天到了 拒收请回复ｒ。",
            "春天到了，退订回TD【花园商店】",
            "春天到了，回T退订！ 【Shop】 ",
            "【Shop】Spring, 回td退订",
        ] {
            assert_eq!(marketing(good), None, "{good}");
        }
        for (bad, wanted) in [
            ("春天到了，拒收请回复R", Breach::Signature),
            ("春天【花园商店】到了，拒收请回复R", Breach::Signature),
            ("【】拒收请回复R", Breach::Signature),
            ("【店】拒收请回复R", Breach::Signature),
            ("【一二三四五六七八九十一二三】拒收请回复R", Breach::Signature),
            ("【花园商店拒收请回复R", Breach::Signature),
            ("", Breach::Signature),
            ("【花园商店】春天到了", Breach::OptOut),
            ("【花园商店】拒收请回复R，春天到了", Breach::OptOut),
            ("【花园商店】", Breach::OptOut),
        ] {
            assert_eq!(marketing(bad), Some(wanted), "{bad}");
        }
        assert_eq!(china().breach("【花园商店】验证码 1234", Purpose::Service), None);
        assert_eq!(china().breach("验证码 1234", Purpose::Service), Some(Breach::Signature));
        assert_eq!(TextRules::default().breach("anything", Purpose::Marketing), None);
        let own = china().with_opt_out(["Reply STOP"]);
        assert_eq!(own.breach("【Shop】Hi. reply stop.", Purpose::Marketing), None);
        assert_eq!(own.breach("【Shop】Hi 拒收请回复R", Purpose::Marketing), Some(Breach::OptOut));
    }

    #[test]
    fn templates_break_rules_only_where_no_value_can_mend_it() {
        for (template, wanted) in [
            ("【商店】{{name}}，拒收请回复R", None),
            ("【{{shop}}】{{name}}，拒收请回复R", None),
            ("{{sign}}{{name}}，拒收请回复R", None),
            ("{{name}}，拒收请回复R【{{shop}}】", None),
            ("{{name}}，你好【{{shop}}】", None),
            ("【商店】{{name}}，{{opt_out}}", None),
            ("【商店】{{name}}，拒收请回复{{letter}}", None),
            ("【商店】拒收请{{word}}复R", None),
            ("Hi {{name}}，拒收请回复R", Some(Breach::Signature)),
            ("【商店】{{name}}，再见", Some(Breach::OptOut)),
            ("【商店】{{name}}，再见【商店】", Some(Breach::OptOut)),
            ("【商店】再见", Some(Breach::OptOut)),
        ] {
            assert_eq!(china().certain_breach(template, Purpose::Marketing), wanted, "{template}");
        }
        assert_eq!(china().certain_breach("【商店】{{name}}，再见", Purpose::Service), None);
        let names = ["【商店】", "商", "{{shop}}", "商店"].map(|name| china().takes_name(name));
        assert_eq!(names, [false, false, true, true]);
        assert!(TextRules::default().takes_name("【商店】"));
    }

    proptest! {
        /// What a template is refused for, each of its messages would be.
        #[test]
        fn certain_breaches_are_certain(
            pieces in prop::collection::vec("(【商店】|拒收请回复|R|TD|退订回|，|x|【|】| ){0,3}", 1..4),
            values in prop::collection::vec("(【商店】|拒收请回复R|R|】|【|，|x| ){0,3}", 3),
        ) {
            let template = pieces.join("{{v}}");
            let mut message = pieces[0].clone();
            for (piece, value) in pieces[1..].iter().zip(&values) {
                message.extend([value.as_str(), piece]);
            }
            if china().certain_breach(&template, Purpose::Marketing).is_some() {
                prop_assert!(china().breach(&message, Purpose::Marketing).is_some(), "{template} {message}");
            }
        }
    }

    #[test]
    fn hours_go_by_their_own_clock_and_over_midnight() {
        let china = SmsRules::china().hours.unwrap();
        let night = Hours::new("22:30-06:00", TimeZone::UTC).unwrap();
        for (now, day, at_night) in [
            ("2026-11-21T00:00:00Z", true, true),
            ("2026-11-20T23:59:59Z", false, true),
            ("2026-11-21T13:59:59Z", true, false),
            ("2026-11-21T14:00:00Z", false, false),
            ("2026-11-21T22:29:59Z", false, false),
            ("2026-11-21T22:30:00Z", false, true),
            ("2026-11-21T06:00:00Z", true, false),
        ] {
            let now = now.parse().unwrap();
            assert_eq!((china.contains(now), night.contains(now)), (day, at_night), "{now}");
        }
        let all = Hours::new("00:00-24:00", TimeZone::UTC).unwrap();
        assert!(all.contains("2026-11-21T23:59:59Z".parse().unwrap()));
        for bad in
            ["", "8-22", "08:00", "08:00-08:00", "24:00-08:00", "08:60-09:00", "08:00-24:01", "a:b-c:d"]
        {
            assert!(Hours::new(bad, TimeZone::UTC).is_err(), "{bad}");
        }
    }
}
