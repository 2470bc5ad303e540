//! Records as they lie on the disk: framed and checked, so that what was written whole is told from what a crash tore or a
//! disk lost.
//!
//! A record is its length (4 bytes, little-endian), 8 bytes of SHA-256 over length and content, and the content. Reading
//! ends at the first record that does not hold: nothing is made up, and nothing before the damage is lost.

use sha2::{Digest, Sha256};

const LENGTH: usize = 4;
const CHECK: usize = 8;

/// `content` as a record.
///
/// # Errors
/// Content of 4 GiB and more.
pub(super) fn framed(content: &[u8]) -> Result<Vec<u8>, std::num::TryFromIntError> {
    let length = u32::try_from(content.len())?.to_le_bytes();
    let mut record = Vec::with_capacity(LENGTH + CHECK + content.len());
    record.extend_from_slice(&length);
    record.extend_from_slice(&check(length, content));
    record.extend_from_slice(content);
    Ok(record)
}

/// The contents of the records up to the first damage, and how many bytes of `bytes` they take.
pub(super) fn intact(bytes: &[u8]) -> (Vec<&[u8]>, usize) {
    let (mut contents, mut rest) = (Vec::new(), bytes);
    while let Some((content, after)) = first(rest) {
        contents.push(content);
        rest = after;
    }
    (contents, bytes.len() - rest.len())
}

fn first(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&length, bytes) = bytes.split_first_chunk::<LENGTH>()?;
    let (&expected, bytes) = bytes.split_first_chunk::<CHECK>()?;
    let (content, after) = bytes.split_at_checked(usize::try_from(u32::from_le_bytes(length)).ok()?)?;
    (check(length, content) == expected).then_some((content, after))
}

fn check(length: [u8; LENGTH], content: &[u8]) -> [u8; CHECK] {
    let digest = Sha256::new().chain_update(length).chain_update(content).finalize();
    let mut check = [0; CHECK];
    check.copy_from_slice(&digest[..CHECK]);
    check
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(contents: &[Vec<u8>]) -> Vec<u8> {
        contents.iter().flat_map(|content| framed(content).unwrap()).collect()
    }

    /// How many records lie wholly before byte `at`.
    fn before(contents: &[Vec<u8>], at: usize) -> usize {
        let ends = contents.iter().scan(0, |end, content| {
            *end += LENGTH + CHECK + content.len();
            Some(*end)
        });
        ends.take_while(|end| *end <= at).count()
    }

    fn contents() -> impl Strategy<Value = Vec<Vec<u8>>> {
        prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..20)
    }

    #[test]
    fn zeros_are_no_records() {
        // What some file systems leave of a file that grew and was not written.
        assert_eq!(intact(&[0; 4096]), (Vec::new(), 0));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(contents in contents()) {
            let bytes = file(&contents);
            let (read, taken) = intact(&bytes);
            prop_assert_eq!((read, taken), (contents.iter().map(Vec::as_slice).collect(), bytes.len()));
        }

        #[test]
        fn a_cut_loses_what_it_cuts_and_no_more(contents in contents(), at in any::<prop::sample::Index>()) {
            let bytes = file(&contents);
            let at = at.index(bytes.len() + 1);
            let (read, _) = intact(&bytes[..at]);
            prop_assert_eq!(read, contents[..before(&contents, at)].iter().collect::<Vec<_>>());
        }

        #[test]
        fn a_flipped_byte_ends_the_reading_where_it_lies(
            contents in contents(), at in any::<prop::sample::Index>(), flip in 1..=u8::MAX,
        ) {
            let mut bytes = file(&contents);
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            let (read, _) = intact(&bytes);
            prop_assert_eq!(read, contents[..before(&contents, at)].iter().collect::<Vec<_>>());
        }

        #[test]
        fn garbage_at_the_end_changes_nothing_before_it(
            contents in contents(), garbage in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let whole = file(&contents).len();
            let (bytes, expected) = ([file(&contents), garbage].concat(), contents.len());
            let (read, taken) = intact(&bytes);
            prop_assert_eq!((read.len(), taken), (expected, whole));
        }

        #[test]
        fn nothing_breaks_the_reading(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let (read, taken) = intact(&bytes);
            let lengths: usize = read.iter().map(|content| LENGTH + CHECK + content.len()).sum();
            prop_assert_eq!(lengths, taken);
        }
    }
}
