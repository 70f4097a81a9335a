//! Registration of threads with the kernel: libc's where it has one, else our own.

use core::ffi::c_void;
use core::mem::offset_of;
use core::sync::atomic::{AtomicIsize, AtomicU32, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use crate::abi::{
    AT_RSEQ_ALIGN, AT_RSEQ_FEATURE_SIZE, CPU_ID_REGISTRATION_FAILED, CPU_ID_UNINITIALIZED, FLAG_UNREGISTER,
    ORIGINAL_FEATURE_SIZE, ORIGINAL_LENGTH, Rseq,
};
use crate::sys::{self, Errno};
use crate::thread::{Fast, OwnArea};
use crate::{arch, cpu};

/// `cpu_id` of an area of libc's whose registration failed a second time, by this crate.
const REFUSED: u32 = -3_i32 as u32;

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
    /// The bytes in use, as libc reports them: 20 or 32 for the original ABI, from glibc 2.41 the
    /// kernel's feature size.
    pub(crate) active: u32,
}

/// libc's areas, if it registered the main thread's.
///
/// glibc exports `__rseq_offset` and `__rseq_size` from 2.35 on; the size is 0 if it registered
/// nothing (manual, "Restartable Sequences"). They are looked up by name, because an import would
/// keep the program from starting on an older glibc.
pub(crate) fn libc_area() -> Option<LibcArea> {
    place_of_libc().filter(|area| area.active > 0)
}

/// Asks libc for what it gives under locks alone, or with memory: where its areas are; and, if it
/// registers none, for the end of threads.
pub(crate) fn prepare() {
    if libc_area().is_none() && own_distance().is_some() && !own_is_of_libc() {
        let _threads_are_refused = sys::at_thread_exits(unregister);
    }
}

/// Where libc keeps areas, or would if it had registered any: it leaves them to whoever does.
///
/// It is asked once, by [`prepare`] or who comes ahead of that.
fn place_of_libc() -> Option<LibcArea> {
    static OFFSET: AtomicIsize = AtomicIsize::new(0);
    static ACTIVE: AtomicU32 = AtomicU32::new(UNASKED);
    /// No area has as many bytes in use.
    const UNASKED: u32 = u32::MAX;
    const NONE: u32 = u32::MAX - 1;
    match ACTIVE.load(Acquire) {
        UNASKED => {
            let found = look_libc_up();
            // A thread that asks at the same time finds the same.
            OFFSET.store(found.map_or(0, |area| area.offset), Relaxed);
            ACTIVE.store(found.map_or(NONE, |area| area.active), Release);
            found
        }
        NONE => None,
        active => Some(LibcArea { offset: OFFSET.load(Relaxed), active }),
    }
}

fn look_libc_up() -> Option<LibcArea> {
    let (offset, active) = if cfg!(target_feature = "crt-static") {
        arch::linked_libc_symbols()
    } else {
        (sys::symbol(c"__rseq_offset").cast::<isize>(), sys::symbol(c"__rseq_size").cast::<u32>())
    };
    if offset.is_null() || active.is_null() {
        return None;
    }
    // SAFETY: glibc's documented types of the two constants, which were written before any of our
    // code ran.
    let (offset, active) = unsafe { (*offset, *active) };
    // At the thread pointer itself is none, so code takes that for a distance that isn't known.
    (offset != 0).then_some(LibcArea { offset, active })
}

/// Stores in the words of an image with this anchor where the areas of threads are: what libc says
/// was settled before any of our code ran. For sections that count on it ahead of the decision on
/// the mode, which registers threads.
///
/// A shared object that reaches none, in a process with a glibc from before 2.35 that had no static
/// TLS for it, ends the process here: it can't look at each section whether there is an area.
pub(crate) fn find_areas(words: &Fast, anchor: isize) {
    match area_distance(Registrar::Libc) {
        Some(distance) => words.area_offset.store(distance.wrapping_sub(anchor), Relaxed),
        None if cfg!(target_env = "gnu") => sys::die(
            "rseq-dsl: the thread-local storage of this shared object isn't static, and this C library has no areas for rseq(2) (glibc has from 2.35 on). Link it to the program \
             instead of loading it later.\n",
        ),
        None => {}
    }
}

/// The distance from the thread pointer to the calling thread's area, the same in every thread.
/// `None` if there is none that windows can reach.
pub(crate) fn area_distance(registrar: Registrar) -> Option<isize> {
    match (registrar, libc_area()) {
        (Registrar::Libc, Some(area)) => Some(area.offset),
        _ => own_distance(),
    }
}

/// The same for areas that this crate registers: in static TLS, or in a shared object that has no
/// part in that, where libc registered none though it could have.
fn own_distance() -> Option<isize> {
    arch::own_distance(place_of_libc().map(|area| area.offset))
}

/// The areas that this crate registers are libc's.
fn own_is_of_libc() -> bool {
    own_distance().is_some() && own_distance() == place_of_libc().map(|area| area.offset)
}

/// Where the calling thread's area is, at this distance.
pub(crate) fn area_at(distance: isize) -> *mut Rseq {
    core::ptr::with_exposed_provenance_mut(arch::thread_pointer().wrapping_add_signed(distance))
}

/// The bytes of an area that are registered.
pub(crate) fn length(registrar: Registrar) -> u32 {
    match registrar {
        // glibc registers at least the original structure, also where it reports fewer bytes as
        // active.
        Registrar::Libc => libc_area().map_or(ORIGINAL_LENGTH, |area| area.active.max(ORIGINAL_LENGTH)),
        // As long as glibc would have registered it.
        Registrar::Own if own_is_of_libc() => ORIGINAL_LENGTH,
        Registrar::Own => own_length(sys::auxiliary(AT_RSEQ_FEATURE_SIZE), sys::auxiliary(AT_RSEQ_ALIGN)),
    }
}

/// The length to register an own area under, on a kernel that fills so many bytes of it, so
/// aligned: all of them if there is room, else those of the original structure. (Any other number
/// is refused: `rseq_length_valid` in `kernel/rseq.c`.)
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

/// True if threads have concurrency ids.
pub(crate) fn has_mm_cid(registrar: Registrar) -> bool {
    kept(registrar) as usize >= offset_of!(Rseq, slice_ctrl)
}

/// Makes sure that the calling thread is registered, in a process that was opened to restartable
/// sections. Its CPU, if that has a slot.
pub(crate) fn ensure(registrar: Registrar) -> Option<usize> {
    let area = arch::locate().area;
    // SAFETY: the calling thread's own area, in its TLS.
    let cpu_id = unsafe { &(*area).cpu_id };
    if is_unasked(registrar, cpu_id.load(Relaxed)) {
        let _failure_shows_in_cpu_id = match registrar {
            // A thread that libc didn't start (`clone`), or one that was unregistered behind its
            // back. SAFETY: libc's area for exactly this purpose, which lives as long as the
            // thread.
            Registrar::Libc => unsafe { sys::rseq(area, length(registrar), 0, arch::SIGNATURE) },
            Registrar::Own => own_area(area),
        };
    }
    let cpu = cpu_id.load(Relaxed) as usize;
    (cpu < cpu::possible()).then_some(cpu)
}

/// True if a thread whose id that is hasn't asked yet to be registered. libc says of areas of its
/// own that it doesn't register that it has failed to.
fn is_unasked(registrar: Registrar, cpu_id: u32) -> bool {
    match cpu_id {
        CPU_ID_UNINITIALIZED => true,
        CPU_ID_REGISTRATION_FAILED => registrar == Registrar::Own && own_is_of_libc(),
        _ => false,
    }
}

/// Registers the calling thread, if there is an area for it.
pub(crate) fn register_own() -> Option<Result<(), Errno>> {
    own_distance().map(|distance| own_area(area_at(distance)))
}

/// True if the kernel keeps the calling thread's area up to date, if that looks as if it did. It
/// doesn't in a child that shares its parent's memory (`vfork`, `clone` with `CLONE_VM`), and with
/// it the parent's area: registrations aren't passed on to those (`rseq_fork` in
/// `include/linux/rseq.h`, Linux 5.5).
pub(crate) fn is_kept(registrar: Registrar) -> bool {
    let area = arch::locate().area;
    // SAFETY: the calling thread's area, in its TLS.
    let looks_so = unsafe { (*area).cpu_id.load(Relaxed) }.cast_signed() >= 0;
    !looks_so || sys::is_registered(area, length(registrar), arch::SIGNATURE)
}

/// Registers the calling thread's own area, and sees to it that the registration ends before the
/// thread's memory does.
fn own_area(area: *mut Rseq) -> Result<(), Errno> {
    // SAFETY: static TLS is valid until the thread has run its destructors, of which ours ends the
    // registration; libc's area is until the thread is gone.
    let registered = match unsafe { sys::rseq(area, length(Registrar::Own), 0, arch::SIGNATURE) } {
        Err(sys::BUSY) => return Ok(()),
        result => result,
    };
    let result = registered.and_then(|()| {
        if own_is_of_libc() {
            return Ok(());
        }
        // musl unmaps a detached thread's memory before the thread is gone, and the kernel kills a
        // process whose area isn't there.
        sys::at_thread_exit(unregister, area.cast()).inspect_err(|_| {
            // SAFETY: this area, which stays valid.
            unsafe { unregister(area.cast()) };
        })
    });
    if result.is_err() {
        // So that this thread doesn't ask again in every section.
        // SAFETY: the area isn't registered, so no one else writes to it.
        unsafe { (*area).cpu_id.store(if own_is_of_libc() { REFUSED } else { CPU_ID_REGISTRATION_FAILED }, Relaxed) };
    }
    result
}

/// Ends the registration of the calling thread if it is this crate's, which turned out to be of no
/// use.
pub(crate) fn withdraw(registrar: Registrar) {
    if let Registrar::Own = registrar {
        // SAFETY: the calling thread's area, which this crate registered.
        unsafe { unregister(arch::locate().area.cast()) };
    }
}

/// Ends a thread's own registration. A section in a later destructor of the same thread registers
/// it again.
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
        // No entries before 6.3; what 6.3 and 7.0 say; an alignment and a length that there is no
        // room for.
        assert_eq!([own_length(0, 0), own_length(28, 32), own_length(32, 32)], [32; 3]);
        assert_eq!([own_length(33, 64), own_length(64, 64)], [33, 64]);
        assert_eq!([own_length(65, 128), own_length(33, 128), own_length(usize::MAX, 1)], [32; 3]);
    }
}
