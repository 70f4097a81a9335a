//! RISC-V with 64 bits, after the RISC-V Instruction Set Manual, the RISC-V ELF psABI (TLS, the
//! global offset table), the RISC-V Assembly Programmer's Manual (`lga`) and the kernel's
//! `tools/testing/selftests/rseq/rseq-riscv.h` (signature).

use core::arch::asm;

use super::by_stores::{Tls, define_thread_block};

/// What stands in the four bytes before every abort handler, so that the kernel jumps nowhere else:
/// `csrw mhartid, zero`, which traps.
pub(crate) const SIGNATURE: u32 = 0xf140_1073;

/// Whether loads are done in the order of the program. A branch puts no order between two loads
/// here.
pub(crate) const LOADS_IN_ORDER: bool = false;

/// Where an executable's thread-local storage is.
pub(super) const TLS: Tls = Tls::Above { gap: 0, displacement: 0 };

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

/// Whether it takes an instruction or two to select one of two registers. Else a jump is shorter.
pub(super) const SELECTS: bool = false;

/// The address so far from the thread pointer.
#[inline(always)]
pub(super) fn from_thread_pointer(distance: isize) -> usize {
    let address;
    // SAFETY: adds two registers.
    unsafe {
        asm!(
            "add {address}, {distance}, tp", // address = the thread pointer + distance
            address = lateout(reg) address,
            distance = in(reg) distance,
            options(nomem, nostack, preserves_flags),
        );
    }
    address
}
