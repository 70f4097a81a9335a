//! 64-bit PowerPC, after the Power ISA, the 64-Bit ELF V2 ABI Specification (thread pointer, TLS)
//! and the kernel's `tools/testing/selftests/rseq/rseq-ppc.h` (signature).
//!
//! The compiler sets up the TOC pointer where it needs it itself, and doesn't know that asm does:
//! so asm makes its own, from where it stands.

use core::arch::asm;

use super::by_stores::{Tls, define_thread_block};

/// What stands in the four bytes before every abort handler, so that the kernel jumps nowhere else:
/// `twui r5, 11`, which traps.
pub(crate) const SIGNATURE: u32 = 0x0fe5_000b;

/// Whether loads are done in the order of the program. A branch puts no order between two loads
/// here.
pub(crate) const LOADS_IN_ORDER: bool = false;

/// Where an executable's thread-local storage is.
pub(super) const TLS: Tls = Tls::Above { gap: 0, displacement: 0x7000 };

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

/// Whether it takes an instruction or two to select one of two registers. Else a jump is shorter.
pub(super) const SELECTS: bool = true;

/// The address so far from the thread pointer.
#[inline(always)]
pub(super) fn from_thread_pointer(distance: isize) -> usize {
    let address;
    // SAFETY: adds two registers.
    unsafe {
        asm!(
            "add {address}, {distance}, 13", // address = the thread pointer + distance
            address = lateout(reg) address,
            distance = in(reg) distance,
            options(nomem, nostack, preserves_flags),
        );
    }
    address
}
