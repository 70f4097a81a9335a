//! The report on what is in use, and why: for people and for programs.

use core::fmt;
use core::mem::offset_of;

use crate::abi::{ORIGINAL_LENGTH, Rseq};
use crate::kernel::Kernel;
use crate::mode::{self, Mode};
use crate::registration::{self, Registrar};
use crate::slice::{self, SliceExtension};
use crate::{cpu, fence};

/// The C library that the program was built for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Libc {
    /// Its name as the target has it: `gnu`, `musl`, or empty.
    pub name: &'static str,
    /// The bytes of an area that it reports as active (glibc's `__rseq_size`), 0 if it registers no
    /// thread.
    pub active_bytes: u32,
}

/// The means that sections run by in this process: see [`status`].
///
/// Its `Display` form is a report of several lines for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status {
    mode: Mode,
    kernel: Option<Kernel>,
    libc: Libc,
    registered_bytes: u32,
    kept_bytes: u32,
    fences: bool,
    slice_extension: SliceExtension,
    possible_cpus: usize,
    borrows_area: bool,
}

/// Says what is in use and why: the mode, who registered the threads, the kernel and its features.
///
/// Decides the mode if no section has run yet, and registers the calling thread. Called in a child
/// that shares its parent's memory (`vfork`, `clone` with `CLONE_VM`), it says that no section may
/// run there: [`Status::borrows_area`].
///
/// Async-signal-safe.
///
/// ```
/// let status = rseq::status();
/// match status.mode() {
///     rseq::Mode::Rseq(registrar) => println!("restartable, registered by {registrar:?}"),
///     rseq::Mode::Portable(reason) => println!("the portable mode: {reason}"),
///     }
/// println!("{status}");
/// ```
#[must_use]
pub fn status() -> Status {
    let mode = mode::decide();
    let registrar = match mode {
        Mode::Rseq(registrar) => Some(registrar),
        Mode::Portable(_) => None,
    };
    let registered_bytes = registrar.map_or(0, registration::length);
    Status {
        mode,
        kernel: Kernel::running(),
        libc: Libc {
            name: cfg_select! { target_env = "gnu" => "gnu", target_env = "musl" => "musl", _ => "" },
            active_bytes: registration::libc_area().map_or(0, |area| area.active),
        },
        registered_bytes,
        kept_bytes: registrar.map_or(0, registration::kept),
        fences: fence::available(),
        slice_extension: registrar.map_or(SliceExtension::NotNeeded, |registrar| {
            registration::ensure(registrar);
            slice::state(registered_bytes)
        }),
        possible_cpus: cpu::possible(),
        borrows_area: registrar.is_some_and(|registrar| !registration::is_kept(registrar)),
    }
}

impl Status {
    /// How sections run.
    ///
    /// Async-signal-safe.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The running kernel, `None` where it tells no Linux version.
    ///
    /// Async-signal-safe.
    #[must_use]
    pub fn kernel(&self) -> Option<Kernel> {
        self.kernel
    }

    /// The C library.
    ///
    /// Async-signal-safe.
    #[must_use]
    pub fn libc(&self) -> Libc {
        self.libc
    }

    /// The length in bytes under which a thread's area is registered: 32 for the original ABI, more
    /// on kernels that have more to say (33 from Linux 7.0), by this crate and by glibc from 2.41;
    /// 0 in portable mode.
    ///
    /// Async-signal-safe.
    #[must_use]
    pub fn registered_bytes(&self) -> u32 {
        self.registered_bytes
    }

    /// Threads are registered with more than the original 32 bytes, which the kernel calls "v2": it
    /// watches over those fields of their areas that are its own (from Linux 7.0.10 it kills a
    /// process that writes to one), and may let them have time-slice extensions.
    ///
    /// Async-signal-safe.
    #[must_use]
    pub fn is_v2(&self) -> bool {
        self.registered_bytes > ORIGINAL_LENGTH
    }

    /// The kernel keeps `node_id`, the thread's NUMA node, up to date (Linux 6.3).
    ///
    /// Async-signal-safe.
    #[must_use]
    pub fn has_node_id(&self) -> bool {
        self.keeps_up_to(offset_of!(Rseq, mm_cid))
    }

    /// The kernel keeps `mm_cid`, the thread's concurrency id, up to date (Linux 6.3).
    ///
    /// Async-signal-safe.
    #[must_use]
    pub fn has_mm_cid(&self) -> bool {
        self.keeps_up_to(offset_of!(Rseq, slice_ctrl))
    }

    /// [`fence::all`] and [`fence::cpu`] work (Linux 5.10; always in portable mode).
    ///
    /// Async-signal-safe.
    #[must_use]
    pub fn has_fences(&self) -> bool {
        self.fences
    }

    /// The state of the time-slice extension: threads that are aborted again and again ask the
    /// kernel for time to finish (Linux 7.0, if configured), and if not, why.
    ///
    /// Async-signal-safe.
    #[must_use]
    pub fn slice_extension(&self) -> SliceExtension {
        self.slice_extension
    }

    /// The CPU ids that can occur are those below this number: the slots of a
    /// [`PerCpu`](crate::PerCpu), less the shared one.
    ///
    /// Async-signal-safe.
    #[must_use]
    pub fn possible_cpus(&self) -> usize {
        self.possible_cpus
    }

    /// The thread that asked is a child that shares its parent's memory (`vfork`, `clone` with
    /// `CLONE_VM`). It takes the parent's area for its own, but the kernel doesn't tell it of its
    /// interruptions: a section that it runs before `exec` loses updates. (In portable mode this
    /// isn't found out.)
    ///
    /// Async-signal-safe.
    #[must_use]
    pub fn borrows_area(&self) -> bool {
        self.borrows_area
    }

    /// The fields before this byte are filled by the kernel and lie inside the registered area.
    fn keeps_up_to(&self, end: usize) -> bool {
        self.kept_bytes as usize >= end
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mode {
            Mode::Rseq(registrar) => {
                let by = match registrar {
                    Registrar::Libc => "by libc",
                    Registrar::Own => "by this crate, because libc registers none",
                };
                writeln!(f, "mode:            restartable sequences")?;
                let version = if self.is_v2() { " (v2)" } else { "" };
                writeln!(f, "threads:         registered {by}, {} bytes each{version}", self.registered_bytes)?;
                if self.borrows_area {
                    writeln!(
                        f,
                        "this thread:     not registered, being a child that shares its parent's memory (vfork, clone with CLONE_VM): sections lose updates here"
                    )?;
                }
            }
            Mode::Portable(reason) => {
                writeln!(f, "mode:            portable (a lock per slot)")?;
                writeln!(f, "why:             {reason}")?;
            }
        }
        match self.kernel {
            Some(kernel) => writeln!(f, "kernel:          {kernel}")?,
            None => writeln!(f, "kernel:          unknown")?,
        }
        let libc = if self.libc.name.is_empty() { "other" } else { self.libc.name };
        match self.libc.active_bytes {
            0 => writeln!(f, "libc:            {libc}, registers no thread")?,
            bytes => writeln!(f, "libc:            {libc}, registers every thread, {bytes} bytes active")?,
        }
        writeln!(f, "possible CPUs:   {}", self.possible_cpus)?;
        let features = [
            ("node_id:         ", self.has_node_id()),
            ("mm_cid:          ", self.has_mm_cid()),
            ("fences:          ", self.fences),
        ];
        for (name, there) in features {
            writeln!(f, "{name}{}", if there { "yes" } else { "no" })?;
        }
        write!(f, "slice extension: {}", self.slice_extension)
    }
}
