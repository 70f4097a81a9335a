//! The index of the CPU that a thread runs on, for what no section can do: there is no store of 64 bits on machines of 32.

use core::sync::atomic::AtomicUsize;

use crate::{CpuId, rseq};

/// The CPU that the thread ran on just now. It may run on another one by the time that this is used, so what is done to that slot is done atomically.
#[inline]
pub(crate) fn cpu() -> CpuId {
    let nowhere = AtomicUsize::new(0);
    rseq! { commit |cpu| store(&nowhere, 0) => cpu }
}
