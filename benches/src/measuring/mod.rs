//! Contenders are measured in blocks: each block runs all of them once, in a random order, one
//! right after the other. What means something are ratios within a block, for what else the machine
//! does changes from block to block; of these ratios the median and the quartiles are given.

mod blocks;
mod contender;
mod cpus;
mod race;
mod sheet;
mod signals;
mod statistics;

pub use blocks::{Plan, measure};
pub use contender::{BATCH, Contender, contender, flow, hidden, in_register};
pub use cpus::{available_cpus, pin};
pub use sheet::{Measurement, Sheet, machine, read};
pub use statistics::{Quartiles, ratios, table, times};
