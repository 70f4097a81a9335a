//! The operations of the example.
#![allow(dead_code, reason = "not all are measured")]

use rseq::rseq;

#[path = "../../../examples/operations/librseq.rs"]
pub mod librseq;
#[path = "../../../examples/operations/slab.rs"]
pub mod slab;
