//! Telephone numbers as Aliyun writes them.

/// The number for a request: Chinese ones without a prefix, which every interface takes; others with `00`, since
/// `1` and ten digits would be taken for Chinese.
pub(super) fn written(to: &str) -> String {
    match to.strip_prefix("+86").filter(|national| is_chinese(national)) {
        Some(national) => national.to_owned(),
        None => to.replacen('+', "00", 1),
    }
}

/// The canonical form of a number in a receipt, whose prefix Aliyun does not document; none where digits are masked.
pub(super) fn canonical(number: &str) -> Option<String> {
    let number = number.trim();
    let international = number.strip_prefix('+').or_else(|| number.strip_prefix("00"));
    let digits = international.unwrap_or(number);
    if !(7..=15).contains(&digits.len())
        || !digits.bytes().all(|b| b.is_ascii_digit())
        || digits.starts_with('0')
    {
        return None;
    }
    let chinese = international.is_none() && is_chinese(digits);
    Some(if chinese { format!("+86{digits}") } else { format!("+{digits}") })
}

/// A mobile number without its country's code.
fn is_chinese(digits: &str) -> bool {
    digits.len() == 11
        && digits.starts_with('1')
        && digits.as_bytes().get(1).is_some_and(|b| (b'3'..=b'9').contains(b))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn receipts_may_write_numbers_as_they_please() {
        for number in ["13800000001", "8613800000001", "+8613800000001", "008613800000001"] {
            assert_eq!(canonical(number).as_deref(), Some("+8613800000001"), "{number}");
        }
        for number in ["85212345678", "0085212345678", "+85212345678"] {
            assert_eq!(canonical(number).as_deref(), Some("+85212345678"), "{number}");
        }
        for masked in ["1381111****", "", "123", "abc", "00"] {
            assert_eq!(canonical(masked), None, "{masked}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(number in "\\+[1-9][0-9]{6,14}") {
            prop_assert_eq!(canonical(&written(&number)), Some(number));
        }
    }
}
