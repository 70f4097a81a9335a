//! Where a commit stores, and what it can store there.

use core::marker::PhantomData;
use core::mem::{MaybeUninit, transmute_copy};
use core::ptr::NonNull;
use core::sync::atomic::{
    AtomicBool, AtomicI8, AtomicI16, AtomicI32, AtomicIsize, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicUsize,
    Ordering, Ordering::Acquire,
};
#[cfg(target_pointer_width = "64")]
use core::sync::atomic::{AtomicI64, AtomicU64};

use crate::arch;

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
/// The type has 1, 2, 4 or 8 bytes, its alignment equals its size, and none of its bytes is
/// padding.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be loaded or committed by one instruction",
    label = "a section loads and stores integers, `bool` and pointers of 8 to 64 bits",
    note = "a type of your own of such a size can implement `rseq::Word`"
)]
pub unsafe trait Word: Copy {
    /// True if smaller values have their highest bit set: the signed integers.
    #[doc(hidden)]
    const SIGNED: bool = false;
}

/// Something that a section may load from, store to and commit to: a reference to an atomic, or a
/// raw pointer (for which `rseq!` must stand in an `unsafe` block).
///
/// Implemented here for all there is; not for users to implement.
#[diagnostic::on_unimplemented(
    message = "a section can't use `{Self}` as a place",
    label = "not a place: write `&` in front of an atomic, or give a raw pointer `*mut T`",
    note = "places are references to atomics, and raw pointers inside `unsafe {{ rseq! {{ .. }} }}`"
)]
#[cfg_attr(
    target_pointer_width = "32",
    diagnostic::on_unimplemented(
        note = "places of 64 bits are for targets with pointers of 64 bits: elsewhere use `AtomicUsize` or `AtomicU32`"
    )
)]
pub trait Place: sealed::Sealed {
    /// The type of what is stored there.
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

/// A place once it has been computed: of a [`Word`], because [`target`] alone makes it. It borrows
/// what the place `P` borrows, so that the compiler sees it borrowed for as long as the section
/// uses it.
///
/// Nothing but [`target`] asks for a trait, so a place of the wrong type is one error, where it
/// stands, and not another for each use. All methods take `self` by value, lest a trait of the
/// user's that is implemented for every type comes before them.
pub struct Target<V, A, P> {
    address: *mut V,
    access: A,
    place: PhantomData<P>,
}

impl<V, A: Copy, P> Clone for Target<V, A, P> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}
impl<V, A: Copy, P> Copy for Target<V, A, P> {}

/// Takes a place; type errors in `rseq!`'s place land on its argument.
#[inline(always)]
pub fn target<P, V, A>(place: P) -> Target<V, A, P>
where
    P: Place<Value = V, Access = A>,
    V: Word,
{
    const {
        assert!(
            size_of::<V>().is_power_of_two() && size_of::<V>() <= POINTER,
            "a `Word` has 1, 2, 4 or, with pointers of 64 bits, 8 bytes"
        );
    }
    Target { address: place.address(), access: P::ACCESS, place: PhantomData }
}

impl Shared {
    /// Safe for every reference to an atomic.
    #[inline(always)]
    pub fn use_raw_pointer(self) {}
}

impl Raw {
    /// The section uses a raw pointer as a place.
    ///
    /// # Safety
    /// The pointer is aligned and valid for what the section does with it (loads, stores), and
    /// nobody accesses what it points to at the same time except sections on the same slot, or
    /// atomically.
    #[inline(always)]
    pub unsafe fn use_raw_pointer(self) {}
}

impl<V, A, P> Target<V, A, P> {
    /// The kind of access, safe for everyone or not, for `use_raw_pointer`.
    #[inline(always)]
    pub fn access(self) -> A {
        self.access
    }

    /// The address as an operand.
    #[inline(always)]
    #[must_use]
    pub fn operand(self) -> usize {
        self.address.expose_provenance()
    }

    /// Takes a value; type errors in `rseq!`'s value land on its argument.
    #[inline(always)]
    pub fn value(self, value: V) -> V {
        value
    }

    /// The value that is there, atomically. With acquire order: to every processor, a store or a
    /// load at an address that depends on what was loaded comes after the load, or a store behind a
    /// branch that does; to the language that takes an order.
    ///
    /// # Safety
    /// [`Raw::use_raw_pointer`]'s.
    #[inline]
    pub unsafe fn load(self) -> V {
        // SAFETY: `V` is a `Word` of the size that each branch takes it for. For the place: the
        // caller's; a reference to an atomic is valid for atomic loads anyhow.
        unsafe {
            match size_of::<V>() {
                bytes if bytes == POINTER => {
                    transmute_copy(&AtomicPtr::<()>::from_ptr(self.address.cast()).load(Acquire))
                }
                1 => transmute_copy(&AtomicU8::from_ptr(self.address.cast()).load(Acquire)),
                2 => transmute_copy(&AtomicU16::from_ptr(self.address.cast()).load(Acquire)),
                4 => transmute_copy(&AtomicU32::from_ptr(self.address.cast()).load(Acquire)),
                #[cfg(target_pointer_width = "64")]
                8 => transmute_copy(&AtomicU64::from_ptr(self.address.cast()).load(Acquire)),
                _ => unreachable!("`target` let nothing else pass"),
            }
        }
    }

    /// Stores a value, atomically.
    ///
    /// # Safety
    /// [`Raw::use_raw_pointer`]'s.
    #[inline]
    pub unsafe fn store(self, value: V, order: Ordering) {
        // SAFETY: as for `load`.
        unsafe {
            match size_of::<V>() {
                bytes if bytes == POINTER => {
                    AtomicPtr::<()>::from_ptr(self.address.cast()).store(transmute_copy(&value), order)
                }
                1 => AtomicU8::from_ptr(self.address.cast()).store(transmute_copy(&value), order),
                2 => AtomicU16::from_ptr(self.address.cast()).store(transmute_copy(&value), order),
                4 => AtomicU32::from_ptr(self.address.cast()).store(transmute_copy(&value), order),
                #[cfg(target_pointer_width = "64")]
                8 => AtomicU64::from_ptr(self.address.cast()).store(transmute_copy(&value), order),
                _ => unreachable!("`target` let nothing else pass"),
            }
        }
    }
}

/// True if words of which bytes have no value can be passed on, by [`valued`].
pub const WORDS_MAY_HAVE_GAPS: bool = arch::WORDS_MAY_HAVE_GAPS;

/// The word, with some value for the bytes that have none.
///
/// # Panics
/// Where that can't be done.
#[inline(always)]
#[must_use]
pub fn valued(word: MaybeUninit<*mut ()>) -> *mut () {
    arch::valued(word)
}

/// The size of what may be a pointer.
pub(crate) const POINTER: usize = size_of::<usize>();

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
    ($([$($generic:ident)?] $value:ty, $atomic:ty $(, $signed:literal)?;)*) => {$(
        // SAFETY: of the size of its atomic, without padding.
        unsafe impl<$($generic)?> Word for $value {
            $(const SIGNED: bool = $signed;)?
        }
        place!([$($generic)?] $atomic, $value);
    )*};
}

words! {
    [] bool, AtomicBool;
    [] u8, AtomicU8;
    [] u16, AtomicU16;
    [] u32, AtomicU32;
    [] usize, AtomicUsize;
    [] i8, AtomicI8, true;
    [] i16, AtomicI16, true;
    [] i32, AtomicI32, true;
    [] isize, AtomicIsize, true;
    [T] *mut T, AtomicPtr<T>;
}

#[cfg(target_pointer_width = "64")]
words! {
    [] u64, AtomicU64;
    [] i64, AtomicI64, true;
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
