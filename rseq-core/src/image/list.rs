//! The images that this code serves beside its own, as far as they have begun.

use core::iter::successors;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering::Acquire, Ordering::Relaxed, Ordering::SeqCst, fence};

use crate::thread::Fast;

/// The first of them; each knows the next one.
static OTHERS: AtomicPtr<Fast> = AtomicPtr::new(null_mut());

/// Adds an image with these words, which stay.
pub(super) fn add(words: &'static Fast) {
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

/// The words of all.
pub(crate) fn others() -> impl Iterator<Item = &'static Fast> {
    // Those that join now find the decision.
    fence(SeqCst);
    // SAFETY: null, or the words of an image that is never unloaded.
    let at = |place: &AtomicPtr<Fast>| unsafe { place.load(Acquire).as_ref() };
    successors(at(&OTHERS), move |words| at(&words.next))
}
