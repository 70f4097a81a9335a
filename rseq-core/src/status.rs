//! What is in use, and why: for people and for programs.

use core::fmt;

use crate::abi::{AT_RSEQ_FEATURE_SIZE, ORIGINAL_FEATURE_SIZE};
use crate::mode::{self, Mode, Registrar};
use crate::{cpu, fence, register, sys};

/// The kernel's version: the first numbers of `uname -r`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Kernel {
    /// The 6 of 6.18.3.
    pub major: u32,
    /// The 18 of 6.18.3.
    pub minor: u32,
    /// The 3 of 6.18.3; 0 where none is given.
    pub patch: u32,
}

impl Kernel {
    /// The running kernel's, `None` where there is no Linux release to be read.
    pub(crate) fn running() -> Option<Self> {
        Self::parse(sys::release(&mut [0; 65]))
    }

    fn parse(release: &str) -> Option<Self> {
        let numeric = release.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
        let mut numbers = numeric.split('.').map(str::parse);
        let (major, minor) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        Some(Self { major, minor, patch: numbers.next().and_then(Result::ok).unwrap_or(0) })
    }

    /// arm64 lost both the abort and the clearing of `rseq_cs` with the rewrite in 6.19, and got them back in 7.0.14 and 7.1.
    pub(crate) fn breaks_rseq(self) -> bool {
        const FIRST: Kernel = Kernel { major: 6, minor: 19, patch: 0 };
        const MENDED: Kernel = Kernel { major: 7, minor: 0, patch: 14 };
        cfg!(target_arch = "aarch64") && FIRST <= self && self < MENDED
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// The C library that the program was built for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Libc {
    /// Its name as the target has it: `gnu`, `musl`, or empty.
    pub name: &'static str,
    /// The bytes of an area that it reports as active (glibc's `__rseq_size`), 0 if it registers no thread.
    pub active_bytes: u32,
}

/// What sections run on in this process: see [`status`].
///
/// Its `Display` form is a report of several lines for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status {
    mode: Mode,
    kernel: Option<Kernel>,
    libc: Libc,
    registered_bytes: u32,
    feature_bytes: u32,
    fences: bool,
    slice_extension: bool,
    possible_cpus: usize,
}

/// Says what is in use and why: the mode, who registered the threads, the kernel and its features.
///
/// Decides the mode if no section has run yet.
///
/// ```
/// let status = rseq::status();
/// match status.mode() {
///     rseq::Mode::Rseq(registrar) => println!("restartable sequences, registered by {registrar:?}"),
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
    Status {
        mode,
        kernel: Kernel::running(),
        libc: Libc {
            name: cfg_select! { target_env = "gnu" => "gnu", target_env = "musl" => "musl", _ => "" },
            active_bytes: register::libc_area().map_or(0, |area| area.active),
        },
        registered_bytes: registrar.map_or(0, register::length),
        feature_bytes: match (registrar, sys::auxiliary(AT_RSEQ_FEATURE_SIZE)) {
            (None, _) => 0,
            (Some(_), 0) => ORIGINAL_FEATURE_SIZE,
            (Some(_), size) => size as u32,
        },
        fences: fence::available(),
        slice_extension: sys::has_slice_extension(),
        possible_cpus: cpu::possible(),
    }
}

impl Status {
    /// How sections run.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The running kernel, `None` where it tells no Linux version.
    #[must_use]
    pub fn kernel(&self) -> Option<Kernel> {
        self.kernel
    }

    /// The C library.
    #[must_use]
    pub fn libc(&self) -> Libc {
        self.libc
    }

    /// The length in bytes under which a thread's area is registered: 32 for the original ABI, more from glibc 2.41 on kernels
    /// that have more to say; 0 in portable mode.
    #[must_use]
    pub fn registered_bytes(&self) -> u32 {
        self.registered_bytes
    }

    /// The kernel keeps `node_id`, the thread's NUMA node, up to date (Linux 6.3).
    #[must_use]
    pub fn has_node_id(&self) -> bool {
        self.keeps(24)
    }

    /// The kernel keeps `mm_cid`, the thread's concurrency id, up to date (Linux 6.3).
    #[must_use]
    pub fn has_mm_cid(&self) -> bool {
        self.keeps(28)
    }

    /// [`fence::all`] and [`fence::cpu`] work (Linux 5.10; always in portable mode).
    #[must_use]
    pub fn has_fences(&self) -> bool {
        self.fences
    }

    /// The kernel knows time-slice extensions (Linux 7.0, if configured).
    #[must_use]
    pub fn has_slice_extension(&self) -> bool {
        self.slice_extension
    }

    /// The CPU ids that can occur are those below this number: the slots of a [`PerCpu`](crate::PerCpu), less the shared one.
    #[must_use]
    pub fn possible_cpus(&self) -> usize {
        self.possible_cpus
    }

    /// The field that ends at this byte is filled by the kernel and lies inside the registered area.
    fn keeps(&self, end: u32) -> bool {
        self.feature_bytes >= end && self.registered_bytes >= end
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
                writeln!(f, "threads:         registered {by}, {} bytes each", self.registered_bytes)?;
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
            ("slice extension: ", self.slice_extension),
        ];
        for (index, (name, there)) in features.into_iter().enumerate() {
            let end = if index + 1 < features.len() { "\n" } else { "" };
            write!(f, "{name}{}{end}", if there { "yes" } else { "no" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Kernel;

    #[test]
    fn releases() {
        let version = |major, minor, patch| Some(Kernel { major, minor, patch });
        assert_eq!(Kernel::parse("6.18.44-fc-v657"), version(6, 18, 44));
        assert_eq!(Kernel::parse("7.0.4+deb13-cloud-arm64"), version(7, 0, 4));
        assert_eq!(Kernel::parse("7.3-rc1"), version(7, 3, 0));
        assert_eq!(Kernel::parse("5.10.0-28-amd64"), version(5, 10, 0));
        for nonsense in ["", "linux", "7", "7.", ".7", "-6.1"] {
            assert_eq!(Kernel::parse(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn the_broken_kernels() {
        let breaks = |major, minor, patch| Kernel { major, minor, patch }.breaks_rseq();
        let arm64 = cfg!(target_arch = "aarch64");
        assert_eq!([breaks(6, 19, 0), breaks(7, 0, 0), breaks(7, 0, 13)], [arm64; 3]);
        assert_eq!([breaks(6, 18, 99), breaks(7, 0, 14), breaks(7, 1, 0)], [false; 3]);
    }
}
