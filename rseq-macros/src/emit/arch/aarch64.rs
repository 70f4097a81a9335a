//! AArch64, after the Arm Architecture Reference Manual (DDI 0487) and the kernel's
//! `tools/testing/selftests/rseq/rseq-arm64.h` (signature).

use std::fmt::Display;

use super::load_store::LoadStore;
use crate::syntax::ast::{Comparison, Operation};

pub struct Aarch64;

/// The lower 32 bits of a register.
fn word(register: &str) -> String {
    match register {
        "xzr" => "wzr".into(),
        _ => register.replace('}', ":w}"),
    }
}

/// The register as a store of so many bits, or a load of them zero-extended, names it.
fn part(bits: u32, register: &str) -> String {
    if bits == 64 { register.into() } else { word(register) }
}

/// What is behind the mnemonic of a load or store.
fn suffix(bits: u32) -> &'static str {
    match bits {
        8 => "b",
        16 => "h",
        _ => "",
    }
}

impl LoadStore for Aarch64 {
    /// x0 to x30 without x18 (the platform's), x19 and x29 (the compiler's), less one.
    const GENERAL: usize = 27;
    const ZERO: Option<&'static str> = Some("xzr");
    /// Conditional branches reach 1 MiB: the end of the function.
    const COLD: [&'static str; 2] = [".subsection 1", ".previous"];
    const SIGNATURE: &'static [&'static str] = &[".inst 0xd428bc00"]; // brk, the signature

    fn jump(&self, label: &str) -> String {
        format!("b {label}") // go there
    }

    fn address(&self, to: &str, label: &str) -> Vec<String> {
        vec![
            format!("adrp {to}, {label}"),            // to = the page of the label
            format!("add {to}, {to}, :lo12:{label}"), // to = the label
        ]
    }

    fn cpus(&self, to: &str, _scratch: &str) -> Vec<String> {
        vec![
            format!("adrp {to}, {{fast}}"),                // to = the page of FAST
            format!("add {to}, {to}, :lo12:{{fast}}"),     // to = FAST
            format!("ldr {to}, [{to}, #{{cpus_offset}}]"), // to = FAST.cpus
        ]
    }

    fn number(&self, to: &str, expression: &str, is_signed: bool) -> Vec<String> {
        let mut lines = vec![format!("movz {to}, #(({expression}) & 0xffff)")]; // to = its lower half
        if expression.parse::<u16>().is_err() {
            lines.push(format!("movk {to}, #((({expression}) >> 16) & 0xffff), lsl #16")); // to = all of it
        }
        if is_signed {
            lines.push(format!("sxtw {to}, {}", word(to))); // to, with its sign
        }
        lines
    }

    fn copy(&self, to: &str, from: &str) -> String {
        format!("mov {to}, {from}") // to = from
    }

    fn load(&self, bits: u32, to: &str, base: &str, displacement: u32) -> String {
        format!("ldr{} {}, [{base}, #{displacement}]", suffix(bits), part(bits, to)) // to = base[displacement]
    }

    fn store(&self, bits: u32, value: &str, base: &str, displacement: u32) -> String {
        format!("str{} {}, [{base}, #{displacement}]", suffix(bits), part(bits, value)) // base[displacement] = value
    }

    fn store_release(&self, bits: u32, value: &str, base: &str) -> Vec<String> {
        vec![format!("stlr{} {}, [{base}]", suffix(bits), part(bits, value))] // *base = value, after all before it
    }

    fn compute(&self, operation: Operation, is_signed: bool, to: &str, left: &str, right: &str) -> Vec<String> {
        vec![format!("{} {to}, {left}, {right}", mnemonic(operation, is_signed))] // to = left operation right
    }

    fn shift(&self, operation: Operation, is_signed: bool, to: &str, left: &str, count: impl Display) -> Vec<String> {
        vec![format!("{} {to}, {left}, #{count}", mnemonic(operation, is_signed))] // to = left operation count
    }

    fn multiply(&self, to: &str, left: &str, right: &str) -> Vec<String> {
        vec![format!("mul {to}, {left}, {right}")] // to = left * right
    }

    fn extend(&self, bits: u32, is_signed: bool, to: &str, from: &str) -> Vec<String> {
        let from = word(from);
        vec![match (bits, is_signed) {
            (8, true) => format!("sxtb {to}, {from}"),          // to = from, with its sign
            (16, true) => format!("sxth {to}, {from}"),         // to = from, with its sign
            (_, true) => format!("sxtw {to}, {from}"),          // to = from, with its sign
            (8, false) => format!("uxtb {}, {from}", word(to)), // to = from, zero-extended
            (16, false) => format!("uxth {}, {from}", word(to)), // to = from, zero-extended
            (_, false) => format!("mov {}, {from}", word(to)),  // to = from, zero-extended
        }]
    }

    fn branch(&self, comparison: Comparison, is_signed: bool, left: &str, right: &str, label: &str) -> Vec<String> {
        match (comparison, right) {
            (Comparison::Eq, "xzr") => return vec![format!("cbz {left}, {label}")], // left == 0: go there
            (Comparison::Ne, "xzr") => return vec![format!("cbnz {left}, {label}")], // left != 0: go there
            _ => {}
        }
        let condition = match (comparison, is_signed) {
            (Comparison::Eq, _) => "eq",
            (Comparison::Ne, _) => "ne",
            (Comparison::Lt, true) => "lt",
            (Comparison::Le, true) => "le",
            (Comparison::Gt, true) => "gt",
            (Comparison::Ge, true) => "ge",
            (Comparison::Lt, false) => "lo",
            (Comparison::Le, false) => "ls",
            (Comparison::Gt, false) => "hi",
            (Comparison::Ge, false) => "hs",
        };
        vec![
            format!("cmp {left}, {right}"),   // left ? right
            format!("b.{condition} {label}"), // so: go there
        ]
    }

    #[cfg(test)]
    #[rustfmt::skip]
    fn words(&self) -> &'static [&'static str] {
        &[
            "aarch64", "xzr", "wzr", "adrp", "ldr", "ldrb", "ldrh", "strh", "stlr", "movz", "movk", "sxtw", "sxtb", "sxth",
            "uxtb", "uxth", "orr", "eor", "lsl", "lsr", "asr", "cbz", "cbnz", "brk", "x18", "x19", "x29", "x30",
        ]
    }
}

fn mnemonic(operation: Operation, is_signed: bool) -> &'static str {
    match operation {
        Operation::Add => "add",
        Operation::Sub => "sub",
        Operation::And => "and",
        Operation::Or => "orr",
        Operation::Xor => "eor",
        Operation::Shl => "lsl",
        Operation::Shr if is_signed => "asr",
        Operation::Shr => "lsr",
    }
}
