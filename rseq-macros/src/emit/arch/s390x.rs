//! s390x, after the z/Architecture Principles of Operation (SA22-7832), the ELF Application Binary
//! Interface s390x Supplement and the kernel's `tools/testing/selftests/rseq/rseq-s390.h`
//! (signature). No instruction is newer than the z10, which is what rustc compiles for.
//!
//! Stores are seen by other CPUs in the order of the program, and not before its earlier fetches
//! (Principles of Operation, chapter 5, "Sequence of Storage References"; the kernel's
//! `arch/s390/include/asm/barrier.h` has but a compiler barrier there), so a store is a release
//! store as it is.

use std::fmt::Display;

use proc_macro2::{Span, TokenStream};
use quote::quote_spanned;

use super::load_store::LoadStore;
use crate::syntax::ast::{Comparison, Operation};

pub struct S390x;

impl LoadStore for S390x {
    /// r1 to r14 without r11 (the compiler's).
    const GENERAL: usize = 13;
    const NUMBERS: Option<&'static str> = Some("%r0");
    /// Branches reach everything.
    const COLD: [&'static str; 2] = [".pushsection .text.unlikely.rseq_dsl, \"ax\", @progbits", ".popsection"];
    const SIGNATURE: &'static [&'static str] = &[".long 0xb2ff0fff"]; // trap4, the signature

    /// As the base of an address, r0 is no register but 0.
    fn class(&self) -> TokenStream {
        quote_spanned!(Span::mixed_site()=> reg_addr)
    }

    fn jump(&self, label: &str) -> String {
        format!("jg {label}") // go there
    }

    fn address(&self, to: &str, label: &str) -> Vec<String> {
        vec![format!("larl {to}, {label}")] // to = the label
    }

    /// By the global offset table: a shared object may export the symbol, and then its distance
    /// isn't known to the linker.
    fn cpus(&self, to: &str, _scratch: &str) -> Vec<String> {
        vec![
            format!("lgrl {to}, {{fast}}@GOT"),        // to = FAST
            format!("lg {to}, {{cpus_offset}}({to})"), // to = FAST.cpus
        ]
    }

    fn number(&self, to: &str, expression: &str, is_signed: bool) -> Vec<String> {
        vec![match is_signed {
            _ if expression.parse::<i16>().is_ok() => format!("lghi {to}, {expression}"), // to = number
            true => format!("lgfi {to}, {expression}"),                                   // to = number, with its sign
            false => format!("llilf {to}, {expression}"),                                 // to = number, zero-extended
        }]
    }

    fn copy(&self, to: &str, from: &str) -> String {
        format!("lgr {to}, {from}") // to = from
    }

    fn load(&self, bits: u32, to: &str, base: &str, displacement: u32) -> String {
        let mnemonic = match bits {
            64 => "lg",
            32 => "llgf",
            16 => "llgh",
            _ => "llgc",
        };
        format!("{mnemonic} {to}, {displacement}({base})") // to = base[displacement]
    }

    fn store(&self, bits: u32, value: &str, base: &str, displacement: u32) -> String {
        let mnemonic = match bits {
            64 => "stg",
            32 => "st",
            16 => "sth",
            _ => "stc",
        };
        format!("{mnemonic} {value}, {displacement}({base})") // base[displacement] = value
    }

    fn clear(&self, bits: u32, base: &str, displacement: u32, _scratch: &str) -> Vec<String> {
        let mnemonic = match bits {
            64 => "mvghi",
            32 => "mvhi",
            16 => "mvhhi",
            _ => "mvi",
        };
        vec![format!("{mnemonic} {displacement}({base}), 0")] // base[displacement] = 0
    }

    fn store_release(&self, bits: u32, value: &str, base: &str) -> Vec<String> {
        vec![self.store(bits, value, base, 0)] // *base = value, after all before it
    }

    fn compute(&self, operation: Operation, is_signed: bool, to: &str, left: &str, right: &str) -> Vec<String> {
        match operation {
            Operation::Add => self.change("agr", to, left, right),
            Operation::Sub => self.change("sgr", to, left, right),
            Operation::And => self.change("ngr", to, left, right),
            Operation::Or => self.change("ogr", to, left, right),
            Operation::Xor => self.change("xgr", to, left, right),
            Operation::Shl => vec![format!("sllg {to}, {left}, 0({right})")], // to = left << right
            Operation::Shr if is_signed => vec![format!("srag {to}, {left}, 0({right})")], // to = left >> right, with its sign
            Operation::Shr => vec![format!("srlg {to}, {left}, 0({right})")],              // to = left >> right
        }
    }

    fn shift(&self, operation: Operation, is_signed: bool, to: &str, left: &str, count: impl Display) -> Vec<String> {
        let mnemonic = match (operation, is_signed) {
            (Operation::Shl, _) => "sllg",
            (_, true) => "srag",
            (_, false) => "srlg",
        };
        vec![format!("{mnemonic} {to}, {left}, {count}")] // to = left operation count
    }

    fn multiply(&self, to: &str, left: &str, right: &str) -> Vec<String> {
        self.change("msgr", to, left, right)
    }

    fn extend(&self, bits: u32, is_signed: bool, to: &str, from: &str) -> Vec<String> {
        let mnemonic = match (bits, is_signed) {
            (8, true) => "lgbr",
            (16, true) => "lghr",
            (_, true) => "lgfr",
            (8, false) => "llgcr",
            (16, false) => "llghr",
            (_, false) => "llgfr",
        };
        vec![format!("{mnemonic} {to}, {from}")] // to = from, extended
    }

    fn branch(&self, comparison: Comparison, is_signed: bool, left: &str, right: &str, label: &str) -> Vec<String> {
        let compare = if is_signed { "cgr" } else { "clgr" };
        let condition = match comparison {
            Comparison::Eq => "e",
            Comparison::Ne => "ne",
            Comparison::Lt => "l",
            Comparison::Le => "nh",
            Comparison::Gt => "h",
            Comparison::Ge => "nl",
        };
        vec![
            format!("{compare} {left}, {right}"), // left ? right
            format!("jg{condition} {label}"),     // so: go there
        ]
    }

    #[cfg(test)]
    #[rustfmt::skip]
    fn words(&self) -> &'static [&'static str] {
        &[
            "s390x", "reg_addr", "larl", "lgrl", "lghi", "lgfi", "llilf", "lgr", "lg", "llgf", "llgh", "llgc", "stg", "sth", "stc", "mvghi", "mvhi", "mvhhi",
            "agr", "sgr", "ngr", "ogr", "xgr", "sllg", "srag", "srlg", "msgr", "lgbr", "lghr", "lgfr", "llgcr", "llghr", "llgfr", "cgr", "clgr", "jg", "trap4",
        ]
    }
}

impl S390x {
    /// to = left operation right, by an instruction that changes its first operand.
    fn change(&self, mnemonic: &str, to: &str, left: &str, right: &str) -> Vec<String> {
        let mut lines = Vec::new();
        if to != left {
            lines.push(self.copy(to, left)); // to = left
        }
        lines.push(format!("{mnemonic} {to}, {right}")); // to = to operation right
        lines
    }
}
