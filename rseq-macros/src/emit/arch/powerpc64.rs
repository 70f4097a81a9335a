//! 64-bit PowerPC, after the Power ISA, the 64-Bit ELF V2 ABI Specification and the kernel's
//! `tools/testing/selftests/rseq/rseq-ppc.h` (signature). No instruction is newer than the POWER8,
//! which is what rustc compiles for.
//!
//! The ABI addresses data from r2, which holds the module's TOC pointer only in functions whose
//! compiler knows that they need it, and it sees no need in asm. So the address of the descriptor
//! is found from that of an instruction, which `bcl 20, 31` leaves in the link register (Power ISA,
//! book I, 2.5: the form that isn't taken for a call).

use std::fmt::Display;

use proc_macro2::{Span, TokenStream};
use quote::quote_spanned;

use super::load_store::LoadStore;
use crate::syntax::ast::{Comparison, Operation};

pub struct Powerpc64;

impl LoadStore for Powerpc64 {
    /// r3 to r12 and r14 to r28, less one, and less one for the address of FAST.
    const GENERAL: usize = 23;
    const FAST_IN_REGISTER: bool = true;
    /// Branches that aren't conditional reach 32 MiB: the end of the function.
    const COLD: [&'static str; 2] = [".subsection 1", ".previous"];
    const SIGNATURE: &'static [&'static str] = &[".long 0x0fe5000b"]; // twui, the signature

    /// As the base of an address, r0 is no register but 0.
    fn class(&self) -> TokenStream {
        quote_spanned!(Span::mixed_site()=> reg_nonzero)
    }

    /// The link register, by which addresses are found; what comparisons change; and the carry,
    /// which shifts with a sign change.
    fn clobbers(&self) -> TokenStream {
        quote_spanned!(Span::mixed_site()=> out("lr") _, out("cr0") _, out("xer") _,)
    }

    fn jump(&self, label: &str) -> String {
        format!("b {label}") // go there
    }

    fn address(&self, to: &str, label: &str) -> Vec<String> {
        vec![
            "bcl 20, 31, 66f".into(), // lr = the next instruction
            "66:".into(),
            format!("mflr {to}"),                          // to = that instruction
            format!("addis {to}, {to}, {label} - 66b@ha"), // to = the label, but for the lower half of the distance
            format!("addi {to}, {to}, {label} - 66b@l"),   // to = the label
        ]
    }

    fn cpus(&self, to: &str, _scratch: &str) -> Vec<String> {
        vec![format!("ld {to}, {{cpus_offset}}({{fast}})")] // to = FAST.cpus
    }

    fn number(&self, to: &str, expression: &str, is_signed: bool) -> Vec<String> {
        if expression.parse::<i16>().is_ok() {
            return vec![format!("li {to}, {expression}")]; // to = number
        }
        let mut lines = vec![
            format!("lis {to}, (({expression}) >> 16) & 0xffff"), // to = its upper half, with its sign
            format!("ori {to}, {to}, ({expression}) & 0xffff"),   // to = number, with its sign
        ];
        if !is_signed {
            lines.extend(self.extend(32, false, to, to)); // to = number, zero-extended
        }
        lines
    }

    fn copy(&self, to: &str, from: &str) -> String {
        format!("mr {to}, {from}") // to = from
    }

    fn load(&self, bits: u32, to: &str, base: &str, displacement: u32) -> String {
        let mnemonic = match bits {
            64 => "ld",
            32 => "lwz",
            16 => "lhz",
            _ => "lbz",
        };
        format!("{mnemonic} {to}, {displacement}({base})") // to = base[displacement]
    }

    fn store(&self, bits: u32, value: &str, base: &str, displacement: u32) -> String {
        let mnemonic = match bits {
            64 => "std",
            32 => "stw",
            16 => "sth",
            _ => "stb",
        };
        format!("{mnemonic} {value}, {displacement}({base})") // base[displacement] = value
    }

    fn store_release(&self, bits: u32, value: &str, base: &str) -> Vec<String> {
        vec![
            "lwsync".into(),                  // loads and stores before it come before the stores behind it
            self.store(bits, value, base, 0), // *base = value
        ]
    }

    fn compute(&self, operation: Operation, is_signed: bool, to: &str, left: &str, right: &str) -> Vec<String> {
        let mnemonic = match operation {
            Operation::Add => "add",
            Operation::Sub => "sub",
            Operation::And => "and",
            Operation::Or => "or",
            Operation::Xor => "xor",
            Operation::Shl => "sld",
            Operation::Shr if is_signed => "srad",
            Operation::Shr => "srd",
        };
        vec![format!("{mnemonic} {to}, {left}, {right}")] // to = left operation right
    }

    fn shift(&self, operation: Operation, is_signed: bool, to: &str, left: &str, count: impl Display) -> Vec<String> {
        let mnemonic = match (operation, is_signed) {
            (Operation::Shl, _) => "sldi",
            (_, true) => "sradi",
            (_, false) => "srdi",
        };
        vec![format!("{mnemonic} {to}, {left}, {count}")] // to = left operation count
    }

    fn multiply(&self, to: &str, left: &str, right: &str) -> Vec<String> {
        vec![format!("mulld {to}, {left}, {right}")] // to = left * right
    }

    fn extend(&self, bits: u32, is_signed: bool, to: &str, from: &str) -> Vec<String> {
        vec![match (bits, is_signed) {
            (8, true) => format!("extsb {to}, {from}"),  // to = from, with its sign
            (16, true) => format!("extsh {to}, {from}"), // to = from, with its sign
            (_, true) => format!("extsw {to}, {from}"),  // to = from, with its sign
            (_, false) => format!("clrldi {to}, {from}, {}", 64 - bits), // to = from, zero-extended
        }]
    }

    /// Conditional branches reach 32 KiB, which a function may exceed: so they lead around one that
    /// reaches everything in it.
    fn branch(&self, comparison: Comparison, is_signed: bool, left: &str, right: &str, label: &str) -> Vec<String> {
        let compare = if is_signed { "cmpd" } else { "cmpld" };
        let otherwise = match comparison {
            Comparison::Eq => "bne",
            Comparison::Ne => "beq",
            Comparison::Lt => "bge",
            Comparison::Le => "bgt",
            Comparison::Gt => "ble",
            Comparison::Ge => "blt",
        };
        vec![
            format!("{compare} {left}, {right}"), // left ? right
            format!("{otherwise} 65f"),           // not so: go on
            self.jump(label),                     // so: go there
            "65:".into(),
        ]
    }

    #[cfg(test)]
    #[rustfmt::skip]
    fn words(&self) -> &'static [&'static str] {
        &[
            "powerpc64", "reg_nonzero", "bcl", "mflr", "lr", "cr0", "xer", "addis", "addi", "lis", "ori", "ld", "lwz", "lhz", "lbz", "stw", "stb",
            "lwsync", "sld", "srad", "srd", "sldi", "sradi", "srdi", "mulld", "extsb", "extsh", "extsw", "clrldi", "cmpd", "cmpld", "beq", "bne", "twui",
        ]
    }
}
