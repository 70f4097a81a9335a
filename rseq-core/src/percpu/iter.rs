//! The slots of a [`PerCpu`](super::PerCpu) one after the other.

use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;

use super::values::slot;
use crate::cpu::slots;

/// The slots of a [`PerCpu`](crate::PerCpu): see [`iter`](crate::PerCpu::iter).
pub struct Slots<'a, T> {
    first: NonNull<T>,
    indices: core::ops::Range<usize>,
    slots: PhantomData<&'a T>,
}

// SAFETY: as the references that it gives.
unsafe impl<T: Sync> Send for Slots<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Slots<'_, T> {}

impl<T> Slots<'_, T> {
    pub(super) fn of(first: NonNull<T>) -> Self {
        Self { first, indices: 0..slots(), slots: PhantomData }
    }
}

// Not derived: that would ask for values that can be cloned.
impl<T> Clone for Slots<'_, T> {
    fn clone(&self) -> Self {
        Self { indices: self.indices.clone(), ..*self }
    }
}

impl<'a, T> Iterator for Slots<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        // SAFETY: the values live as long as the `PerCpu` is borrowed; the indices are those of
        // slots.
        self.indices.next().map(|index| unsafe { slot(self.first, index).as_ref() })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.indices.size_hint()
    }
}

impl<T> ExactSizeIterator for Slots<'_, T> {}

/// The slots of a [`PerCpu`](crate::PerCpu) that nobody else uses: see
/// [`iter_mut`](crate::PerCpu::iter_mut).
pub struct SlotsMut<'a, T> {
    first: NonNull<T>,
    indices: core::ops::Range<usize>,
    slots: PhantomData<&'a mut T>,
}

// SAFETY: as the references that it gives.
unsafe impl<T: Send> Send for SlotsMut<'_, T> {}
// SAFETY: as above; a shared one gives none but to print its values.
unsafe impl<T: Sync> Sync for SlotsMut<'_, T> {}

impl<T> SlotsMut<'_, T> {
    /// # Safety
    /// The values of all slots live, and nobody else uses them, as long as this is there.
    pub(super) unsafe fn of(first: NonNull<T>) -> Self {
        Self { first, indices: 0..slots(), slots: PhantomData }
    }
}

impl<'a, T> Iterator for SlotsMut<'a, T> {
    type Item = &'a mut T;

    fn next(&mut self) -> Option<&'a mut T> {
        // SAFETY: the maker's; the indices are those of slots, and none comes twice.
        self.indices.next().map(|index| unsafe { slot(self.first, index).as_mut() })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.indices.size_hint()
    }
}

impl<T> ExactSizeIterator for SlotsMut<'_, T> {}

impl<T: fmt::Debug> fmt::Debug for SlotsMut<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: as of `next`: those that are to come.
        let there = self.indices.clone().map(|index| unsafe { slot(self.first, index).as_ref() });
        f.debug_list().entries(there).finish()
    }
}

impl<T: fmt::Debug> fmt::Debug for Slots<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}
