//! A process that takes the processor from the calling thread, to see what the kernel makes of
//! that.

use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicU32, Ordering::Acquire, Ordering::Release};

/// Another process, for whose sake the kernel preempts the calling thread. It is gone when this is
/// dropped.
pub(crate) struct Rival {
    process: libc::pid_t,
    /// The word that the two say to each other, in memory that they share: [`WAITING`], one more
    /// than a CPU, [`HAS_RUN`] or [`CANNOT`].
    word: NonNull<AtomicU32>,
}

const WAITING: u32 = 0;
const HAS_RUN: u32 = u32::MAX;
const CANNOT: u32 = u32::MAX - 1;

const PAGE: usize = 4096;

impl Rival {
    /// Starts it, if the system lets us. Signals have to be held back until it is gone: it has
    /// their handlers, too.
    pub(crate) fn start() -> Option<Self> {
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: new memory, which is zero: `WAITING`.
        let memory = unsafe { libc::mmap(null_mut(), PAGE, access, kind, -1, 0) };
        let word = NonNull::new(memory.cast::<AtomicU32>()).filter(|_| memory != libc::MAP_FAILED)?;
        // Not `fork`: that runs handlers, and may be called in no signal handler. Without flags the
        // order of the arguments, which differs, is no matter. SAFETY: a copy of this process,
        // which makes system calls alone and ends.
        match unsafe { libc::syscall(libc::SYS_clone, 0, 0, 0, 0, 0) } {
            0 => {
                // SAFETY: the memory from above.
                run(unsafe { word.as_ref() });
                // SAFETY: ends the process, without what libc does at its end.
                unsafe { libc::_exit(0) }
            }
            process => {
                let rival = Self { process: process as libc::pid_t, word };
                (process > 0).then_some(rival)
            }
        }
    }

    /// Waits, without a system call, until it has run on this CPU, and says whether it has. If the
    /// calling thread was on that CPU when it called, it has been preempted or moved.
    pub(crate) fn takes(&self, cpu: u32) -> bool {
        /// Seconds. It ends for want of a processor if the calling thread has a priority that
        /// yields to nobody.
        const TURNS: u32 = 1 << 30;
        // SAFETY: the memory is there until this is dropped.
        let word = unsafe { self.word.as_ref() };
        word.store(cpu + 1, Release);
        for _ in 0..TURNS {
            match word.load(Acquire) {
                HAS_RUN => return true,
                CANNOT => return false,
                _ => core::hint::spin_loop(),
            }
        }
        false
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        // SAFETY: our own process, if there is one, not waited for yet; the memory, which nobody
        // else here refers to.
        unsafe {
            if self.process > 0 {
                libc::kill(self.process, libc::SIGKILL);
                while libc::waitpid(self.process, null_mut(), libc::__WALL) < 0
                    && *libc::__errno_location() == libc::EINTR
                {}
            }
            super::unmap(self.word.cast(), PAGE);
        }
    }
}

/// The other process: it waits to be told a CPU, and runs on that.
fn run(word: &AtomicU32) {
    let cpu = loop {
        match word.load(Acquire) {
            WAITING => super::yield_now(),
            cpu => break cpu as usize - 1,
        }
    };
    word.store(if run_on(cpu) { HAS_RUN } else { CANNOT }, Release);
}

/// Moves the calling thread to this CPU, and says whether it runs there.
fn run_on(cpu: usize) -> bool {
    const WORDS: usize = (u16::MAX as usize + 1) / usize::BITS as usize;
    let mut set = [0_usize; WORDS];
    let Some(word) = set.get_mut(cpu / usize::BITS as usize) else { return false };
    *word = 1 << (cpu % usize::BITS as usize);
    // SAFETY: reads a set of that size. (libc's own type ends at 1024 CPUs.)
    unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(&set), set.as_ptr()) == 0 }
}
