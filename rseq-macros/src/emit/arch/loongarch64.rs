//! LoongArch with 64 bits, after the LoongArch Reference Manual (volume 1), the LoongArch ELF psABI
//! (`la.pcrel`, `la.got`) and the kernel's `tools/testing/selftests/rseq/rseq-loongarch.h`
//! (signature) and `arch/loongarch/include/asm/barrier.h` (hints of `dbar`).

use std::fmt::Display;

use proc_macro2::{Span, TokenStream};
use quote::quote_spanned;

use super::load_store::LoadStore;
use crate::syntax::ast::{Comparison, Operation};

pub struct Loongarch64;

/// What branches compare in.
const CONDITION: &str = "$t8";

/// What is behind the mnemonic of a load or store.
fn suffix(bits: u32) -> &'static str {
    match bits {
        8 => "b",
        16 => "h",
        32 => "w",
        _ => "d",
    }
}

impl LoadStore for Loongarch64 {
    /// r1, r4 to r20 and r23 to r30, less one and what branches compare in: without r0 (zero), r2,
    /// r3 and r21 (the platform's), r22 and r31 (the compiler's).
    const GENERAL: usize = 24;
    const ZERO: Option<&'static str> = Some("$zero");
    /// Immediates have 12 bits, in additions with a sign.
    const IMMEDIATES: u64 = 1 << 11;
    /// Branches on one register reach 4 MiB, those on two only 128 KiB: the end of the function.
    const COLD: [&'static str; 2] = [".subsection 1", ".previous"];
    const SIGNATURE: &'static [&'static str] = &[".4byte 0x002a0010"]; // break 0x10: the signature

    fn clobbers(&self) -> TokenStream {
        quote_spanned!(Span::mixed_site()=> out(#CONDITION) _,)
    }

    fn jump(&self, label: &str) -> String {
        format!("b {label}") // go there
    }

    fn address(&self, to: &str, label: &str) -> Vec<String> {
        vec![format!("la.pcrel {to}, {label}")] // to = the label, from the program counter
    }

    /// By the global offset table: a shared object may export the symbol, and then linkers refuse
    /// its distance from the program counter.
    fn cpus(&self, to: &str, _scratch: &str) -> Vec<String> {
        vec![
            format!("la.got {to}, {{fast}}"),            // to = FAST
            format!("ld.d {to}, {to}, {{cpus_offset}}"), // to = FAST.cpus
        ]
    }

    fn number(&self, to: &str, expression: &str, _is_signed: bool) -> Vec<String> {
        vec![format!("li.d {to}, {expression}")] // to = number
    }

    fn copy(&self, to: &str, from: &str) -> String {
        format!("move {to}, {from}") // to = from
    }

    fn load(&self, bits: u32, to: &str, base: &str, displacement: u32) -> String {
        let zero_extended = if bits < 64 { "u" } else { "" };
        format!("ld.{}{zero_extended} {to}, {base}, {displacement}", suffix(bits)) // to = base[displacement]
    }

    fn store(&self, bits: u32, value: &str, base: &str, displacement: u32) -> String {
        format!("st.{} {value}, {base}, {displacement}", suffix(bits)) // base[displacement] = value
    }

    fn store_release(&self, bits: u32, value: &str, base: &str) -> Vec<String> {
        vec![
            "dbar 0x12".into(),               // all before it, then what is stored after it
            self.store(bits, value, base, 0), // *base = value
        ]
    }

    fn compute(&self, operation: Operation, is_signed: bool, to: &str, left: &str, right: &str) -> Vec<String> {
        vec![match (operation, right.parse::<u16>()) {
            (Operation::Sub, Ok(number)) => format!("addi.d {to}, {left}, -{number}"), // to = left - number
            (_, Ok(number)) => format!("{} {to}, {left}, {number}", by_number(operation, is_signed)), // to = left operation number
            (_, Err(_)) => format!("{} {to}, {left}, {right}", mnemonic(operation, is_signed)), // to = left operation right
        }]
    }

    fn shift(&self, operation: Operation, is_signed: bool, to: &str, left: &str, count: impl Display) -> Vec<String> {
        vec![format!("{} {to}, {left}, {count}", by_number(operation, is_signed))] // to = left operation count
    }

    fn multiply(&self, to: &str, left: &str, right: &str) -> Vec<String> {
        vec![format!("mul.d {to}, {left}, {right}")] // to = left * right
    }

    fn extend(&self, bits: u32, is_signed: bool, to: &str, from: &str) -> Vec<String> {
        vec![match (bits, is_signed) {
            (8, true) => format!("ext.w.b {to}, {from}"),   // to = from, with its sign
            (16, true) => format!("ext.w.h {to}, {from}"),  // to = from, with its sign
            (_, true) => format!("slli.w {to}, {from}, 0"), // to = from, with its sign
            (_, false) => format!("bstrpick.d {to}, {from}, {}, 0", bits - 1), // to = from, zero-extended
        }]
    }

    /// By the comparison with 0 of something that is 0 or not, because such branches reach farther
    /// than those that compare two registers.
    fn branch(&self, comparison: Comparison, is_signed: bool, left: &str, right: &str, label: &str) -> Vec<String> {
        let unsigned = if is_signed { "" } else { "u" };
        let (lines, compared) = match comparison {
            Comparison::Eq | Comparison::Ne if right == "$zero" => (Vec::new(), left),
            Comparison::Eq | Comparison::Ne => (vec![format!("xor {CONDITION}, {left}, {right}")], CONDITION), // 0: equal
            Comparison::Lt | Comparison::Ge => (vec![format!("slt{unsigned} {CONDITION}, {left}, {right}")], CONDITION), // 0: left >= right
            Comparison::Gt | Comparison::Le => (vec![format!("slt{unsigned} {CONDITION}, {right}, {left}")], CONDITION), // 0: left <= right
        };
        let mut lines = lines;
        lines.push(match comparison {
            Comparison::Ne | Comparison::Lt | Comparison::Gt => format!("bnez {compared}, {label}"), // so: go there
            Comparison::Eq | Comparison::Ge | Comparison::Le => format!("beqz {compared}, {label}"), // so: go there
        });
        lines
    }

    #[cfg(test)]
    #[rustfmt::skip]
    fn words(&self) -> &'static [&'static str] {
        &[
            "loongarch64", "pcrel", "got", "dbar", "bstrpick", "slli", "srli", "srai", "sltu", "beqz", "bnez",
        ]
    }
}

fn mnemonic(operation: Operation, is_signed: bool) -> &'static str {
    match operation {
        Operation::Add => "add.d",
        Operation::Sub => "sub.d",
        Operation::And => "and",
        Operation::Or => "or",
        Operation::Xor => "xor",
        Operation::Shl => "sll.d",
        Operation::Shr if is_signed => "sra.d",
        Operation::Shr => "srl.d",
    }
}

/// The same with a number in the place of the second register: `slli.d`, `andi`.
fn by_number(operation: Operation, is_signed: bool) -> String {
    match mnemonic(operation, is_signed).split_once('.') {
        Some((name, width)) => format!("{name}i.{width}"),
        None => format!("{}i", mnemonic(operation, is_signed)),
    }
}
