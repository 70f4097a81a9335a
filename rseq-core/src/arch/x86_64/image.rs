//! The parts that an image has for itself on this machine alone: an abort handler, an early
//! function, and a block in each thread.

use core::arch::global_asm;

/// The symbol whose resolver runs while this image is relocated, where the loader knows such
/// symbols (glibc); it resolves to the constructor.
macro_rules! early_symbol {
    () => {
        concat!(thread_block_symbol!(), "_early")
    };
}

/// The type of the early symbol: it has a resolver. Other C libraries know none, and have
/// the resolver itself for a constructor.
#[cfg(target_env = "gnu")]
macro_rules! early_type {
    () => {
        "STT_GNU_IFUNC"
    };
}
#[cfg(not(target_env = "gnu"))]
macro_rules! early_type {
    () => {
        "STT_FUNC"
    };
}

/// The last instruction of the early function: it returns a constructor, or goes on to it.
#[cfg(target_env = "gnu")]
macro_rules! early_end {
    () => {
        "ret" // to the loader, which calls it later
    };
}
#[cfg(not(target_env = "gnu"))]
macro_rules! early_end {
    () => {
        "jmp rax" // on to it
    };
}

/// The parts that an image has for itself (see [`image`](crate::image)): an abort handler, the
/// early function, and a block in each thread. That is thread-local storage by asm, not
/// `thread_local!`: it is there before the first access, and needs no call. An image that is
/// unloaded must not leave an abort address behind in a descriptor that others go on using: so each
/// has its own.
macro_rules! define_image {
    ($asm:ident, $begins:path, $($option:tt)*) => {
        image! { $asm, $crate::arch::early_symbol!(), [
            part!(".text.unlikely.rseq_dsl", "axG", "progbits"),
            ".byte 0x0f, 0xb9, 0x3d", // ud1, with the signature as its displacement
            ".long {signature}",      // the signature
            hidden!(abort_handler_symbol!(), "STT_FUNC", "4"),
            "22: notrack jmp r11",    // abort handler of every thread descriptor: go on to the section's own
            hidden!($crate::arch::early_symbol!(), $crate::arch::early_type!(), "24f - 23f"),
            "23:",
            concat!("lea rax, [rip + ", thread_block_symbol!(), "@tlsdesc]"), // rax = the anchor
            "test rax, rax",          // of an executable ?
            "js 25f",                 // yes: as it is
            "mov rcx, [rax + 8]",     // rcx = the block's distance, if that is static
            "test rcx, rcx",          // is it ?
            "jns 25f",                // no
            "sub rcx, rax",           // rcx = from the anchor to the block
            "add rcx, {own_area}",    // rcx = from the anchor to the own area
            concat!("mov [rip + ", fast_symbol!(), " + {words}], rcx"), // FAST.area_offset = rcx
            "25: lea rax, [rip + {begins}]", // rax = the constructor
            $crate::arch::early_end!(),
            "24:",
            ".popsection",
            part!(".tdata.rseq_dsl", "awTG", "progbits"),
            ".balign {align}",
            hidden!(thread_block_symbol!(), "STT_TLS", "{block}"),
            ".long 0, 0",             // descriptor: version, flags
            ".quad 22b, 0, 22b",      // descriptor: start, length 0, abort
            ".zero {own_area} - 32",  // a gap: areas are aligned
            ".long 0, -1",            // own area: cpu_id_start, cpu_id = uninitialised
            ".zero {block} - {own_area} - 8", // own area: nothing registered, no descriptor in force; audit: nothing remembered
            ".popsection",
        ], [
            signature = const $crate::arch::SIGNATURE,
            align = const align_of::<$crate::thread::ThreadBlock>(),
            block = const size_of::<$crate::thread::ThreadBlock>(),
            begins = sym $begins,
            $($option)*
        ] }
    };
}
pub(crate) use {define_image, early_end, early_symbol, early_type};

global_asm!(
    concat!(".globl ", symbol!("is_linked_once")), // else a linker would take two for one
    concat!(".hidden ", symbol!("is_linked_once")),
    concat!(".set ", symbol!("is_linked_once"), ", 0"),
);
