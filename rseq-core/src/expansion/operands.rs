//! Where the operands of a window lie: fields, elements, slots, and bytes to be copied.

use core::marker::PhantomData;
use core::mem::MaybeUninit;

use super::values::{ElementIndex, Pointer, Typed, of, sealed};
use crate::cpu::IndexKind;
use crate::percpu::PerCpu;

/// The type of what a pointer in a window points to.
pub struct Pointee<T>(PhantomData<fn(T) -> T>);

impl<T> Clone for Pointee<T> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Pointee<T> {}

/// The type that the pointers of this type point to.
#[inline(always)]
pub fn pointee<V: Pointer>(_: Typed<V>) -> Pointee<V::Pointee> {
    Pointee(PhantomData)
}

/// The type of the elements of what is pointed to.
#[inline(always)]
pub fn element_of<T: Elements>(_: Pointee<T>) -> Pointee<T::Element> {
    Pointee(PhantomData)
}

/// Where a field lies in its structure.
pub struct Field<T, U> {
    bytes: usize,
    whole: PhantomData<fn(T) -> T>,
    part: Pointee<U>,
}

/// The field at `part` of the structure `whole`. For constants, whose value is of the type that
/// [`Pointee::field`] expects.
///
/// # Safety
/// `part` points into `whole`.
#[must_use]
pub const unsafe fn field<T, U>(whole: &MaybeUninit<T>, part: *const U) -> Field<T, U> {
    // SAFETY: the caller's.
    let bytes = unsafe { part.byte_offset_from(whole.as_ptr()) }.cast_unsigned();
    Field { bytes, whole: PhantomData, part: Pointee(PhantomData) }
}

impl<T> Pointee<T> {
    /// A field of what is pointed to: its distance in bytes, and its type.
    #[inline(always)]
    #[must_use]
    pub fn field<U>(self, field: Field<T, U>) -> (usize, Pointee<U>) {
        (field.bytes, field.part)
    }
}

/// The size of a type, by its name: for the operands of asm.
#[must_use]
pub const fn bytes_of<T>() -> usize {
    size_of::<T>()
}

/// Types with elements: arrays, slices and raw pointers. Not for users to implement.
///
/// # Safety
/// `first` is where the first element lies, behind which the others follow. It is the same each
/// time.
#[diagnostic::on_unimplemented(
    message = "a window can't index a `{Self}`",
    label = "neither an array, a slice nor a raw pointer",
    note = "the index of a section selects a slot of a `PerCpu`; numbers select elements of arrays and slices, and behind raw pointers"
)]
pub unsafe trait Elements {
    /// An element.
    type Element;
    #[doc(hidden)]
    fn first(&self) -> *mut Self::Element;
}

// SAFETY: that of a slice.
unsafe impl<T> Elements for [T] {
    type Element = T;
    #[inline(always)]
    fn first(&self) -> *mut T {
        self.as_ptr().cast_mut()
    }
}

// SAFETY: that of an array.
unsafe impl<T, const N: usize> Elements for [T; N] {
    type Element = T;
    #[inline(always)]
    fn first(&self) -> *mut T {
        self.as_ptr().cast_mut()
    }
}

// SAFETY: what is there is up to whoever wrote `unsafe` around the section.
unsafe impl<T> Elements for *mut T {
    type Element = T;
    #[inline(always)]
    fn first(&self) -> *mut T {
        *self
    }
}

// SAFETY: as above.
unsafe impl<T> Elements for *const T {
    type Element = T;
    #[inline(always)]
    fn first(&self) -> *mut T {
        self.cast_mut()
    }
}

/// The first of some elements, one of which a window selects. It borrows what has them.
pub struct First<'e, T>(*mut T, PhantomData<&'e ()>);

impl<T> Clone for First<'_, T> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for First<'_, T> {}

/// The first element of an array or slice, or behind a raw pointer; type errors in the section's
/// place land on its argument.
#[inline(always)]
pub fn elements<E: Elements + ?Sized>(base: &E) -> First<'_, E::Element> {
    const { assert!(size_of::<E::Element>() < 1 << 31, "the elements that a window selects from have less than 2 GiB each") };
    First(base.first(), PhantomData)
}

/// The window is over: what its expressions borrow has been borrowed up to here.
#[inline(always)]
pub fn over<C>(_: C) {}

impl<T> First<'_, T> {
    /// The element with this number. Nobody checks the index but the section itself.
    #[inline(always)]
    #[must_use]
    pub fn element<N: ElementIndex>(self, index: N) -> *mut T {
        self.0.wrapping_add(of(index))
    }

    /// Its type.
    #[inline(always)]
    #[must_use]
    pub fn pointee(self) -> Pointee<T> {
        Pointee(PhantomData)
    }

    /// Its address as an operand.
    #[inline(always)]
    #[must_use]
    pub fn operand(self) -> usize {
        self.0.expose_provenance()
    }
}

/// The slots that a window selects from by the index it reads; type errors in the section's place
/// land on its argument.
#[inline(always)]
pub fn per_cpu<T, I: IndexKind>(slots: &PerCpu<T, I>) -> &PerCpu<T, I> {
    slots
}

/// The slot of this index.
#[inline(always)]
pub fn slot<T, I: IndexKind>(slots: &PerCpu<T, I>, index: I) -> &T {
    &slots[index]
}

/// The type of a slot's value.
#[inline(always)]
pub fn slot_pointee<T, I: IndexKind>(_: &PerCpu<T, I>) -> Pointee<T> {
    Pointee(PhantomData)
}

/// The address of the two words that a window finds its slot by, as an operand.
#[inline(always)]
pub fn slots_operand<T, I: IndexKind>(slots: &PerCpu<T, I>) -> usize {
    core::ptr::from_ref(slots).expose_provenance()
}

/// Bytes to be copied from or to.
#[derive(Debug, Clone, Copy)]
pub struct Bytes<A>(*mut u8, A);

/// Where `copy` takes its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Source;
/// Where `copy` puts its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Destination;

/// The type of what `copy` takes its bytes from: raw pointers. Not for users to implement.
#[diagnostic::on_unimplemented(
    message = "`copy` can't take bytes from a `{Self}`",
    label = "not a raw pointer",
    note = "give raw pointers: `&raw const place`, `slice.as_ptr()`"
)]
pub trait CopySource: sealed::Sealed {
    #[doc(hidden)]
    fn bytes(self) -> *mut u8;
}
impl<T> CopySource for *const T {
    #[inline(always)]
    fn bytes(self) -> *mut u8 {
        self.cast_mut().cast()
    }
}
impl<T> CopySource for *mut T {
    #[inline(always)]
    fn bytes(self) -> *mut u8 {
        self.cast()
    }
}

/// The first argument of `copy`.
#[inline(always)]
pub fn source<P: CopySource>(place: P) -> Bytes<Source> {
    Bytes(place.bytes(), Source)
}

/// The second argument of `copy`.
#[inline(always)]
pub fn destination<T>(place: *mut T) -> Bytes<Destination> {
    Bytes(place.cast(), Destination)
}

impl<A> Bytes<A> {
    /// The section copies by a raw pointer.
    ///
    /// # Safety
    /// The pointer is valid for reads, or for writes, of the length that is copied, and nobody
    /// accesses those bytes at the same time but sections on the same slot. Source and destination
    /// don't overlap.
    #[inline(always)]
    pub unsafe fn use_raw_pointer(self) {}

    /// Its address as an operand.
    #[inline(always)]
    #[must_use]
    pub fn operand(self) -> usize {
        self.0.expose_provenance()
    }
}

/// `copy(from, to, length)`.
///
/// # Safety
/// [`Bytes::use_raw_pointer`]'s, of both.
#[inline]
pub unsafe fn copy(from: Bytes<Source>, to: Bytes<Destination>, length: usize) {
    // SAFETY: the caller's.
    unsafe { core::ptr::copy_nonoverlapping(from.0, to.0, length) }
}
