//! Arm, in ARM state from version 7 on, after the Arm Architecture Reference Manual (DDI 0406; DDI
//! 0487 for its AArch32), "ELF for the Arm Architecture" and "Addenda to the ABI" (TLS, thread
//! pointer) and the kernel's `tools/testing/selftests/rseq/rseq-arm.h` (signature).
//!
//! The build script leaves other versions, and Thumb, in portable mode: a read of `pc` gives the
//! address of the instruction and 8 in ARM state alone.

use core::arch::asm;

use super::by_stores::{Tls, define_thread_block};

/// What stands in the four bytes before every abort handler, so that the kernel jumps nowhere else:
/// `udf #24035`, which traps.
pub(crate) const SIGNATURE: u32 = 0xe7f5_def3;

/// Whether loads are done in the order of the program. A branch puts no order between two loads
/// here.
pub(crate) const LOADS_IN_ORDER: bool = false;

/// Where an executable's thread-local storage is.
pub(super) const TLS: Tls = Tls::Above { gap: 8, displacement: 0 };

define_thread_block!(".inst {signature}", "udf #0", ".long 22b, 0, 0, 0, 22b, 0");

/// The address from which static TLS is addressed.
#[inline(always)]
pub(crate) fn thread_pointer() -> usize {
    let pointer;
    // SAFETY: reads a register.
    unsafe {
        asm!(
            "mrc p15, 0, {pointer}, c13, c0, 3",  // pointer = the thread pointer
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
    let address;
    // SAFETY: reads a register and adds another one.
    unsafe {
        asm!(
            "mrc p15, 0, lr, c13, c0, 3", // lr = the thread pointer: a register that the cold path's calls take anyway
            "add {address}, {distance}, lr", // address = lr + distance
            address = lateout(reg) address,
            distance = in(reg) distance,
            out("lr") _,
            options(nomem, nostack, preserves_flags),
        );
    }
    address
}
