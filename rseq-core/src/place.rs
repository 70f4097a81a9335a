//! Where a commit stores, and what it can store there.

use core::mem::transmute_copy;
use core::ptr::NonNull;
use core::sync::atomic::{
    AtomicBool, AtomicI8, AtomicI16, AtomicI32, AtomicIsize, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicUsize,
    Ordering,
};
#[cfg(target_has_atomic = "64")]
use core::sync::atomic::{AtomicI64, AtomicU64};

/// A value that one instruction can store: 8, 16, 32 or 64 bits without padding.
///
/// Implemented for the integers, `bool`, raw pointers and `Option<NonNull<T>>`. A type of your own:
///
/// ```
/// #[derive(Clone, Copy)]
/// #[repr(transparent)]
/// struct Id(u32);
/// // SAFETY: transparent over u32.
/// unsafe impl rseq::Word for Id {}
/// ```
///
/// # Safety
/// The type has 1, 2, 4 or 8 bytes, its alignment equals its size, and none of its bytes is padding.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be committed by one instruction",
    label = "a commit stores an integer, `bool` or pointer of 8 to 64 bits",
    note = "a type of your own of such a size can implement `rseq::Word`"
)]
pub unsafe trait Word: Copy {}

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
    const ACCESS: Self::Access;
    #[doc(hidden)]
    fn address(self) -> *mut Self::Value;
}

mod sealed {
    pub trait Sealed {}
}

/// A place that any safe code may store to.
#[derive(Debug, Clone, Copy)]
pub struct Shared;
/// A place that may point anywhere.
#[derive(Debug, Clone, Copy)]
pub struct Raw;

/// A place once it has been computed: of a [`Word`], because [`target`] alone makes it.
///
/// Nothing but [`target`] asks for a trait, so a place of the wrong type is one error, where it stands, and not another for each use.
/// All methods take `self` by value, lest a trait of the user's that is implemented for every type comes before them.
#[derive(Debug, Clone, Copy)]
pub struct Target<V, A> {
    address: *mut V,
    access: A,
}

/// A value for the [`Target`] that made it.
#[derive(Debug, Clone, Copy)]
pub struct Value<V>(V);

/// Takes a place; type errors in `rseq!`'s place land on its argument.
#[inline(always)]
pub fn target<P, V, A>(place: P) -> Target<V, A>
where
    P: Place<Value = V, Access = A>,
    V: Word,
{
    const {
        let widest = if cfg!(target_has_atomic = "64") { 8 } else { 4 };
        assert!(size_of::<V>().is_power_of_two() && size_of::<V>() <= widest, "a `Word` has 1, 2, 4 or 8 bytes");
    }
    Target { address: place.address(), access: P::ACCESS }
}

impl Shared {
    /// Safe for every reference to an atomic.
    #[inline(always)]
    pub fn commit_to_raw_pointer(self) {}
}

impl Raw {
    /// The section commits to a raw pointer.
    ///
    /// # Safety
    /// The pointer is aligned and valid for writes, and nobody accesses what it points to at the same time except
    /// sections on the same slot, or atomically.
    #[inline(always)]
    pub unsafe fn commit_to_raw_pointer(self) {}
}

impl<V, A> Target<V, A> {
    /// Whether the place is safe for everyone, for `commit_to_raw_pointer`.
    #[inline(always)]
    pub fn access(self) -> A {
        self.access
    }

    /// The width in bits of what is stored.
    #[inline(always)]
    pub fn bits(self) -> usize {
        size_of::<V>() * 8
    }

    /// The address as an operand.
    #[inline(always)]
    pub fn address(self) -> *mut V {
        self.address
    }

    /// Takes a value; type errors in `rseq!`'s value land on its argument.
    #[inline(always)]
    pub fn value(self, value: V) -> Value<V> {
        Value(value)
    }

    /// The commit of the portable mode.
    ///
    /// # Safety
    /// [`Raw::commit_to_raw_pointer`]'s.
    #[inline]
    pub unsafe fn store(self, Value(value): Value<V>, order: Ordering) {
        // SAFETY: `value` is a `Word` of the size that each branch takes it for. For the place: the caller's; a reference to an atomic is
        // valid for atomic stores anyhow.
        unsafe {
            match size_of::<V>() {
                bytes if bytes == POINTER => {
                    AtomicPtr::<()>::from_ptr(self.address.cast()).store(transmute_copy(&value), order)
                }
                1 => AtomicU8::from_ptr(self.address.cast()).store(transmute_copy(&value), order),
                2 => AtomicU16::from_ptr(self.address.cast()).store(transmute_copy(&value), order),
                4 => AtomicU32::from_ptr(self.address.cast()).store(transmute_copy(&value), order),
                #[cfg(target_has_atomic = "64")]
                8 => AtomicU64::from_ptr(self.address.cast()).store(transmute_copy(&value), order),
                _ => unreachable!("`target` let nothing else pass"),
            }
        }
    }
}

impl<V> Value<V> {
    /// The value as an operand: its bytes as an integer, zero-extended.
    #[inline(always)]
    pub fn bits(self) -> u64 {
        let Self(value) = self;
        // SAFETY: a `Word` of the size that each branch takes it for.
        unsafe {
            match size_of::<V>() {
                // The window stores it without the compiler's knowledge, so the provenance of a pointer must be exposed.
                bytes if bytes == POINTER => transmute_copy::<V, *const ()>(&value).expose_provenance() as u64,
                1 => transmute_copy::<V, u8>(&value).into(),
                2 => transmute_copy::<V, u16>(&value).into(),
                4 => transmute_copy::<V, u32>(&value).into(),
                _ => transmute_copy::<V, u64>(&value),
            }
        }
    }
}

/// The size of what may be a pointer.
const POINTER: usize = size_of::<usize>();

macro_rules! place {
    ([$($generic:ident)?] $atomic:ty, $value:ty) => {
        impl<$($generic)?> sealed::Sealed for &$atomic {}
        impl<$($generic)?> Place for &$atomic {
            type Value = $value;
            type Access = Shared;
            const ACCESS: Shared = Shared;
            #[inline(always)]
            fn address(self) -> *mut $value {
                self.as_ptr()
            }
        }
    };
}

macro_rules! words {
    ($([$($generic:ident)?] $value:ty, $atomic:ty;)*) => {$(
        // SAFETY: of the size of its atomic, without padding.
        unsafe impl<$($generic)?> Word for $value {}
        place!([$($generic)?] $atomic, $value);
    )*};
}

words! {
    [] bool, AtomicBool;
    [] u8, AtomicU8;
    [] u16, AtomicU16;
    [] u32, AtomicU32;
    [] usize, AtomicUsize;
    [] i8, AtomicI8;
    [] i16, AtomicI16;
    [] i32, AtomicI32;
    [] isize, AtomicIsize;
    [T] *mut T, AtomicPtr<T>;
}

#[cfg(target_has_atomic = "64")]
words! {
    [] u64, AtomicU64;
    [] i64, AtomicI64;
}

// SAFETY: of a pointer's size, without padding.
unsafe impl<T> Word for *const T {}

// SAFETY: of a pointer's size, without padding; `None` is the null pointer.
unsafe impl<T> Word for Option<NonNull<T>> {}

impl<T: Word> sealed::Sealed for *mut T {}
impl<T: Word> Place for *mut T {
    type Value = T;
    type Access = Raw;
    const ACCESS: Raw = Raw;
    #[inline(always)]
    fn address(self) -> *mut T {
        self
    }
}
