//! Files of contacts.

use crate::cli::imported;

/// Rows are cut out the same however the file is read, and a contact of a row is the same as a line of NDJSON.
pub(super) fn contacts(input: &[u8]) {
    let Some((seed, file)) = input.split_first() else { return };
    imported::rows(file, *seed);
    imported::lines(file);
}
