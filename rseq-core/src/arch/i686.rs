//! i686, after the Intel SDM (volume 2), the System V ABI's Intel386 supplement (global offset
//! table, no red zone), "ELF handling for thread-local storage" (thread pointer in `gs:[0]`) and
//! the kernel's `tools/testing/selftests/rseq/rseq-x86.h` (signature).
//!
//! There is no address relative to the instruction pointer: a call to the next instruction leaves
//! that one's on the stack, and the linker knows the distance from there. The asm is written in
//! AT&T syntax, because LLVM's Intel syntax has no differences of symbols.

use super::machine::{Tls, machine};

machine! {
    // With the three bytes `0f b9 3d` in front it decodes as `ud1 <sig>, %edi`, which traps if it
    // is ever executed.
    SIGNATURE = 0x5305_3053;
    LOADS_IN_ORDER = true; // "reads are not reordered with other reads" (SDM volume 3, 10.2.2)
    TLS = Tls::Below;
    SELECTS = true;
    thread_block(".byte 0x0f, 0xb9, 0x3d" ".long {signature}", "ud2", ".long 22b, 0, 0, 0, 22b, 0");
    thread_pointer("movl %gs:0, {pointer}", att_syntax, readonly);
}
