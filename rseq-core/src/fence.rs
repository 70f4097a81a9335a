//! Fences: what may be taken for granted about the sections of other CPUs.
//!
//! A fence interrupts the CPUs where threads of this process run (`membarrier(2)` with
//! `MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ`, Linux 5.10): whatever section is under way there starts
//! again. So after a flag was set and the fence has returned, no section commits that didn't see
//! the flag.
//!
//! In portable mode it takes the slots from the sections under way, which find out when they want
//! to commit. It waits for no `prepare` without end: so sections, whatever they wait for, and
//! handlers on top of them may make fences.
//!
//! How another CPU's items are taken by means of it, and what memory can be freed behind it and
//! what can't, is in [`drain`](crate::drain).

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed, Ordering::SeqCst, fence};

use crate::arch;
use crate::cpu::{self, CpuId};
use crate::mode::{self, Mode};
use crate::portable;
use crate::sys::{self, Errno};

// Of `include/uapi/linux/membarrier.h`.
const PRIVATE_EXPEDITED: i32 = 1 << 3;
const REGISTER_PRIVATE_EXPEDITED: i32 = 1 << 4;
const PRIVATE_EXPEDITED_RSEQ: i32 = 1 << 7;
const REGISTER_PRIVATE_EXPEDITED_RSEQ: i32 = 1 << 8;
const FLAG_CPU: u32 = 1;

/// A fence couldn't be made: the kernel lacks it (before 5.10) or refuses it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FenceError {
    errno: Errno,
}

impl FenceError {
    /// The system's error number, as of `membarrier(2)`.
    ///
    /// Async-signal-safe.
    #[must_use]
    pub fn errno(self) -> i32 {
        self.errno
    }
}

impl fmt::Display for FenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no fence for restartable sequences: membarrier failed with errno {} (Linux 5.10 has it)", self.errno)
    }
}

impl core::error::Error for FenceError {}

/// After it returns, no section of this process that began before the call can still commit.
///
/// It aborts such sections of other threads, and the calling thread's own if it is called from
/// inside one. Sections that begin later see every store made before the call. In portable mode it
/// first gives a section of another thread some milliseconds to end by itself, and waits for a
/// window that runs.
///
/// Async-signal-safe.
///
/// ```
/// rseq::fence::all()?;
/// # Ok::<(), rseq::fence::FenceError>(())
/// ```
///
/// # Errors
/// If the kernel lacks the fence (before Linux 5.10) or a seccomp filter refuses it.
pub fn all() -> Result<(), FenceError> {
    stop(None)
}

/// As [`all`], for the sections that run on this CPU, or use this slot.
///
/// Async-signal-safe.
///
/// ```
/// let cpu = rseq::CpuId::new(0).expect("every machine has a CPU");
/// rseq::fence::cpu(cpu)?;
/// # Ok::<(), rseq::fence::FenceError>(())
/// ```
///
/// # Errors
/// As [`all`].
pub fn cpu(cpu: CpuId) -> Result<(), FenceError> {
    stop(Some(cpu.get()))
}

/// Makes sure that no thread of the process refers to a window of this image (executable or shared
/// object) any more, so that it may be unloaded.
///
/// The caller sees to it that no thread is inside a section of the image, nor begins one. Sections
/// disarm when they end, so on the way out of them nothing is left behind; this also takes out of
/// force what an abandoned section (`longjmp`) left behind on the calling thread or on one that
/// runs. Where this crate registered the threads itself, the image stays loaded whatever is asked,
/// because the kernel and libc still refer to it. It needn't be called to have memory given back:
/// that is done when the image is unloaded (see [`PerCpu`](crate::PerCpu#memory)).
///
/// Async-signal-safe.
///
/// ```
/// # fn main() -> Result<(), rseq::fence::FenceError> {
/// rseq::quiesce()?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// As [`all`].
pub fn quiesce() -> Result<(), FenceError> {
    all()
}

/// True if fences can be made.
pub(crate) fn available() -> bool {
    ready().is_ok()
}

/// Why none can be made, if it is known before one is.
pub(crate) fn ready() -> Result<(), FenceError> {
    match mode::decide() {
        Mode::Rseq(_) => register(),
        Mode::Portable(_) => Ok(()),
    }
}

/// Stops the sections on this slot, or on all.
fn stop(slot: Option<usize>) -> Result<(), FenceError> {
    fence(SeqCst);
    if let Mode::Rseq(_) = mode::decide() {
        // The kernel leaves the calling thread out.
        disarm_this_thread();
        register()?;
        match slot {
            None => interrupt(0, 0)?,
            Some(slot) if slot == cpu::shared_slot() => {}
            Some(slot) => interrupt(FLAG_CPU, slot as i32)?,
        }
    }
    // In either mode: threads without registration run their sections under a lock.
    portable::fence(slot);
    fence(SeqCst);
    Ok(())
}

/// Makes sure that no section which the calling thread is inside of can commit. For what `prepare`
/// may do only at this price: the section starts again and finds it done.
pub(crate) fn disarm_this_thread() {
    arch::starts_again();
    // SAFETY: the calling thread's area.
    unsafe { arch::disarm(arch::locate().area) };
}

fn interrupt(flags: u32, cpu: i32) -> Result<(), FenceError> {
    sys::membarrier(PRIVATE_EXPEDITED_RSEQ, flags, cpu).map_err(|errno| FenceError { errno })
}

/// Orders what is stored before and after it for code that loads the later word first and puts no
/// order between its loads: it finds both stores, or the first alone, or none. For windows, which
/// pay nothing for it.
///
/// Where the machine does loads in the order of the program a release store is enough. Elsewhere
/// the kernel puts a barrier into every thread of the process (`MEMBARRIER_CMD_PRIVATE_EXPEDITED`,
/// Linux 4.14, so wherever there is `rseq(2)`). False if it refuses.
pub(crate) fn orders_loads() -> bool {
    let barrier = || sys::membarrier(PRIVATE_EXPEDITED, 0, 0);
    // The kernel asks a process to announce that it makes these, too. Once is enough.
    let announced = || sys::membarrier(REGISTER_PRIVATE_EXPEDITED, 0, 0).and_then(|()| barrier());
    arch::LOADS_IN_ORDER || barrier().or_else(|_| announced()).is_ok()
}

/// Announces to the kernel, once, that this process makes fences. Early kernels don't list the
/// command among those they have, so trying is the only way to know.
fn register() -> Result<(), FenceError> {
    static DONE: AtomicBool = AtomicBool::new(false);
    if !DONE.load(Relaxed) {
        sys::membarrier(REGISTER_PRIVATE_EXPEDITED_RSEQ, 0, 0).map_err(|errno| FenceError { errno })?;
        DONE.store(true, Relaxed);
    }
    Ok(())
}
