//! AArch64, after the Arm Architecture Reference Manual (DDI 0487), "ELF for the Arm 64-bit
//! Architecture" (TLS) and the kernel's `tools/testing/selftests/rseq/rseq-arm64.h` (signature).

use core::arch::asm;

use super::by_stores::{Tls, define_thread_block};

/// What stands in the four bytes before every abort handler, so that the kernel jumps nowhere else:
/// `brk #0x45e0`, which traps.
pub(crate) const SIGNATURE: u32 = 0xd428_bc00;

/// Whether loads are done in the order of the program. A branch puts no order between two loads
/// here.
pub(crate) const LOADS_IN_ORDER: bool = false;

/// Where an executable's thread-local storage is.
pub(super) const TLS: Tls = Tls::Above { gap: 16, displacement: 0 };

define_thread_block!(".inst {signature}", "brk #0", ".quad 22b, 0, 22b");

/// The address from which static TLS is addressed.
#[inline(always)]
pub(crate) fn thread_pointer() -> usize {
    let pointer;
    // SAFETY: reads a register.
    unsafe {
        asm!(
            "mrs {pointer}, tpidr_el0",  // pointer = the thread pointer
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
