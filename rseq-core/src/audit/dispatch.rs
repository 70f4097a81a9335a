//! Syscall User Dispatch: system calls of armed sections, handled instead of made.

use core::ffi::{c_int, c_void};
use core::mem::{MaybeUninit, zeroed};
use core::ptr::{null, null_mut};
use core::sync::atomic::{AtomicPtr, Ordering::Acquire, Ordering::Release};

use super::open::{call, open_section};
use crate::{arch, sys};

// Of `include/uapi/linux/prctl.h` and `include/uapi/asm-generic/siginfo.h`.
const PR_SET_SYSCALL_USER_DISPATCH: c_int = 59;
const OFF: libc::c_ulong = 0;
const ON: libc::c_ulong = 1;
const SYS_USER_DISPATCH: c_int = 2;

/// From now on the calling thread's system calls are blocked while the selector is 1. (A signal
/// that is held back would end the process.)
pub(super) fn begin(selector: *const u8) {
    // SAFETY: the first two initialise the set and the third reads it. The selector is the thread's
    // as long as it runs, and there is a handler.
    unsafe {
        let mut signals = MaybeUninit::uninit();
        libc::sigemptyset(signals.as_mut_ptr());
        libc::sigaddset(signals.as_mut_ptr(), libc::SIGSYS);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, signals.as_ptr(), null_mut());
        set_dispatch(ON, selector);
    }
}

/// No more.
pub(super) fn end() {
    // SAFETY: a system call is what it was.
    unsafe { set_dispatch(OFF, null()) };
}

/// # Safety
/// The selector is there as long as the dispatch is on, and is 1 only where the handler is
/// installed.
unsafe fn set_dispatch(mode: libc::c_ulong, selector: *const u8) -> bool {
    const NO_RANGE: libc::c_ulong = 0;
    // SAFETY: the caller's.
    unsafe { libc::prctl(PR_SET_SYSCALL_USER_DISPATCH, mode, NO_RANGE, NO_RANGE, selector) == 0 }
}

/// True if the kernel blocks system calls.
pub(super) fn is_possible() -> bool {
    const ALLOW: u8 = 0;
    // SAFETY: the selector outlives the dispatch, and allows everything.
    let can = unsafe { set_dispatch(ON, &ALLOW) };
    if can {
        end();
    }
    can
}

/// The handler that `SIGSYS` had before; null until it is known.
static BEFORE: AtomicPtr<libc::sigaction> = AtomicPtr::new(null_mut());

/// Has blocked system calls handled. Says whether that succeeded.
pub(super) fn install_handler() -> bool {
    struct Storage(core::cell::UnsafeCell<MaybeUninit<libc::sigaction>>);
    // SAFETY: written once, before anybody is told of it.
    unsafe impl Sync for Storage {}
    static STORAGE: Storage = Storage(core::cell::UnsafeCell::new(MaybeUninit::uninit()));
    let handler = on_call as extern "C" fn(c_int, *mut Information, *mut c_void);
    // From now on the kernel refers to code of this image.
    if sys::keep_loaded(handler as *const c_void).is_err() {
        return false;
    }
    let before: *mut libc::sigaction = STORAGE.0.get().cast();
    // SAFETY: zero is a valid sigaction. The storage is only written here, and this is called once.
    unsafe {
        let mut action: libc::sigaction = zeroed();
        action.sa_sigaction = handler as usize;
        // On the stack on which the call is made, which is where it is reported: a stack for
        // signals may have no room for that beside the frame of another one, which `abort` sends.
        action.sa_flags = libc::SA_SIGINFO;
        libc::sigfillset(&mut action.sa_mask);
        if libc::sigaction(libc::SIGSYS, null(), before) != 0 {
            return false;
        }
        BEFORE.store(before, Release);
        libc::sigaction(libc::SIGSYS, &action, null_mut()) == 0
    }
}

/// `siginfo_t` of a system call that was blocked.
#[repr(C)]
struct Information {
    signal: c_int,
    error: c_int,
    code: c_int,
    address: usize,
    number: c_int,
}

/// A system call was blocked: made while a section was armed. (It is no longer, because the kernel
/// delivered this signal.)
extern "C" fn on_call(signal: c_int, information: *mut Information, context: *mut c_void) {
    // SAFETY: the kernel's, and so is the context.
    let (code, number) = unsafe { ((*information).code, (*information).number) };
    // Of no section of this image: perhaps of another image's, which has a handler of its own.
    let open = open_section().filter(|_| code == SYS_USER_DISPATCH);
    let Some(open) = open else {
        go_on_before(signal, information, context);
        return;
    };
    // SAFETY: the kernel's, of a blocked call.
    call(open, number.cast_unsigned() as usize, unsafe { arch::stack_of_call(context) });
    // SAFETY: as above.
    unsafe { arch::repeat_call(context) };
}

/// It is somebody else's signal: does what would have been done.
fn go_on_before(signal: c_int, information: *mut Information, context: *mut c_void) {
    // SAFETY: never null once the handler is there, and never changed.
    let before = unsafe { &*BEFORE.load(Acquire) };
    match before.sa_sigaction {
        libc::SIG_IGN => {}
        // SAFETY: what was in force before. The signal comes again when this handler returns: sent
        // again, or because of what raised it.
        libc::SIG_DFL => unsafe {
            libc::sigaction(signal, before, null_mut());
            libc::raise(signal);
        },
        handler if before.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: what its flags say that it is.
            let handler: extern "C" fn(c_int, *mut Information, *mut c_void) = unsafe { core::mem::transmute(handler) };
            handler(signal, information, context);
        }
        handler => {
            // SAFETY: what its flags say that it is.
            let handler: extern "C" fn(c_int) = unsafe { core::mem::transmute(handler) };
            handler(signal);
        }
    }
}
