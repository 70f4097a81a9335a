//! No restartable sequences: every section finds no CPU to run on and goes the portable way.

use core::mem::MaybeUninit;
use core::ptr::{null, null_mut};

use crate::abi::Rseq;
use crate::thread::{Fast, Located, ThreadBlock};

/// Sections aren't restartable here.
pub(crate) const SUPPORTED: bool = false;

/// No area is ever registered, so there is no signature to agree on.
pub(crate) const SIGNATURE: u32 = 0;

/// No window loads anything.
pub(crate) const LOADS_IN_ORDER: bool = true;

/// The words of all sections: nobody opens them, so all go the slow way.
// SAFETY: atomics, of which 0 is a value.
pub static FAST: Fast = unsafe { core::mem::zeroed() };

/// All images have the same, and nothing for themselves.
macro_rules! define_image {
    ($($nothing:tt)*) => {};
}
/// Debuggers have nothing to find.
macro_rules! define_note {
    ($decision:path, $possible:path) => {};
}
pub(crate) use {define_image, define_note};

/// Nothing is addressed from it.
pub(crate) fn thread_pointer() -> usize {
    0
}

/// Nothing to adopt.
pub(crate) fn linked_libc_symbols() -> (*const isize, *const u32) {
    (null(), null())
}

/// No thread has a block. (None is in want of one either: where sections run under locks, any will
/// do.)
#[allow(clippy::unnecessary_wraps, reason = "as on other machines")]
pub(crate) fn thread_block() -> Option<*mut ThreadBlock> {
    Some(core::ptr::dangling_mut())
}

/// The same.
pub(crate) fn some_block() -> *mut ThreadBlock {
    core::ptr::dangling_mut()
}

/// Nothing is at a distance from it.
pub(crate) fn anchor() -> isize {
    0
}

/// No fast path looks for one.
pub(crate) fn blocks_are_known() -> bool {
    false
}

/// No anchor is one.
pub(crate) fn is_distance(_anchor: isize) -> bool {
    false
}

/// There are none.
pub(crate) const AREAS_ARE_CONSTANT: bool = false;

/// No area is registered.
pub(crate) fn own_distance(_of_libc: Option<isize>) -> Option<isize> {
    None
}

/// No thread has a descriptor or an area.
#[inline(always)]
pub(crate) fn of_block(_block: *mut ThreadBlock) -> Located {
    locate()
}

/// No thread has a descriptor or an area.
#[inline(always)]
pub(crate) fn locate() -> Located {
    Located { descriptor: null_mut(), area: null_mut() }
}

/// The same.
#[inline(always)]
pub(crate) fn locate_quickly() -> Located {
    locate()
}

/// Arms nothing.
///
/// # Safety
/// None needed.
#[inline(always)]
pub(crate) unsafe fn arm(_thread: Located) -> Option<usize> {
    None
}

/// The same.
///
/// # Safety
/// None needed.
pub(crate) unsafe fn arm_slowly(_thread: Located) -> Option<usize> {
    None
}

/// Disarms nothing.
///
/// # Safety
/// None needed; the other architectures want the calling thread's area.
#[inline(always)]
pub(crate) unsafe fn disarm(_area: *mut Rseq) {}

/// Nothing is addressed from the thread pointer.
#[inline(always)]
pub(crate) fn area_for_windows() -> usize {
    0
}

/// The same.
#[inline(always)]
pub(crate) fn area_for_attempts() -> usize {
    0
}

/// Nothing to tell it by.
///
/// # Safety
/// None needed.
#[cfg(all(unix, not(miri)))]
pub(crate) unsafe fn is_zero(_bytes: *const u8, _count: usize) -> bool {
    false
}

/// A byte without a value has none here either.
pub(crate) const WORDS_MAY_HAVE_GAPS: bool = false;

/// The word.
///
/// # Panics
/// Always: nobody has one.
pub(crate) fn valued(_word: MaybeUninit<*mut ()>) -> *mut () {
    unreachable!("words of items are for targets that can pass them on")
}

/// Nothing to note: no section is restartable.
pub(crate) fn leaves() {}

/// As [`leaves`].
pub(crate) fn starts_again() {}
