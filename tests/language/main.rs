//! The language: what it accepts, what its steps mean, and what it says to users.

// For `accept::programs::no_warnings`: these are for whole crates alone.
#![deny(future_incompatible, rust_2021_compatibility, rust_2024_compatibility)]

mod accept;
mod crates;
mod nesting;
mod places;
mod random;
mod steps;
mod ui;
