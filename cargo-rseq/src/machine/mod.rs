//! Instructions and their effects, as far as the rules of restartable sequences are about them. One
//! file per disassembler.

mod instruction;
#[cfg(feature = "capstone")]
mod others;
mod tracker;
mod x86;

use crate::architecture::Architecture;
use crate::elf::Image;

pub(crate) use self::instruction::Texts;
pub use self::instruction::{Base, Flow, Instruction, Knowledge, Place, Register, Store, Value};

/// The register by which rseq-dsl's windows with a `prepare` tell the abort handler that all thread
/// descriptors have where to go on; `None` where thread descriptors are given the window's own.
#[must_use]
pub(crate) fn dispatched_by(architecture: Architecture) -> Option<Register> {
    (architecture == Architecture::X86_64).then_some(x86::R11)
}

/// The knowledge of this machine's instructions.
#[must_use]
pub fn knowledge(architecture: Architecture) -> Knowledge {
    match architecture {
        Architecture::X86_64 | Architecture::I686 => Knowledge::Operands,
        #[cfg(feature = "capstone")]
        _ => others::knowledge(architecture),
        #[cfg(not(feature = "capstone"))]
        _ => Knowledge::None,
    }
}

/// Why not more can be told for a machine, and what would help.
#[must_use]
pub fn advice(architecture: Architecture) -> &'static str {
    match knowledge(architecture) {
        Knowledge::None if architecture == Architecture::Loongarch64 => {
            "there is no disassembler for this machine here"
        }
        Knowledge::None => "for this machine, cargo-rseq has to be built with its feature `capstone`",
        Knowledge::Flow | Knowledge::Operands => {
            "which registers and places instructions use is known here for x86 alone"
        }
    }
}

/// The instructions from an address on, up to so many bytes, the last of which may be cut off as
/// invalid. What doesn't decode ends it, as one invalid instruction. Nothing where there is no
/// disassembler.
#[must_use]
pub fn decode(image: &Image<'_>, address: u64, length: u64) -> Vec<Instruction> {
    decode_as(image, address, length, Texts::Written)
}

/// The same, with or without texts.
pub(crate) fn decode_as(image: &Image<'_>, address: u64, length: u64, texts: Texts) -> Vec<Instruction> {
    let code = image.code(address, length);
    match image.architecture() {
        Architecture::X86_64 => x86::decode(64, code, address, texts),
        Architecture::I686 => x86::decode(32, code, address, texts),
        #[cfg(feature = "capstone")]
        architecture => others::decode(architecture, image.is_big_endian(), code, address),
        #[cfg(not(feature = "capstone"))]
        _ => Vec::new(),
    }
}

/// Where the instructions that lead to this address might begin: the likelier first.
#[must_use]
pub fn approaches(image: &Image<'_>, address: u64) -> Vec<u64> {
    /// Functions that begin further away aren't followed from there.
    const FAR: u64 = 1 << 12;
    /// As many bytes have all that leads to a window.
    const NEAR: u64 = 64;
    let function = image.function(address).map(|(start, _)| start).filter(|start| address - start <= FAR);
    let step = match image.architecture() {
        Architecture::X86_64 | Architecture::I686 => 1,
        Architecture::S390x | Architecture::Riscv64 => 2,
        _ => 4,
    };
    // Instructions of different lengths, read from a wrong place, soon fall into step with the
    // right ones: so farther is likelier.
    let steps = (1..=NEAR / step).rev().filter_map(|steps| address.checked_sub(steps * step));
    function.into_iter().chain(steps).collect()
}
