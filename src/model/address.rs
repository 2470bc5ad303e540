//! Canonical form of an address on each channel. Two spellings that reach the same inbox or phone become one.

use super::Channel;

/// Why a text is no address of a channel. Never repeats the text: addresses stay out of logs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {channel} address: {problem}")]
pub struct InvalidAddress {
    pub channel: Channel,
    pub problem: &'static str,
}

/// The canonical form of `text` on `channel`.
///
/// E-mail is lower-cased as a whole: RFC 5321 lets the local part differ by case, no provider in use does,
/// and nobody should get a campaign twice for a capital letter. Phones are E.164 without separators.
///
/// # Errors
/// When the text cannot be an address of the channel.
pub fn canonical(channel: Channel, text: &str) -> Result<String, InvalidAddress> {
    let text = text.trim();
    let refuse = |problem| Err(InvalidAddress { channel, problem });
    if text.chars().any(|c| c.is_control() || c.is_whitespace() && channel != Channel::Sms) {
        return refuse("it contains white space or control characters");
    }
    match channel {
        Channel::Email => email(text).or_else(refuse),
        Channel::Sms => phone(text).or_else(refuse),
        Channel::Wechat | Channel::Push if text.is_empty() => refuse("it is empty"),
        Channel::Wechat if text.len() > 128 => refuse("it is longer than 128 bytes"),
        Channel::Push if text.len() > 4096 => refuse("it is longer than 4,096 bytes"),
        Channel::Wechat | Channel::Push => Ok(text.to_owned()),
    }
}

/// The canonical form, or the text as it is where it is no address: planning will refuse it by name.
pub fn canonical_or_given(channel: Channel, text: &str) -> String {
    canonical(channel, text).unwrap_or_else(|_| text.to_owned())
}

/// RFC 5321 section 4.5.3.1: local part up to 64 octets, domain up to 255, path up to 256 with its brackets.
fn email(text: &str) -> Result<String, &'static str> {
    let (local, domain) = text.rsplit_once('@').ok_or("it has no @")?;
    if local.is_empty() || local.len() > 64 {
        return Err("the part before the @ must have 1 to 64 bytes");
    }
    if text.len() > 254 {
        return Err("it is longer than 254 bytes");
    }
    let plain = |c: char| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c);
    if !local.chars().all(plain) || local.starts_with('.') || local.ends_with('.') || local.contains("..") {
        return Err("the part before the @ has a character or dot where none may stand");
    }
    let label_ok = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_alphanumeric() || c == '-')
    };
    if !domain.contains('.') || !domain.split('.').all(label_ok) {
        return Err("the domain is not a name with a dot");
    }
    Ok(text.to_lowercase())
}

/// E.164: `+`, a country code that does not begin with 0, 7 to 15 digits in all.
fn phone(text: &str) -> Result<String, &'static str> {
    let digits: String = text.chars().filter(|c| !matches!(c, ' ' | '-' | '(' | ')' | '.')).collect();
    let number = digits.strip_prefix('+').ok_or("it does not begin with + and the country code")?;
    if !number.bytes().all(|b| b.is_ascii_digit()) {
        return Err("it has other characters than digits");
    }
    if number.starts_with('0') || !(7..=15).contains(&number.len()) {
        return Err("a number has 7 to 15 digits and no leading 0");
    }
    Ok(digits)
}

/// An address as logs may show it: enough to tell two apart, too little to reach anyone.
pub fn masked(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((local, domain)) => format!("{}***@{domain}", local.chars().take(1).collect::<String>()),
        None => {
            let tail: Vec<char> = address.chars().rev().take(2).collect();
            format!("***{}", tail.iter().rev().collect::<String>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_inbox_become_one() {
        assert_eq!(canonical(Channel::Email, " Anna.K@Example.COM ").unwrap(), "anna.k@example.com");
        assert_eq!(canonical(Channel::Sms, "+86 138-0013-8000").unwrap(), "+8613800138000");
        assert_eq!(canonical(Channel::Wechat, "oABC_1").unwrap(), "oABC_1");
    }

    #[test]
    fn what_cannot_be_reached_is_refused() {
        for bad in [
            "",
            "a",
            "a@b",
            "@b.de",
            "a b@c.de",
            "a@b..de",
            "a\r\nBcc: x@y.de",
            ".a@b.de",
            "a@-b.de",
            "a<b@c.de",
        ] {
            assert!(canonical(Channel::Email, bad).is_err(), "{bad:?}");
        }
        for bad in ["13800138000", "+0123456789", "+12", "+1234567890123456", "+86x138"] {
            assert!(canonical(Channel::Sms, bad).is_err(), "{bad:?}");
        }
        assert!(canonical(Channel::Push, "").is_err());
    }

    #[test]
    fn masks_keep_people_private() {
        assert_eq!(masked("anna@example.com"), "a***@example.com");
        assert_eq!(masked("+8613800138000"), "***00");
    }
}
