//! LoongArch with 64 bits, after the LoongArch Reference Manual (volume 1), the LoongArch ELF psABI
//! (`la.pcrel`, `la.got`) and the kernel's `tools/testing/selftests/rseq/rseq-loongarch.h`
//! (signature) and `arch/loongarch/include/asm/barrier.h` (hints of `dbar`).

use proc_macro2::{Span, TokenStream};
use quote::quote_spanned;

use super::AT_END;
use super::load_store::LoadStore;
use super::tables::{ByComparison, ByOperation, ByWidth, by_comparison};
use crate::emit::code::{Argument, Atom, Code, Label, Name, Reg, emit};
use crate::syntax::ast::Comparison;

pub struct Loongarch64;

/// The register that branches compare in.
const CONDITION: &str = "$t8";
const ZERO: Reg = Reg::Fixed("$zero");

impl LoadStore for Loongarch64 {
    /// r1, r4 to r20 and r23 to r30, less one and what branches compare in: without r0 (zero), r2,
    /// r3 and r21 (the platform's), r22 and r31 (the compiler's).
    const GENERAL: usize = 24;
    const ZERO: Option<Reg> = Some(ZERO);
    /// Immediates have 12 bits, in additions with a sign.
    const IMMEDIATES: i64 = 1 << 11;
    /// Branches on one register reach 4 MiB, those on two only 128 KiB: the end of the function.
    const COLD: [&'static str; 2] = AT_END;
    const SIGNATURE: &'static [&'static str] = &[".4byte 0x002a0010"]; // break 0x10: the signature
    const JUMP: &'static str = "b";
    const COPY: &'static str = "move";
    const LOAD: ByWidth = ["ld.bu", "ld.hu", "ld.wu", "ld.d"];
    const STORE: ByWidth = ["st.b", "st.h", "st.w", "st.d"];
    const RELEASE: Option<&'static str> = Some("dbar 0x12");
    const COMPUTE: ByOperation = ["add.d", "sub.d", "and", "or", "xor", "sll.d", "srl.d", "sra.d"];
    const COMPUTE_BY_NUMBER: ByOperation = ["addi.d", "addi.d", "andi", "ori", "xori", "slli.d", "srli.d", "srai.d"];
    const MULTIPLY: &'static str = "mul.d";
    const COMPARE: [&'static str; 2] = ["slt", "sltu"];
    const BRANCH: ByComparison = ["beqz", "bnez", "bnez", "beqz", "bnez", "beqz", "bnez", "beqz", "bnez", "beqz"];
    #[cfg(test)]
    #[rustfmt::skip]
    const WORDS: &'static [&'static str] = &[
        "loongarch64", "pcrel", "got", "dbar", "bstrpick", "slli", "srli", "srai", "sltu", "beqz", "bnez",
    ];

    fn clobbers() -> TokenStream {
        quote_spanned!(Span::mixed_site()=> out(#CONDITION) _,)
    }

    fn at(base: Reg, displacement: u32) -> Argument {
        Argument::of("{}, {}", base, displacement)
    }

    fn address(code: &mut Code, to: Reg, label: Label) {
        emit!(code; "la.pcrel {}, {}", to, label); // to = the label, from the program counter
    }

    /// By the global offset table: a shared object may export the symbol, and then linkers refuse
    /// its distance from the program counter.
    fn cpus(code: &mut Code, to: Reg) {
        emit! { code;
            "la.got {}, {}", to, Name::Fast;             // to = FAST
            "ld.d {}, {}, {}", to, to, Name::CpusOffset; // to = FAST.cpus
        }
    }

    fn number(code: &mut Code, to: Reg, number: Atom, _is_signed: bool) {
        emit!(code; "li.d {}, {}", to, number); // to = number
    }

    fn extend(code: &mut Code, bits: u32, is_signed: bool, to: Reg, from: Reg) {
        match (bits, is_signed) {
            (8, true) => emit!(code; "ext.w.b {}, {}", to, from), // to = from, with its sign
            (16, true) => emit!(code; "ext.w.h {}, {}", to, from), // to = from, with its sign
            (_, true) => emit!(code; "slli.w {}, {}, 0", to, from), // to = from, with its sign
            (_, false) => emit!(code; "bstrpick.d {}, {}, {}, 0", to, from, bits - 1), // to = from, zero-extended
        }
    }

    /// By the comparison with 0 of something that is 0 or not, because such branches reach farther
    /// than those that compare two registers.
    fn branch(code: &mut Code, comparison: Comparison, is_signed: bool, left: Reg, right: Reg, label: Label) {
        let (compare, mut condition) = (Self::COMPARE[usize::from(!is_signed)], Reg::Fixed(CONDITION));
        match comparison {
            Comparison::Eq | Comparison::Ne if right == ZERO => condition = left,
            Comparison::Eq | Comparison::Ne => emit!(code; "xor {}, {}, {}", condition, left, right), // 0: equal
            Comparison::Lt | Comparison::Ge => emit!(code; "{} {}, {}, {}", compare, condition, left, right), // 0: left >= right
            Comparison::Gt | Comparison::Le => emit!(code; "{} {}, {}, {}", compare, condition, right, left), // 0: left <= right
        }
        emit!(code; "{} {}, {}", by_comparison(&Self::BRANCH, comparison, is_signed), condition, label); // so: go there
    }
}
