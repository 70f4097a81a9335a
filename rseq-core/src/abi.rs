//! The interface of the kernel and a thread: the two structures of `include/uapi/linux/rseq.h` and
//! their constants.
//!
//! Merged in Linux 4.18; `node_id` and `mm_cid` came with 6.3, `slice_ctrl` with 7.0.

use core::mem::{align_of, offset_of, size_of};
use core::sync::atomic::{AtomicU8, AtomicU32};

/// 64 bits that the kernel reads at any time. (Targets without such an atomic have no emitter, and
/// register no thread.)
#[cfg(target_has_atomic = "64")]
pub type Shared64 = core::sync::atomic::AtomicU64;
/// 64 bits that the kernel would read.
#[cfg(not(target_has_atomic = "64"))]
pub type Shared64 = core::cell::UnsafeCell<u64>;

/// A thread's registered area, which the kernel reads and writes (`struct rseq`).
///
/// After registration [`rseq_cs`](Self::rseq_cs) and [`slice_ctrl.request`](SliceControl::request)
/// are the only fields that user space may write: kernels from 7.0.10 kill a process that writes to
/// another one while more than 32 bytes are registered.
///
/// Kernels may fill more bytes than these, and say how many by [`AT_RSEQ_FEATURE_SIZE`]. From 7.0
/// there is a 33rd, which is reserved: it tells an area that was registered for what is new from
/// one of the original length.
#[repr(C, align(32))]
#[derive(Debug)]
pub struct Rseq {
    /// The CPU that the thread ran on last, never negative: usable as an index before the check of
    /// `cpu_id`.
    pub cpu_id_start: AtomicU32,
    /// The CPU that the thread runs on, or [`CPU_ID_UNINITIALIZED`] or
    /// [`CPU_ID_REGISTRATION_FAILED`].
    pub cpu_id: AtomicU32,
    /// The address of the [`Descriptor`] in force, 0 for none.
    pub rseq_cs: Shared64,
    /// The kernel's word on the time-slice extension: [`SLICE_AVAILABLE`] and [`SLICE_ENABLED`]
    /// (Linux 7.0). Before, it was to be left at 0.
    pub flags: AtomicU32,
    /// The NUMA node (Linux 6.3).
    pub node_id: AtomicU32,
    /// The memory map's concurrency id: a small number that no other running thread of the process
    /// has (Linux 6.3).
    pub mm_cid: AtomicU32,
    /// The control word of the time-slice extension (Linux 7.0).
    pub slice_ctrl: SliceControl,
}

/// How a thread asks for a longer time slice, and is told that it has it (`struct
/// rseq_slice_ctrl`).
#[repr(C, align(4))]
#[derive(Debug)]
pub struct SliceControl {
    /// The thread's: 1 asks for it. The kernel clears it when it grants it, and whenever it
    /// schedules the thread.
    pub request: AtomicU8,
    /// The kernel's: 1 as long as the thread runs on its extension.
    pub granted: AtomicU8,
}

/// A restartable window as the kernel sees it (`struct rseq_cs`).
///
/// A thread whose instruction pointer is in `start_ip .. start_ip + post_commit_offset` when it is
/// preempted, migrated or signalled goes on at `abort_ip`.
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
    /// The address of the abort handler, outside the window; the signature stands in the four bytes
    /// before it.
    pub abort_ip: u64,
}

/// `cpu_id` of an area that no thread has registered.
pub const CPU_ID_UNINITIALIZED: u32 = -1_i32 as u32;
/// `cpu_id` of an area whose registration failed, as librseq and glibc leave it.
pub const CPU_ID_REGISTRATION_FAILED: u32 = -2_i32 as u32;

/// The number in the four bytes before every abort handler, by which the kernel knows one; each
/// architecture has its own (`RSEQ_SIG` of the kernel's `tools/testing/selftests/rseq`, and of
/// glibc's `sys/rseq.h`). 0 in builds without restartable sequences.
pub const SIGNATURE: u32 = crate::arch::SIGNATURE;

/// The length, in bytes, under which an area of the original size is registered.
pub const ORIGINAL_LENGTH: u32 = rseq_abi::area::LENGTH;
/// `RSEQ_FLAG_UNREGISTER` of the system call.
pub const FLAG_UNREGISTER: i32 = 1;

/// Auxiliary vector entry: the bytes of [`Rseq`] that this kernel fills (`AT_RSEQ_FEATURE_SIZE`,
/// Linux 6.3).
pub const AT_RSEQ_FEATURE_SIZE: u32 = 27;

/// Auxiliary vector entry: what the address of a [`Rseq`] of that many bytes must be a multiple of
/// (`AT_RSEQ_ALIGN`, Linux 6.3).
pub const AT_RSEQ_ALIGN: u32 = 28;

/// In [`Rseq::flags`]: the thread can turn the time-slice extension on
/// (`RSEQ_CS_FLAG_SLICE_EXT_AVAILABLE`, Linux 7.0).
pub const SLICE_AVAILABLE: u32 = 1 << 4;
/// In [`Rseq::flags`]: it is on (`RSEQ_CS_FLAG_SLICE_EXT_ENABLED`).
pub const SLICE_ENABLED: u32 = 1 << 5;

/// The number of active bytes in the original ABI, where the kernel has no `AT_RSEQ_FEATURE_SIZE`.
pub const ORIGINAL_FEATURE_SIZE: u32 = 20;

// The structures agree with the numbers by which everybody else reads and writes them.
const _: () = {
    use rseq_abi::{area, descriptor};
    assert!(size_of::<Rseq>() == area::LENGTH as usize && align_of::<Rseq>() == 32);
    assert!(offset_of!(Rseq, cpu_id_start) == area::CPU_ID_START as usize);
    assert!(offset_of!(Rseq, cpu_id) == area::CPU_ID as usize);
    assert!(offset_of!(Rseq, rseq_cs) == area::RSEQ_CS as usize);
    assert!(offset_of!(Rseq, flags) == area::FLAGS as usize);
    assert!(offset_of!(Rseq, node_id) == area::NODE_ID as usize);
    assert!(offset_of!(Rseq, mm_cid) == area::MM_CID as usize);
    assert!(offset_of!(Rseq, slice_ctrl) == area::SLICE_CTRL as usize);
    assert!(size_of::<Descriptor>() == descriptor::LENGTH as usize && align_of::<Descriptor>() == 32);
    assert!(offset_of!(Descriptor, version) == descriptor::VERSION as usize);
    assert!(offset_of!(Descriptor, flags) == descriptor::FLAGS as usize);
    assert!(offset_of!(Descriptor, start_ip) == descriptor::START as usize);
    assert!(offset_of!(Descriptor, post_commit_offset) == descriptor::POST_COMMIT_OFFSET as usize);
    assert!(offset_of!(Descriptor, abort_ip) == descriptor::ABORT as usize);
};
