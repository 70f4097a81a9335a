//! Arm, in ARM state from version 7 on, after the Arm Architecture Reference Manual (DDI 0406; DDI
//! 0487 for its AArch32) and the kernel's `tools/testing/selftests/rseq/rseq-arm.h` (signature).
//!
//! A read of `pc` gives the address of the instruction and 8. Addresses are made from their
//! distance to it, because constants in memory could be out of reach.

use super::AT_END;
use super::load_store::{HERE, LoadStore};
use super::tables::{ByComparison, ByExtension, ByOperation, ByWidth, by_operation};
use crate::emit::code::{Argument, Atom, Code, Label, Name, Reg, emit};
use crate::syntax::ast::Operation;

pub struct Arm;

/// to = the distance of a label or symbol from what reads `pc` at the label `HERE`, which follows.
fn distance(code: &mut Code, to: Reg, target: Argument) {
    emit! { code;
        "movw {}, #:lower16:({} - ({} + 8))", to, target, HERE.ahead(); // to = the lower half of the distance
        "movt {}, #:upper16:({} - ({} + 8))", to, target, HERE.ahead(); // to = the distance
    }
}

impl LoadStore for Arm {
    const POINTER_BITS: u32 = 32;
    /// r0 to r12 and lr without r11 (the frame's), less one.
    const GENERAL: usize = 12;
    /// Conditional branches reach 32 MiB: the end of the function.
    const COLD: [&'static str; 2] = AT_END;
    const SIGNATURE: &'static [&'static str] = &[".inst 0xe7f5def3"]; // udf, the signature
    const JUMP: &'static str = "b";
    const COPY: &'static str = "mov";
    const LOAD: ByWidth = ["ldrb", "ldrh", "ldr", ""];
    const STORE: ByWidth = ["strb", "strh", "str", ""];
    const RELEASE: Option<&'static str> = Some("dmb ish");
    const COMPUTE: ByOperation = ["add", "sub", "and", "orr", "eor", "lsl", "lsr", "asr"];
    const COMPUTE_BY_NUMBER: ByOperation = Self::COMPUTE;
    const MULTIPLY: &'static str = "mul";
    const EXTEND: Option<ByExtension> = Some(["sxtb", "sxth", "mov", "uxtb", "uxth", "mov"]);
    const COMPARE: [&'static str; 2] = ["cmp"; 2];
    const BRANCH: ByComparison = ["beq", "bne", "blt", "ble", "bgt", "bge", "blo", "bls", "bhi", "bhs"];
    #[cfg(test)]
    #[rustfmt::skip]
    const WORDS: &'static [&'static str] = &[
        "movw", "movt", "lower16", "upper16", "pc", "ldr", "ldrb", "ldrh", "strb", "strh", "dmb", "ish", "sxtb", "sxth", "uxtb",
        "uxth", "orr", "eor", "lsl", "lsr", "asr", "udf", "r11", "lr",
    ];

    fn at(base: Reg, displacement: u32) -> Argument {
        Argument::of("[{}, #{}]", base, displacement)
    }

    fn address(code: &mut Code, to: Reg, label: Label) {
        distance(code, to, label.into());
        emit!(code; "{}: add {}, pc, {}", HERE, to, to); // to = the label
    }

    fn cpus(code: &mut Code, to: Reg) {
        distance(code, to, Argument::of("{} + {}", Name::Fast, Name::CpusOffset));
        emit!(code; "{}: ldr {}, [pc, {}]", HERE, to, to); // to = FAST.cpus
    }

    fn number(code: &mut Code, to: Reg, number: Atom, _is_signed: bool) {
        emit!(code; "movw {}, #(({}) & 0xffff)", to, number); // to = its lower half
        if !number.fits(0..1 << 16) {
            emit!(code; "movt {}, #((({}) >> 16) & 0xffff)", to, number); // to = all of it
        }
    }

    fn compute_by_number(code: &mut Code, operation: Operation, is_signed: bool, to: Reg, left: Reg, number: Atom) {
        if number.fits(0..1) {
            return Self::copy(code, to, left); // to = left: no shift to the right takes 0
        }
        let mnemonic = by_operation(&Self::COMPUTE_BY_NUMBER, operation, is_signed);
        emit!(code; "{} {}, {}, #{}", mnemonic, to, left, number); // to = left operation number
    }
}
