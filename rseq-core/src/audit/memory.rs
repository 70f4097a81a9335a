//! Notes of sections in their thread's block.

use core::ptr::{null, null_mut};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering::Relaxed};

use super::location::Location;
use crate::abi::Descriptor;

/// A thread's notes of its sections. All is zero at first. Only the thread itself comes here, and
/// the handlers that interrupt it.
#[repr(C)]
pub(crate) struct State {
    /// The descriptor that it arms: see [`new_descriptor`](super::settings::new_descriptor). Null
    /// for the usual one.
    pub(super) descriptor: AtomicPtr<Descriptor>,
    /// The section that began last and hasn't ended.
    pub(super) open: Memory,
    /// The section of which something is noted: the number of a call, or the section inside.
    pub(super) noted: Memory,
    pub(super) noted_call: AtomicUsize,
    pub(super) noted_inner: AtomicPtr<Location>,
    /// It came to its window all the same.
    pub(super) confirmed: AtomicBool,
}

/// Which section it was, if any.
pub(super) struct Memory {
    location: AtomicPtr<Location>,
    frame: AtomicUsize,
}

/// An attempt of a section that has begun; of none if the location is null.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Begun {
    pub(super) location: *const Location,
    /// The stack pointer of the function that the section is in.
    pub(super) frame: usize,
}

impl Begun {
    pub(super) const NONE: Self = Self { location: null(), frame: 0 };

    pub(super) fn is_some(self) -> bool {
        !self.location.is_null()
    }

    /// The section's place; there is a section.
    pub(super) fn location(self) -> &'static Location {
        // SAFETY: not null, so made of such a reference.
        unsafe { &*self.location }
    }
}

impl Memory {
    /// The section, word by word: a handler that puts it back has changed nothing, not even where
    /// it came in the middle of [`Self::set`].
    pub(super) fn get(&self) -> Begun {
        Begun { location: self.location.load(Relaxed), frame: self.frame.load(Relaxed) }
    }

    pub(super) fn section(&self) -> Option<Begun> {
        Some(self.get()).filter(|begun| begun.is_some())
    }

    pub(super) fn set(&self, Begun { location, frame }: Begun) {
        // A handler in between finds nothing there.
        self.location.store(null_mut(), Relaxed);
        self.frame.store(frame, Relaxed);
        self.location.store(location.cast_mut(), Relaxed);
    }
}
