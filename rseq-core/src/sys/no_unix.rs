//! The calls that every Unix has, where there is no Unix (or Miri stands in for it).

use core::ffi::{CStr, c_void};
use core::ptr::null;

use super::{Errno, NO_SUCH_CALL};

pub(crate) fn symbol(_name: &CStr) -> *const c_void {
    null()
}

/// No thread is registered, so none needs it.
pub(crate) fn at_thread_exit(
    _destructor: unsafe extern "C" fn(*mut c_void),
    _argument: *mut c_void,
) -> Result<(), Errno> {
    Err(NO_SUCH_CALL)
}

/// The same.
pub(crate) fn at_thread_exits(_destructor: unsafe extern "C" fn(*mut c_void)) -> Result<(), Errno> {
    Err(NO_SUCH_CALL)
}

/// Nothing is ever unloaded.
pub(crate) fn keep_loaded(_address: *const c_void) -> Result<(), Errno> {
    Ok(())
}

pub(crate) fn environment_says(_name: &CStr, _value: &CStr) -> bool {
    false
}

/// As many slots as threads are likely to run at once.
pub(crate) fn possible_cpus() -> u32 {
    16
}

pub(crate) fn machine(_buffer: &mut [u8; 65]) -> &str {
    ""
}

pub(crate) fn release(_buffer: &mut [u8; 65]) -> &str {
    ""
}

cfg_select! {
    unix => {
        /// Miri has the call, and counts threads from 0 on.
        pub(crate) fn thread_id() -> usize {
            // SAFETY: has no precondition.
            (unsafe { libc::pthread_self() } as usize + 1) << 1
        }
    }
    windows => {
        pub(crate) fn thread_id() -> usize {
            #[link(name = "kernel32")]
            unsafe extern "system" {
                safe fn GetCurrentThreadId() -> u32;
            }
            (GetCurrentThreadId() as usize) << 1
        }
    }
    _ => {
        /// A system without threads.
        pub(crate) fn thread_id() -> usize {
            2
        }
    }
}

pub(crate) fn yield_now() {
    core::hint::spin_loop();
}

pub(crate) fn wait(_round: u32) {
    core::hint::spin_loop();
}

/// There are no signals to hold back.
pub(crate) fn without_signals<R>(work: impl FnOnce() -> R) -> R {
    work()
}

/// There is no fork.
pub(crate) fn at_fork_in_child(_handler: unsafe extern "C" fn()) {}
