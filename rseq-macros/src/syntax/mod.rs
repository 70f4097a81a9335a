//! From tokens to clauses.

pub mod ast;
mod parse;
mod step;

pub use parse::{parse, split};
pub use step::is_load;
