//! The platforms: what an architecture needs to be built for and emulated, and which of its kernels
//! and libcs are tried.

use std::fmt;

/// Which kernel a platform runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kernel {
    /// This machine's, without an emulator.
    Native,
    /// The newest of one of Debian's releases.
    Release(&'static str),
    /// The newest of a series, wherever Debian has it.
    Series(u32, u32),
    /// The newest of all.
    Newest,
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Native => write!(f, "native"),
            Self::Release(release) => write!(f, "{release}"),
            Self::Series(major, minor) => write!(f, "{major}.{minor}"),
            Self::Newest => write!(f, "newest"),
        }
    }
}

/// An architecture, with its names elsewhere.
#[derive(Debug)]
pub struct Arch {
    /// Rust's name, which is also the option's.
    pub name: &'static str,
    /// Rust's target with glibc.
    pub target: &'static str,
    /// Debian's name.
    pub debian: &'static str,
    /// The name of directories with its libraries.
    pub multiarch: &'static str,
    /// The end of the names of its kernels' packages.
    pub flavour: &'static str,
    pub emulator: Emulator,
}

impl Arch {
    /// True if its kernels are arm64's, whatever programs are.
    pub fn has_kernels_of_arm64(&self) -> bool {
        self.flavour.ends_with("arm64")
    }
}

/// A machine of QEMU's.
#[derive(Debug)]
pub struct Emulator {
    /// Debian's packages.
    pub packages: &'static [&'static str],
    /// The program behind `qemu-system-`.
    pub program: &'static str,
    /// Its options.
    pub machine: &'static str,
    /// The kernel's name of the serial port.
    pub console: &'static str,
    /// The arguments that the kernel gets besides.
    pub kernel: &'static str,
}

const X86: Emulator = Emulator {
    packages: &["qemu-system-x86", "seabios"],
    program: "x86_64",
    machine: "-M q35 -cpu max",
    console: "ttyS0",
    kernel: "",
};

const ARM64: Emulator = Emulator {
    packages: &["qemu-system-arm"],
    program: "aarch64",
    machine: "-M virt,gic-version=3 -cpu cortex-a57",
    console: "ttyAMA0",
    kernel: "",
};

pub const ARCHES: [Arch; 9] = [
    Arch {
        name: "x86_64",
        target: "x86_64-unknown-linux-gnu",
        debian: "amd64",
        multiarch: "x86_64-linux-gnu",
        flavour: "cloud-amd64",
        emulator: X86,
    },
    Arch {
        name: "i686",
        target: "i686-unknown-linux-gnu",
        debian: "i386",
        multiarch: "i686-linux-gnu",
        // Debian has no 32-bit kernel any more. A 64-bit one runs the same system calls.
        flavour: "cloud-amd64",
        emulator: X86,
    },
    Arch {
        name: "aarch64",
        target: "aarch64-unknown-linux-gnu",
        debian: "arm64",
        multiarch: "aarch64-linux-gnu",
        flavour: "cloud-arm64",
        emulator: ARM64,
    },
    Arch {
        // The same programs as armv7's, on a kernel of 64 bits: a common pair, which has that
        // kernel's faults.
        name: "armv7-compat",
        target: "armv7-unknown-linux-gnueabihf",
        debian: "armhf",
        multiarch: "arm-linux-gnueabihf",
        flavour: "cloud-arm64",
        emulator: ARM64,
    },
    Arch {
        name: "armv7",
        target: "armv7-unknown-linux-gnueabihf",
        debian: "armhf",
        multiarch: "arm-linux-gnueabihf",
        flavour: "armmp",
        emulator: Emulator {
            packages: &["qemu-system-arm"],
            program: "arm",
            machine: "-M virt -cpu cortex-a15",
            console: "ttyAMA0",
            kernel: "",
        },
    },
    Arch {
        name: "riscv64",
        target: "riscv64gc-unknown-linux-gnu",
        debian: "riscv64",
        multiarch: "riscv64-linux-gnu",
        flavour: "riscv64",
        emulator: Emulator {
            packages: &["qemu-system-riscv", "opensbi"],
            program: "riscv64",
            machine: "-M virt -cpu rv64",
            console: "ttyS0",
            kernel: "",
        },
    },
    Arch {
        name: "s390x",
        target: "s390x-unknown-linux-gnu",
        debian: "s390x",
        multiarch: "s390x-linux-gnu",
        flavour: "s390x",
        emulator: Emulator {
            packages: &["qemu-system-s390x"],
            program: "s390x",
            machine: "-M s390-ccw-virtio -cpu max",
            console: "ttysclp0",
            kernel: "",
        },
    },
    Arch {
        name: "powerpc64le",
        target: "powerpc64le-unknown-linux-gnu",
        debian: "ppc64el",
        multiarch: "powerpc64le-linux-gnu",
        flavour: "powerpc64le",
        emulator: Emulator {
            packages: &["qemu-system-ppc"],
            program: "ppc64",
            // TCG has none of these mitigations, and the machine doesn't start if they are asked
            // for, which is the default.
            machine: "-M pseries,x-vof=on,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken,cap-ccf-assist=off -cpu power9 -vga none",
            console: "hvc0",
            kernel: "",
        },
    },
    Arch {
        name: "loongarch64",
        target: "loongarch64-unknown-linux-gnu",
        debian: "loong64",
        multiarch: "loongarch64-linux-gnu",
        flavour: "loong64",
        emulator: Emulator {
            packages: &["qemu-system-misc"],
            program: "loongarch64",
            machine: "-M virt -cpu la464",
            console: "ttyS0",
            // The machine has no such keyboard controller, and reading its ports stops the kernel.
            kernel: "initcall_blacklist=i8042_init",
        },
    },
];

/// The C library that a program is linked with, statically.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Libc {
    /// The glibc of one of Debian's releases.
    Glibc(&'static str),
    /// The musl that comes with Rust's target.
    Musl,
}

impl fmt::Display for Libc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Glibc(release) => write!(f, "glibc of {release}"),
            Self::Musl => write!(f, "musl"),
        }
    }
}

/// One row of the matrix.
#[derive(Clone, Copy, Debug)]
pub struct Platform {
    pub arch: &'static Arch,
    pub libc: Libc,
    pub kernel: Kernel,
}

impl Platform {
    /// The name of its directory, where its console is kept.
    pub fn directory(&self) -> String {
        self.to_string().replace([',', ' '], "-").replace("--", "-")
    }

    /// True if it is the one of its architecture where everything runs: without an emulator, if
    /// there is such a one. (On x86-64 itself that is `cargo test`.)
    pub fn has_all_suites(&self) -> bool {
        match (self.arch.name, self.kernel) {
            ("x86_64", _) | (_, Kernel::Series(..) | Kernel::Newest | Kernel::Release("bookworm")) => false,
            ("i686", kernel) => kernel == Kernel::Native,
            ("armv7-compat", _) => false,
            _ => true,
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}, {}", self.arch.name, self.libc, self.kernel)
    }
}

/// The series of kernels for which x86-64 and arm64 are tried: the long-term ones, and each since
/// the rewrite in 6.19.
const SERIES: [(u32, u32); 9] = [(5, 10), (6, 1), (6, 12), (6, 18), (6, 19), (7, 0), (7, 1), (7, 2), (7, 3)];

/// All rows. The first of an architecture is the one to try first.
pub fn platforms() -> Vec<Platform> {
    ARCHES
        .iter()
        .flat_map(|arch| rows(arch).into_iter().map(move |(libc, kernel)| Platform { arch, libc, kernel }))
        .collect()
}

fn rows(arch: &Arch) -> Vec<(Libc, Kernel)> {
    let libc = Libc::Glibc("trixie");
    let stable = Kernel::Release("trixie");
    let series = SERIES.map(|(major, minor)| (libc, Kernel::Series(major, minor)));
    match arch.name {
        // glibc 2.31 registers no thread, and neither does musl.
        "x86_64" => [
            &[(libc, stable)][..],
            &series,
            &[(libc, Kernel::Newest), (Libc::Musl, stable), (Libc::Glibc("bullseye"), stable)],
        ]
        .concat(),
        "aarch64" => [&[(libc, stable)][..], &series, &[(libc, Kernel::Newest)]].concat(),
        "i686" => vec![(libc, Kernel::Native), (libc, stable)],
        // The broken kernels, and those on both sides.
        "armv7-compat" => [stable, Kernel::Series(6, 19), Kernel::Series(7, 0), Kernel::Series(7, 1)]
            .map(|kernel| (libc, kernel))
            .to_vec(),
        "loongarch64" => vec![(libc, Kernel::Release("sid"))],
        "riscv64" => vec![(libc, stable), (libc, Kernel::Release("sid"))],
        // The last row's kernel is older than the rewrite in 6.19.
        _ => [stable, Kernel::Release("sid"), Kernel::Release("bookworm")].map(|kernel| (libc, kernel)).to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_architecture_has_a_row_and_no_row_stands_twice() {
        let rows: Vec<String> = platforms().iter().map(Platform::to_string).collect();
        assert_eq!(rows.iter().collect::<BTreeSet<_>>().len(), rows.len(), "{rows:#?}");
        for arch in &ARCHES {
            assert!(platforms().iter().any(|platform| platform.arch.name == arch.name), "{}", arch.name);
        }
    }

    /// arm64 is broken from 6.19 to 7.0.13: the series on both sides must be there.
    #[test]
    fn the_broken_kernels_are_rows() {
        for series in [(6, 18), (6, 19), (7, 0), (7, 1)] {
            let kernel = Kernel::Series(series.0, series.1);
            assert!(platforms().iter().any(|row| row.arch.name == "aarch64" && row.kernel == kernel), "{kernel}");
        }
        for series in [(6, 19), (7, 0)] {
            let kernel = Kernel::Series(series.0, series.1);
            let is_of_32_bits = |row: &Platform| row.arch.name == "armv7-compat" && row.kernel == kernel;
            assert!(platforms().iter().any(is_of_32_bits), "{kernel}");
        }
    }
}
