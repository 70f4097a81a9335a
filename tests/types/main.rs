//! The types that are built on sections: what plain models say, and nothing lost whatever disturbs.

// For the sources of the types, which some of the tests compile once more.
extern crate alloc;

mod histogram;
mod types;
