//! The contenders, by structure: one file for each kind of structure, and one for each way that
//! several of them share.

mod aborts;
mod buffers;
#[cfg_attr(not(target_arch = "x86_64"), path = "by_hand/none.rs")]
pub mod by_hand;
mod counters;
mod flows;
pub mod getcpu;
mod librseq;
mod lists;
pub mod memory;
mod operations;
mod others;
mod pools;
mod queues;
mod telemetry;

pub use self::others::Others;
use crate::measuring::Contender;

/// Something that an operation is done to, in several ways.
pub struct Structure {
    /// Its name in files and on the command line.
    pub name: &'static str,
    /// The operation.
    pub operation: &'static str,
    /// The ways, the first of which others are compared with.
    make: fn(&Others) -> Vec<Contender>,
}

impl Structure {
    /// The ways to do the operation.
    pub fn contenders(&self, others: &Others) -> Vec<Contender> {
        (self.make)(others)
    }
}

/// All structures.
pub const STRUCTURES: [Structure; 15] = [
    Structure { name: "counter", operation: "add to one, over and over", make: counters::one },
    Structure { name: "counters", operation: "add to 64 in turn", make: counters::in_turn },
    Structure { name: "list", operation: "pop and push", make: lists::contenders },
    Structure { name: "buffer", operation: "pop and push a word", make: buffers::words },
    Structure { name: "records", operation: "pop and push three words", make: buffers::records },
    Structure { name: "pool", operation: "take and return", make: pools::one },
    Structure { name: "pool-four", operation: "take four and return them", make: pools::four },
    Structure { name: "ring", operation: "push 16 and take them", make: queues::contenders },
    Structure { name: "flow", operation: "push a word, or pop another thread's", make: flows::words },
    Structure { name: "pipeline", operation: "take a buffer and hand it over, or return it", make: flows::buffers },
    Structure { name: "empty", operation: "pop where nothing is", make: flows::empty },
    Structure { name: "otel-counter", operation: "add to a metric", make: telemetry::counters },
    Structure { name: "otel-histogram", operation: "record to a metric", make: telemetry::histograms },
    Structure { name: "aborts", operation: "sections with longer and longer prepares", make: aborts::contenders },
    Structure { name: "aborts-signals", operation: "the same, with a signal each 100 µs", make: aborts::signalled },
];
