//! How figures are written for people: commas between thousands, percents, `n/a` for what nobody can know.

/// With commas between thousands, `n/a` where the channel cannot observe it.
pub fn number(n: Option<i64>) -> String {
    let Some(n) = n else { return "n/a".to_owned() };
    let digits = n.unsigned_abs().to_string();
    let mut text = if n < 0 { "-".to_owned() } else { String::new() };
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Of a share, where 1 is all.
pub fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "n/a".to_owned(), |share| format!("{:.2} %", share * 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_easily() {
        assert_eq!(number(Some(1_234_567)), "1,234,567");
        assert_eq!(number(Some(-1_000)), "-1,000");
        assert_eq!((number(Some(12)), number(None)), ("12".into(), "n/a".into()));
        assert_eq!((percent(Some(0.12346)), percent(None)), ("12.35 %".into(), "n/a".into()));
    }
}
