//! The memory of an image's slots goes with the image, if that is a shared object that is unloaded.

use core::arch::global_asm;

use super::arena::Arena;
use super::values::ARENAS;
use crate::sys;

/// Behind all other destructors of the image, which may use slots: the array runs backwards.
#[used]
#[unsafe(link_section = ".fini_array.00000")]
static AT_THE_END: extern "C" fn() = ends;

// So that each image runs its own. Where several are of one `staticlib`, the loader would take that
// of the first for all, as it may do with the arenas.
global_asm!(".hidden {ends}", ends = sym ends);

/// Gives the memory back when the image is unloaded. At the end of the process, where destructors
/// run as well, nothing is given back: other threads go on.
extern "C" fn ends() {
    let (own, arenas) = (ends as extern "C" fn() as *const (), &raw const ARENAS);
    if ARENAS.iter().any(Arena::is_in_use) && sys::is_being_unloaded(own.cast(), arenas.cast()) {
        // SAFETY: nobody uses the image any more, as whoever unloads it promises, and this is the
        // last of its own code.
        ARENAS.iter().for_each(|arena| unsafe { arena.unmap() });
    }
}
