//! The machine, as only audits need it.

use core::arch::asm;
use core::ffi::c_void;
use core::mem::offset_of;

use crate::abi::{Descriptor, Rseq};

/// Which byte of `rseq_cs` tells the kernel whether a system call is blocked. (The lowest byte
/// comes first. In an address of a program's usual images it is neither 0 nor 1, so it may be
/// looked at in audited sections alone.)
const SELECTOR: usize = 5;

/// Descriptors at these addresses block: their byte is 1.
pub(crate) const BLOCKING: core::ops::Range<usize> = 1 << (8 * SELECTOR)..2 << (8 * SELECTOR);

/// While this descriptor is in force, system calls are blocked.
pub(crate) fn blocks_calls(descriptor: *const Descriptor) -> bool {
    BLOCKING.contains(&descriptor.addr())
}

/// The byte of this area by which the kernel blocks system calls.
pub(crate) fn selector(area: *const Rseq) -> *const u8 {
    area.cast::<u8>().wrapping_add(offset_of!(Rseq, rseq_cs) + SELECTOR)
}

/// The stack pointer of the function that this is compiled into.
#[inline(always)]
pub(crate) fn stack_pointer() -> usize {
    let pointer;
    // SAFETY: reads a register.
    unsafe {
        asm!(
            "mov {pointer}, rsp",  // pointer = the stack pointer
            pointer = out(reg) pointer,
            options(nomem, nostack, preserves_flags),
        );
    }
    pointer
}

/// The state that a signal interrupted (`struct ucontext` of the kernel's
/// `uapi/asm-generic/ucontext.h`, and `struct sigcontext`), as far as it is needed.
#[repr(C)]
struct Context {
    /// Flags, link, stack (3 words); r8 to r15, rdi, rsi, rbp, rbx, rdx, rax, rcx.
    before: [usize; 20],
    stack_pointer: usize,
    instruction: usize,
}

/// The stack pointer of a system call that was blocked.
///
/// # Safety
/// `context` is what the handler of its signal was given.
pub(crate) unsafe fn stack_of_call(context: *const c_void) -> usize {
    // SAFETY: the caller's.
    unsafe { (*context.cast::<Context>()).stack_pointer }
}

/// Has a system call that was blocked made when the handler returns. (The kernel has put its
/// number back into rax.)
///
/// # Safety
/// `context` is what the handler of its signal was given.
pub(crate) unsafe fn repeat_call(context: *mut c_void) {
    const SYSCALL_INSTRUCTION: usize = 2;
    // SAFETY: the caller's.
    unsafe { (*context.cast::<Context>()).instruction -= SYSCALL_INSTRUCTION };
}

const _: () = assert!(offset_of!(Context, stack_pointer) == 160 && offset_of!(Context, instruction) == 168);
