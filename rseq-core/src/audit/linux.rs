//! What audits need of Linux.

use core::ffi::{c_int, c_void};
use core::mem::{MaybeUninit, zeroed};
use core::ptr::{null, null_mut};
use core::sync::atomic::{AtomicPtr, Ordering::Acquire, Ordering::Release};

use crate::{arch, sys};

// Of `include/uapi/linux/prctl.h` and `include/uapi/asm-generic/siginfo.h`.
const PR_SET_SYSCALL_USER_DISPATCH: c_int = 59;
const OFF: libc::c_ulong = 0;
const ON: libc::c_ulong = 1;
const SYS_USER_DISPATCH: c_int = 2;

/// From now on the calling thread's system calls are blocked while the selector is 1. (A signal
/// that is held back would end the process.)
pub(super) fn dispatch(selector: *const u8) {
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
pub(super) fn stop_dispatch() {
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

/// Whether the kernel blocks system calls.
pub(super) fn can_dispatch() -> bool {
    const ALLOW: u8 = 0;
    // SAFETY: the selector outlives the dispatch, and allows everything.
    let can = unsafe { set_dispatch(ON, &ALLOW) };
    if can {
        stop_dispatch();
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
    let open = super::open_section().filter(|_| code == SYS_USER_DISPATCH);
    let Some(open) = open else {
        go_on_before(signal, information, context);
        return;
    };
    // SAFETY: the kernel's, of a blocked call.
    super::call(open, number.cast_unsigned() as usize, unsafe { arch::stack_of_call(context) });
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

/// How often the calling thread has waited in the kernel for something.
pub(super) fn sleeps() -> i64 {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: writable for the structure that the call fills; zeroes are valid if it fails.
    unsafe {
        libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr());
        usage.assume_init().ru_nvcsw
    }
}

/// Whether the calling thread is on the stack that it set up for signals.
pub(super) fn is_on_signal_stack() -> bool {
    let mut stack = MaybeUninit::<libc::stack_t>::zeroed();
    // SAFETY: writable for the structure that the call fills; zeroes are valid if it fails.
    unsafe {
        libc::sigaltstack(null(), stack.as_mut_ptr());
        stack.assume_init().ss_flags & libc::SS_ONSTACK != 0
    }
}

/// Whether these two addresses are on one stack: all between them can be read, and it isn't more
/// than a stack has. (Stacks have a page in front of them that can't.)
pub(super) fn is_one_stack(one: usize, other: usize) -> bool {
    const MOST: usize = 64 << 20;
    const PAGE: usize = 4096;
    let (first, last) = (one.min(other), one.max(other));
    last - first <= MOST && (first..last).step_by(PAGE).chain([last]).all(can_be_read)
}

/// Whether there is memory that can be read, by a system call that reads there before it fails.
fn can_be_read(address: usize) -> bool {
    const INVALID: c_int = -1;
    const WORD: usize = 8;
    // SAFETY: points to the calling thread's errno. The call changes nothing: it either can't read
    // the set, or finds that it isn't told what to do with it.
    unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        let set = address & !(WORD - 1);
        libc::syscall(libc::SYS_rt_sigprocmask, INVALID, set, 0_usize, WORD);
        let readable = *errno != libc::EFAULT;
        *errno = before;
        readable
    }
}

/// Fresh memory at exactly this address, if nothing is there.
pub(super) fn memory_at(address: usize, bytes: usize) -> Option<*mut c_void> {
    let address = core::ptr::without_provenance_mut(address);
    let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    let kind = kind | libc::MAP_NORESERVE | libc::MAP_FIXED_NOREPLACE;
    // SAFETY: replaces nothing.
    let memory = unsafe { libc::mmap(address, bytes, access, kind, -1, 0) };
    if memory == libc::MAP_FAILED {
        return None;
    }
    if memory.addr() != address.addr() {
        // SAFETY: a kernel that doesn't know the flag put it elsewhere, just now.
        unsafe { libc::munmap(memory, bytes) };
        return None;
    }
    Some(memory)
}

/// Writes to the standard error, as far as it takes it.
pub(super) fn write_error(text: &[u8]) {
    // SAFETY: points to the calling thread's errno; the text is readable for its length.
    unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len());
        *errno = before;
    }
}

/// Ends the process where it is.
pub(super) fn abort() -> ! {
    // SAFETY: has no precondition.
    unsafe { libc::abort() }
}

/// The name of a system call that is likely to be met.
pub(super) fn name(number: usize) -> Option<&'static str> {
    macro_rules! names {
        ($($name:ident $call:ident)*) => {
            match number as libc::c_long {
                $(libc::$call => Some(stringify!($name)),)*
                _ => None,
            }
        };
    }
    names! {
        read SYS_read write SYS_write writev SYS_writev open SYS_open openat SYS_openat close SYS_close stat SYS_stat newfstatat SYS_newfstatat
        fstat SYS_fstat statx SYS_statx lseek SYS_lseek ioctl SYS_ioctl poll SYS_poll epoll_wait SYS_epoll_wait pread64 SYS_pread64
        pwrite64 SYS_pwrite64 mmap SYS_mmap munmap SYS_munmap mremap SYS_mremap mprotect SYS_mprotect madvise SYS_madvise brk SYS_brk
        futex SYS_futex sched_yield SYS_sched_yield nanosleep SYS_nanosleep clock_nanosleep SYS_clock_nanosleep clock_gettime SYS_clock_gettime
        gettimeofday SYS_gettimeofday time SYS_time getcpu SYS_getcpu getpid SYS_getpid gettid SYS_gettid getppid SYS_getppid getrandom SYS_getrandom
        getrusage SYS_getrusage sendto SYS_sendto recvfrom SYS_recvfrom sendmsg SYS_sendmsg recvmsg SYS_recvmsg
        sched_getaffinity SYS_sched_getaffinity sched_setaffinity SYS_sched_setaffinity membarrier SYS_membarrier rt_sigprocmask SYS_rt_sigprocmask
        rt_sigaction SYS_rt_sigaction kill SYS_kill tgkill SYS_tgkill clone SYS_clone clone3 SYS_clone3 fork SYS_fork vfork SYS_vfork
        execve SYS_execve prctl SYS_prctl pipe2 SYS_pipe2 dup SYS_dup fcntl SYS_fcntl fsync SYS_fsync rseq SYS_rseq
    }
}
