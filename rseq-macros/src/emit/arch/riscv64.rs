//! RISC-V with 64 bits, after the RISC-V Instruction Set Manual, the RISC-V Assembly Programmer's
//! Manual (`lla`, `lga`, `li` and other pseudo-instructions) and the kernel's
//! `tools/testing/selftests/rseq/rseq-riscv.h` (signature).
//!
//! Only instructions of the base and of `M`: others aren't in every such machine.

use std::fmt::Display;

use super::load_store::LoadStore;
use crate::syntax::ast::{Comparison, Operation};

pub struct Riscv64;

/// What is behind the mnemonic of a load or store.
fn suffix(bits: u32) -> &'static str {
    match bits {
        8 => "b",
        16 => "h",
        32 => "w",
        _ => "d",
    }
}

impl LoadStore for Riscv64 {
    /// x1, x5 to x7 and x10 to x31, less one: without x0 (zero), x2 to x4 (the platform's), x8 and
    /// x9 (the compiler's).
    const GENERAL: usize = 25;
    const ZERO: Option<&'static str> = Some("zero");
    /// Immediates have 12 bits and a sign.
    const IMMEDIATES: u64 = 1 << 11;
    /// Conditional branches reach 4 KiB; for what is farther the assembler puts the opposite one
    /// around a jump, which reaches 1 MiB: the end of the function.
    const COLD: [&'static str; 2] = [".subsection 1", ".previous"];
    /// Aligned, because not all machines read words that aren't, and the kernel reads it.
    const SIGNATURE: &'static [&'static str] = &[".balign 4", ".4byte 0xf1401073"]; // csrw mhartid, zero: the signature

    fn jump(&self, label: &str) -> String {
        format!("j {label}") // go there
    }

    fn address(&self, to: &str, label: &str) -> Vec<String> {
        vec![format!("lla {to}, {label}")] // to = the label, from the program counter
    }

    /// By the global offset table: a shared object may export the symbol, and then linkers refuse
    /// its distance from the program counter.
    fn cpus(&self, to: &str, _scratch: &str) -> Vec<String> {
        vec![
            format!("lga {to}, {{fast}}"),             // to = FAST
            format!("ld {to}, {{cpus_offset}}({to})"), // to = FAST.cpus
        ]
    }

    fn number(&self, to: &str, expression: &str, _is_signed: bool) -> Vec<String> {
        vec![format!("li {to}, {expression}")] // to = number
    }

    fn copy(&self, to: &str, from: &str) -> String {
        format!("mv {to}, {from}") // to = from
    }

    fn load(&self, bits: u32, to: &str, base: &str, displacement: u32) -> String {
        let zero_extended = if bits < 64 { "u" } else { "" };
        format!("l{}{zero_extended} {to}, {displacement}({base})", suffix(bits)) // to = base[displacement]
    }

    fn store(&self, bits: u32, value: &str, base: &str, displacement: u32) -> String {
        format!("s{} {value}, {displacement}({base})", suffix(bits)) // base[displacement] = value
    }

    fn store_release(&self, bits: u32, value: &str, base: &str) -> Vec<String> {
        vec![
            "fence rw, w".into(),             // all before it, then what is stored after it
            self.store(bits, value, base, 0), // *base = value
        ]
    }

    fn compute(&self, operation: Operation, is_signed: bool, to: &str, left: &str, right: &str) -> Vec<String> {
        vec![match (operation, right.parse::<u16>()) {
            (Operation::Sub, Ok(number)) => format!("addi {to}, {left}, -{number}"), // to = left - number
            (_, Ok(number)) => format!("{}i {to}, {left}, {number}", mnemonic(operation, is_signed)), // to = left operation number
            (_, Err(_)) => format!("{} {to}, {left}, {right}", mnemonic(operation, is_signed)), // to = left operation right
        }]
    }

    fn shift(&self, operation: Operation, is_signed: bool, to: &str, left: &str, count: impl Display) -> Vec<String> {
        vec![format!("{}i {to}, {left}, {count}", mnemonic(operation, is_signed))] // to = left operation count
    }

    fn multiply(&self, to: &str, left: &str, right: &str) -> Vec<String> {
        vec![format!("mul {to}, {left}, {right}")] // to = left * right
    }

    fn branch(&self, comparison: Comparison, is_signed: bool, left: &str, right: &str, label: &str) -> Vec<String> {
        let condition = match comparison {
            Comparison::Eq => "eq",
            Comparison::Ne => "ne",
            Comparison::Lt => "lt",
            Comparison::Le => "le",
            Comparison::Gt => "gt",
            Comparison::Ge => "ge",
        };
        let is_order = !matches!(comparison, Comparison::Eq | Comparison::Ne);
        let unsigned = if is_order && !is_signed { "u" } else { "" };
        vec![format!("b{condition}{unsigned} {left}, {right}, {label}")] // left comparison right: go there
    }

    #[cfg(test)]
    #[rustfmt::skip]
    fn words(&self) -> &'static [&'static str] {
        &[
            "riscv64", "lla", "lga", "addi", "lbu", "lhu", "lwu", "sd", "sll", "srl", "sra", "slli", "srli", "srai", "bltu", "bgeu", "bleu", "bgtu",
        ]
    }
}

fn mnemonic(operation: Operation, is_signed: bool) -> &'static str {
    match operation {
        Operation::Add => "add",
        Operation::Sub => "sub",
        Operation::And => "and",
        Operation::Or => "or",
        Operation::Xor => "xor",
        Operation::Shl => "sll",
        Operation::Shr if is_signed => "sra",
        Operation::Shr => "srl",
    }
}
