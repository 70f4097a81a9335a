//! The calls that only Linux has, where there is no Linux (or Miri stands in for it).

use super::Errno;
use crate::abi::Rseq;

pub(crate) const NO_SUCH_CALL: Errno = 38;
pub(crate) const INVALID: Errno = 22;
pub(crate) const BUSY: Errno = 16;

/// No kernel to register with.
///
/// # Safety
/// None needed.
pub(crate) unsafe fn rseq(_area: *mut Rseq, _length: u32, _flags: i32, _signature: u32) -> Result<(), Errno> {
    Err(NO_SUCH_CALL)
}

/// Nobody asks where nothing is registered.
pub(crate) fn is_registered(_area: *mut Rseq, _length: u32, _signature: u32) -> bool {
    false
}

pub(crate) fn membarrier(_command: i32, _flags: u32, _cpu: i32) -> Result<(), Errno> {
    Err(NO_SUCH_CALL)
}

pub(crate) fn knows_slice_extension() -> bool {
    false
}

pub(crate) fn enable_slice_extension() -> Result<(), Errno> {
    Err(INVALID)
}

pub(crate) fn slice_yield() {}

pub(crate) fn auxiliary(_entry: u32) -> usize {
    0
}

/// Whatever it says, sections are portable here.
#[cfg(all(unix, not(miri)))]
pub(crate) fn environment_says(_name: &core::ffi::CStr, _value: &core::ffi::CStr) -> bool {
    false
}

/// Unmaps memory.
///
/// # Safety
/// As of `munmap`.
#[cfg(all(unix, not(miri)))]
pub(super) unsafe fn unmap(memory: core::ptr::NonNull<u8>, length: usize) {
    // SAFETY: the caller's.
    unsafe { libc::munmap(memory.as_ptr().cast(), length) };
}

/// Nobody has to.
pub(crate) fn die(words: &str) -> ! {
    panic!("{words}")
}

/// Nothing to be said about it.
#[cfg(all(unix, not(miri)))]
pub(super) const RESERVED: libc::c_int = 0;

/// Unknown.
#[cfg(all(unix, not(miri)))]
pub(super) fn lock_what_is_touched(_memory: core::ptr::NonNull<u8>, _length: usize) {}

/// Nothing to refuse.
#[cfg(all(unix, not(miri)))]
pub(super) fn refuse_huge_pages(_memory: core::ptr::NonNull<u8>, _length: usize) {}

/// Unknown.
#[cfg(all(unix, not(miri)))]
pub(super) fn executable_base() -> usize {
    0
}

/// No kernel to be looked at.
pub(crate) struct Rival;

impl Rival {
    pub(crate) fn start() -> Option<Self> {
        None
    }

    pub(crate) fn takes(&self, _cpu: u32) -> bool {
        false
    }
}
