//! s390x, after the z/Architecture Principles of Operation (SA22-7832), the ELF Application Binary
//! Interface s390x Supplement (thread pointer, TLS) and the kernel's
//! `tools/testing/selftests/rseq/rseq-s390.h` (signature).

use core::arch::asm;

use super::by_stores::{Tls, define_thread_block};

/// What stands in the four bytes before every abort handler, so that the kernel jumps nowhere else:
/// `trap4 4095`, which traps.
pub(crate) const SIGNATURE: u32 = 0xb2ff_0fff;

/// Whether loads are done in the order of the program: as other CPUs see it they are (Principles of
/// Operation, chapter 5, "Storage-Operand Fetch References").
pub(crate) const LOADS_IN_ORDER: bool = true;

/// Where an executable's thread-local storage is.
pub(super) const TLS: Tls = Tls::Below;

define_thread_block!(".long {signature}", "trap4 0", ".quad 22b, 0, 22b");

/// The address from which static TLS is addressed.
#[inline(always)]
pub(crate) fn thread_pointer() -> usize {
    let pointer;
    // SAFETY: reads two registers.
    unsafe {
        asm!(
            "ear {pointer}, %a0",           // pointer = the thread pointer's upper half
            "sllg {pointer}, {pointer}, 32", // pointer = the same, where it belongs
            "ear {pointer}, %a1",           // pointer = the thread pointer
            pointer = out(reg) pointer,
            options(nomem, nostack, preserves_flags),
        );
    }
    pointer
}

/// Whether it takes an instruction or two to select one of two registers. Else a jump is shorter.
pub(super) const SELECTS: bool = true;

/// The address so far from the thread pointer.
#[inline(always)]
pub(super) fn from_thread_pointer(distance: isize) -> usize {
    thread_pointer().wrapping_add_signed(distance)
}
