//! The index of the CPU that a thread runs on, for what no section does: to store 64 bits on a
//! machine of 32, and to look at a slot that is stopped.

use core::sync::atomic::AtomicUsize;

use super::{CpuId, rseq};

/// The CPU that the thread ran on just now. It may run on another one by the time that this is
/// used, so what is done to that slot is done atomically.
#[inline]
pub fn cpu() -> CpuId {
    let nowhere = AtomicUsize::new(0);
    rseq! { commit |cpu| store(&nowhere, 0) => cpu }
}
