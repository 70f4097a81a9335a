//! Shows that a restartable section is right by interrupting it everywhere.

#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "no section is explored there"))]
mod explorer;
pub mod model;

pub use explorer::{Event, Explorer, Failure, Phase, Ran, Report, Run, explore};
