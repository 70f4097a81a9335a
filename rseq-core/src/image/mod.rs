//! The images (the executable, shared objects) whose sections the code of this one serves.
//!
//! Each has for itself the words that its sections load, at a distance that the linker knows, and a
//! constructor, which tells the code that serves it of them: they are opened when the mode is
//! decided. That code may be another image's. A Rust `dylib` has the one copy of this crate that
//! there is for those who link it, but sections that are inlined, or generic, are compiled into
//! these. And of two shared objects of one `staticlib` the loader may take the functions of the
//! first for both. So every section that is compiled brings all of this along, and the linker keeps
//! one of it for the image (`comdat`). It is hidden: no other image's is ever taken for it.

#![allow(dead_code, reason = "no image has words of its own where no area is addressed")]

pub(crate) mod list;

use core::ffi::c_void;
use core::sync::atomic::{Ordering::Relaxed, Ordering::SeqCst, fence};

use crate::arch::{self, FAST, define_image, define_note};
use crate::thread::Fast;
use crate::{mode, portable, registration, sys};

/// The section that this is compiled into belongs to an image. No instruction.
#[allow(named_asm_labels, reason = "they are defined once, however often this is compiled (`.ifndef`)")]
#[allow(unused_unsafe, reason = "where no area is addressed an image has nothing for itself")]
#[inline(always)]
pub(crate) fn is_of_image() {
    // SAFETY: no instruction.
    unsafe {
        define_image!(asm, begins, options(nomem, nostack, preserves_flags));
    }
}

define_image!(global_asm, begins_here,);
define_note!(mode::DECISION, crate::cpu::POSSIBLE);

/// The constructor of the image that this is compiled into.
#[inline]
pub(crate) extern "C" fn begins() {
    join(&FAST, arch::anchor());
}

/// The same, if it is the image that this crate is linked into.
pub(crate) extern "C" fn begins_here() {
    begins();
}

/// The work that this crate's code does once, ahead of `main` or when it is loaded: what takes a
/// lock of libc's, or its memory, because a section may be a handler's, on top of who has them; and
/// it reads the environment, which others may change later.
extern "C" fn prepare() {
    if arch::SUPPORTED {
        mode::is_forced();
        registration::prepare();
    }
    portable::prepare_for_forks();
}

#[cfg(all(target_os = "linux", not(miri)))]
#[used]
#[unsafe(link_section = ".init_array.00001")]
static PREPARE: extern "C" fn() = prepare;

/// An image with these words begins, and with this [`anchor`](arch::anchor): the sections of its
/// threads are served by this code from now on.
///
/// A function that images call each other's of: the loader says which.
#[inline(never)]
pub fn join(words: &'static Fast, anchor: isize) {
    if arch::AREAS_ARE_CONSTANT {
        registration::find_areas(words, anchor);
    }
    if core::ptr::eq(words, &raw const FAST) {
        return;
    }
    words.anchor.store(anchor, Relaxed);
    // The words in the list stay. An image that can't be kept isn't in it.
    match sys::keep_loaded((&raw const *words).cast::<c_void>()) {
        Ok(()) => list::add(words),
        Err(_) => drop(mode::decide()),
    }
    // The thread that decides looks at the list behind that.
    fence(SeqCst);
    mode::open_late(words);
}
