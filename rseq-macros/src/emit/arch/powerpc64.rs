//! 64-bit PowerPC, after the Power ISA, the 64-Bit ELF V2 ABI Specification and the kernel's
//! `tools/testing/selftests/rseq/rseq-ppc.h` (signature). No instruction is newer than the POWER8,
//! which is what rustc compiles for.
//!
//! The ABI addresses data from r2, which holds the module's TOC pointer only in functions whose
//! compiler knows that they need it, and it sees no need in asm. So the address of the descriptor
//! is found from that of an instruction, which `bcl 20, 31` leaves in the link register (Power ISA,
//! book I, 2.5: the form that isn't taken for a call).

use proc_macro2::{Span, TokenStream};
use quote::quote_spanned;

use super::AT_END;
use super::load_store::{LoadStore, jump};
use super::tables::{ByComparison, ByOperation, ByWidth};
use crate::emit::code::{Atom, Code, Label, Local, Name, Reg, emit};
use crate::syntax::ast::Comparison;

pub struct Powerpc64;

/// The line behind a branch that isn't taken.
const ON: Local = Local::own(5);
/// The instruction whose address is taken.
const HERE: Local = Local::own(6);

impl LoadStore for Powerpc64 {
    /// r3 to r12 and r14 to r28, less one, and less one for the address of FAST.
    const GENERAL: usize = 23;
    const FAST_IN_REGISTER: bool = true;
    /// Branches that aren't conditional reach 32 MiB: the end of the function.
    const COLD: [&'static str; 2] = AT_END;
    const SIGNATURE: &'static [&'static str] = &[".long 0x0fe5000b"]; // twui, the signature
    const JUMP: &'static str = "b";
    const COPY: &'static str = "mr";
    const LOAD: ByWidth = ["lbz", "lhz", "lwz", "ld"];
    const STORE: ByWidth = ["stb", "sth", "stw", "std"];
    /// Loads and stores before it come before the stores behind it.
    const RELEASE: Option<&'static str> = Some("lwsync");
    const COMPUTE: ByOperation = ["add", "sub", "and", "or", "xor", "sld", "srd", "srad"];
    const COMPUTE_BY_NUMBER: ByOperation = ["", "", "", "", "", "sldi", "srdi", "sradi"];
    const MULTIPLY: &'static str = "mulld";
    const COMPARE: [&'static str; 2] = ["cmpd", "cmpld"];
    /// If it is otherwise.
    const BRANCH: ByComparison = ["bne", "beq", "bge", "bgt", "ble", "blt", "bge", "bgt", "ble", "blt"];
    #[cfg(test)]
    #[rustfmt::skip]
    const WORDS: &'static [&'static str] = &[
        "powerpc64", "reg_nonzero", "bcl", "mflr", "lr", "cr0", "xer", "addis", "addi", "lis", "ori", "ld", "lwz", "lhz", "lbz", "stw", "stb",
        "lwsync", "sld", "srad", "srd", "sldi", "sradi", "srdi", "mulld", "extsb", "extsh", "extsw", "clrldi", "cmpd", "cmpld", "beq", "bne", "twui",
    ];

    /// As the base of an address, r0 is no register but 0.
    fn class() -> TokenStream {
        quote_spanned!(Span::mixed_site()=> reg_nonzero)
    }

    /// The link register, by which addresses are found; what comparisons change; and the carry,
    /// which shifts with a sign change.
    fn clobbers() -> TokenStream {
        quote_spanned!(Span::mixed_site()=> out("lr") _, out("cr0") _, out("xer") _,)
    }

    fn address(code: &mut Code, to: Reg, label: Label) {
        emit!(code; "bcl 20, 31, {}", HERE.ahead()); // lr = the next instruction
        code.label(HERE);
        emit! { code;
            "mflr {}", to;                                          // to = that instruction
            "addis {}, {}, {} - {}@ha", to, to, label, HERE.back(); // to = the label, but for the lower half of the distance
            "addi {}, {}, {} - {}@l", to, to, label, HERE.back();   // to = the label
        }
    }

    fn cpus(code: &mut Code, to: Reg) {
        emit!(code; "ld {}, {}({})", to, Name::CpusOffset, Name::Fast); // to = FAST.cpus
    }

    fn number(code: &mut Code, to: Reg, number: Atom, is_signed: bool) {
        if number.fits(-1 << 15..1 << 15) {
            return emit!(code; "li {}, {}", to, number); // to = number
        }
        emit! { code;
            "lis {}, (({}) >> 16) & 0xffff", to, number; // to = its upper half, with its sign
            "ori {}, {}, ({}) & 0xffff", to, to, number; // to = number, with its sign
        }
        if !is_signed {
            Self::extend(code, 32, false, to, to); // to = number, zero-extended
        }
    }

    fn extend(code: &mut Code, bits: u32, is_signed: bool, to: Reg, from: Reg) {
        match (bits, is_signed) {
            (8, true) => emit!(code; "extsb {}, {}", to, from), // to = from, with its sign
            (16, true) => emit!(code; "extsh {}, {}", to, from), // to = from, with its sign
            (_, true) => emit!(code; "extsw {}, {}", to, from), // to = from, with its sign
            (_, false) => emit!(code; "clrldi {}, {}, {}", to, from, 64 - bits), // to = from, zero-extended
        }
    }

    /// Conditional branches reach 32 KiB, which a function may exceed: so they lead around one that
    /// reaches everything in it.
    fn branch(code: &mut Code, comparison: Comparison, is_signed: bool, left: Reg, right: Reg, label: Label) {
        Self::compare_and_branch(code, comparison, is_signed, left, right, ON.ahead()); // not so: go on
        jump::<Self>(code, label); // so: go there
        code.label(ON);
    }
}
