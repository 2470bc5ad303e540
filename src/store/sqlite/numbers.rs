//! Lists of numbers as the file holds them: little-endian 64-bit integers in a row.

use rusqlite::Row;

use crate::store::{Error, Result};

const WIDTH: usize = size_of::<i64>();

pub(super) fn encode(numbers: &[i64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// # Errors
/// Where the bytes are no such list: the file is damaged.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<i64>> {
    let (numbers, rest) = bytes.as_chunks::<WIDTH>();
    if !rest.is_empty() {
        return Err(Error::Refused(format!("a list of numbers has {} bytes", bytes.len()).into()));
    }
    Ok(numbers.iter().map(|number| i64::from_le_bytes(*number)).collect())
}

/// Two lists side by side.
pub(super) fn pairs(first: &[u8], second: &[u8]) -> Result<impl Iterator<Item = (i64, i64)>> {
    Ok(decode(first)?.into_iter().zip(decode(second)?))
}

/// Whether a pair stands side by side in the lists of two columns, the first one at `at`; either may be null.
pub(super) fn hold(row: &Row<'_>, at: usize, pair: (i64, i64)) -> Result<bool> {
    let lists: (Option<Vec<u8>>, Option<Vec<u8>>) = (row.get(at)?, row.get(at + 1)?);
    let (Some(first), Some(second)) = lists else { return Ok(false) };
    Ok(pairs(&first, &second)?.any(|one| one == pair))
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn lists_survive_being_stored(numbers: Vec<i64>) {
            proptest::prop_assert_eq!(decode(&encode(&numbers)).unwrap(), numbers);
        }
    }

    #[test]
    fn a_torn_list_is_refused() {
        assert!(decode(&[0; 9]).is_err());
    }
}
