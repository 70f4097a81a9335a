//! Where the values lie that have address space of their own: noted, so that an address tells whose
//! slot it is in.

use core::ptr::{NonNull, null_mut, with_exposed_provenance_mut};
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use crate::cpu::slots;
use crate::sys;

/// The bytes of a page of words, and no more than mappings are aligned to.
const PAGE: usize = 4096;
const WORDS: usize = PAGE / size_of::<usize>() - 1;

/// A word for each value: the address of its first slot and, in the bits that are 0 in that, the
/// exponent of the distance from one slot to the next. Being one word, it is read whole while
/// others come and go. 0 is nobody's.
#[derive(Debug)]
pub(super) struct Spans(AtomicPtr<Page>);

/// Room for words, which stays as long as the image.
#[repr(C)]
#[derive(Debug)]
struct Page {
    next: AtomicPtr<Page>,
    words: [AtomicUsize; WORDS],
}

const _: () = assert!(size_of::<Page>() == PAGE);

impl Spans {
    pub(super) const fn new() -> Self {
        Self(AtomicPtr::new(null_mut()))
    }

    /// Notes a value of which slots are so far apart, a power of two. Without memory for it, it
    /// isn't known.
    pub(super) fn add(&self, first: NonNull<u8>, stride: usize) {
        let span = word(first, stride);
        loop {
            let head = self.0.load(Acquire);
            let free = |place: &AtomicUsize| place.compare_exchange(0, span, Release, Relaxed).is_ok();
            if words(head).any(free) || !self.add_page(head) {
                return;
            }
        }
    }

    /// True if there may be room now.
    fn add_page(&self, head: *mut Page) -> bool {
        let Some(page) = sys::reserve(PAGE).map(NonNull::cast::<Page>) else { return false };
        // SAFETY: new memory of that size, of zeroes, aligned to a page.
        unsafe { page.as_ref() }.next.store(head, Relaxed);
        if self.0.compare_exchange(head, page.as_ptr(), Release, Relaxed).is_err() {
            // Another thread was quicker.
            // SAFETY: nobody else knows of it.
            unsafe { sys::unreserve(page.cast(), PAGE) };
        }
        true
    }

    /// Forgets a value, whose address space is about to be given back.
    pub(super) fn remove(&self, first: NonNull<u8>, stride: usize) {
        let span = word(first, stride);
        let known = |place: &&AtomicUsize| place.load(Relaxed) == span;
        words(self.0.load(Acquire)).find(known).inspect(|place| place.store(0, Relaxed));
    }

    /// The index of the slot at this address.
    pub(super) fn index_of(&self, address: usize) -> Option<usize> {
        words(self.0.load(Acquire)).find_map(|place| {
            let span = place.load(Relaxed);
            let index = address.wrapping_sub(span & !(PAGE - 1)) >> (span % PAGE);
            (span != 0 && index < slots()).then_some(index)
        })
    }

    /// True if there ever was a value.
    #[allow(dead_code, reason = "not every loader unloads")]
    pub(super) fn is_in_use(&self) -> bool {
        !self.0.load(Relaxed).is_null()
    }

    /// Gives back the address space of all values, and the notes of them.
    ///
    /// # Safety
    /// It is all [`sys::reserve`]'s, and nobody uses any of it, nor this, from now on.
    #[allow(dead_code, reason = "not every loader unloads")]
    pub(super) unsafe fn unmap(&self) {
        let mut next = self.0.swap(null_mut(), Acquire);
        // SAFETY: null, or a page, which is still there.
        while let Some(page) = unsafe { next.as_ref() } {
            for span in page.words.iter().map(|place| place.load(Relaxed)).filter(|span| *span != 0) {
                let first = NonNull::new(with_exposed_provenance_mut(span & !(PAGE - 1)));
                let length = slots() << (span % PAGE);
                // SAFETY: the caller's; a value is noted with where it begins and its distances.
                first.inspect(|first| unsafe { sys::unreserve(*first, length) });
            }
            next = page.next.load(Relaxed);
            // SAFETY: the caller's; its words were read for the last time.
            unsafe { sys::unreserve(NonNull::from(page).cast(), PAGE) };
        }
    }
}

fn word(first: NonNull<u8>, stride: usize) -> usize {
    first.as_ptr().expose_provenance() | stride.trailing_zeros() as usize
}

/// The words of a page and of those behind it.
fn words<'a>(first: *mut Page) -> impl Iterator<Item = &'a AtomicUsize> {
    // SAFETY: null, or a page that stays where it is as long as the image.
    let page = |page: *mut Page| unsafe { page.as_ref() };
    core::iter::successors(page(first), move |before| page(before.next.load(Relaxed))).flat_map(|page| &page.words)
}

#[cfg(test)]
mod tests {
    use core::ptr::{NonNull, without_provenance_mut};
    use std::vec::Vec;

    use super::{PAGE, Spans, WORDS};
    use crate::cpu::slots;

    const STRIDE: usize = if cfg!(target_pointer_width = "64") { 1 << 20 } else { PAGE };

    /// More than a page has words for.
    #[test]
    fn slots_are_known_until_they_are_removed() {
        static SPANS: Spans = Spans::new();
        let length = STRIDE * slots();
        let start = |number: usize| PAGE + number * length;
        let first = |number: usize| NonNull::new(without_provenance_mut(start(number))).unwrap();
        let count = 2 * WORDS + 1;
        (0..count).for_each(|number| SPANS.add(first(number), STRIDE));
        let known = |number: usize| {
            let places = (0..slots()).flat_map(|slot| [0, STRIDE - 1].map(|byte| start(number) + slot * STRIDE + byte));
            places.map(|address| SPANS.index_of(address)).collect::<Vec<_>>()
        };
        let all: Vec<_> = (0..slots()).flat_map(|slot| [Some(slot); 2]).collect();
        assert!((0..count).all(|number| known(number) == all));
        assert_eq!([SPANS.index_of(start(0) - 1), SPANS.index_of(start(count))], [None; 2]);
        (0..count).step_by(2).for_each(|number| SPANS.remove(first(number), STRIDE));
        assert!((0..count).all(|number| known(number).iter().all(Option::is_none) == number.is_multiple_of(2)));
        SPANS.add(first(count), STRIDE);
        assert_eq!(known(count), all);
    }
}
