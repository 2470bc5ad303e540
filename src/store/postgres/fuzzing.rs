//! Filters as statements, for the checks of `crate::fuzzing`.

use jiff::Timestamp;

use super::filter::Compiler;
use crate::model::Filter;

/// The condition, and how many parameters it binds.
pub(crate) fn compiled(filter: &Filter, instant: Timestamp) -> (String, usize) {
    let mut compiler = Compiler::new(Vec::new(), instant);
    let sql = compiler.condition(filter);
    (sql, compiler.parameters.len())
}
