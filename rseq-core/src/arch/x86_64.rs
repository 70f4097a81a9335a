//! x86-64, after the Intel SDM (volume 2), the System V ABI's AMD64 supplement (thread pointer in `fs:[0]`), "ELF handling for
//! thread-local storage" (initial-exec) and the kernel's `tools/testing/selftests/rseq/rseq-x86.h` (signature).

use core::arch::{asm, global_asm};
use core::mem::offset_of;

use super::any::{armed_note, image_note};
use crate::abi::{Descriptor, Rseq};
use crate::thread::{Armed, FAST, Fast, Located, ThreadBlock};
use crate::{cpu, mode, register};

/// What stands in the four bytes before every abort handler, so that the kernel jumps nowhere else. With the three bytes
/// `0f b9 3d` in front it decodes as `ud1 <sig>(%rip),%edi`, which traps if it is ever executed.
pub(crate) const SIGNATURE: u32 = 0x5305_3053;

// Static TLS, not `thread_local!`: it is there before the first access, and needs no call from a shared object either.
// Hidden, so that each image (the executable, every shared object) has its own: an image that is unloaded must not leave an
// abort address behind in a descriptor that others go on using.
global_asm!(
    ".pushsection .text.unlikely.rseq_dsl,\"ax\",@progbits",
    ".byte 0x0f, 0xb9, 0x3d",  // ud1, with the signature as its displacement
    ".long {signature}",       // the signature
    "22: notrack jmp r11",     // abort handler of every thread descriptor: go on to the section's own
    ".popsection",
    ".pushsection .tdata,\"awT\",@progbits",
    ".balign {align}",
    concat!(".globl ", thread_block_symbol!()),
    concat!(".hidden ", thread_block_symbol!()),
    concat!(".type ", thread_block_symbol!(), ",@object"),
    concat!(".size ", thread_block_symbol!(), ",{block}"),
    concat!(thread_block_symbol!(), ":"),
    ".long 0, 0",              // descriptor: version, flags
    ".quad 22b, 0, 22b",       // descriptor: start, length 0, abort
    ".zero {own_area} - 32",   // a gap: areas are aligned
    ".long 0, -1",             // own area: cpu_id_start, cpu_id = uninitialised
    ".zero {block} - {own_area} - 8",  // own area: nothing registered, no descriptor in force; audit: nothing remembered
    ".popsection",
    ".pushsection .init_array,\"aw\",@init_array",
    ".balign 8",
    ".quad {find_areas}",      // runs ahead of `main`, or when this image is loaded
    ".popsection",
    image_note!(),
    signature = const SIGNATURE,
    align = const align_of::<ThreadBlock>(),
    own_area = const offset_of!(ThreadBlock, own_area),
    block = const size_of::<ThreadBlock>(),
    find_areas = sym register::find_areas,
    fast = sym FAST,
    decision = sym mode::DECISION,
    possible = sym cpu::POSSIBLE,
);

/// The address from which static TLS is addressed.
#[inline(always)]
pub(crate) fn thread_pointer() -> usize {
    let pointer;
    // SAFETY: reads the first word of the thread's control block, where the ABI keeps its address.
    unsafe { asm!("mov {pointer}, fs:[0]", pointer = out(reg) pointer, options(nostack, readonly, preserves_flags)) };
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
            "mov {offset}, [rip + __rseq_offset@GOTPCREL]",  // offset = &__rseq_offset
            "mov {size}, [rip + __rseq_size@GOTPCREL]",      // size = &__rseq_size
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
    let block: *mut ThreadBlock;
    // SAFETY: reads the symbol's offset from the thread pointer; writes nothing but the output.
    unsafe {
        asm!(
            concat!("add {block}, [rip + ", thread_block_symbol!(), "@gottpoff]"), // block += offset of the thread block
            block = inout(reg) thread_pointer() => block,
            options(nostack, readonly),
        );
    }
    block
}

/// The calling thread's descriptor and area.
#[inline(always)]
pub(crate) fn locate() -> Located {
    let descriptor: *mut Descriptor = thread_block().cast();
    let area: *mut Rseq;
    // SAFETY: reads `FAST`; writes nothing but the output.
    unsafe {
        asm!(
            "mov {area}, [rip + {fast} + {area_offset}]",  // area = FAST.area_offset
            "add {area}, {td}",                            // area += td
            td = in(reg) descriptor,
            area = out(reg) area,
            fast = sym FAST,
            area_offset = const offset_of!(Fast, area_offset),
            options(nostack, readonly),
        );
    }
    Located { descriptor, area }
}

/// The distance from the thread pointer to the calling thread's area: for windows that address it from there. The same for every thread.
///
/// A constant, which the compiler may load once for several windows, or ahead of a loop: [`register::find_areas`] has stored it before any code runs
/// that isn't run ahead of `main` itself. Such code may find an older one, and goes the slow way by that: to an area that isn't registered.
#[inline(always)]
pub(crate) fn area_for_windows() -> usize {
    // SAFETY: reads `FAST`, as a constant. Any value that it ever has leads to memory of this thread's.
    unsafe { distance!(pure, nomem) }
}

/// The same, found again for each attempt.
#[inline(always)]
pub(crate) fn area_for_attempts() -> usize {
    // SAFETY: reads `FAST`.
    unsafe { distance!(readonly) }
}

/// From the thread pointer to an area, by asm with these options. It writes nothing but its output.
macro_rules! distance {
    ($($option:ident),*) => {{
        let distance;
        asm!(
            "mov {distance}, [rip + {fast} + {area_offset}]", // distance = FAST.area_offset
            concat!("add {distance}, [rip + ", thread_block_symbol!(), "@gottpoff]"), // distance += offset of the thread block
            distance = out(reg) distance,
            fast = sym FAST,
            area_offset = const offset_of!(Fast, area_offset),
            options(nostack, $($option),*),
        );
        distance
    }};
}
use distance;

/// Arms the thread descriptor and reads the CPU afterwards.
///
/// # Safety
/// `thread` is the calling thread's.
#[inline(always)]
pub(crate) unsafe fn arm(thread: Located) -> Armed {
    let (cpu, cpus): (usize, usize);
    // SAFETY: the caller's. The one store goes to `rseq_cs`. The descriptor that comes into force covers the window that this thread
    // published last, where it is not now; its abort address never changes.
    unsafe {
        asm!(
            "mov [{area} + 8], {td}",                     // area->rseq_cs = td: armed
            armed_note!(),
            "mov {cpu:e}, [{area} + 4]",                  // cpu = area->cpu_id
            "mov {cpus}, [rip + {fast} + {cpus_offset}]", // cpus = FAST.cpus
            td = in(reg) thread.descriptor,
            area = in(reg) thread.area,
            cpu = out(reg) cpu,
            cpus = lateout(reg) cpus,
            fast = sym FAST,
            cpus_offset = const offset_of!(Fast, cpus),
            options(nostack, preserves_flags),
        );
    }
    Armed { cpu, cpus }
}

/// Takes whatever descriptor is in force out of force.
///
/// # Safety
/// `area` is the calling thread's area.
#[inline(always)]
pub(crate) unsafe fn disarm(area: *mut Rseq) {
    // SAFETY: the caller's. One store, so that the kernel sees the old value or NULL; the memory clobber keeps what comes before it before it.
    unsafe {
        asm!(
            "mov qword ptr [{area} + 8], 0",  // area->rseq_cs = NULL
            area = in(reg) area,
            options(nostack, preserves_flags),
        );
    }
}

/// What only audits need of the machine.
#[cfg(feature = "audit")]
mod audited {
    use core::arch::asm;
    use core::ffi::c_void;
    use core::mem::offset_of;

    use crate::abi::{Descriptor, Rseq};

    /// Which byte of `rseq_cs` tells the kernel whether a system call is blocked. (The lowest byte comes first. In an address of a
    /// program's usual images it is neither 0 nor 1, so it may be looked at in audited sections alone.)
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

    /// What a signal interrupted (`struct ucontext` of the kernel's `uapi/asm-generic/ucontext.h`, and `struct sigcontext`), as far as it is needed.
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

    /// Has a system call that was blocked made when the handler returns. (The kernel has put its number back into rax.)
    ///
    /// # Safety
    /// `context` is what the handler of its signal was given.
    pub(crate) unsafe fn repeat_call(context: *mut c_void) {
        const SYSCALL_INSTRUCTION: usize = 2;
        // SAFETY: the caller's.
        unsafe { (*context.cast::<Context>()).instruction -= SYSCALL_INSTRUCTION };
    }

    const _: () = assert!(offset_of!(Context, stack_pointer) == 160 && offset_of!(Context, instruction) == 168);
}
#[cfg(feature = "audit")]
pub(crate) use audited::*;
