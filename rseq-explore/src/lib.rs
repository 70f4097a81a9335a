//! Shows that a restartable section is right by interrupting it everywhere.

mod arch;
mod explorer;
pub mod model;

pub use explorer::{Event, Explorer, Failure, Phase, Ran, Report, Run, explore};
