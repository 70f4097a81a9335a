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

    /// Some kernels of this version neither abort nor clear: arm64 lost both with the rewrite in 6.19, and got them back in 7.0.14 and 7.1 (whose
    /// candidates call themselves 7.1, too). Distributors may have mended, or broken, others.
    pub(crate) fn is_suspect(self) -> bool {
        const FIRST: Kernel = Kernel { major: 6, minor: 19, patch: 0 };
        const LAST: Kernel = Kernel { major: 7, minor: 1, patch: 0 };
        cfg!(target_arch = "aarch64") && FIRST <= self && self <= LAST
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
        let suspect = |major, minor, patch| Kernel { major, minor, patch }.is_suspect();
        let arm64 = cfg!(target_arch = "aarch64");
        assert_eq!([suspect(6, 19, 0), suspect(7, 0, 0), suspect(7, 0, 99), suspect(7, 1, 0)], [arm64; 4]);
        assert_eq!([suspect(6, 18, 99), suspect(7, 1, 1), suspect(7, 2, 0)], [false; 3]);
    }
}
