//! From tokens to clauses.

pub mod ast;
mod parse;
mod parts;
mod step;
mod text;

pub use parse::{parse, split};
pub use step::is_load;
pub use text::text;
