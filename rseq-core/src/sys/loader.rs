//! The dynamic loader of glibc, which alone unloads.

use core::ffi::{c_char, c_void};
use core::mem::MaybeUninit;
use core::ptr::null_mut;

use super::executable_base;

/// True if a shared object is about to be unloaded that holds both addresses, of which the first is
/// a destructor's that runs now. These run at the end of the process as well, where nothing is
/// unloaded.
///
/// The loader is asked to close the object once more. It refuses that if nobody has it open
/// (`_dl_close` in `elf/dl-close.c`), and so it is when an object is unloaded. At the end of the
/// process each is open once more than the program has it (`_dl_fini` in `elf/dl-fini.c`, ever
/// since 2.3), and then that is made good again.
#[allow(dead_code, reason = "machines without asm don't ask")]
pub(crate) fn is_being_unloaded(destructor: *const c_void, other: *const c_void) -> bool {
    let Some(((base, map, name), (other_base, ..))) = image_of(destructor).zip(image_of(other)) else { return false };
    if base == executable_base() || base != other_base {
        return false;
    }
    // SAFETY: the map of a loaded object, which is the handle of whoever has it open. It stays
    // loaded: while it is being unloaded this is refused, and else it was open once more.
    if unsafe { libc::dlclose(map) } != 0 {
        // Nobody else is to find the message, which is taken back when it is asked for.
        // SAFETY: has no precondition.
        unsafe { libc::dlerror() };
        return true;
    }
    // SAFETY: the loader's own name of the object, which NOLOAD only looks up.
    unsafe { libc::dlopen(name, libc::RTLD_NOW | libc::RTLD_NOLOAD) };
    false
}

/// Where the image that holds this address is loaded, and the loader's map and name of it.
fn image_of(address: *const c_void) -> Option<(usize, *mut c_void, *const c_char)> {
    /// Of `dlfcn.h`.
    const RTLD_DL_LINKMAP: libc::c_int = 2;
    let (mut image, mut map) = (MaybeUninit::<libc::Dl_info>::zeroed(), null_mut());
    // SAFETY: both are writable for what the call fills them with.
    let found = unsafe { libc::dladdr1(address, image.as_mut_ptr(), &mut map, RTLD_DL_LINKMAP) } != 0;
    // SAFETY: zeroes are valid for what the call may have left alone.
    let image = unsafe { image.assume_init() };
    found.then_some((image.dli_fbase.addr(), map, image.dli_fname))
}
