//! Ids that providers give messages, as the ledger can keep them and find them again.

/// Characters that are kept; no provider documents more than 64.
const LONGEST: usize = 128;

/// The id in an answer or a receipt, both of which must come to the same. Stores take no NUL and index no text of any
/// length, and blanks part the ids of a message's parts: whatever a provider sends, its answer can be recorded. `None`
/// where nothing is left.
pub(super) fn reference(id: &str) -> Option<String> {
    let kept: String = id.chars().filter(|c| !c.is_control() && !c.is_whitespace()).take(LONGEST).collect();
    Some(kept).filter(|kept| !kept.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_stay_as_they_are() {
        for id in ["607300000000000000^0", "5000:1045710669157053657849499619", "SM0123456789abcdef", "0A1b"]
        {
            assert_eq!(reference(id).as_deref(), Some(id));
        }
        assert_eq!(reference("a\0b c").as_deref(), Some("abc"));
        assert_eq!(reference(" \0"), None);
    }

    proptest! {
        #[test]
        fn every_store_takes_what_is_kept(id in any::<String>()) {
            let kept = reference(&id).unwrap_or_default();
            prop_assert!(kept.chars().count() <= LONGEST);
            prop_assert!(!kept.contains(|c: char| c == '\0' || c.is_whitespace()));
            prop_assert_eq!(reference(&kept).unwrap_or_default(), kept);
        }
    }
}
