//! One file per architecture with the instructions of its windows; this table says which there are.
//!
//! Most machines load from memory, compute between registers, and store: `load_store.rs` has the
//! steps of these, of which their files give the instructions. x86-64 and i686 compute in memory,
//! and write their steps themselves.

// A step that a machine doesn't know must not compile, lest its windows do nothing for it.
#![warn(clippy::wildcard_enum_match_arm)]

mod aarch64;
mod arm;
mod i686;
mod load_store;
mod loongarch64;
mod powerpc64;
mod riscv64;
mod s390x;
mod tables;
mod x86_64;

use proc_macro2::{Span, TokenStream};
use quote::quote_spanned;

use super::asm::Writer;
use super::code::{Code, Label, Name, Reg};
use crate::ids::Register;
use crate::ir::{Program, Step};

/// The emitters, under the names by which rseq-core's `arch` asks for them.
const MACHINES: &[(&str, &dyn Machine)] = &[
    ("x86_64", &x86_64::X86_64),
    ("aarch64", &load_store::Steps(aarch64::Aarch64)),
    ("riscv64", &load_store::Steps(riscv64::Riscv64)),
    ("loongarch64", &load_store::Steps(loongarch64::Loongarch64)),
    ("powerpc64", &load_store::Steps(powerpc64::Powerpc64)),
    ("s390x", &load_store::Steps(s390x::S390x)),
    ("i686", &i686::I686),
    ("arm", &load_store::Steps(arm::Arm)),
];

/// Around cold code ([`Machine::cold`]): at the end of the function,
const AT_END: [&str; 2] = [".subsection 1", ".previous"];
/// or anywhere.
const ELSEWHERE: [&str; 2] = [".pushsection .text.unlikely.rseq_dsl, \"ax\", @progbits", ".popsection"];

/// The emitter of this name.
pub fn named(name: &str) -> Option<&'static dyn Machine> {
    MACHINES.iter().find(|(known, _)| *known == name).map(|(_, machine)| *machine)
}

/// All names, and the words of each machine, which must not occur outside of its file.
#[cfg(test)]
pub fn all() -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
    MACHINES.iter().map(|(name, machine)| (*name, machine.words()))
}

/// How a machine writes the steps of a window. Values are kept zero-extended to whole registers.
pub trait Machine: Sync {
    /// The width of pointers, and of the widest value.
    fn pointer_bits(&self) -> u32;

    /// How many registers the window of this program may use for its values.
    fn registers(&self, program: &Program) -> usize;

    /// `true` if windows that need more have what Rust computes fetched from memory.
    fn has_few_registers(&self) -> bool {
        self.pointer_bits() == 32
    }

    /// `true` if the window changes registers of operands that it only reads, for a while: if it is
    /// left in between, they stay so.
    fn borrows(&self, _program: &Program) -> bool {
        false
    }

    /// Registers that the window, which is this code, changes beside these, as operands of `asm!`.
    fn scratch(&self, program: &Program, code: &Code) -> TokenStream;

    /// The class of the values' registers.
    fn class(&self) -> TokenStream {
        quote_spanned!(Span::mixed_site()=> reg)
    }

    /// The class of one operand's register, in a window of this code.
    fn class_of(&self, _operand: Name, _code: &Code) -> TokenStream {
        self.class()
    }

    /// Options of `asm!`.
    fn options(&self) -> TokenStream {
        quote_spanned!(Span::mixed_site()=> nostack)
    }

    /// `true` if the operand `{fast}` is a register with the address of FAST, and not the symbol.
    fn fast_in_register(&self) -> bool {
        false
    }

    /// The directives around code that seldom runs: near enough for the branches of the window to
    /// reach.
    fn cold(&self) -> [&'static str; 2];

    /// The lines in front of an abort handler: the last is the signature.
    fn signature(&self) -> &'static [&'static str];

    /// Goes to a label, out of cold code.
    fn jump(&self, code: &mut Code, label: Label);

    /// Puts a small number into a register, in cold code.
    fn set_number(&self, code: &mut Code, to: Reg, number: usize);

    /// Takes the descriptor out of force.
    fn disarm(&self, code: &mut Code, writer: &Writer<'_>, area: Register);

    /// A step of the window with instructions of its own.
    fn step(&self, code: &mut Code, writer: &Writer<'_>, step: &Step);

    /// Words of this machine, which must not occur outside of its file.
    #[cfg(test)]
    fn words(&self) -> &'static [&'static str];
}
