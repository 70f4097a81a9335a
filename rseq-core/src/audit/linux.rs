//! Linux, as audits need it.

use core::ffi::{c_int, c_void};
use core::mem::MaybeUninit;
use core::ptr::null;

/// How often the calling thread has waited in the kernel for something.
pub(super) fn sleeps() -> i64 {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: writable for the structure that the call fills; zeroes are valid if it fails.
    unsafe {
        libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr());
        usage.assume_init().ru_nvcsw
    }
}

/// True if the calling thread is on the stack that it set up for signals.
pub(super) fn is_on_signal_stack() -> bool {
    let mut stack = MaybeUninit::<libc::stack_t>::zeroed();
    // SAFETY: writable for the structure that the call fills; zeroes are valid if it fails.
    unsafe {
        libc::sigaltstack(null(), stack.as_mut_ptr());
        stack.assume_init().ss_flags & libc::SS_ONSTACK != 0
    }
}

/// True if these two addresses are on one stack: all between them can be read, and it isn't more
/// than a stack has. (Stacks have a page in front of them that can't.)
pub(super) fn is_one_stack(one: usize, other: usize) -> bool {
    const MOST: usize = 64 << 20;
    const PAGE: usize = 4096;
    let (first, last) = (one.min(other), one.max(other));
    last - first <= MOST && (first..last).step_by(PAGE).chain([last]).all(can_be_read)
}

/// True if there is memory that can be read, by a system call that reads there before it fails.
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
        read SYS_read write SYS_write writev SYS_writev open SYS_open openat SYS_openat
        close SYS_close stat SYS_stat newfstatat SYS_newfstatat fstat SYS_fstat statx SYS_statx
        lseek SYS_lseek ioctl SYS_ioctl poll SYS_poll epoll_wait SYS_epoll_wait pread64 SYS_pread64
        pwrite64 SYS_pwrite64 mmap SYS_mmap munmap SYS_munmap mremap SYS_mremap
        mprotect SYS_mprotect madvise SYS_madvise brk SYS_brk futex SYS_futex
        sched_yield SYS_sched_yield nanosleep SYS_nanosleep clock_nanosleep SYS_clock_nanosleep
        clock_gettime SYS_clock_gettime gettimeofday SYS_gettimeofday time SYS_time
        getcpu SYS_getcpu getpid SYS_getpid gettid SYS_gettid getppid SYS_getppid
        getrandom SYS_getrandom getrusage SYS_getrusage sendto SYS_sendto recvfrom SYS_recvfrom
        sendmsg SYS_sendmsg recvmsg SYS_recvmsg sched_getaffinity SYS_sched_getaffinity
        sched_setaffinity SYS_sched_setaffinity membarrier SYS_membarrier
        rt_sigprocmask SYS_rt_sigprocmask rt_sigaction SYS_rt_sigaction kill SYS_kill
        tgkill SYS_tgkill clone SYS_clone clone3 SYS_clone3 fork SYS_fork vfork SYS_vfork
        execve SYS_execve prctl SYS_prctl pipe2 SYS_pipe2 dup SYS_dup fcntl SYS_fcntl
        fsync SYS_fsync rseq SYS_rseq
    }
}
