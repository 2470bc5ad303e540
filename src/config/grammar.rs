//! How single values are written: durations, sizes, rates, addresses, hosts, URLs, log levels. Each function takes the text
//! and returns the value or what is wrong with it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hyper::Uri;
use ipnet::IpNet;
use tracing_subscriber::filter::LevelFilter;

use crate::model::{Channel, address};

/// `250ms`, `30s`, `5m`, `2h`, `1d`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let explain =
        || format!("`{text}` is not a duration: write a whole number and ms, s, m, h or d, as in `30s`");
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(explain)?;
    let (count, unit) = text.split_at_checked(unit_at).ok_or_else(explain)?;
    let count: u32 = count.parse().map_err(|_| explain())?;
    let unit = match unit.trim_start() {
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        "h" => Duration::from_secs(3_600),
        "d" => Duration::from_secs(86_400),
        _ => return Err(explain()),
    };
    Ok(unit * count)
}

/// `64KiB`, `500MiB`, `1GiB`, in bytes.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let explain =
        || format!("`{text}` is not a size: write a whole number and KiB, MiB or GiB, as in `1GiB`");
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(explain)?;
    let (count, unit) = text.split_at_checked(unit_at).ok_or_else(explain)?;
    let count: u32 = count.parse().map_err(|_| explain())?;
    let unit: u64 = match unit.trim_start() {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(explain()),
    };
    match unit * u64::from(count) {
        0 => Err("must be more than nothing".to_owned()),
        bytes => Ok(bytes),
    }
}

/// A duration above zero.
pub(super) fn wait(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("must be longer than nothing".to_owned()),
        wait => Ok(wait),
    }
}

/// A line of text that may stand in a header: not empty, no line breaks.
pub(super) fn line(text: &str) -> Result<String, String> {
    match text {
        "" => Err("is empty".to_owned()),
        text if text.chars().any(char::is_control) => Err("has a control character".to_owned()),
        text => Ok(text.to_owned()),
    }
}

/// An e-mail address as an envelope has it, without a name.
pub(super) fn email(text: &str) -> Result<String, String> {
    match address::canonical(Channel::Email, text) {
        Ok(_) => Ok(text.trim().to_owned()),
        Err(invalid) => Err(invalid.to_string()),
    }
}

/// `news@example.com` or `Shop <news@example.com>` (RFC 5322, section 3.4).
pub(super) fn mailbox(text: &str) -> Result<String, String> {
    let text = line(text)?;
    match text.trim_end().strip_suffix('>').and_then(|open| open.rsplit_once('<')) {
        Some((_, address)) => email(address)?,
        None => email(&text)?,
    };
    Ok(text)
}

/// A host name or an IP address, without scheme and port.
pub(super) fn host(text: &str) -> Result<String, String> {
    let label = |label: &str| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    if text.parse::<IpAddr>().is_ok() || text.trim_end_matches('.').split('.').all(label) {
        return Ok(text.to_owned());
    }
    Err("must be a host name or an IP address, without scheme and port".to_owned())
}

/// What a client calls itself in EHLO: a host name, or an address in brackets (RFC 5321, section 4.1.3).
pub(super) fn helo_name(text: &str) -> Result<String, String> {
    match text.strip_prefix('[').and_then(|open| open.strip_suffix(']')) {
        Some(literal) => line(literal).map(|_| text.to_owned()),
        None => host(text),
    }
}

/// `news.example.com`, without the angle brackets that the header puts around it (RFC 2919).
pub(super) fn list_id(text: &str) -> Result<String, String> {
    match host(text) {
        Ok(id) if id.contains('.') => Ok(id),
        _ => Err("must be a name with a dot, as `news.example.com`".to_owned()),
    }
}

/// A domain that mail goes to or comes from.
pub(super) fn domain(text: &str) -> Result<String, String> {
    match email(&format!("a@{text}")) {
        Ok(_) if text.is_ascii() => Ok(text.to_ascii_lowercase()),
        _ => Err("must be a domain with a dot, as `b.example.com`, in ASCII".to_owned()),
    }
}

pub(super) fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("`{text}` is not an address and a port, as `127.0.0.1:8080`"))
}

/// `10.0.0.0/8`, or one address.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let one = |_| text.parse::<IpAddr>().map(IpNet::from);
    text.parse().or_else(one).map_err(|_| format!("`{text}` is not a network, as `10.0.0.0/8`"))
}

/// What links begin with: `http` or `https`, a host, maybe a path; returned without a slash at its end.
pub(super) fn public_url(text: &str) -> Result<String, String> {
    match url(text) {
        Ok(url) if !url.contains('?') => Ok(url.trim_end_matches('/').to_owned()),
        _ => Err("must be a URL with http or https and a host, as `https://mail.example.com`".to_owned()),
    }
}

/// Where requests go: `http` or `https`, a host, maybe a path and a query.
pub(super) fn url(text: &str) -> Result<String, String> {
    let parsed = text.parse::<Uri>().ok();
    let goes = parsed.is_some_and(|url| {
        let web = matches!(url.scheme_str(), Some("http" | "https"));
        web && url.host().is_some_and(|host| !host.is_empty()) && !text.contains(['@', '#'])
    });
    if goes {
        return Ok(text.to_owned());
    }
    Err("must be a URL with http or https and a host, as `https://example.com/messages`".to_owned())
}

/// A secret that stands in the path of a URL: 16 to 128 letters, digits, `-`, `.`, `_` and `~`.
pub(super) fn path_secret(text: &str) -> Result<(), String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    if (16..=128).contains(&text.len()) && text.bytes().all(plain) {
        return Ok(());
    }
    Err("must be 16 to 128 letters, digits, `-`, `.`, `_` or `~`, as `openssl rand -hex 16` makes them"
        .to_owned())
}

/// A level for all, or a list by module: `info`, `info,campaignd::provider=debug`.
pub(super) fn log_level(text: &str) -> Result<String, String> {
    let directive = |directive: &str| {
        let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level);
        !level.is_empty() && level.parse::<LevelFilter>().is_ok()
    };
    if text.split(',').map(str::trim).all(directive) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "`{text}` is none of error, warn, info, debug, trace, off, nor a list as `info,campaignd=debug`"
    ))
}

/// The name of a provider: it stands in metrics and in the paths of its hooks.
pub(super) fn provider_name(text: &str) -> Result<(), String> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
    if (1..=64).contains(&text.len()) && text.bytes().all(plain) {
        return Ok(());
    }
    Err("a provider's name has 1 to 64 of a-z, 0-9, - and _".to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_as_people_write_them() {
        for (text, seconds) in
            [("250ms", 0.25), ("30s", 30.0), ("5m", 300.0), ("2h", 7_200.0), ("1 d", 86_400.0)]
        {
            assert_eq!(duration(text).unwrap().as_secs_f64(), seconds, "{text}");
        }
        for bad in ["", "5", "s", "-5s", "1.5s", "5 weeks", "99999999999s", "五s", "5s "] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
        assert!(wait("0s").is_err());
    }

    #[test]
    fn sizes_as_people_write_them() {
        for (text, bytes) in [("64KiB", 65_536), ("500 MiB", 524_288_000), ("1GiB", 1_073_741_824)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "5", "GiB", "-1GiB", "1.5GiB", "1GB", "0KiB", "9999999999GiB", "1GiB "] {
            assert!(size(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn mailboxes_with_and_without_a_name() {
        for good in
            ["news@example.com", "Shop <news@example.com>", "\"Shop, Inc.\" <n@example.com>", "商店 <n@x.cn>"]
        {
            assert_eq!(mailbox(good).unwrap(), good);
        }
        for bad in ["", "Shop", "Shop <news>", "Shop <news@example.com", "a@b.de\r\nBcc: c@d.de", "<>"] {
            assert!(mailbox(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn hosts_urls_and_networks() {
        assert!(["localhost", "mx.example.com.", "10.0.0.1", "::1"].iter().all(|host_| host(host_).is_ok()));
        assert!(["", "smtp://x", "x:25", "a b", "a..b"].iter().all(|bad| host(bad).is_err()));
        assert_eq!(public_url("https://x.example/mail/").unwrap(), "https://x.example/mail");
        for bad in
            ["x.example", "ftp://x.example", "https://", "https://u:p@x.example", "https://x.example/?a=b"]
        {
            assert!(public_url(bad).is_err(), "{bad}");
        }
        assert_eq!(url("http://x.example/in?key=a").unwrap(), "http://x.example/in?key=a");
        assert!(
            ["x.example/in", "https://u:p@x.example", "https://x/#a"].iter().all(|bad| url(bad).is_err())
        );
        assert_eq!(network("10.1.2.3").unwrap(), network("10.1.2.3/32").unwrap());
        assert!(network("10.0.0.0/33").is_err());
    }

    #[test]
    fn log_levels_are_not_mistaken_for_modules() {
        assert!(["info", "WARN", "info,campaignd::config=debug"].iter().all(|good| log_level(good).is_ok()));
        assert!(["", "inof", "info,campaignd", "a=b"].iter().all(|bad| log_level(bad).is_err()));
    }

    proptest! {
        #[test]
        fn no_text_breaks_a_grammar(text in "\\PC{0,40}") {
            // The results do not matter here, only that there is one.
            drop((duration(&text), mailbox(&text), host(&text), public_url(&text), log_level(&text)));
            drop((helo_name(&text), list_id(&text), network(&text), provider_name(&text), url(&text)));
        }

        #[test]
        fn seconds_round_trip(count in 0u32..) {
            prop_assert_eq!(duration(&format!("{count}s")).unwrap().as_secs(), u64::from(count));
        }
    }
}
