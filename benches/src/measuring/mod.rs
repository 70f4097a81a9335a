//! Contenders are measured in blocks: each block runs all of them once, in a random order, one
//! right after the other. What means something are ratios within a block, for what else the machine
//! does changes from block to block; of these ratios the median and the quartiles are given.

#[cfg(target_arch = "x86_64")]
pub mod by_hand;
mod contender;
pub mod getcpu;
mod measure;
mod race;
mod sheet;
mod signals;
mod statistics;

pub use contender::{BATCH, Contender, contender, hidden, in_register};
pub use measure::{Plan, measure};
pub use race::available_cpus;
pub use sheet::{Measurement, Sheet, machine, read};
pub use statistics::{Quartiles, ratios, table, times};
