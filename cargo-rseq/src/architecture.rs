//! The machines that have restartable sequences, one row each.

use std::fmt;

use object::elf;

/// A machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Architecture {
    /// x86-64 (not x32).
    X86_64,
    /// 32-bit x86.
    I686,
    /// 64-bit Arm.
    Aarch64,
    /// 32-bit Arm.
    Arm,
    /// RISC-V with 64 bits.
    Riscv64,
    /// IBM Z.
    S390x,
    /// 64-bit PowerPC of either byte order.
    Powerpc64,
    /// LoongArch with 64 bits.
    Loongarch64,
}

/// The properties of a machine.
pub(crate) struct Row {
    pub architecture: Architecture,
    /// As Rust's targets call it.
    pub name: &'static str,
    machine: u16,
    is_64: bool,
    /// The four bytes before an abort handler: `RSEQ_SIG` of the kernel's
    /// `tools/testing/selftests/rseq/rseq-*.h`.
    pub signature: u32,
    pub relocations: Relocations,
}

/// The relocations that give a word an address, by their numbers in the psABI of the machine.
pub(crate) struct Relocations {
    /// Where the file is loaded, plus the addend.
    pub relative: u32,
    /// The symbol's address plus the addend, in a word.
    pub word: u32,
    /// The symbol's address, in the global offset table; `word` where the machine has none of its
    /// own for that.
    pub table: u32,
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    row(Architecture::X86_64, "x86_64", elf::EM_X86_64, true, 0x5305_3053, [elf::R_X86_64_RELATIVE, elf::R_X86_64_64, elf::R_X86_64_GLOB_DAT]),
    row(Architecture::I686, "i686", elf::EM_386, false, 0x5305_3053, [elf::R_386_RELATIVE, elf::R_386_32, elf::R_386_GLOB_DAT]),
    row(Architecture::Aarch64, "aarch64", elf::EM_AARCH64, true, 0xd428_bc00, [elf::R_AARCH64_RELATIVE, elf::R_AARCH64_ABS64, elf::R_AARCH64_GLOB_DAT]),
    row(Architecture::Arm, "arm", elf::EM_ARM, false, 0xe7f5_def3, [elf::R_ARM_RELATIVE, elf::R_ARM_ABS32, elf::R_ARM_GLOB_DAT]),
    row(Architecture::Riscv64, "riscv64", elf::EM_RISCV, true, 0xf140_1073, [elf::R_RISCV_RELATIVE, elf::R_RISCV_64, elf::R_RISCV_64]),
    row(Architecture::S390x, "s390x", elf::EM_S390, true, 0xb2ff_0fff, [elf::R_390_RELATIVE, elf::R_390_64, elf::R_390_GLOB_DAT]),
    row(Architecture::Powerpc64, "powerpc64", elf::EM_PPC64, true, 0x0fe5_000b, [elf::R_PPC64_RELATIVE, elf::R_PPC64_ADDR64, elf::R_PPC64_GLOB_DAT]),
    row(Architecture::Loongarch64, "loongarch64", elf::EM_LOONGARCH, true, 0x002a_0010, [elf::R_LARCH_RELATIVE, elf::R_LARCH_64, elf::R_LARCH_64]),
];

const fn row(
    architecture: Architecture,
    name: &'static str,
    machine: u16,
    is_64: bool,
    signature: u32,
    [relative, word, table]: [u32; 3],
) -> Row {
    Row { architecture, name, machine, is_64, signature, relocations: Relocations { relative, word, table } }
}

impl Architecture {
    /// The machine of an ELF header.
    pub(crate) fn of(machine: u16, is_64: bool) -> Option<Self> {
        ROWS.iter().find(|row| row.machine == machine && row.is_64 == is_64).map(|row| row.architecture)
    }

    pub(crate) fn row(self) -> &'static Row {
        // Each has a row, as a test says; the first stands for what can't be.
        ROWS.iter().find(|row| row.architecture == self).unwrap_or(&ROWS[0])
    }

    /// The four bytes that the kernel wants to find before an abort handler, in the machine's byte
    /// order.
    ///
    /// It is the number that the thread was registered with, which a program is free to choose;
    /// this is the one that all libraries use, and since glibc 2.35 registers every thread with it,
    /// no other works there.
    #[must_use]
    pub fn signature(self) -> u32 {
        self.row().signature
    }

    /// The bytes of a pointer.
    #[must_use]
    pub fn pointer_bytes(self) -> u64 {
        if self.row().is_64 { 8 } else { 4 }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().name)
    }
}

/// The names of all, for a message.
pub(crate) fn names() -> String {
    ROWS.iter().map(|row| row.name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_machine_has_its_row() {
        for row in ROWS {
            assert_eq!(row.architecture.row().name, row.name);
            assert_eq!(Architecture::of(row.machine, row.is_64), Some(row.architecture));
        }
        assert_eq!(Architecture::of(elf::EM_X86_64, false), None, "x32 has other descriptors in its registers");
        assert_eq!(Architecture::Loongarch64.row().name, "loongarch64");
    }
}
