//! 64-bit PowerPC, after the Power ISA, the 64-Bit ELF V2 ABI Specification (thread pointer, TLS) and the kernel's
//! `tools/testing/selftests/rseq/rseq-ppc.h` (signature).
//!
//! The compiler sets up the TOC pointer where it needs it itself, and doesn't know that asm does: so asm makes its own, from where it stands.

use core::arch::asm;

use super::by_stores::define_thread_block;
use crate::thread::ThreadBlock;

/// What stands in the four bytes before every abort handler, so that the kernel jumps nowhere else: `twui r5, 11`, which traps.
pub(crate) const SIGNATURE: u32 = 0x0fe5_000b;

define_thread_block!(".long {signature}", "trap", ".quad 22b, 0, 22b");

/// The address from which static TLS is addressed.
#[inline(always)]
pub(crate) fn thread_pointer() -> usize {
    let pointer;
    // SAFETY: reads a register.
    unsafe {
        asm!(
            "mr {pointer}, 13",  // pointer = the thread pointer
            pointer = out(reg) pointer,
            options(nomem, nostack, preserves_flags),
        );
    }
    pointer
}

/// The addresses of glibc's `__rseq_offset` and `__rseq_size` in a static executable, where there is no dynamic symbol table
/// to look them up in; null where the libc that was linked has none.
pub(crate) fn linked_libc_symbols() -> (*const isize, *const u32) {
    let (offset, size);
    // SAFETY: loads two addresses from the global offset table, which the linker sets to 0 for an undefined weak symbol.
    unsafe {
        asm!(
            ".weak __rseq_offset",
            ".weak __rseq_size",
            "bcl 20, 31, 22f",                            // lr = the next instruction
            "22: mflr {size}",                            // size = that instruction
            "addis {size}, {size}, .TOC. - 22b@ha",       // size = the TOC pointer, but for the lower half of the distance
            "addi {size}, {size}, .TOC. - 22b@l",         // size = the TOC pointer
            "addis {offset}, {size}, __rseq_offset@got@ha", // offset = its entry, but for the lower half of the distance
            "ld {offset}, __rseq_offset@got@l({offset})", // offset = &__rseq_offset
            "addis {size}, {size}, __rseq_size@got@ha",   // size = its entry, but for the lower half of the distance
            "ld {size}, __rseq_size@got@l({size})",       // size = &__rseq_size
            offset = out(reg_nonzero) offset,
            size = out(reg_nonzero) size,
            out("lr") _,
            options(nostack, readonly),
        );
    }
    (offset, size)
}

/// The calling thread's block.
#[inline(always)]
pub(super) fn static_block() -> *mut ThreadBlock {
    let block: usize;
    // SAFETY: reads the symbol's offset from the thread pointer. (Not by a constant in memory, which lld can't relocate.)
    unsafe {
        asm!(
            "bcl 20, 31, 22f",                                                      // lr = the next instruction
            "22: mflr {block}",                                                     // block = that instruction
            "addis {block}, {block}, .TOC. - 22b@ha",                               // block = the TOC pointer, but for the lower half of the distance
            "addi {block}, {block}, .TOC. - 22b@l",                                 // block = the TOC pointer
            concat!("addis {block}, {block}, ", thread_block_symbol!(), "@got@tprel@ha"), // block = the symbol's entry, but for the lower half of the distance
            concat!("ld {block}, ", thread_block_symbol!(), "@got@tprel@l({block})"),     // block = the symbol's offset
            concat!("add {block}, {block}, ", thread_block_symbol!(), "@tls"),            // block += the thread pointer
            block = out(reg_nonzero) block,
            out("lr") _,
            options(nostack, readonly, pure),
        );
    }
    core::ptr::with_exposed_provenance_mut(block)
}
