//! Sections and the types that are made of them, beside everything else that does the same:
//! unprotected, by hand, by librseq, by the standard library, by other crates, in one run.
//!
//! docs/performance.md says how to read the figures.

pub mod contenders;
pub mod measuring;
pub mod pictures;
