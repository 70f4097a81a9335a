//! The calls that every Unix has.

use core::ffi::{CStr, c_char, c_void};
use core::mem::MaybeUninit;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicUsize, Ordering::Acquire, Ordering::Release};
use core::time::Duration;

use super::{Errno, executable_base};

/// The address of a dynamic symbol of the whole program, null if there is none.
pub(crate) fn symbol(name: &CStr) -> *const c_void {
    // SAFETY: the name is a C string, and the default handle is always valid.
    unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) }
}

/// Runs `destructor`, always the same one, with `argument` when the calling thread ends, while its
/// memory is still there.
pub(crate) fn at_thread_exit(
    destructor: unsafe extern "C" fn(*mut c_void),
    argument: *mut c_void,
) -> Result<(), Errno> {
    let key = exit_key(destructor)?;
    // SAFETY: the key was created and is never deleted.
    match unsafe { libc::pthread_setspecific(key, argument) } {
        0 => Ok(()),
        errno => Err(errno),
    }
}

/// Prepares for the first of them, under locks of libc's.
pub(crate) fn at_thread_exits(destructor: unsafe extern "C" fn(*mut c_void)) -> Result<(), Errno> {
    exit_key(destructor).map(drop)
}

/// The key whose destructor that is, created once.
fn exit_key(destructor: unsafe extern "C" fn(*mut c_void)) -> Result<libc::pthread_key_t, Errno> {
    /// One more than the key, because 0 is one.
    static KEY: AtomicUsize = AtomicUsize::new(0);
    if let Some(key) = KEY.load(Acquire).checked_sub(1) {
        return Ok(key as libc::pthread_key_t);
    }
    // From now on libc refers to code of this image.
    keep_loaded(destructor as *const c_void)?;
    let mut created = 0;
    // SAFETY: the destructor is a function of this image, which stays loaded.
    match unsafe { libc::pthread_key_create(&mut created, Some(destructor)) } {
        0 => {}
        errno => return Err(errno),
    }
    match KEY.compare_exchange(0, created as usize + 1, Release, Acquire) {
        Ok(_) => Ok(created),
        Err(first) => {
            // SAFETY: created above, and nobody else has it.
            unsafe { libc::pthread_key_delete(created) };
            Ok((first - 1) as libc::pthread_key_t)
        }
    }
}

/// Keeps the image (executable or shared object) that holds this address loaded until the process
/// ends.
pub(crate) fn keep_loaded(address: *const c_void) -> Result<(), Errno> {
    let mut image = MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: writable for the structure that the call fills.
    if unsafe { libc::dladdr(address, image.as_mut_ptr()) } == 0 {
        // A static executable.
        return Ok(());
    }
    // SAFETY: the call succeeded, and zeroes are valid for what it may have left alone.
    let image = unsafe { image.assume_init() };
    if image.dli_fbase.addr() == executable_base() {
        return Ok(());
    }
    // SAFETY: the loader's own name of the image, which NOLOAD only looks up.
    let handle = unsafe { libc::dlopen(image.dli_fname, libc::RTLD_NOW | libc::RTLD_NOLOAD | libc::RTLD_NODELETE) };
    if handle.is_null() { Err(libc::ENOENT) } else { Ok(()) }
}

/// The number of CPUs that the C library knows of; at least 1.
#[cfg(not(target_os = "linux"))]
pub(crate) fn possible_cpus() -> u32 {
    // SAFETY: has no precondition.
    unsafe { libc::sysconf(libc::_SC_NPROCESSORS_CONF) }.clamp(1, (1 << 16) - 2) as u32
}

/// The system's release (`uname -r`), copied into `buffer` as far as it fits.
pub(crate) fn release(buffer: &mut [u8; 65]) -> &str {
    name(buffer, |names| (&raw const names.release).cast())
}

/// The system's machine (`uname -m`), copied into `buffer` as far as it fits.
pub(crate) fn machine(buffer: &mut [u8; 65]) -> &str {
    name(buffer, |names| (&raw const names.machine).cast())
}

/// One of the system's names, each a C string.
fn name(buffer: &mut [u8; 65], which: fn(&libc::utsname) -> *const c_char) -> &str {
    let mut names = MaybeUninit::<libc::utsname>::uninit();
    // SAFETY: writable for the structure that the call fills.
    if unsafe { libc::uname(names.as_mut_ptr()) } != 0 {
        return "";
    }
    // SAFETY: the call succeeded, so it filled every field with a C string.
    let name = unsafe { CStr::from_ptr(which(names.assume_init_ref())) }.to_bytes();
    let length = name.len().min(buffer.len());
    buffer[..length].copy_from_slice(&name[..length]);
    core::str::from_utf8(&buffer[..length]).unwrap_or("")
}

/// A number that no other running thread of this process has, even and never 0.
pub(crate) fn thread_id() -> usize {
    // SAFETY: has no precondition.
    let id = unsafe { libc::pthread_self() as usize };
    // A structure's address, or with some systems of 64 bits a count.
    if cfg!(any(target_os = "linux", target_pointer_width = "32")) { id } else { id << 1 }
}

/// Gives the processor away once.
pub(crate) fn yield_now() {
    // SAFETY: has no precondition.
    unsafe { libc::sched_yield() };
}

/// Waits in round `round` of a loop: first busily, then by giving the processor away, then asleep,
/// so that a thread of any priority lets the one that it waits for run.
pub(crate) fn wait(round: u32) {
    match round {
        0..64 => core::hint::spin_loop(),
        64..128 => yield_now(),
        _ => sleep(Duration::from_micros(50)),
    }
}

/// Sleeps for less than a second, or until a signal comes.
fn sleep(time: Duration) {
    let time = libc::timespec { tv_sec: 0, tv_nsec: time.subsec_nanos() as _ };
    // SAFETY: reads one structure, writes nothing.
    unsafe { libc::nanosleep(&time, null_mut()) };
}

/// Runs `work` with every asynchronous signal held back. Those that an instruction raises
/// (`SIGSEGV` and its kin) aren't: the kernel would kill the process instead of running their
/// handlers.
pub(crate) fn without_signals<R>(work: impl FnOnce() -> R) -> R {
    const RAISED: [libc::c_int; 6] =
        [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGSYS];
    let mut held = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the first call initialises `held`, the next ones change it, the last reads it and
    // writes `before`. None can fail on valid arguments.
    unsafe {
        libc::sigfillset(held.as_mut_ptr());
        for signal in RAISED {
            libc::sigdelset(held.as_mut_ptr(), signal);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, held.as_ptr(), before.as_mut_ptr());
    }
    // SAFETY: the call above wrote it.
    let _before = Restore(unsafe { before.assume_init_ref() });
    work()
}

/// The signals that are to be held back again when this is dropped, also by a panic.
struct Restore<'s>(&'s libc::sigset_t);

impl Drop for Restore<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: a set of signals, which the system gave.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, self.0, null_mut()) };
    }
}

/// Runs `handler` in the child of every later `fork`.
pub(crate) fn at_fork_in_child(handler: unsafe extern "C" fn()) {
    // SAFETY: a function of this image; the C library forgets it when the image is unloaded.
    // Failure (no memory) leaves the child without the handler, which matters only if it was forked
    // during a portable commit.
    unsafe { libc::pthread_atfork(None, None, Some(handler)) };
}

#[cfg(test)]
mod tests {
    use core::mem::zeroed;
    use core::ptr::null;
    use std::boxed::Box;
    use std::panic::{catch_unwind, resume_unwind};

    use super::without_signals;

    fn is_held(signal: libc::c_int) -> bool {
        // SAFETY: zeroes are a set of signals, which the first call writes and the second one
        // reads.
        unsafe {
            let mut now: libc::sigset_t = zeroed();
            assert_eq!(libc::pthread_sigmask(libc::SIG_SETMASK, null(), &mut now), 0);
            libc::sigismember(&now, signal) == 1
        }
    }

    #[test]
    fn signals_are_held_back_until_it_is_over() {
        let held = without_signals(|| [libc::SIGUSR1, libc::SIGTERM, libc::SIGSEGV, libc::SIGSYS].map(is_held));
        assert_eq!(held, [true, true, false, false]);
        assert!(!is_held(libc::SIGUSR1));
        assert!(catch_unwind(|| without_signals(|| resume_unwind(Box::new(())))).is_err());
        assert!(!is_held(libc::SIGUSR1), "a panic is an end as well");
    }
}
