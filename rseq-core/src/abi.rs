//! What the kernel and a thread agree on: the two structures of `include/uapi/linux/rseq.h` and their constants.
//!
//! Merged in Linux 4.18; `node_id` and `mm_cid` came with 6.3, `slice_ctrl` with 7.0.

use core::mem::{align_of, offset_of, size_of};
use core::sync::atomic::AtomicU32;

/// 64 bits that the kernel reads at any time. (Targets without such an atomic have no emitter, and register no thread.)
#[cfg(target_has_atomic = "64")]
pub type Shared64 = core::sync::atomic::AtomicU64;
/// 64 bits that the kernel would read.
#[cfg(not(target_has_atomic = "64"))]
pub type Shared64 = core::cell::UnsafeCell<u64>;

/// A thread's registered area, which the kernel reads and writes (`struct rseq`).
///
/// After registration [`rseq_cs`](Self::rseq_cs) is the only field that user space may write: kernels from 7.0.10 kill a
/// process that writes to another one while more than 32 bytes are registered.
#[repr(C, align(32))]
#[derive(Debug)]
pub struct Rseq {
    /// The CPU that the thread ran on last, never negative: usable as an index before the check of `cpu_id`.
    pub cpu_id_start: AtomicU32,
    /// The CPU that the thread runs on, or [`CPU_ID_UNINITIALIZED`] or [`CPU_ID_REGISTRATION_FAILED`].
    pub cpu_id: AtomicU32,
    /// The address of the [`Descriptor`] in force, 0 for none.
    pub rseq_cs: Shared64,
    /// Zero: the kernel refuses any other value.
    pub flags: AtomicU32,
    /// The NUMA node (Linux 6.3).
    pub node_id: AtomicU32,
    /// The memory map's concurrency id: a small number that no other running thread of the process has (Linux 6.3).
    pub mm_cid: AtomicU32,
    /// The control word of the time-slice extension (Linux 7.0).
    pub slice_ctrl: AtomicU32,
}

/// What a restartable window looks like to the kernel (`struct rseq_cs`).
///
/// A thread whose instruction pointer is in `start_ip .. start_ip + post_commit_offset` when it is preempted, migrated or
/// signalled goes on at `abort_ip`.
#[repr(C, align(32))]
#[derive(Debug, Clone, Copy)]
pub struct Descriptor {
    /// Zero, the only version there is.
    pub version: u32,
    /// Zero: every flag is refused by current kernels.
    pub flags: u32,
    /// The address of the window's first instruction.
    pub start_ip: u64,
    /// The length of the window in bytes: from its start to just behind the commit instruction.
    pub post_commit_offset: u64,
    /// The address of the abort handler, outside the window; the signature stands in the four bytes before it.
    pub abort_ip: u64,
}

/// `cpu_id` of an area that no thread has registered.
pub const CPU_ID_UNINITIALIZED: u32 = -1_i32 as u32;
/// `cpu_id` of an area whose registration failed, as librseq and glibc leave it.
pub const CPU_ID_REGISTRATION_FAILED: u32 = -2_i32 as u32;

/// The length, in bytes, under which an area of the original size is registered.
pub const ORIGINAL_LENGTH: u32 = 32;
/// `RSEQ_FLAG_UNREGISTER` of the system call.
pub const FLAG_UNREGISTER: i32 = 1;

/// Auxiliary vector entry: the bytes of [`Rseq`] that this kernel fills (`AT_RSEQ_FEATURE_SIZE`, Linux 6.3).
pub const AT_RSEQ_FEATURE_SIZE: u32 = 27;

/// The number of active bytes in the original ABI, where the kernel has no `AT_RSEQ_FEATURE_SIZE`.
pub const ORIGINAL_FEATURE_SIZE: u32 = 20;

const _: () = {
    assert!(size_of::<Rseq>() == 32 && align_of::<Rseq>() == 32);
    assert!(offset_of!(Rseq, cpu_id) == 4 && offset_of!(Rseq, rseq_cs) == 8 && offset_of!(Rseq, node_id) == 20);
    assert!(offset_of!(Rseq, mm_cid) == 24 && offset_of!(Rseq, slice_ctrl) == 28);
    assert!(size_of::<Descriptor>() == 32 && align_of::<Descriptor>() == 32);
    assert!(offset_of!(Descriptor, start_ip) == 8 && offset_of!(Descriptor, post_commit_offset) == 16);
    assert!(offset_of!(Descriptor, abort_ip) == 24);
};
