//! From tokens to clauses.

pub mod ast;
mod parse;

pub use parse::parse;
