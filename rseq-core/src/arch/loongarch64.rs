//! LoongArch with 64 bits, after the LoongArch Reference Manual (volume 1), the LoongArch ELF psABI (initial-exec TLS, the global offset table, `la.got` and `la.tls.ie`) and the kernel's
//! `tools/testing/selftests/rseq/rseq-loongarch.h` (signature).

use core::arch::{asm, global_asm};

pub(crate) use super::any::{WORDS_MAY_HAVE_GAPS, is_zero, valued};
pub(crate) use super::by_stores::{area_for_windows, arm, disarm, locate};
use crate::thread::ThreadBlock;

/// Sections are restartable here.
pub(crate) const SUPPORTED: bool = true;

/// What stands in the four bytes before every abort handler, so that the kernel jumps nowhere else: `break 0x10`, which traps.
pub(crate) const SIGNATURE: u32 = 0x002a_0010;

// Static TLS, not `thread_local!`: it is there before the first access, and needs no call from a shared object either.
// Hidden, so that each image (the executable, every shared object) has its own: an image that is unloaded must not leave an
// abort address behind in a descriptor that others go on using.
global_asm!(
    ".pushsection .text.unlikely.rseq_dsl, \"ax\", @progbits",
    ".balign 4",
    ".4byte {signature}",      // break 0x10: the signature
    "22: break 0",             // abort handler of a thread that published no window yet: never gone to
    ".popsection",
    ".pushsection .tdata, \"awT\", @progbits",
    ".balign 32",
    concat!(".globl ", thread_block_symbol!()),
    concat!(".hidden ", thread_block_symbol!()),
    concat!(".type ", thread_block_symbol!(), ", @object"),
    concat!(".size ", thread_block_symbol!(), ", {block}"),
    concat!(thread_block_symbol!(), ":"),
    ".long 0, 0",              // descriptor: version, flags
    ".quad 22b, 0, 22b",       // descriptor: start, length 0, abort
    ".long 0, -1",             // own area: cpu_id_start, cpu_id = uninitialised
    ".quad 0",                 // own area: rseq_cs
    ".long 0, 0, 0, 0",        // own area: flags, node_id, mm_cid, slice_ctrl
    ".zero {block} - 64",      // audit: nothing remembered
    ".popsection",
    signature = const SIGNATURE,
    block = const size_of::<ThreadBlock>(),
);

/// The address from which static TLS is addressed.
#[inline(always)]
pub(crate) fn thread_pointer() -> usize {
    let pointer;
    // SAFETY: reads a register.
    unsafe {
        asm!(
            "move {pointer}, $tp", // pointer = the thread pointer
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
            "la.got {offset}, __rseq_offset", // offset = &__rseq_offset
            "la.got {size}, __rseq_size",     // size = &__rseq_size
            offset = out(reg) offset,
            size = out(reg) size,
            options(nostack, readonly, preserves_flags),
        );
    }
    (offset, size)
}

/// The calling thread's block.
#[inline(always)]
pub(crate) fn thread_block() -> *mut ThreadBlock {
    let block: usize;
    // SAFETY: reads the symbol's offset from the thread pointer.
    unsafe {
        asm!(
            concat!("la.tls.ie {block}, ", thread_block_symbol!()), // block = its offset
            "add.d {block}, {block}, $tp",                         // block = its address
            block = out(reg) block,
            options(nostack, readonly, pure, preserves_flags),
        );
    }
    core::ptr::with_exposed_provenance_mut(block)
}
