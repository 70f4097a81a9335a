//! The language: what it accepts, what its steps mean, and what it says to users.

mod crates;
mod nesting;
mod places;
mod random;
mod steps;
mod ui;
