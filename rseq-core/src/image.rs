//! The images (the executable, shared objects) whose sections the code of this one serves. Each has
//! words of its own that its sections load (`arch/image.rs`), and they are opened when the mode is
//! decided. Which are there is known from their constructors.

#![allow(dead_code, reason = "no image has words of its own where no area is addressed")]

use core::ffi::c_void;
use core::iter::successors;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering::Acquire, Ordering::Relaxed, Ordering::SeqCst, fence};

use crate::thread::{FAST, Fast};
use crate::{arch, mode, portable, register, sys};

/// The first of those that aren't the image of this code; each knows the next one.
static OTHERS: AtomicPtr<Fast> = AtomicPtr::new(null_mut());

/// The constructor of the image that this is compiled into.
#[inline]
pub(crate) extern "C" fn begins() {
    join(&FAST, arch::anchor());
}

/// The same, if it is the image that this crate is linked into.
pub(crate) extern "C" fn begins_here() {
    begins();
}

/// What this crate's code does once, ahead of `main` or when it is loaded: what takes a lock of
/// libc's, or its memory, because a section may be a handler's, on top of who has them; and it
/// reads the environment, which others may change later.
extern "C" fn prepare() {
    if arch::SUPPORTED {
        mode::is_forced();
        register::prepare();
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
    arch::find_areas(words, anchor);
    if core::ptr::eq(words, &raw const FAST) {
        return;
    }
    words.anchor.store(anchor, Relaxed);
    // What the list refers to stays. An image that can't be kept isn't in it.
    match sys::keep_loaded((&raw const *words).cast::<c_void>()) {
        Ok(()) => add(words),
        Err(_) => drop(mode::decide()),
    }
    // Whoever decides looks at the list behind that.
    fence(SeqCst);
    mode::open_late(words);
}

fn add(words: &'static Fast) {
    let this = (&raw const *words).cast_mut();
    let mut next = OTHERS.load(Relaxed);
    loop {
        words.next.store(next, Relaxed);
        match OTHERS.compare_exchange(next, this, SeqCst, Relaxed) {
            Ok(_) => return,
            Err(first) => next = first,
        }
    }
}

/// The words of the others.
pub(crate) fn others() -> impl Iterator<Item = &'static Fast> {
    // Those that join now find the decision.
    fence(SeqCst);
    // SAFETY: null, or the words of an image that is never unloaded.
    let at = |place: &AtomicPtr<Fast>| unsafe { place.load(Acquire).as_ref() };
    successors(at(&OTHERS), move |words| at(&words.next))
}
