//! The settings of kind `sandbox`.

use crate::config::reader::Table;

/// A provider inside the program, for trying things out: nothing leaves the machine.
#[derive(Debug, Clone)]
pub struct SandboxSettings {
    /// Everything that happens by chance follows from it.
    pub seed: u64,
}

pub(super) fn sandbox(table: &mut Table<'_>) -> SandboxSettings {
    SandboxSettings { seed: table.number("seed", "a whole number").unwrap_or(1) }
}
