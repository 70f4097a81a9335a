//! x86-64, after the Intel SDM (volume 2), the System V ABI's AMD64 supplement (thread pointer in
//! `fs:[0]`), "ELF handling for thread-local storage" (local-exec; TLS descriptors after
//! "RFC-TLSDESC-x86") and the kernel's `tools/testing/selftests/rseq/rseq-x86.h` (signature).
//!
//! **One code for executables and shared objects.** An executable's thread-local storage is at a
//! distance from the thread pointer that its linker knows; a shared object's is only where the
//! loader had room for it. What is linked into which isn't known here. So code takes the address of
//! the block's TLS descriptor, by the one instruction of its kind that each linker replaces: in an
//! executable by one that takes the block's distance from the thread pointer. Neither is a
//! relocation that asks the loader for static storage. What that instruction gives is the image's
//! [`anchor`]: a negative number in an executable; in a shared object an address. There it is
//! useless by itself, but a constant, which `FAST.area_offset` makes up for. As long as nobody has
//! said where areas are, the sum is an address that no program has, so what runs too early faults
//! where it stands. The resolver below sees to it that nothing does in what is loaded at the start.

#[cfg(rseq_audited)]
mod audited;
mod image;

use core::arch::asm;
use core::mem::offset_of;

#[cfg(rseq_audited)]
pub(crate) use self::audited::*;
pub(crate) use self::image::{define_image, early_end, early_symbol, early_type};
use super::any::FAST;
use super::blocks;
use crate::abi::{Descriptor, Rseq};
use crate::thread::{Fast, Located, OWN_AREA, ThreadBlock};

/// The number in the four bytes before every abort handler, so that the kernel jumps nowhere else.
/// With the three bytes `0f b9 3d` in front it decodes as `ud1 <sig>(%rip),%edi`, which traps if it
/// is ever executed.
pub(crate) const SIGNATURE: u32 = 0x5305_3053;

/// True if loads are done in the order of the program: "reads are not reordered with other reads"
/// (SDM volume 3, 10.2.2).
pub(crate) const LOADS_IN_ORDER: bool = true;

/// The address from which static TLS is addressed.
#[inline(always)]
pub(crate) fn thread_pointer() -> usize {
    let pointer;
    // SAFETY: reads the first word of the thread's control block, where the ABI keeps its address.
    unsafe { asm!("mov {pointer}, fs:[0]", pointer = out(reg) pointer, options(nostack, readonly, preserves_flags)) };
    pointer
}

/// The anchor, which the distances in `FAST` are from, as a distance from the thread pointer: in an
/// executable that of a thread's block, which is negative; else a number that isn't.
#[inline(always)]
pub(crate) fn anchor() -> isize {
    let anchor;
    // SAFETY: an address or a number, both constant.
    unsafe {
        asm!(
            concat!("lea {anchor}, [rip + ", thread_block_symbol!(), "@tlsdesc]"), // anchor = that
            anchor = out(reg) anchor,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    anchor
}

/// True if the fast path of sections with a `prepare` finds a thread's block. Else their cold path
/// does.
#[inline(always)]
pub(crate) fn blocks_are_known() -> bool {
    is_distance(anchor())
}

/// True if an anchor is the distance of blocks.
#[inline(always)]
pub(crate) fn is_distance(anchor: isize) -> bool {
    anchor < 0
}

/// Windows take the distance to areas for a constant: see [`area_for_windows`].
pub(crate) const AREAS_ARE_CONSTANT: bool = true;

/// The distance from the thread pointer to a thread's block, if it is the same in all threads:
/// where the loader, or the linker, has put this image's thread-local storage into static TLS.
fn static_distance() -> Option<isize> {
    /// The structure that an anchor is the address of in a shared object, as the dynamic linker has
    /// filled it in.
    #[repr(C)]
    struct TlsDescriptor {
        function: usize,
        /// A distance below the thread pointer if the storage is static, else an address (or, where
        /// symbols are bound lazily, whatever tells them apart).
        argument: isize,
    }
    let anchor = anchor();
    if anchor < 0 {
        return Some(anchor);
    }
    // SAFETY: the anchor of a shared object is the address of its TLS descriptor, which was
    // relocated before any code ran.
    let argument = unsafe { (*core::ptr::with_exposed_provenance::<TlsDescriptor>(anchor.cast_unsigned())).argument };
    (argument < 0).then_some(argument)
}

/// The distance from the thread pointer to the areas that this crate registers, if there are any
/// that windows can reach: in static TLS, or where libc would have them if it registered any.
pub(crate) fn own_distance(of_libc: Option<isize>) -> Option<isize> {
    match static_distance() {
        Some(block) if blocks_are_known() || of_libc.is_none() => Some(block + OWN_AREA),
        _ => of_libc,
    }
}

/// The calling thread's block, if it has one.
#[cold]
pub(crate) fn thread_block() -> Option<*mut ThreadBlock> {
    static_distance().map(block_at).or_else(|| blocks::of_thread(thread_pointer()))
}

/// The calling thread's block, which is so far from the thread pointer.
#[inline(always)]
fn block_at(distance: isize) -> *mut ThreadBlock {
    core::ptr::with_exposed_provenance_mut(thread_pointer().wrapping_add_signed(distance))
}

/// The calling thread's area, and what its descriptor is if [`blocks_are_known`].
#[inline(always)]
pub(crate) fn locate() -> Located {
    if areas_are_far() {
        return Located { descriptor: core::ptr::null_mut(), area: FAST.spare_area() };
    }
    let (descriptor, area): (*mut Descriptor, *mut Rseq);
    // SAFETY: reads `FAST` and the thread pointer; writes nothing but the outputs.
    unsafe {
        asm!(
            concat!("lea {td}, [rip + ", thread_block_symbol!(), "@tlsdesc]"), // td = anchor
            "add {td}, fs:[0]",                            // td += thread pointer
            "mov {area}, [rip + {fast} + {area_offset}]",  // area = FAST.area_offset
            "add {area}, {td}",                            // area += td
            td = out(reg) descriptor,
            area = out(reg) area,
            fast = sym FAST,
            area_offset = const offset_of!(Fast, area_offset),
            options(nostack, readonly),
        );
    }
    Located { descriptor, area }
}

/// The calling thread's block. If there is none for it, one of which nothing is ever in force.
#[inline]
pub(crate) fn some_block() -> *mut ThreadBlock {
    match anchor() {
        known @ ..0 => block_at(known),
        _ => thread_block().unwrap_or_else(blocks::spare),
    }
}

/// The calling thread's area, with the descriptor of this block.
#[inline(always)]
pub(crate) fn of_block(block: *mut ThreadBlock) -> Located {
    if areas_are_far() {
        return Located { descriptor: block.cast(), area: FAST.spare_area() };
    }
    let area: *mut Rseq;
    // SAFETY: reads `FAST` and the thread pointer; writes nothing but the output.
    unsafe {
        asm!(
            concat!("lea {area}, [rip + ", thread_block_symbol!(), "@tlsdesc]"), // area = anchor
            "add {area}, fs:[0]",                            // area += thread pointer
            "add {area}, [rip + {fast} + {area_offset}]",    // area += FAST.area_offset
            area = out(reg) area,
            fast = sym FAST,
            area_offset = const offset_of!(Fast, area_offset),
            options(nostack, readonly),
        );
    }
    Located { descriptor: block.cast(), area }
}

/// Areas that no instruction reaches from the thread pointer are those of a shared object for which
/// the loader had no static TLS, where libc has none either. With glibc that isn't found out by who
/// runs a section: see [`find_areas`](crate::registration::find_areas). Other dynamic loaders know
/// no more static TLS than that of what is loaded at the start. (They have no areas of their own,
/// so all that is within reach is below the thread pointer.)
#[inline(always)]
fn areas_are_far() -> bool {
    cfg!(all(not(target_env = "gnu"), not(target_feature = "crt-static"))) && area_distance().cast_signed() >= 0
}

/// The distance from the thread pointer to the calling thread's area: for windows that address it
/// from there. The same for every thread.
///
/// A constant, which the compiler may load once for several windows, or ahead of a loop:
/// [`find_areas`](crate::registration::find_areas) has stored it before any code runs that isn't
/// run ahead of `main` itself. Such code may find an older one, and goes the slow way by that: to
/// an area that isn't registered.
#[inline(always)]
pub(crate) fn area_for_windows() -> usize {
    if areas_are_far() {
        return FAST.spare_area().addr().wrapping_sub(thread_pointer());
    }
    // SAFETY: reads `FAST`, as a constant. Any value that it ever has leads to memory of this
    // thread's.
    unsafe { distance!(pure, nomem) }
}

/// The same, found again for each attempt.
#[inline(always)]
pub(crate) fn area_for_attempts() -> usize {
    if areas_are_far() {
        return FAST.spare_area().addr().wrapping_sub(thread_pointer());
    }
    area_distance()
}

/// The same, without regard to whether it is far.
#[inline(always)]
fn area_distance() -> usize {
    // SAFETY: reads `FAST`.
    unsafe { distance!(readonly) }
}

/// From the thread pointer to an area, by asm with these options. It writes nothing but its output.
macro_rules! distance {
    ($($option:ident),*) => {{
        let distance;
        asm!(
            concat!("lea {distance}, [rip + ", thread_block_symbol!(), "@tlsdesc]"), // distance = anchor
            "add {distance}, [rip + {fast} + {area_offset}]", // distance += FAST.area_offset
            distance = out(reg) distance,
            fast = sym FAST,
            area_offset = const offset_of!(Fast, area_offset),
            options(nostack, $($option),*),
        );
        distance
    }};
}
use distance;

/// Arms the thread descriptor and reads the CPU afterwards, if sections may begin here and the
/// thread is registered.
///
/// One comparison, ahead of arming, finds a thread that isn't registered (its id is a huge number),
/// the portable mode and a process that hasn't decided yet (no id has a slot), and a shared object,
/// of which `thread` has no descriptor. The CPU is read again when the descriptor is in force, and
/// is one of those below the number as well: a thread that was registered still is.
///
/// # Safety
/// `thread` is the calling thread's.
#[inline(always)]
pub(crate) unsafe fn arm(thread: Located) -> Option<usize> {
    // SAFETY: reads the area's `cpu_id`, and `FAST`.
    unsafe {
        asm!(
            "mov {cpus:e}, [rip + {fast} + {watched}]", // cpus = FAST.watched
            "cmp [{area} + {cpu_id}], {cpus:e}",        // area->cpu_id below it ?
            "jae {slowly}",                             // no: the slow way
            cpus = out(reg) _,
            area = in(reg) thread.area,
            cpu_id = const offset_of!(Rseq, cpu_id),
            fast = sym FAST,
            watched = const offset_of!(Fast, watched),
            slowly = label { return None },
            options(nostack, readonly),
        );
    }
    // SAFETY: the caller's; and this thread has a descriptor at that place.
    Some(unsafe { arm_surely(thread) })
}

/// The same for a thread that has a descriptor, wherever it is.
///
/// # Safety
/// `thread` is the calling thread's, of a block of its own.
#[allow(dead_code, reason = "shared objects and audits alone need it")]
pub(crate) unsafe fn arm_slowly(thread: Located) -> Option<usize> {
    use core::sync::atomic::Ordering::Relaxed;
    // SAFETY: the calling thread's area.
    let cpu = unsafe { (*thread.area).cpu_id.load(Relaxed) } as usize;
    // SAFETY: the caller's.
    (cpu < FAST.cpus.load(Relaxed)).then(|| unsafe { arm_surely(thread) })
}

/// # Safety
/// The calling thread's area and descriptor. What comes into force covers the window that
/// this thread published last, where it is not now; its abort address never changes.
#[inline(always)]
unsafe fn arm_surely(thread: Located) -> usize {
    let cpu: usize;
    // SAFETY: the caller's. The one store goes to `rseq_cs`.
    unsafe {
        asm!(
            "mov [{area} + {rseq_cs}], {td}",    // area->rseq_cs = td: armed
            armed_note!(),
            "mov {cpu:e}, [{area} + {cpu_id}]",  // cpu = area->cpu_id
            td = in(reg) thread.descriptor,
            area = in(reg) thread.area,
            cpu = out(reg) cpu,
            rseq_cs = const offset_of!(Rseq, rseq_cs),
            cpu_id = const offset_of!(Rseq, cpu_id),
            options(nostack, preserves_flags),
        );
    }
    cpu
}

/// Takes whatever descriptor is in force out of force.
///
/// # Safety
/// `area` is the calling thread's area.
#[inline(always)]
pub(crate) unsafe fn disarm(area: *mut Rseq) {
    // SAFETY: the caller's. One store, so that the kernel sees the old value or NULL; the memory
    // clobber keeps what comes before it before it.
    unsafe {
        asm!(
            "mov qword ptr [{area} + {rseq_cs}], 0",  // area->rseq_cs = NULL
            area = in(reg) area,
            rseq_cs = const offset_of!(Rseq, rseq_cs),
            options(nostack, preserves_flags),
        );
    }
}
