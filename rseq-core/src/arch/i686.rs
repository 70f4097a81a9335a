//! i686, after the Intel SDM (volume 2), the System V ABI's Intel386 supplement (global offset
//! table, no red zone), "ELF handling for thread-local storage" (thread pointer in `gs:[0]`) and
//! the kernel's `tools/testing/selftests/rseq/rseq-x86.h` (signature).
//!
//! There is no address relative to the instruction pointer: a call to the next instruction leaves
//! that one's on the stack, and the linker knows the distance from there. The asm is written in
//! AT&T syntax, because LLVM's Intel syntax has no differences of symbols.

use core::arch::asm;

use super::by_stores::{Tls, define_thread_block};

/// What stands in the four bytes before every abort handler, so that the kernel jumps nowhere else.
/// With the three bytes `0f b9 3d` in front it decodes as `ud1 <sig>, %edi`, which traps if it is
/// ever executed.
pub(crate) const SIGNATURE: u32 = 0x5305_3053;

/// Whether loads are done in the order of the program: "reads are not reordered with other reads"
/// (SDM volume 3, 10.2.2).
pub(crate) const LOADS_IN_ORDER: bool = true;

/// Where an executable's thread-local storage is.
pub(super) const TLS: Tls = Tls::Below;

define_thread_block!(".byte 0x0f, 0xb9, 0x3d" ".long {signature}", "ud2", ".long 22b, 0, 0, 0, 22b, 0");

/// The address from which static TLS is addressed.
#[inline(always)]
pub(crate) fn thread_pointer() -> usize {
    let pointer;
    // SAFETY: reads the first word of the thread's control block, where the ABI keeps its address.
    unsafe {
        asm!(
            "movl %gs:0, {pointer}",  // pointer = the thread pointer
            pointer = out(reg) pointer,
            options(att_syntax, nostack, readonly, preserves_flags),
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
