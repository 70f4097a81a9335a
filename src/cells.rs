//! Room for items of any type in a slot, and how items travel through windows.
//!
//! A window knows words of up to 64 bits, and bytes. So an item that fits into a pointer travels as
//! one, in a register, and a larger one is copied.

use core::cell::UnsafeCell;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::panic::{RefUnwindSafe, UnwindSafe};
use core::sync::atomic::{AtomicPtr, Ordering::Relaxed};

use super::__private::{Elements, WORDS_MAY_HAVE_GAPS, valued};

/// Room for `N` items, all of which may be of no value.
#[repr(transparent)]
pub struct Cells<T, const N: usize>(UnsafeCell<[Cell<T>; N]>);

/// Room for an item.
#[repr(C)]
pub union Cell<T> {
    /// An item that [`is_word`].
    pub word: *mut (),
    /// Any other.
    pub item: ManuallyDrop<MaybeUninit<T>>,
}

// SAFETY: hands out nothing but pointers.
unsafe impl<T: Send, const N: usize> Sync for Cells<T, N> {}
// SAFETY: holds items alone.
unsafe impl<T: Send, const N: usize> Send for Cells<T, N> {}
// An item is in or out, wholly, whatever panics: no code of users' runs while it moves.
impl<T, const N: usize> UnwindSafe for Cells<T, N> {}
impl<T, const N: usize> RefUnwindSafe for Cells<T, N> {}

// Not for users, who are told what has elements when they index something else.
#[diagnostic::do_not_recommend]
// SAFETY: an array is all that there is.
unsafe impl<T, const N: usize> Elements for Cells<T, N> {
    type Element = Cell<T>;
    #[inline(always)]
    fn first(&self) -> *mut Cell<T> {
        self.0.get().cast()
    }
}

impl<T, const N: usize> Cells<T, N> {
    /// Moves the item at this place out.
    ///
    /// # Safety
    /// There is one, and nobody else takes or changes it meanwhile.
    pub unsafe fn take(&self, at: usize) -> T {
        // SAFETY: below the number of items, because there is one.
        let cell = unsafe { self.first().add(at) };
        // SAFETY: the caller's; an item lies there in the form that its size has.
        unsafe {
            if const { is_word::<T>() } {
                from_word((&raw const (*cell).word).read())
            } else {
                (&raw const (*cell).item).cast::<T>().read()
            }
        }
    }

    /// The bytes at this place: an item if there is one and nobody took or changed it until this
    /// was over, else anything.
    ///
    /// # Safety
    /// The place is below `N`.
    pub unsafe fn peek(&self, at: usize) -> MaybeUninit<T> {
        // SAFETY: the caller's.
        let cell = unsafe { self.first().add(at) };
        // SAFETY: room for an item; a word is one, whatever its value, and has bytes enough. Others
        // may be writing there: to words atomically, as this reads them. What is read of a larger
        // item meanwhile is looked at by nobody. (As with every lock that readers only look back
        // at, the language has no word for such a copy.)
        unsafe {
            if const { is_word::<T>() } {
                let word = AtomicPtr::from_ptr(&raw mut (*cell).word).load(Relaxed);
                core::mem::transmute_copy(&word)
            } else {
                (&raw const (*cell).item).cast::<MaybeUninit<T>>().read_volatile()
            }
        }
    }
}

/// Pushes an item by one of two sections, each of which says whether there was room: as a word, or
/// as a copy of where it lies. Gives it back if there was none, and drops it if the section panics.
#[inline(always)]
pub fn push<T>(item: T, word: impl FnOnce(*mut ()) -> bool, copy: impl FnOnce(*const T) -> bool) -> Result<(), T> {
    if const { is_word::<T>() } {
        let item = to_word(item);
        let held = Held(|| {
            // SAFETY: unless the word was taken, it is still the item.
            drop(unsafe { from_word::<T>(item) });
        });
        let is_taken = word(item);
        core::mem::forget(held);
        // SAFETY: as above.
        if is_taken { Ok(()) } else { Err(unsafe { from_word(item) }) }
    } else {
        let mut item = ManuallyDrop::new(item);
        let item = &raw mut *item;
        let held = Held(|| {
            // SAFETY: unless it was copied away, it is still there.
            unsafe { item.drop_in_place() };
        });
        let is_taken = copy(item);
        core::mem::forget(held);
        // SAFETY: as above.
        if is_taken { Ok(()) } else { Err(unsafe { item.read() }) }
    }
}

/// Does something when it is dropped.
struct Held<F: FnMut()>(F);

impl<F: FnMut()> Drop for Held<F> {
    #[inline]
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Drops each item. If the drop of one panics the others are dropped on the way out, as of a slice;
/// if another one does then, the process is aborted.
pub fn drop_all<T>(take: impl FnMut() -> Option<T>) {
    struct All<T, F: FnMut() -> Option<T>>(F);
    impl<T, F: FnMut() -> Option<T>> Drop for All<T, F> {
        fn drop(&mut self) {
            while let Some(item) = (self.0)() {
                drop(item);
            }
        }
    }
    let mut all = All(take);
    while let Some(item) = (all.0)() {
        drop(item);
    }
}

/// `true` if items travel as words. Bytes of theirs may have no value (padding), which not every
/// target can pass on.
pub const fn is_word<T>() -> bool {
    WORDS_MAY_HAVE_GAPS && size_of::<T>() <= size_of::<*mut ()>() && align_of::<T>() <= align_of::<*mut ()>()
}

/// A pointer with room for an item in its bytes.
#[repr(C)]
union Word<T> {
    word: MaybeUninit<*mut ()>,
    item: ManuallyDrop<T>,
}

/// An item that [`is_word`] as one, whose bytes beyond those of the item say nothing.
#[inline(always)]
fn to_word<T>(item: T) -> *mut () {
    debug_assert!(is_word::<T>());
    let mut word = Word { word: MaybeUninit::new(core::ptr::null_mut()) };
    word.item = ManuallyDrop::new(item);
    // SAFETY: every byte was written by one or the other.
    valued(unsafe { word.word })
}

/// The item of a word.
///
/// # Safety
/// The word is [`to_word`]'s for an item of this type, and no other item is made of it.
#[inline(always)]
pub unsafe fn from_word<T>(word: *mut ()) -> T {
    let word = Word { word: MaybeUninit::new(word) };
    // SAFETY: the caller's.
    ManuallyDrop::into_inner(unsafe { word.item })
}
