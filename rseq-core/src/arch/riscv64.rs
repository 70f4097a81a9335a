//! RISC-V with 64 bits, after the RISC-V Instruction Set Manual, the RISC-V ELF psABI (initial-exec TLS, the global offset table), the RISC-V Assembly Programmer's Manual (`lga`,
//! `la.tls.ie`) and the kernel's `tools/testing/selftests/rseq/rseq-riscv.h` (signature).

use core::arch::asm;

use super::by_stores::define_thread_block;
use crate::thread::ThreadBlock;

/// What stands in the four bytes before every abort handler, so that the kernel jumps nowhere else: `csrw mhartid, zero`, which traps.
pub(crate) const SIGNATURE: u32 = 0xf140_1073;

define_thread_block!(".4byte {signature}", "ebreak", ".quad 22b, 0, 22b");

/// The address from which static TLS is addressed.
#[inline(always)]
pub(crate) fn thread_pointer() -> usize {
    let pointer;
    // SAFETY: reads a register.
    unsafe {
        asm!(
            "mv {pointer}, tp", // pointer = the thread pointer
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
            "lga {offset}, __rseq_offset", // offset = &__rseq_offset
            "lga {size}, __rseq_size",     // size = &__rseq_size
            offset = out(reg) offset,
            size = out(reg) size,
            options(nostack, readonly, preserves_flags),
        );
    }
    (offset, size)
}

/// The calling thread's block.
#[inline(always)]
pub(super) fn static_block() -> *mut ThreadBlock {
    let block: usize;
    // SAFETY: reads the symbol's offset from the thread pointer.
    unsafe {
        asm!(
            concat!("la.tls.ie {block}, ", thread_block_symbol!()), // block = its offset
            "add {block}, {block}, tp",                            // block = its address
            block = out(reg) block,
            options(nostack, readonly, pure, preserves_flags),
        );
    }
    core::ptr::with_exposed_provenance_mut(block)
}
