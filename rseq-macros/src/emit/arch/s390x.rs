//! s390x, after the z/Architecture Principles of Operation (SA22-7832), the ELF Application Binary
//! Interface s390x Supplement and the kernel's `tools/testing/selftests/rseq/rseq-s390.h`
//! (signature). No instruction is newer than the z10, which is what rustc compiles for.
//!
//! Stores are seen by other CPUs in the order of the program, and not before its earlier fetches
//! (Principles of Operation, chapter 5, "Sequence of Storage References"; the kernel's
//! `arch/s390/include/asm/barrier.h` has but a compiler barrier there), so a store is a release
//! store as it is.

use proc_macro2::{Span, TokenStream};
use quote::quote_spanned;

use super::ELSEWHERE;
use super::load_store::LoadStore;
use super::tables::{ByComparison, ByExtension, ByOperation, ByWidth, by_operation, by_width};
use crate::emit::code::{Atom, Code, Label, Name, Reg, emit};
use crate::syntax::ast::Operation;

pub struct S390x;

/// to = left operation right, by an instruction that changes its first operand.
fn change(code: &mut Code, mnemonic: &'static str, to: Reg, left: Reg, right: Reg) {
    if to != left {
        S390x::copy(code, to, left); // to = left
    }
    emit!(code; "{} {}, {}", mnemonic, to, right); // to = to operation right
}

impl LoadStore for S390x {
    /// r1 to r14 without r11 (the compiler's).
    const GENERAL: usize = 13;
    const NUMBERS: Option<[&'static str; 2]> = Some(["%r0", "r0"]);
    /// Branches reach everything.
    const COLD: [&'static str; 2] = ELSEWHERE;
    const SIGNATURE: &'static [&'static str] = &[".long 0xb2ff0fff"]; // trap4, the signature
    const JUMP: &'static str = "jg";
    const COPY: &'static str = "lgr";
    const LOAD: ByWidth = ["llgc", "llgh", "llgf", "lg"];
    const STORE: ByWidth = ["stc", "sth", "st", "stg"];
    const COMPUTE: ByOperation = ["agr", "sgr", "ngr", "ogr", "xgr", "sllg", "srlg", "srag"];
    const COMPUTE_BY_NUMBER: ByOperation = ["", "", "", "", "", "sllg", "srlg", "srag"];
    const MULTIPLY: &'static str = "msgr";
    const EXTEND: Option<ByExtension> = Some(["lgbr", "lghr", "lgfr", "llgcr", "llghr", "llgfr"]);
    const COMPARE: [&'static str; 2] = ["cgr", "clgr"];
    const BRANCH: ByComparison = ["jge", "jgne", "jgl", "jgnh", "jgh", "jgnl", "jgl", "jgnh", "jgh", "jgnl"];
    #[cfg(test)]
    #[rustfmt::skip]
    const WORDS: &'static [&'static str] = &[
        "s390x", "reg_addr", "larl", "lgrl", "lghi", "lgfi", "llilf", "lgr", "lg", "llgf", "llgh", "llgc", "stg", "sth", "stc", "mvghi", "mvhi", "mvhhi",
        "agr", "sgr", "ngr", "ogr", "xgr", "sllg", "srag", "srlg", "msgr", "lgbr", "lghr", "lgfr", "llgcr", "llghr", "llgfr", "cgr", "clgr", "jg", "trap4",
    ];

    /// As the base of an address, r0 is no register but 0.
    fn class() -> TokenStream {
        quote_spanned!(Span::mixed_site()=> reg_addr)
    }

    fn address(code: &mut Code, to: Reg, label: Label) {
        emit!(code; "larl {}, {}", to, label); // to = the label
    }

    /// By the global offset table: a shared object may export the symbol, and then its distance
    /// isn't known to the linker.
    fn cpus(code: &mut Code, to: Reg) {
        emit! { code;
            "lgrl {}, {}@GOT", to, Name::Fast;         // to = FAST
            "lg {}, {}({})", to, Name::CpusOffset, to; // to = FAST.cpus
        }
    }

    fn number(code: &mut Code, to: Reg, number: Atom, is_signed: bool) {
        match is_signed {
            _ if number.fits(-1 << 15..1 << 15) => emit!(code; "lghi {}, {}", to, number), // to = number
            true => emit!(code; "lgfi {}, {}", to, number),                                // to = number, with its sign
            false => emit!(code; "llilf {}, {}", to, number),                              // to = number, zero-extended
        }
    }

    fn clear(code: &mut Code, bits: u32, base: Reg, displacement: u32, _scratch: Reg) {
        let mnemonic = by_width(&["mvi", "mvhhi", "mvhi", "mvghi"], bits);
        emit!(code; "{} {}, 0", mnemonic, Self::at(base, displacement)); // base[displacement] = 0
    }

    fn compute(code: &mut Code, operation: Operation, is_signed: bool, to: Reg, left: Reg, right: Reg) {
        let mnemonic = by_operation(&Self::COMPUTE, operation, is_signed);
        match operation.is_shift() {
            true => emit!(code; "{} {}, {}, 0({})", mnemonic, to, left, right), // to = left operation right
            false => change(code, mnemonic, to, left, right),                   // to = left operation right
        }
    }

    fn multiply(code: &mut Code, to: Reg, left: Reg, right: Reg) {
        change(code, Self::MULTIPLY, to, left, right); // to = left * right
    }
}
