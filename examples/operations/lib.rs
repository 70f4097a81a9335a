//! The operations of librseq and of tcmalloc's per-CPU slabs, written with `rseq!`: what the
//! example of this name does, and what tests and benchmarks take from it.

use rseq::rseq;

pub mod librseq;
// Its windows need more registers than i686 has.
#[cfg(not(target_arch = "x86"))]
pub mod slab;
