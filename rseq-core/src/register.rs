//! Registration of threads with the kernel: libc's where it has one, else our own.

use core::ffi::c_void;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::abi::{
    AT_RSEQ_ALIGN, AT_RSEQ_FEATURE_SIZE, CPU_ID_REGISTRATION_FAILED, CPU_ID_UNINITIALIZED, FLAG_UNREGISTER,
    ORIGINAL_FEATURE_SIZE, ORIGINAL_LENGTH, Rseq,
};
use crate::sys::{self, Errno};
use crate::thread::{FAST, OWN_AREA, OwnArea};
use crate::{arch, cpu};

/// Who registered the threads' areas with the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Registrar {
    /// The C library, for each thread as it starts (glibc from 2.35).
    Libc,
    /// This crate, for each thread in its first section.
    Own,
}

/// Where libc keeps each thread's area.
#[derive(Clone, Copy)]
pub(crate) struct LibcArea {
    /// From the thread pointer, in bytes.
    offset: isize,
    /// The bytes in use, as libc reports them: 20 or 32 for the original ABI, from glibc 2.41 the kernel's feature size.
    pub(crate) active: u32,
}

/// libc's areas, if it registered the main thread's.
///
/// glibc exports `__rseq_offset` and `__rseq_size` from 2.35 on; the size is 0 if it registered nothing
/// (manual, "Restartable Sequences"). They are looked up by name, because an import would keep the program from starting on an older glibc.
pub(crate) fn libc_area() -> Option<LibcArea> {
    let (offset, active) = if cfg!(target_feature = "crt-static") {
        arch::linked_libc_symbols()
    } else {
        (sys::symbol(c"__rseq_offset").cast::<isize>(), sys::symbol(c"__rseq_size").cast::<u32>())
    };
    if offset.is_null() || active.is_null() {
        return None;
    }
    // SAFETY: glibc's documented types of the two constants, which were written before any of our code ran.
    let (offset, active) = unsafe { (*offset, *active) };
    (active > 0).then_some(LibcArea { offset, active })
}

/// Stores where the areas of threads are: what libc says was settled before any of our code ran. For sections that count on it ahead of the decision on the mode,
/// which registers threads.
#[allow(dead_code, reason = "not every architecture's sections do")]
pub(crate) extern "C" fn find_areas() {
    FAST.area_offset.store(area_offset(Registrar::Libc), Relaxed);
}

/// The distance from a thread's block to its area.
pub(crate) fn area_offset(registrar: Registrar) -> isize {
    match (registrar, libc_area()) {
        (Registrar::Libc, Some(area)) => {
            // Both lie in static TLS, at distances from the thread pointer that are the same in every thread.
            let area = arch::thread_pointer().wrapping_add_signed(area.offset);
            area.wrapping_sub(arch::thread_block().addr()).cast_signed()
        }
        _ => OWN_AREA,
    }
}

/// The distance from the thread pointer to a thread's block, which is the same in every thread.
pub(crate) fn block_offset() -> isize {
    arch::thread_block().addr().wrapping_sub(arch::thread_pointer()).cast_signed()
}

/// The bytes of an area that are registered.
pub(crate) fn length(registrar: Registrar) -> u32 {
    match registrar {
        Registrar::Libc => libc_length(),
        Registrar::Own => own_length(sys::auxiliary(AT_RSEQ_FEATURE_SIZE), sys::auxiliary(AT_RSEQ_ALIGN)),
    }
}

/// libc's. It is asked once, before sections are restartable: it looks its symbols up under a lock,
/// and a handler may interrupt it there.
fn libc_length() -> u32 {
    static ANSWER: AtomicU32 = AtomicU32::new(0);
    match ANSWER.load(Relaxed) {
        0 => {
            // glibc registers at least the original structure, also where it reports fewer bytes as
            // active.
            let length = libc_area().map_or(ORIGINAL_LENGTH, |area| area.active.max(ORIGINAL_LENGTH));
            ANSWER.store(length, Relaxed);
            length
        }
        answer => answer,
    }
}

/// The length to register an own area under, on a kernel that fills so many bytes of it, so aligned: all of them if there is room, else those of the
/// original structure. (Any other number is refused: `rseq_length_valid` in `kernel/rseq.c`.)
fn own_length(filled: usize, align: usize) -> u32 {
    let fits = filled <= size_of::<OwnArea>() && align <= align_of::<OwnArea>();
    if fits { ORIGINAL_LENGTH.max(filled as u32) } else { ORIGINAL_LENGTH }
}

/// The bytes of an area that this kernel keeps up to date, as far as it was told of them.
pub(crate) fn kept(registrar: Registrar) -> u32 {
    let feature = match sys::auxiliary(AT_RSEQ_FEATURE_SIZE) {
        0 => ORIGINAL_FEATURE_SIZE,
        size => size as u32,
    };
    feature.min(length(registrar))
}

/// Whether threads have concurrency ids.
pub(crate) fn has_mm_cid(registrar: Registrar) -> bool {
    kept(registrar) as usize >= offset_of!(Rseq, slice_ctrl)
}

/// Makes sure that the calling thread is registered, in a process that was opened to restartable sections. Its CPU, if that
/// has a slot.
pub(crate) fn ensure(registrar: Registrar) -> Option<usize> {
    let area = arch::locate().area;
    // SAFETY: the calling thread's own area, in its TLS.
    let cpu_id = unsafe { &(*area).cpu_id };
    if cpu_id.load(Relaxed) == CPU_ID_UNINITIALIZED {
        let _failure_shows_in_cpu_id = match registrar {
            // A thread that libc didn't start (`clone`), or one that was unregistered behind its back.
            // SAFETY: libc's area for exactly this purpose, which lives as long as the thread.
            Registrar::Libc => unsafe { sys::rseq(area, length(registrar), 0, arch::SIGNATURE) },
            Registrar::Own => own_area(),
        };
    }
    let cpu = cpu_id.load(Relaxed) as usize;
    (cpu < cpu::possible()).then_some(cpu)
}

/// Whether the kernel keeps the calling thread's area up to date, if that looks as if it did. It
/// doesn't in a child that shares its parent's memory (`vfork`, `clone` with `CLONE_VM`), and with
/// it the parent's area: registrations aren't passed on to those (`rseq_fork` in
/// `include/linux/rseq.h`, Linux 5.5).
pub(crate) fn is_kept(registrar: Registrar) -> bool {
    let area = arch::locate().area;
    // SAFETY: the calling thread's area, in its TLS.
    let looks_so = unsafe { (*area).cpu_id.load(Relaxed) }.cast_signed() >= 0;
    !looks_so || sys::is_registered(area, length(registrar), arch::SIGNATURE)
}

/// Registers the calling thread's own area, and sees to it that the registration ends before the thread's memory does.
pub(crate) fn own_area() -> Result<(), Errno> {
    // SAFETY: the calling thread's block.
    let area = unsafe { &raw mut (*arch::thread_block()).own_area.fields };
    // SAFETY: static TLS is valid until the thread has run its destructors, of which ours ends the registration.
    let registered = match unsafe { sys::rseq(area, length(Registrar::Own), 0, arch::SIGNATURE) } {
        Err(sys::BUSY) => return Ok(()),
        result => result,
    };
    let result = registered.and_then(|()| {
        // musl unmaps a detached thread's memory before the thread is gone, and the kernel kills a process whose area isn't there.
        sys::at_thread_exit(unregister, area.cast()).inspect_err(|_| {
            // SAFETY: this area, which stays valid.
            unsafe { unregister(area.cast()) };
        })
    });
    if result.is_err() {
        // So that this thread doesn't ask again in every section.
        // SAFETY: the area isn't registered, so no one else writes to it.
        unsafe { (*area).cpu_id.store(CPU_ID_REGISTRATION_FAILED, Relaxed) };
    }
    result
}

/// Ends the registration of the calling thread if it is this crate's, which turned out to be of no use.
pub(crate) fn withdraw(registrar: Registrar) {
    if let Registrar::Own = registrar {
        // SAFETY: the calling thread's block, whose area this crate registered.
        unsafe { unregister((&raw mut (*arch::thread_block()).own_area).cast()) };
    }
}

/// Ends a thread's own registration. A section in a later destructor of the same thread registers it again.
unsafe extern "C" fn unregister(area: *mut c_void) {
    // SAFETY: the area that this thread registered; it stays valid here.
    let _not_registered_any_more =
        unsafe { sys::rseq(area.cast(), length(Registrar::Own), FLAG_UNREGISTER, arch::SIGNATURE) };
}

#[cfg(test)]
mod tests {
    use super::own_length;

    #[test]
    fn an_own_area_is_as_long_as_the_kernel_fills_it() {
        // No entries before 6.3; what 6.3 and 7.0 say; an alignment and a length that there is no room for.
        assert_eq!([own_length(0, 0), own_length(28, 32), own_length(32, 32)], [32; 3]);
        assert_eq!([own_length(33, 64), own_length(64, 64)], [33, 64]);
        assert_eq!([own_length(65, 128), own_length(33, 128), own_length(usize::MAX, 1)], [32; 3]);
    }
}
