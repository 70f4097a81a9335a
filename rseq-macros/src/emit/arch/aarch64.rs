//! AArch64, after the Arm Architecture Reference Manual (DDI 0487) and the kernel's
//! `tools/testing/selftests/rseq/rseq-arm64.h` (signature).

use super::AT_END;
use super::load_store::LoadStore;
use super::tables::{ByComparison, ByOperation, ByWidth, by_extension, by_width};
use crate::emit::code::{Argument, Atom, Code, Label, Name, Reg, emit};
use crate::syntax::ast::Comparison;

pub struct Aarch64;

const ZERO: Reg = Reg::Fixed("xzr");

/// The lower 32 bits of a register.
fn word(register: Reg) -> Reg {
    if register == ZERO { Reg::Fixed("wzr") } else { register.part('w') }
}

impl LoadStore for Aarch64 {
    /// x0 to x30 without x18 (the platform's), x19 and x29 (the compiler's), less one.
    const GENERAL: usize = 27;
    const ZERO: Option<Reg> = Some(ZERO);
    /// Conditional branches reach 1 MiB: the end of the function.
    const COLD: [&'static str; 2] = AT_END;
    const SIGNATURE: &'static [&'static str] = &[".inst 0xd428bc00"]; // brk, the signature
    const JUMP: &'static str = "b";
    const COPY: &'static str = "mov";
    const LOAD: ByWidth = ["ldrb", "ldrh", "ldr", "ldr"];
    const STORE: ByWidth = ["strb", "strh", "str", "str"];
    const COMPUTE: ByOperation = ["add", "sub", "and", "orr", "eor", "lsl", "lsr", "asr"];
    const COMPUTE_BY_NUMBER: ByOperation = Self::COMPUTE;
    const MARK: &'static str = "#";
    const MULTIPLY: &'static str = "mul";
    const COMPARE: [&'static str; 2] = ["cmp"; 2];
    const BRANCH: ByComparison = ["b.eq", "b.ne", "b.lt", "b.le", "b.gt", "b.ge", "b.lo", "b.ls", "b.hi", "b.hs"];
    #[cfg(test)]
    #[rustfmt::skip]
    const WORDS: &'static [&'static str] = &[
        "aarch64", "xzr", "wzr", "adrp", "ldr", "ldrb", "ldrh", "strh", "stlr", "movz", "movk", "sxtw", "sxtb", "sxth",
        "uxtb", "uxth", "orr", "eor", "lsl", "lsr", "asr", "cbz", "cbnz", "brk", "x18", "x19", "x29", "x30",
    ];

    fn part(bits: u32, register: Reg) -> Reg {
        if bits == 64 { register } else { word(register) }
    }

    fn at(base: Reg, displacement: u32) -> Argument {
        Argument::of("[{}, #{}]", base, displacement)
    }

    fn address(code: &mut Code, to: Reg, label: Label) {
        emit! { code;
            "adrp {}, {}", to, label;              // to = the page of the label
            "add {}, {}, :lo12:{}", to, to, label; // to = the label
        }
    }

    fn cpus(code: &mut Code, to: Reg) {
        emit! { code;
            "adrp {}, {}", to, Name::Fast;                 // to = the page of FAST
            "add {}, {}, :lo12:{}", to, to, Name::Fast;    // to = FAST
            "ldr {}, [{}, #{}]", to, to, Name::CpusOffset; // to = FAST.cpus
        }
    }

    fn number(code: &mut Code, to: Reg, number: Atom, is_signed: bool) {
        emit!(code; "movz {}, #(({}) & 0xffff)", to, number); // to = its lower half
        if !number.fits(0..1 << 16) {
            emit!(code; "movk {}, #((({}) >> 16) & 0xffff), lsl #16", to, number); // to = all of it
        }
        if is_signed {
            emit!(code; "sxtw {}, {}", to, word(to)); // to, with its sign
        }
    }

    fn store_release(code: &mut Code, bits: u32, value: Reg, base: Reg) {
        let mnemonic = by_width(&["stlrb", "stlrh", "stlr", "stlr"], bits);
        emit!(code; "{} {}, [{}]", mnemonic, Self::part(bits, value), base); // *base = value, after all before it
    }

    fn extend(code: &mut Code, bits: u32, is_signed: bool, to: Reg, from: Reg) {
        let mnemonic = by_extension(&["sxtb", "sxth", "sxtw", "uxtb", "uxth", "mov"], bits, is_signed);
        let to = if is_signed { to } else { word(to) };
        emit!(code; "{} {}, {}", mnemonic, to, word(from)); // to = from, extended
    }

    fn branch(code: &mut Code, comparison: Comparison, is_signed: bool, left: Reg, right: Reg, label: Label) {
        match (comparison, right == ZERO) {
            (Comparison::Eq, true) => emit!(code; "cbz {}, {}", left, label), // left == 0: go there
            (Comparison::Ne, true) => emit!(code; "cbnz {}, {}", left, label), // left != 0: go there
            (_, _) => Self::compare_and_branch(code, comparison, is_signed, left, right, label),
        }
    }
}
