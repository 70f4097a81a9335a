//! The values of a window, as the expansion of `rseq!` speaks of them: their types, and what
//! statements with them mean in the portable mode.
//!
//! A window is asm, and asm knows no types: so the same statements are compiled a second time as
//! Rust, where the compiler infers a type for each value. A [`Typed`] carries it over to the asm's
//! operands: the width, the sign. That second form is also what runs in portable mode.

use core::marker::PhantomData;
use core::mem::{ManuallyDrop, transmute_copy};
use core::ops::Not;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::Ordering;

use super::place::{POINTER, Target, Word};
use crate::cpu::IndexKind;

/// The type of a value of a window.
pub struct Typed<V>(PhantomData<fn(V) -> V>);

impl<V> Clone for Typed<V> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}
impl<V> Copy for Typed<V> {}

impl<V> Typed<V> {
    /// A type to be inferred.
    #[inline(always)]
    #[must_use]
    pub fn new() -> Self {
        Self(PhantomData)
    }

    /// A value of this type.
    #[inline(always)]
    pub fn is(self, value: V) -> V {
        value
    }

    /// A target of this type.
    #[inline(always)]
    pub fn is_at<A, P>(self, target: Target<V, A, P>) -> Target<V, A, P> {
        target
    }
}

impl<V> Default for Typed<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V, A, P> Target<V, A, P> {
    /// Its type.
    #[inline(always)]
    #[must_use]
    pub fn typed(self) -> Typed<V> {
        Typed::new()
    }
}

/// A value's bytes as an integer, zero-extended.
///
/// # Safety
/// The type is a [`Word`]. (That is asked for where a place or an operand of it is, once, and not
/// once more for each use.)
#[inline(always)]
#[must_use]
pub unsafe fn bits<V>(value: V) -> usize {
    let value = ManuallyDrop::new(value);
    // SAFETY: a `Word` of the size that each branch takes it for.
    unsafe {
        match size_of::<V>() {
            // The window handles it without the compiler's knowledge, so the provenance of a
            // pointer must be exposed.
            bytes if bytes == POINTER => transmute_copy::<V, *const ()>(&*value).expose_provenance(),
            1 => transmute_copy::<V, u8>(&*value) as usize,
            2 => transmute_copy::<V, u16>(&*value) as usize,
            4 => transmute_copy::<V, u32>(&*value) as usize,
            _ => transmute_copy::<V, u64>(&*value) as usize,
        }
    }
}

/// The value of these bits.
///
/// # Safety
/// The type is a [`Word`], and the lower ones, as many as the type has, are a valid value's.
#[inline(always)]
pub unsafe fn from_bits<V>(_: Typed<V>, bits: usize) -> V {
    // SAFETY: a `Word` of the size that each branch takes it for; valid by the caller's promise.
    unsafe {
        match size_of::<V>() {
            bytes if bytes == POINTER => transmute_copy::<*const (), V>(&core::ptr::with_exposed_provenance(bits)),
            1 => transmute_copy::<u8, V>(&(bits as u8)),
            2 => transmute_copy::<u16, V>(&(bits as u16)),
            4 => transmute_copy::<u32, V>(&(bits as u32)),
            _ => transmute_copy::<u64, V>(&(bits as u64)),
        }
    }
}

/// An index as bits, to be handed on like other values.
#[inline(always)]
pub fn index_bits<I: IndexKind>(index: I) -> usize {
    index.number()
}

/// The index of these bits.
///
/// # Safety
/// They are an index that was compared with the number of slots.
#[inline(always)]
pub unsafe fn index_from_bits<I: IndexKind>(bits: usize) -> I {
    // SAFETY: the caller's.
    unsafe { I::checked(bits) }
}

/// `load(place)`.
///
/// # Safety
/// [`Target::load`]'s.
#[inline]
pub unsafe fn load<V, A, P>(typed: Typed<V>, target: Target<V, A, P>) -> V {
    // SAFETY: the caller's.
    unsafe { typed.is_at(target).load() }
}

/// `store(place, value)`, before the commit and as the commit.
///
/// # Safety
/// [`Target::store`]'s.
#[inline]
pub unsafe fn store<V, A, P>(typed: Typed<V>, target: Target<V, A, P>, value: V, order: Ordering) {
    // SAFETY: the caller's.
    unsafe { typed.is_at(target).store(value, order) }
}

/// A word's bits.
pub(super) fn of<V: Word>(word: V) -> usize {
    // SAFETY: a `Word`.
    unsafe { bits(word) }
}

/// Integers: what `+`, `-`, `<<` and `>>` work on in a window, wrapping. Implemented for all there
/// are; not for users to implement.
#[diagnostic::on_unimplemented(
    message = "a window can't compute with `{Self}`",
    label = "not an integer",
    note = "`+`, `-`, `<<` and `>>` take integers; for an element behind a pointer write `&pointer[index]`, for a field `&(*pointer).field`"
)]
pub trait Arithmetic: Logic + sealed::Sealed {}

/// Integers and `bool`: what `&`, `|` and `^` work on in a window. Implemented for all there are;
/// not for users to implement.
#[diagnostic::on_unimplemented(
    message = "a window can't combine the bits of `{Self}`",
    label = "neither an integer nor `bool`",
    note = "`&`, `|` and `^` take integers and `bool`"
)]
pub trait Logic: Word + sealed::Sealed {}

/// Integers and raw pointers: what `<`, `<=`, `>` and `>=` compare in a window. Implemented for all
/// there are; not for users to implement.
#[diagnostic::on_unimplemented(
    message = "a window can't order values of `{Self}`",
    label = "neither an integer nor a raw pointer",
    note = "`==` and `!=` compare values of every type that a section can load"
)]
pub trait Ordered: Word + sealed::Sealed {}

/// Pointers that can be null: what `null` stands for in a window. Implemented for raw pointers and
/// `Option<NonNull<T>>`; not for users to implement.
#[diagnostic::on_unimplemented(
    message = "`null` is no `{Self}`",
    label = "not a pointer",
    note = "`null` stands for the null pointer, and for `None` of an `Option<NonNull<T>>`"
)]
pub trait Nullable: Word + sealed::Sealed {
    #[doc(hidden)]
    const NULL: Self;
}

/// Raw pointers, behind which a window finds fields and elements. Not for users to implement.
#[diagnostic::on_unimplemented(
    message = "a window can't look behind a `{Self}`",
    label = "not a raw pointer",
    note = "load a `*mut T` or `*const T` to use what it points to"
)]
pub trait Pointer: Word + sealed::Sealed {
    /// The type that it points to.
    type Pointee;
}

/// Unsigned integers no wider than a pointer: what selects an element in a window. Implemented for
/// all there are; not for users to implement.
#[diagnostic::on_unimplemented(
    message = "a window can't use a `{Self}` as the index of an element",
    label = "not an unsigned integer",
    note = "elements are selected by `usize` and the smaller unsigned integers"
)]
pub trait ElementIndex: Word + sealed::Sealed {}

/// Integers: the count of a shift. Not for users to implement.
pub trait Count: Word + sealed::Sealed {}

/// Others can't implement it: asm and Rust must agree on it.
pub(super) mod sealed {
    pub trait Sealed {}
}

macro_rules! numbers {
    ($($integer:ty)*) => {$(
        impl sealed::Sealed for $integer {}
        impl Arithmetic for $integer {}
        impl Logic for $integer {}
        impl Ordered for $integer {}
        impl Count for $integer {}
    )*};
}
numbers!(u8 u16 u32 usize i8 i16 i32 isize);
#[cfg(target_pointer_width = "64")]
numbers!(u64 i64);

impl sealed::Sealed for bool {}
impl Logic for bool {}

macro_rules! indices {
    ($($integer:ty)*) => { $(impl ElementIndex for $integer {})* };
}
indices!(u8 u16 u32 usize);
#[cfg(target_pointer_width = "64")]
indices!(u64);

macro_rules! pointers {
    ($($pointer:ty),*) => {$(
        impl<T> sealed::Sealed for $pointer {}
        impl<T> Ordered for $pointer {}
        impl<T> Pointer for $pointer {
            type Pointee = T;
        }
        impl<T> Nullable for $pointer {
            const NULL: Self = null_mut();
        }
    )*};
}
pointers!(*mut T, *const T);

impl<T> sealed::Sealed for Option<NonNull<T>> {}
impl<T> Nullable for Option<NonNull<T>> {
    const NULL: Self = None;
}

/// `null`.
#[inline(always)]
#[must_use]
pub fn null<V: Nullable>() -> V {
    V::NULL
}

/// The integer of these bits: the lower ones, as many as the type has.
fn integer<V: Logic>(bits: usize) -> V {
    // SAFETY: every pattern of bits is an integer; for `bool`, both operands were 0 or 1, and so is
    // what `&`, `|` and `^` make of them.
    unsafe { from_bits(Typed::new(), bits) }
}

/// The bits of a value as a number in which smaller values are smaller.
fn rank<V: Word>(value: V) -> usize {
    const SIGN: usize = 1 << (usize::BITS - 1);
    let unused = usize::BITS - 8 * size_of::<V>() as u32;
    let at_the_top = of(value) << unused;
    if V::SIGNED { at_the_top ^ SIGN } else { at_the_top }
}

/// `left + right`, wrapping.
#[must_use]
pub fn add<V: Arithmetic>(left: V, right: V) -> V {
    integer(of(left).wrapping_add(of(right)))
}

/// `left - right`, wrapping.
#[must_use]
pub fn sub<V: Arithmetic>(left: V, right: V) -> V {
    integer(of(left).wrapping_sub(of(right)))
}

/// `left & right`.
#[must_use]
pub fn and<V: Logic>(left: V, right: V) -> V {
    integer(of(left) & of(right))
}

/// `left | right`.
#[must_use]
pub fn or<V: Logic>(left: V, right: V) -> V {
    integer(of(left) | of(right))
}

/// `left ^ right`.
#[must_use]
pub fn xor<V: Logic>(left: V, right: V) -> V {
    integer(of(left) ^ of(right))
}

/// `value << count`, as `wrapping_shl`: of the count, the bits count that are fewer than the width.
#[must_use]
pub fn shl<V: Arithmetic, C: Count>(value: V, count: C) -> V {
    integer(of(value) << shift_count::<V, C>(count))
}

/// `value >> count`, as `wrapping_shr`: arithmetic for signed types.
#[must_use]
pub fn shr<V: Arithmetic, C: Count>(value: V, count: C) -> V {
    let unused = 64 - 8 * size_of::<V>() as u32;
    let count = shift_count::<V, C>(count);
    let extended = of(value) << unused;
    integer(if V::SIGNED {
        (extended.cast_signed() >> unused >> count).cast_unsigned()
    } else {
        extended >> unused >> count
    })
}

fn shift_count<V: Word, C: Count>(count: C) -> u32 {
    of(count) as u32 & (8 * size_of::<V>() as u32 - 1)
}

/// `left == right`: the same bits.
#[must_use]
pub fn eq<V: Word>(left: V, right: V) -> bool {
    of(left) == of(right)
}

/// `left != right`.
#[must_use]
pub fn ne<V: Word>(left: V, right: V) -> bool {
    eq(left, right).not()
}

/// `left < right`.
#[must_use]
pub fn lt<V: Ordered>(left: V, right: V) -> bool {
    rank(left) < rank(right)
}

/// `left <= right`.
#[must_use]
pub fn le<V: Ordered>(left: V, right: V) -> bool {
    rank(left) <= rank(right)
}

/// `left > right`.
#[must_use]
pub fn gt<V: Ordered>(left: V, right: V) -> bool {
    rank(left) > rank(right)
}

/// `left >= right`.
#[must_use]
pub fn ge<V: Ordered>(left: V, right: V) -> bool {
    rank(left) >= rank(right)
}
