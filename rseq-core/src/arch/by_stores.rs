//! Arming and disarming on machines whose windows publish their descriptor by several stores: no instruction of these is special, so it is Rust.
//!
//! Such a publish begins with the length of the thread descriptor, which becomes 0, and ends with it, so what is half published covers nothing
//! (`emit/arch/load_store.rs` in rseq-macros). A handler in the middle may run a section of its own and leave a whole window there, which the interrupted section then mixes with
//! its own. By then that section is out of force, because the signal took it out; but what it mixed must not come into force with another one. So arming begins by setting the length to 0,
//! for sections of handlers that come in between; and a section that is aborted sets it to 0, for one that it interrupted between that and arming. What is in force always covers
//! nothing, or one window, whole (`tests/by_stores.rs` of the facade tries every schedule).
//!
//! Between the compiler and an interruption on the same CPU it takes no more than fences for the compiler; the kernel sees a thread's stores in its order.

use core::arch::asm;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::any::{armed_note, compiler_fence};
use super::{static_block, thread_pointer};
use crate::abi::{Descriptor, Rseq};
use crate::thread::{FAST, Located, OWN_AREA, ThreadBlock};

/// Defines the thread block of this image, with the lines of a signature, an instruction that traps, and those of the descriptor's start, length 0 and abort, `22b`.
///
/// Static TLS, not `thread_local!`: it is there before the first access, and needs no call from a shared object either.
/// Hidden, so that each image (the executable, every shared object) has its own: an image that is unloaded must not leave an
/// abort address behind in a descriptor that others go on using.
macro_rules! define_thread_block {
    ($($signature:literal)*, $trap:literal, $($address:literal)*) => {
        core::arch::global_asm!(
            ".pushsection .text.unlikely.rseq_dsl, \"ax\"",
            ".balign 4",
            $($signature,)*         // the signature
            concat!("22: ", $trap), // abort handler of a thread that published no window yet: never gone to
            ".popsection",
            ".pushsection .tdata, \"awT\"",
            ".balign {align}",
            concat!(".globl ", thread_block_symbol!()),
            concat!(".hidden ", thread_block_symbol!()),
            concat!(".type ", thread_block_symbol!(), ", STT_TLS"),
            concat!(".size ", thread_block_symbol!(), ", {block}"),
            concat!(thread_block_symbol!(), ":"),
            ".long 0, 0",                     // descriptor: version, flags
            $($address,)*                     // descriptor: start, length 0, abort
            ".zero {own_area} - 32",          // a gap: areas are aligned
            ".long 0, -1",                    // own area: cpu_id_start, cpu_id = uninitialised
            ".zero {block} - {own_area} - 8", // own area: nothing registered, no descriptor in force
            ".popsection",
            $crate::arch::any::image_note!(),
            signature = const SIGNATURE,
            align = const align_of::<$crate::thread::ThreadBlock>(),
            own_area = const core::mem::offset_of!($crate::thread::ThreadBlock, own_area),
            block = const size_of::<$crate::thread::ThreadBlock>(),
            fast = sym $crate::thread::FAST,
            decision = sym $crate::mode::DECISION,
            possible = sym $crate::cpu::POSSIBLE,
        );
    };
}
pub(super) use define_thread_block;

/// The lower word of 64 bits that the kernel reads at any time. The upper one, if there is one, stays 0.
///
/// # Safety
/// The 64 bits are valid for as long as the reference is used, and nobody changes them but by atomics.
#[inline(always)]
unsafe fn word<'a, T>(field: *mut T) -> &'a AtomicUsize {
    const { assert!(size_of::<T>() == 8 && cfg!(any(target_pointer_width = "64", target_endian = "little"))) };
    // SAFETY: the caller's; aligned, as the 64 bits are.
    unsafe { AtomicUsize::from_ptr(field.cast()) }
}

/// The calling thread's descriptor and area.
#[inline(always)]
pub(crate) fn locate() -> Located {
    of_block(static_block())
}

/// The calling thread's descriptor and area, where its block is known.
#[inline(always)]
pub(crate) fn of_block(block: *mut ThreadBlock) -> Located {
    Located { descriptor: block.cast(), area: block.wrapping_byte_offset(FAST.area_offset.load(Relaxed)).cast() }
}

/// The calling thread's block. Every thread has one: it is in static TLS, in shared objects too.
#[allow(clippy::unnecessary_wraps, reason = "as on other machines")]
pub(crate) fn thread_block() -> Option<*mut ThreadBlock> {
    Some(static_block())
}

/// The same.
pub(crate) fn some_block() -> *mut ThreadBlock {
    static_block()
}

/// The distance from the thread pointer to a thread's block, which is the same in every thread. It
/// is what the distance in `FAST` is from.
pub(crate) fn anchor() -> isize {
    static_block().addr().wrapping_sub(thread_pointer()).cast_signed()
}

/// The fast path of all sections finds it.
pub(crate) fn blocks_are_known() -> bool {
    true
}

/// The distance from the thread pointer to the areas that this crate registers.
#[allow(clippy::unnecessary_wraps, reason = "as on other machines")]
pub(crate) fn own_distance(_of_libc: Option<isize>) -> Option<isize> {
    Some(anchor() + OWN_AREA)
}

/// What windows that arm by themselves address the calling thread's area by: its address. It is another one before the mode is decided.
#[inline(always)]
pub(crate) fn area_for_windows() -> usize {
    locate().area.expose_provenance()
}

/// The same.
#[inline(always)]
pub(crate) fn area_for_attempts() -> usize {
    area_for_windows()
}

/// Arms the thread descriptor and reads the CPU afterwards; `None` if sections may not begin here.
///
/// # Safety
/// `thread` is the calling thread's.
#[inline(always)]
pub(crate) unsafe fn arm(thread: Located) -> Option<usize> {
    let Located { descriptor, area } = thread;
    // SAFETY: the caller's: both are the thread's own, and valid while it runs.
    let cpu = unsafe {
        word(&raw mut (*descriptor).post_commit_offset).store(0, Relaxed);
        compiler_fence();
        word(&raw mut (*area).rseq_cs).store(descriptor.expose_provenance(), Relaxed);
        // Like a fence for the compiler, and no instruction either.
        asm!(armed_note!(), options(nostack, preserves_flags));
        (*area).cpu_id.load(Relaxed)
    };
    compiler_fence();
    // One comparison for an id that has no slot, a thread that isn't registered (its id is a huge
    // number), the portable mode and a process that hasn't decided yet (no id has a slot).
    let cpus = FAST.cpus.load(Relaxed);
    ((cpu as usize) < cpus).then_some(cpu as usize)
}

/// Takes whatever descriptor is in force out of force, and leaves nothing half published behind.
///
/// # Safety
/// `area` is the calling thread's area.
#[inline(always)]
pub(crate) unsafe fn disarm(area: *mut Rseq) {
    let descriptor: *mut Descriptor = static_block().cast();
    compiler_fence();
    // SAFETY: the caller's, and the calling thread's. Stores of one word each, so that the kernel sees the old value or 0.
    unsafe {
        word(&raw mut (*descriptor).post_commit_offset).store(0, Relaxed);
        compiler_fence();
        word(&raw mut (*area).rseq_cs).store(0, Relaxed);
    }
    compiler_fence();
}
