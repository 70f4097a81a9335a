//! The contenders, by structure: one file for each kind of structure, and one for each way that
//! several of them share.

mod aborts;
mod buffers;
#[cfg_attr(not(target_arch = "x86_64"), path = "by_hand/none.rs")]
pub mod by_hand;
mod counters;
pub mod getcpu;
mod librseq;
mod lists;
pub mod memory;
mod pools;
mod queues;
mod telemetry;

use anyhow::Result;

use self::by_hand::ByHand;
use self::librseq::Librseq;
use crate::measuring::{Contender, hidden};

/// The operations of the example.
#[allow(dead_code, reason = "not all are measured")]
#[path = "../../../examples/operations"]
mod operations {
    use rseq::rseq;

    #[path = "librseq.rs"]
    pub mod librseq;
    #[path = "slab.rs"]
    pub mod slab;
}

/// The contenders that aren't to be had everywhere.
pub struct Others {
    by_hand: Option<ByHand>,
    librseq: Option<Librseq>,
}

impl Others {
    /// Those that are to be had here.
    ///
    /// # Errors
    /// If librseq's sources are given, and aren't right.
    pub fn find() -> Result<Self> {
        Ok(Self { by_hand: ByHand::find(), librseq: Librseq::load()? })
    }

    /// The names of those that aren't to be had, each with what it needs.
    pub fn missing(&self) -> Vec<(&'static str, &'static str)> {
        let by_hand = self.by_hand.is_none().then_some((by_hand::NAME, by_hand::NEEDS));
        let librseq = self.librseq.is_none().then_some((librseq::NAME, librseq::NEEDS));
        by_hand.into_iter().chain(librseq).collect()
    }
}

/// Which of so many, one for each operation of a batch, the operation of this number is done to.
#[inline(always)]
fn at(number: usize, distinct: usize) -> usize {
    if distinct == 1 { hidden(0) } else { number }
}

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
pub const STRUCTURES: [Structure; 12] = [
    Structure { name: "counter", operation: "add to one, over and over", make: counters::one },
    Structure { name: "counters", operation: "add to 64 in turn", make: counters::in_turn },
    Structure { name: "list", operation: "pop and push", make: lists::contenders },
    Structure { name: "buffer", operation: "pop and push a word", make: buffers::words },
    Structure { name: "records", operation: "pop and push three words", make: buffers::records },
    Structure { name: "pool", operation: "take and return", make: pools::one },
    Structure { name: "pool-four", operation: "take four and return them", make: pools::four },
    Structure { name: "ring", operation: "push 16 and take them", make: queues::contenders },
    Structure { name: "otel-counter", operation: "add to a metric", make: telemetry::counters },
    Structure { name: "otel-histogram", operation: "record to a metric", make: telemetry::histograms },
    Structure { name: "aborts", operation: "sections with longer and longer prepares", make: aborts::contenders },
    Structure { name: "aborts-signals", operation: "the same, with a signal each 100 µs", make: aborts::signalled },
];
