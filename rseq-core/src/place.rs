//! Where a commit stores, and what it can store there.

use core::marker::PhantomData;
use core::ptr::NonNull;
use core::sync::atomic::{
    AtomicBool, AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicIsize, AtomicPtr, AtomicU8, AtomicU16, AtomicU32,
    AtomicU64, AtomicUsize, Ordering,
};

/// A value that one instruction can store: 8, 16, 32 or 64 bits without padding.
///
/// Implemented for the integers, `bool`, raw pointers and `Option<NonNull<T>>`. A type of your own:
///
/// ```
/// #[derive(Clone, Copy)]
/// #[repr(transparent)]
/// struct Id(u32);
/// // SAFETY: transparent over u32.
/// unsafe impl rseq::Word for Id {
///     fn to_bits(self) -> u64 { self.0.into() }
///     unsafe fn store(place: *mut Self, value: Self, order: std::sync::atomic::Ordering) {
///         // SAFETY: the caller's.
///         unsafe { u32::store(place.cast(), value.0, order) }
///     }
/// }
/// ```
///
/// # Safety
/// The type has 1, 2, 4 or 8 bytes, its alignment equals its size, none of its bytes is padding, and the two functions do what they say.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be committed by one instruction",
    label = "a commit stores an integer, `bool` or pointer of 8 to 64 bits",
    note = "a type of your own of such a size can implement `rseq::Word`"
)]
pub unsafe trait Word: Copy {
    /// The value's bytes as an integer, zero-extended.
    fn to_bits(self) -> u64;

    /// Stores the value atomically with this order, `Relaxed` or `Release`.
    ///
    /// # Safety
    /// `place` is aligned and valid for writes, and nobody accesses it at the same time except atomically.
    unsafe fn store(place: *mut Self, value: Self, order: Ordering);
}

/// Something that a section may commit to: a reference to an atomic, or a raw pointer (for which `rseq!` must stand in an `unsafe` block).
///
/// Implemented here for all there is; not for users to implement.
#[diagnostic::on_unimplemented(
    message = "a section can't commit to `{Self}`",
    label = "not a place: write `&` in front of an atomic, or give a raw pointer `*mut T`",
    note = "places are references to atomics, and raw pointers inside `unsafe {{ rseq! {{ .. }} }}`"
)]
pub trait Place: sealed::Sealed {
    /// What is stored there.
    type Value: Word;
    /// [`Shared`] or [`Raw`].
    #[doc(hidden)]
    type Access;
    #[doc(hidden)]
    fn address(self) -> *mut Self::Value;
}

mod sealed {
    pub trait Sealed {}
}

/// A place that any safe code may store to.
#[derive(Debug, Clone, Copy)]
pub struct Shared;
/// A place that may be anything.
#[derive(Debug, Clone, Copy)]
pub struct Raw;

/// A place once it has been computed.
#[derive(Debug, Clone, Copy)]
pub struct Target<V, A> {
    address: *mut V,
    access: PhantomData<A>,
}

/// Takes a place; type errors in `rseq!`'s place land on its argument.
#[inline(always)]
pub fn target<P: Place>(place: P) -> Target<P::Value, P::Access> {
    Target { address: place.address(), access: PhantomData }
}

impl<V> Target<V, Shared> {
    /// Safe for every reference to an atomic.
    #[inline(always)]
    pub fn commit_to_raw_pointer(&self) {}
}

impl<V> Target<V, Raw> {
    /// The section commits to a raw pointer.
    ///
    /// # Safety
    /// The pointer is aligned and valid for writes, and nobody accesses what it points to at the same time except
    /// sections on the same slot, or atomically.
    #[inline(always)]
    pub unsafe fn commit_to_raw_pointer(&self) {}
}

impl<V: Word, A> Target<V, A> {
    /// The width in bits of what is stored.
    #[inline(always)]
    pub const fn bits(&self) -> usize {
        size_of::<V>() * 8
    }

    /// The address as an operand.
    #[inline(always)]
    pub const fn address(&self) -> *mut V {
        self.address
    }

    /// Takes a value; type errors in `rseq!`'s value land on its argument.
    #[inline(always)]
    pub fn value(&self, value: V) -> V {
        value
    }

    /// The commit of the portable mode.
    ///
    /// # Safety
    /// [`commit_to_raw_pointer`](Target::commit_to_raw_pointer)'s.
    #[inline]
    pub unsafe fn store(&self, value: V, order: Ordering) {
        // SAFETY: the caller's; a reference to an atomic is valid for atomic stores anyhow.
        unsafe { V::store(self.address, value, order) }
    }
}

macro_rules! place {
    ([$($generic:ident)?] $atomic:ty, $value:ty) => {
        impl<$($generic)?> sealed::Sealed for &$atomic {}
        impl<$($generic)?> Place for &$atomic {
            type Value = $value;
            type Access = Shared;
            #[inline(always)]
            fn address(self) -> *mut $value {
                self.as_ptr()
            }
        }
    };
}

macro_rules! words {
    ($([$($generic:ident)?] $value:ty, $atomic:ty, |$it:ident| $bits:expr;)*) => {$(
        // SAFETY: of the size of its atomic, without padding.
        unsafe impl<$($generic)?> Word for $value {
            #[inline(always)]
            fn to_bits(self) -> u64 {
                let $it = self;
                $bits
            }

            #[inline]
            unsafe fn store(place: *mut Self, value: Self, order: Ordering) {
                // SAFETY: the caller's.
                unsafe { <$atomic>::from_ptr(place) }.store(value, order);
            }
        }
        place!([$($generic)?] $atomic, $value);
    )*};
}

words! {
    [] bool, AtomicBool, |it| it.into();
    [] u8, AtomicU8, |it| it.into();
    [] u16, AtomicU16, |it| it.into();
    [] u32, AtomicU32, |it| it.into();
    [] u64, AtomicU64, |it| it;
    [] usize, AtomicUsize, |it| it as u64;
    [] i8, AtomicI8, |it| it.cast_unsigned().into();
    [] i16, AtomicI16, |it| it.cast_unsigned().into();
    [] i32, AtomicI32, |it| it.cast_unsigned().into();
    [] i64, AtomicI64, |it| it.cast_unsigned();
    [] isize, AtomicIsize, |it| it.cast_unsigned() as u64;
    [T] *mut T, AtomicPtr<T>, |it| it.expose_provenance() as u64;
}

// SAFETY: of a pointer's size, without padding.
unsafe impl<T> Word for *const T {
    #[inline(always)]
    fn to_bits(self) -> u64 {
        self.expose_provenance() as u64
    }

    #[inline]
    unsafe fn store(place: *mut Self, value: Self, order: Ordering) {
        // SAFETY: the caller's.
        unsafe { <*mut T>::store(place.cast(), value.cast_mut(), order) }
    }
}

// SAFETY: of a pointer's size, without padding; `None` is the null pointer.
unsafe impl<T> Word for Option<NonNull<T>> {
    #[inline(always)]
    fn to_bits(self) -> u64 {
        self.map_or(0, |pointer| pointer.as_ptr().to_bits())
    }

    #[inline]
    unsafe fn store(place: *mut Self, value: Self, order: Ordering) {
        let value = value.map_or(core::ptr::null_mut(), NonNull::as_ptr);
        // SAFETY: the caller's.
        unsafe { <*mut T>::store(place.cast(), value, order) }
    }
}

impl<T: Word> sealed::Sealed for *mut T {}
impl<T: Word> Place for *mut T {
    type Value = T;
    type Access = Raw;
    #[inline(always)]
    fn address(self) -> *mut T {
        self
    }
}
