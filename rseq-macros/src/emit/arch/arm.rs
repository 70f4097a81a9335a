//! Arm, in ARM state from version 7 on, after the Arm Architecture Reference Manual (DDI 0406; DDI
//! 0487 for its AArch32) and the kernel's `tools/testing/selftests/rseq/rseq-arm.h` (signature).
//!
//! A read of `pc` gives the address of the instruction and 8. Addresses are made from their
//! distance to it, because constants in memory could be out of reach.

use std::fmt::Display;

use super::load_store::LoadStore;
use crate::syntax::ast::{Comparison, Operation};

pub struct Arm;

/// What is behind the mnemonic of a load or store.
fn suffix(bits: u32) -> &'static str {
    match bits {
        8 => "b",
        16 => "h",
        _ => "",
    }
}

/// to = the distance of a label or symbol from what reads `pc` at the label 61, which follows.
fn distance(to: &str, label: &str) -> [String; 2] {
    [
        format!("movw {to}, #:lower16:({label} - (61f + 8))"), // to = the lower half of the distance
        format!("movt {to}, #:upper16:({label} - (61f + 8))"), // to = the distance
    ]
}

impl LoadStore for Arm {
    const POINTER_BITS: u32 = 32;
    /// r0 to r12 and lr without r11 (the frame's), less one.
    const GENERAL: usize = 12;
    /// Conditional branches reach 32 MiB: the end of the function.
    const COLD: [&'static str; 2] = [".subsection 1", ".previous"];
    const SIGNATURE: &'static [&'static str] = &[".inst 0xe7f5def3"]; // udf, the signature

    fn jump(&self, label: &str) -> String {
        format!("b {label}") // go there
    }

    fn address(&self, to: &str, label: &str) -> Vec<String> {
        let mut lines = distance(to, label).to_vec();
        lines.push(format!("61: add {to}, pc, {to}")); // to = the label
        lines
    }

    fn cpus(&self, to: &str, _scratch: &str) -> Vec<String> {
        let mut lines = distance(to, "{fast} + {cpus_offset}").to_vec();
        lines.push(format!("61: ldr {to}, [pc, {to}]")); // to = FAST.cpus
        lines
    }

    fn number(&self, to: &str, expression: &str, _is_signed: bool) -> Vec<String> {
        let mut lines = vec![format!("movw {to}, #(({expression}) & 0xffff)")]; // to = its lower half
        if expression.parse::<u16>().is_err() {
            lines.push(format!("movt {to}, #((({expression}) >> 16) & 0xffff)")); // to = all of it
        }
        lines
    }

    fn copy(&self, to: &str, from: &str) -> String {
        format!("mov {to}, {from}") // to = from
    }

    fn load(&self, bits: u32, to: &str, base: &str, displacement: u32) -> String {
        format!("ldr{} {to}, [{base}, #{displacement}]", suffix(bits)) // to = base[displacement]
    }

    fn store(&self, bits: u32, value: &str, base: &str, displacement: u32) -> String {
        format!("str{} {value}, [{base}, #{displacement}]", suffix(bits)) // base[displacement] = value
    }

    fn store_release(&self, bits: u32, value: &str, base: &str) -> Vec<String> {
        vec![
            "dmb ish".into(),                 // all before it is seen before what follows
            self.store(bits, value, base, 0), // *base = value
        ]
    }

    fn compute(&self, operation: Operation, is_signed: bool, to: &str, left: &str, right: &str) -> Vec<String> {
        vec![format!("{} {to}, {left}, {right}", mnemonic(operation, is_signed))] // to = left operation right
    }

    fn shift(&self, operation: Operation, is_signed: bool, to: &str, left: &str, count: impl Display) -> Vec<String> {
        vec![match count.to_string().as_str() {
            "0" => self.copy(to, left),                                                    // to = left
            count => format!("{} {to}, {left}, #{count}", mnemonic(operation, is_signed)), // to = left operation count
        }]
    }

    fn multiply(&self, to: &str, left: &str, right: &str) -> Vec<String> {
        vec![format!("mul {to}, {left}, {right}")] // to = left * right
    }

    fn extend(&self, bits: u32, is_signed: bool, to: &str, from: &str) -> Vec<String> {
        vec![match (bits, is_signed) {
            (8, true) => format!("sxtb {to}, {from}"),   // to = from, with its sign
            (8, false) => format!("uxtb {to}, {from}"),  // to = from, zero-extended
            (16, true) => format!("sxth {to}, {from}"),  // to = from, with its sign
            (16, false) => format!("uxth {to}, {from}"), // to = from, zero-extended
            _ => self.copy(to, from),                    // to = from
        }]
    }

    fn branch(&self, comparison: Comparison, is_signed: bool, left: &str, right: &str, label: &str) -> Vec<String> {
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
            format!("cmp {left}, {right}"),  // left ? right
            format!("b{condition} {label}"), // so: go there
        ]
    }

    #[cfg(test)]
    #[rustfmt::skip]
    fn words(&self) -> &'static [&'static str] {
        &[
            "movw", "movt", "lower16", "upper16", "pc", "ldr", "ldrb", "ldrh", "strb", "strh", "dmb", "ish", "sxtb", "sxth", "uxtb",
            "uxth", "orr", "eor", "lsl", "lsr", "asr", "udf", "r11", "lr",
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
