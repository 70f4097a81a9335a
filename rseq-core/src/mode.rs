//! Restartable sequences or the portable mode: one decision for the whole process, made by the
//! first section.

use core::ffi::CStr;
use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use crate::arch::{self, FAST};
use crate::image::list;
use crate::kernel::Kernel;
use crate::registration::{self, Registrar};
use crate::sys::{self, Errno};
use crate::thread::Fast;
use crate::{cpu, selftest};

/// How sections run in this process. Decided once, by the first section or the first call of
/// [`status`](crate::status()).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// As restartable sequences.
    Rseq(Registrar),
    /// Under a lock per slot, for the reason given.
    Portable(Reason),
}

/// Why restartable sequences aren't in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Reason {
    /// [`portable::force`](crate::portable::force), or `RSEQ_MODE=portable` in the environment.
    Forced,
    /// This build has none: another architecture or system, Miri, the thread or memory sanitizer,
    /// or `--cfg rseq_portable`.
    NotBuilt,
    /// The kernel doesn't know the system call: older than 4.18, built without it, or an emulator
    /// such as valgrind, qemu-user or gVisor.
    NoKernelSupport,
    /// The kernel refused the registration with this error number, as under a seccomp filter.
    Refused(i32),
    /// The thread that asked first has an area of somebody else's (another library, or an image
    /// with its own copy of this crate).
    OtherArea,
    /// The kernel is one of those that neither clear nor abort, as a test of it showed: arm64 from
    /// 6.19 up to 7.0.13. (Kernels of other versions aren't tested.)
    BrokenKernel,
    /// This is a shared object that was loaded later, and its code can't reach an area of the
    /// thread's: its C library has none, and no static thread-local storage for it.
    OutOfReach,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forced => f.write_str("forced by portable::force or RSEQ_MODE=portable"),
            Self::NotBuilt => {
                f.write_str("not in this build (architecture, system, Miri, a sanitizer or --cfg rseq_portable)")
            }
            Self::NoKernelSupport => {
                f.write_str("the kernel has no rseq system call (too old, configured out, or an emulator)")
            }
            Self::Refused(errno) => {
                write!(f, "the kernel refused the registration with errno {errno} (a seccomp filter?)")
            }
            Self::OtherArea => f.write_str("another library registered its own area for the first thread that asked"),
            Self::BrokenKernel => f.write_str("this kernel doesn't restart sections (arm64 6.19 to 7.0.13); update it"),
            Self::OutOfReach => f.write_str("this shared object was loaded later, and there is no static thread-local storage for the areas of its threads"),
        }
    }
}

/// Set to `portable` when a program starts, it keeps that off restartable sequences.
const VARIABLE: &CStr = c"RSEQ_MODE";

/// True if it is set so. Asked by the image's constructor, or by who comes ahead of that.
pub(crate) fn is_forced() -> bool {
    static IS_FORCED: AtomicU32 = AtomicU32::new(UNASKED);
    const UNASKED: u32 = 2;
    match IS_FORCED.load(Relaxed) {
        UNASKED => {
            let is_forced = sys::environment_says(VARIABLE, c"portable");
            IS_FORCED.store(is_forced.into(), Relaxed);
            is_forced
        }
        known => known == true.into(),
    }
}

/// The decision, encoded; 0 before it is made. (`gdb/rseq.py` reads it as well.)
pub(crate) static DECISION: AtomicU32 = AtomicU32::new(0);

impl Mode {
    /// A non-zero number: what it is in the low byte, the error number above.
    fn encode(self) -> u32 {
        match self {
            Self::Rseq(Registrar::Libc) => 1,
            Self::Rseq(Registrar::Own) => 2,
            Self::Portable(Reason::Forced) => 3,
            Self::Portable(Reason::NotBuilt) => 4,
            Self::Portable(Reason::NoKernelSupport) => 5,
            Self::Portable(Reason::OtherArea) => 6,
            Self::Portable(Reason::BrokenKernel) => 7,
            Self::Portable(Reason::Refused(errno)) => 8 | (errno as u32) << 8,
            Self::Portable(Reason::OutOfReach) => 9,
        }
    }

    fn decode(code: u32) -> Option<Self> {
        Some(match code & 0xff {
            0 => return None,
            1 => Self::Rseq(Registrar::Libc),
            2 => Self::Rseq(Registrar::Own),
            3 => Self::Portable(Reason::Forced),
            4 => Self::Portable(Reason::NotBuilt),
            5 => Self::Portable(Reason::NoKernelSupport),
            6 => Self::Portable(Reason::OtherArea),
            7 => Self::Portable(Reason::BrokenKernel),
            9 => Self::Portable(Reason::OutOfReach),
            _ => Self::Portable(Reason::Refused((code >> 8) as Errno)),
        })
    }
}

/// The mode, decided now if it wasn't. Takes no lock, so that a signal handler may come in between.
pub(crate) fn decide() -> Mode {
    let mode = decided().unwrap_or_else(|| settle(probe()));
    if let Mode::Rseq(registrar) = mode
        && !FAST.is_open()
    {
        // Those first: who finds this one open may be theirs.
        list::others().for_each(|words| open(words, words.anchor.load(Relaxed), registrar));
        open(&FAST, arch::anchor(), registrar);
    }
    mode
}

fn decided() -> Option<Mode> {
    Mode::decode(DECISION.load(Acquire))
}

/// Lets the sections of an image with this anchor run restartably. Every thread that comes here
/// writes the same numbers: nobody has to wait for the first.
fn open(words: &Fast, anchor: isize, registrar: Registrar) {
    let cpus = cpu::possible();
    let cids = if registration::has_mm_cid(registrar) { cpus } else { 0 };
    let distance = registration::area_distance(registrar).expect("who decided that has an area");
    let watched = if arch::is_distance(anchor) { cpus } else { 0 };
    words.open(distance, anchor, [cpus, cids, watched]);
}

/// The same for an image that comes later than the decision, if it does.
pub(crate) fn open_late(words: &Fast) {
    if let Some(Mode::Rseq(registrar)) = decided() {
        open(words, words.anchor.load(Relaxed), registrar);
    }
}

/// Makes `proposal` the decision unless there is one. The first wins, and all go by it.
pub(crate) fn settle(proposal: Mode) -> Mode {
    let code = proposal.encode();
    match DECISION.compare_exchange(0, code, Release, Acquire) {
        Ok(_) => proposal,
        Err(first) => Mode::decode(first).unwrap_or(proposal),
    }
}

fn probe() -> Mode {
    if !arch::SUPPORTED {
        return Mode::Portable(Reason::NotBuilt);
    }
    if is_forced() {
        return Mode::Portable(Reason::Forced);
    }
    match register() {
        Err(reason) => Mode::Portable(reason),
        Ok(registrar) if selftest::may_be_trusted(Kernel::running_is_suspect(), || clears(registrar)) => {
            Mode::Rseq(registrar)
        }
        Ok(registrar) => {
            registration::withdraw(registrar);
            Mode::Portable(Reason::BrokenKernel)
        }
    }
}

/// See [`selftest::clears`]: of the calling thread, which is registered.
fn clears(registrar: Registrar) -> bool {
    let Some((block, distance)) = arch::thread_block().zip(registration::area_distance(registrar)) else {
        return false;
    };
    // SAFETY: this thread's. Its descriptor covers no window yet.
    unsafe { selftest::clears(registration::area_at(distance), &raw const (*block).descriptor) }
}

/// Who registers threads, beginning with the calling one.
fn register() -> Result<Registrar, Reason> {
    if registration::libc_area().is_some() {
        return Ok(Registrar::Libc);
    }
    match registration::register_own() {
        None => Err(Reason::OutOfReach),
        Some(Ok(())) => Ok(Registrar::Own),
        Some(Err(sys::NO_SUCH_CALL)) => Err(Reason::NoKernelSupport),
        Some(Err(sys::INVALID)) => Err(Reason::OtherArea),
        Some(Err(errno)) => Err(Reason::Refused(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::{Mode, Reason, Registrar};

    #[test]
    fn every_mode_survives_its_encoding() {
        let reasons = [
            Reason::Forced,
            Reason::NotBuilt,
            Reason::NoKernelSupport,
            Reason::Refused(1),
            Reason::Refused(133),
            Reason::OtherArea,
            Reason::BrokenKernel,
            Reason::OutOfReach,
        ];
        let modes = [Registrar::Libc, Registrar::Own].map(Mode::Rseq).into_iter().chain(reasons.map(Mode::Portable));
        for mode in modes {
            assert_eq!(Mode::decode(mode.encode()), Some(mode));
        }
        assert_eq!(Mode::decode(0), None);
    }
}
