//! Arming and disarming on machines whose windows publish their descriptor by several stores: no
//! instruction of these is special, so it is Rust.
//!
//! Such a publish begins with the length of the thread descriptor, which becomes 0, and ends with
//! it, so what is half published covers nothing (`emit/arch/load_store.rs` in rseq-macros). A
//! handler in the middle may run a section of its own and leave a whole window there, which the
//! interrupted section then mixes with its own. By then that section is out of force, because the
//! signal took it out; but what it mixed must not come into force with another one. So arming
//! begins by setting the length to 0, for sections of handlers that come in between; and a section
//! that is aborted sets it to 0, for one that it interrupted between that and arming. What is in
//! force always covers nothing, or one window, whole (`tests/protocol/by_stores.rs` of the facade
//! tries every schedule).
//!
//! **No relocation asks for thread-local storage.** One code goes into executables and shared
//! objects. Where an executable's linker has put the block is found out at run time, in cold code,
//! and kept in `FAST.anchor`, as a distance from the thread pointer. In a shared object that stays
//! 0: its blocks are in a table (`blocks.rs`), and the cold path arms its sections. The loads from
//! `FAST` need no order among themselves, on any machine: whatever value the one of them has, each
//! value that the other ever has leads to memory that may be used with it. `FAST.area_offset`, from
//! the block, is used with a block alone, and is at first that of the own area; `FAST.area` is used
//! by itself; and each that may still be unknown is compared with 0.
//!
//! Between the compiler and an interruption on the same CPU it takes no more than fences for the
//! compiler; the kernel sees a thread's stores in its order.

use core::arch::asm;
use core::ptr::{null_mut, with_exposed_provenance_mut};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Acquire, Ordering::Relaxed};

use super::any::{FAST, compiler_fence};
use super::blocks::{self, abort_handler};
use super::{SELECTS, TLS, from_thread_pointer, thread_pointer};
use crate::abi::{Descriptor, Rseq};
use crate::sys;
use crate::thread::{Located, OWN_AREA, ThreadBlock};

/// See [`image`](crate::image).
macro_rules! define_image {
    ($asm:ident, $begins:path, $($option:tt)*) => {
        image! { $asm, "{begins}", [], [begins = sym $begins, $($option)*] }
    };
}
pub(crate) use define_image;

/// Windows find them out.
pub(crate) const AREAS_ARE_CONSTANT: bool = false;

/// The lower word of 64 bits that the kernel reads at any time. The upper one, if there is one,
/// stays 0.
///
/// # Safety
/// The 64 bits are valid for as long as the reference is used, and nobody changes them but by
/// atomics.
#[inline(always)]
unsafe fn word<'a, T>(field: *mut T) -> &'a AtomicUsize {
    const { assert!(size_of::<T>() == 8 && cfg!(any(target_pointer_width = "64", target_endian = "little"))) };
    // SAFETY: the caller's; aligned, as the 64 bits are.
    unsafe { AtomicUsize::from_ptr(field.cast()) }
}

/// The calling thread's block, which is so far from the thread pointer.
#[inline(always)]
fn block_at(distance: isize) -> *mut ThreadBlock {
    with_exposed_provenance_mut(from_thread_pointer(distance))
}

/// The calling thread's descriptor and area if [`blocks_are_known`], else null.
#[inline(always)]
pub(crate) fn locate_quickly() -> Located {
    let distance = FAST.anchor.load(Relaxed);
    if distance == 0 {
        return Located { descriptor: null_mut(), area: null_mut() };
    }
    let block = block_at(distance);
    // SAFETY: a thread's block isn't at address 0.
    unsafe { core::hint::assert_unchecked(!block.is_null()) };
    Located { descriptor: block.cast(), area: block.wrapping_byte_offset(FAST.area_offset.load(Relaxed)).cast() }
}

/// The calling thread's area, and what its descriptor is if [`blocks_are_known`].
#[inline]
pub(crate) fn locate() -> Located {
    // A section that armed by a distance finds the same area here: this load sees that distance,
    // and so the next ones what was stored ahead of it.
    let distance = FAST.area.load(Acquire);
    let thread = locate_quickly();
    match distance {
        _ if !thread.area.is_null() => thread,
        0 => Located { area: FAST.spare_area(), ..thread },
        distance => Located { area: block_at(distance).cast(), ..thread },
    }
}

/// The calling thread's area, with the descriptor of this block, which is from [`some_block`].
#[inline(always)]
pub(crate) fn of_block(block: *mut ThreadBlock) -> Located {
    // SAFETY: a block, of whose fields this one is an atomic.
    let offset = unsafe { &(*block).area_offset };
    Located { descriptor: block.cast(), area: block.wrapping_byte_offset(offset.load(Relaxed)).cast() }
}

/// The calling thread's block, if it has one.
#[cold]
pub(crate) fn thread_block() -> Option<*mut ThreadBlock> {
    match anchor() {
        0 => blocks::of_thread(thread_pointer()),
        distance => Some(block_at(distance)),
    }
}

/// The calling thread's block. If there is none for it, one of which nothing is ever in force.
#[cold]
pub(crate) fn some_block() -> *mut ThreadBlock {
    let (block, area) = match thread_block() {
        Some(block) => (block, locate().area),
        // Others use that block as well.
        None => (blocks::spare(), FAST.spare_area()),
    };
    // SAFETY: a block, of whose fields this one is an atomic.
    let offset = unsafe { &(*block).area_offset };
    offset.store(area.addr().wrapping_sub(block.addr()).cast_signed(), Relaxed);
    block
}

/// The anchor, which the distance in `FAST` is from: the distance from the thread pointer to a
/// thread's block, the same in all threads, in an executable; else 0. Found out by whoever asks
/// first, which takes no lock.
pub(crate) fn anchor() -> isize {
    /// This isn't the executable.
    static IS_ELSEWHERE: AtomicBool = AtomicBool::new(false);
    match FAST.anchor.load(Relaxed) {
        0 if !IS_ELSEWHERE.load(Relaxed) => {
            let Some(distance) = distance_of_block() else {
                IS_ELSEWHERE.store(true, Relaxed);
                // A handler in between may have found it, and have changed what it was to be known
                // by.
                return FAST.anchor.load(Relaxed);
            };
            // Windows needn't share an area until there is a better one.
            let _is_known_already = FAST.area.compare_exchange(0, distance + OWN_AREA, Relaxed, Relaxed);
            FAST.anchor.store(distance, Relaxed);
            distance
        }
        distance => distance,
    }
}

/// The distance from the thread pointer to the calling thread's block, where the executable is this
/// image. The block is found by what is in it at first: the address of this image's abort handler.
#[cold]
fn distance_of_block() -> Option<isize> {
    let storage = sys::storage_of_executable(&raw const FAST)?;
    let is_block = |place: *const u8| {
        // SAFETY: aligned; in what threads' storage is at first, or in the calling thread's.
        let Descriptor { version, flags, start_ip, post_commit_offset, abort_ip } =
            unsafe { place.cast::<Descriptor>().read() };
        (version, flags, post_commit_offset) == (0, 0, 0) && [start_ip, abort_ip] == [abort_handler() as u64; 2]
    };
    let content = storage.content;
    let first = content.start.wrapping_add(content.start.align_offset(align_of::<ThreadBlock>()));
    let last = content.end.wrapping_sub(size_of::<ThreadBlock>());
    let mut places = (0..).map(|number| first.wrapping_add(number * align_of::<ThreadBlock>()));
    let place = places.by_ref().take_while(|place| *place <= last).find(|place| is_block(*place))?;
    let start = TLS.distance(storage.address, storage.length, storage.alignment);
    let distance = start.wrapping_add_unsigned(place.addr() - content.start.addr());
    // The calling thread's own is still the same, unless it is known already. (A linker of other
    // ways than the ABI's would be found here.)
    let block: *const u8 = block_at(distance).cast_const().cast();
    (distance != 0 && block.addr().is_multiple_of(align_of::<ThreadBlock>()) && is_block(block)).then_some(distance)
}

/// The fast path of all sections finds it.
pub(crate) fn blocks_are_known() -> bool {
    is_distance(FAST.anchor.load(Relaxed))
}

/// True if an anchor is the distance of blocks.
pub(crate) fn is_distance(anchor: isize) -> bool {
    anchor != 0
}

/// The distance from the thread pointer to the areas that this crate registers, if there are any
/// that windows can reach: those of an executable's threads, or where libc would have them if it
/// registered any.
pub(crate) fn own_distance(of_libc: Option<isize>) -> Option<isize> {
    match anchor() {
        0 => of_libc,
        // No area is at the thread pointer itself: that distance says that none is known.
        block => Some(block + OWN_AREA).filter(|distance| *distance != 0),
    }
}

/// The address of the calling thread's area, for windows that arm by themselves. It is another one
/// before the mode is decided.
#[inline(always)]
pub(crate) fn area_for_windows() -> usize {
    let distance = FAST.area.load(Relaxed);
    if !SELECTS && distance == 0 {
        return FAST.spare_area().expose_provenance();
    }
    // Without a jump the compiler can't write a window twice, one for each.
    core::hint::select_unpredictable(
        distance != 0,
        from_thread_pointer(distance),
        FAST.spare_area().expose_provenance(),
    )
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
    if descriptor.is_null() {
        return None;
    }
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
    let descriptor: *mut Descriptor = match FAST.anchor.load(Relaxed) {
        0 => block_elsewhere(),
        distance => block_at(distance),
    }
    .cast();
    compiler_fence();
    // SAFETY: the caller's, and the calling thread's. Stores of one word each, so that the kernel
    // sees the old value or 0.
    unsafe {
        word(&raw mut (*descriptor).post_commit_offset).store(0, Relaxed);
        compiler_fence();
        word(&raw mut (*area).rseq_cs).store(0, Relaxed);
    }
    compiler_fence();
}

/// The calling thread's block where the fast path finds none, or one of which nothing is ever in
/// force.
#[cold]
#[inline(never)]
fn block_elsewhere() -> *mut ThreadBlock {
    thread_block().unwrap_or_else(blocks::spare)
}

#[cfg(test)]
mod tests {
    use super::{abort_handler, anchor, block_at, blocks_are_known};

    /// By whichever linker made this one, and in threads that come later.
    #[test]
    fn an_executable_finds_its_blocks() {
        let distance = anchor();
        assert!(distance != 0 && blocks_are_known());
        let check = move || {
            // SAFETY: this thread's block.
            let descriptor = unsafe { (*block_at(distance)).descriptor };
            assert_eq!([descriptor.start_ip, descriptor.abort_ip], [abort_handler() as u64; 2]);
        };
        check();
        std::thread::spawn(check).join().expect("it finds its own");
    }
}
