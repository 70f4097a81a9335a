//! The kernel's version, and which versions must not be trusted.

use core::fmt;

use crate::sys;

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

    /// Some kernels of this version neither abort nor clear on this machine: arm64 lost both with
    /// the rewrite in 6.19, and got them back in 7.0.14 and 7.1 (whose candidates call themselves
    /// 7.1, too). Distributors may have mended, or broken, others.
    ///
    /// It is the kernel that is asked for the machine, since a program for 32-bit arm may run on
    /// it, too. There it calls itself `armv8l` if the program asked for that (`COMPAT_UTS_MACHINE`
    /// in `arch/arm64/include/asm/compat.h`); kernels of 32 bits call themselves by `armv7l` and
    /// less.
    pub(crate) fn is_suspect(self, machine: &str) -> bool {
        const FIRST: Kernel = Kernel { major: 6, minor: 19, patch: 0 };
        const LAST: Kernel = Kernel { major: 7, minor: 1, patch: 0 };
        let is_arm64 = ["aarch64", "armv8"].iter().any(|name| machine.starts_with(name));
        is_arm64 && FIRST <= self && self <= LAST
    }

    /// True if the running kernel is such a one.
    pub(crate) fn running_is_suspect() -> bool {
        Self::running().is_some_and(|kernel| kernel.is_suspect(sys::machine(&mut [0; 65])))
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
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
    fn suspects() {
        for machine in
            ["aarch64", "aarch64_be", "armv8l", "armv7l", "armv6l", "x86_64", "i686", "riscv64", "s390x", "ppc64le", ""]
        {
            let suspect = |major, minor, patch| Kernel { major, minor, patch }.is_suspect(machine);
            let arm64 = matches!(machine, "aarch64" | "aarch64_be" | "armv8l");
            assert_eq!(
                [suspect(6, 19, 0), suspect(7, 0, 0), suspect(7, 0, 99), suspect(7, 1, 0)],
                [arm64; 4],
                "{machine}"
            );
            assert_eq!([suspect(6, 18, 99), suspect(7, 1, 1), suspect(7, 2, 0)], [false; 3], "{machine}");
        }
    }

    /// The machine is the kernel's, which is of as many bits as the build's or more.
    #[cfg(all(target_os = "linux", not(miri)))]
    #[test]
    fn the_machine_has_a_name() {
        let mut buffer = [0; 65];
        let machine = crate::sys::machine(&mut buffer);
        assert!(!machine.is_empty());
        if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
            assert_eq!(machine, if cfg!(target_arch = "x86_64") { "x86_64" } else { "aarch64" });
        }
    }
}
