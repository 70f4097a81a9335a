//! RISC-V with 64 bits, after the RISC-V Instruction Set Manual, the RISC-V Assembly Programmer's
//! Manual (`lla`, `lga`, `li` and other pseudo-instructions) and the kernel's
//! `tools/testing/selftests/rseq/rseq-riscv.h` (signature).
//!
//! Only instructions of the base and of `M`: others aren't in every such machine.

use super::AT_END;
use super::load_store::LoadStore;
use super::tables::{ByComparison, ByOperation, ByWidth, by_comparison};
use crate::emit::code::{Atom, Code, Label, Name, Reg, emit};
use crate::syntax::ast::Comparison;

pub struct Riscv64;

impl LoadStore for Riscv64 {
    /// x1, x5 to x7 and x10 to x31, less one: without x0 (zero), x2 to x4 (the platform's), x8 and
    /// x9 (the compiler's).
    const GENERAL: usize = 25;
    const ZERO: Option<Reg> = Some(Reg::Fixed("zero"));
    /// Immediates have 12 bits and a sign.
    const IMMEDIATES: i64 = 1 << 11;
    /// Conditional branches reach 4 KiB; for what is farther the assembler puts the opposite one
    /// around a jump, which reaches 1 MiB: the end of the function.
    const COLD: [&'static str; 2] = AT_END;
    /// Aligned, because not all machines read words that aren't, and the kernel reads it.
    const SIGNATURE: &'static [&'static str] = &[".balign 4", ".4byte 0xf1401073"]; // csrw mhartid, zero: the signature
    const JUMP: &'static str = "j";
    const COPY: &'static str = "mv";
    const LOAD: ByWidth = ["lbu", "lhu", "lwu", "ld"];
    const STORE: ByWidth = ["sb", "sh", "sw", "sd"];
    const RELEASE: Option<&'static str> = Some("fence rw, w");
    const COMPUTE: ByOperation = ["add", "sub", "and", "or", "xor", "sll", "srl", "sra"];
    const COMPUTE_BY_NUMBER: ByOperation = ["addi", "addi", "andi", "ori", "xori", "slli", "srli", "srai"];
    const MULTIPLY: &'static str = "mul";
    const BRANCH: ByComparison = ["beq", "bne", "blt", "ble", "bgt", "bge", "bltu", "bleu", "bgtu", "bgeu"];
    #[cfg(test)]
    #[rustfmt::skip]
    const WORDS: &'static [&'static str] = &[
        "riscv64", "lla", "lga", "addi", "lbu", "lhu", "lwu", "sd", "sll", "srl", "sra", "slli", "srli", "srai", "bltu", "bgeu", "bleu", "bgtu",
    ];

    fn address(code: &mut Code, to: Reg, label: Label) {
        emit!(code; "lla {}, {}", to, label); // to = the label, from the program counter
    }

    /// By the global offset table: a shared object may export the symbol, and then linkers refuse
    /// its distance from the program counter.
    fn cpus(code: &mut Code, to: Reg) {
        emit! { code;
            "lga {}, {}", to, Name::Fast;              // to = FAST
            "ld {}, {}({})", to, Name::CpusOffset, to; // to = FAST.cpus
        }
    }

    fn number(code: &mut Code, to: Reg, number: Atom, _is_signed: bool) {
        emit!(code; "li {}, {}", to, number); // to = number
    }

    fn branch(code: &mut Code, comparison: Comparison, is_signed: bool, left: Reg, right: Reg, label: Label) {
        let mnemonic = by_comparison(&Self::BRANCH, comparison, is_signed);
        emit!(code; "{} {}, {}, {}", mnemonic, left, right, label); // left comparison right: go there
    }
}
