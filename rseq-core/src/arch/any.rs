//! The common part of all machines that have asm: that, and what it says to the compiler alone,
//! without an instruction.

use core::arch::asm;
use core::mem::MaybeUninit;

use crate::thread::Fast;

/// Sections are restartable here.
pub(crate) const SUPPORTED: bool = true;

unsafe extern "C" {
    /// Where every section looks first: of the image that the code which names it is in.
    #[doc(hidden)]
    #[link_name = fast_symbol!()]
    pub safe static FAST: Fast;
}

/// True if these bytes are all zero, those that have no value (padding) included.
///
/// # Safety
/// They may be read.
pub(crate) unsafe fn is_zero(bytes: *const u8, count: usize) -> bool {
    // SAFETY: no instruction. To the compiler it is a function that may have stored to each byte
    // what it finds there, so that from here on all have a value.
    unsafe { asm!("/* {bytes} */", bytes = in(reg) bytes, options(nostack, preserves_flags)) };
    // SAFETY: the caller's, and the above.
    unsafe { core::slice::from_raw_parts(bytes, count) }.iter().all(|byte| *byte == 0)
}

/// To the compiler a function that may load and store everything that another one can get at: it
/// moves no access from one side to the other.
///
/// `compiler_fence` is more than that on PowerPC: LLVM makes a `sync` of it there, which waits for
/// every earlier store.
#[allow(dead_code, reason = "not every machine's sections are Rust outside of their windows")]
#[inline(always)]
pub(crate) fn compiler_fence() {
    // SAFETY: no instruction.
    unsafe { asm!("", options(nostack, preserves_flags)) };
}

/// Defines the note of an image with sections, from which a debugger finds a thread's area and the
/// slots: by [`FAST`], and the statics of the decision and of the possible CPUs. These are hidden:
/// code and notes know how far they are, so each image has to use its own.
macro_rules! define_note {
    ($decision:path, $possible:path) => {
        core::arch::global_asm!(
            ".hidden {fast}",
            ".hidden {decision}",
            ".hidden {possible}",
            note!(image, "12", "{fast} + {words}", "{decision}", "{possible}"),
            fast = sym $crate::arch::FAST,
            words = const $crate::thread::WORDS,
            decision = sym $decision,
            possible = sym $possible,
        );
    };
}
pub(crate) use define_note;

cfg_select! {
    target_feature = "crt-static" => {
        // By words, which each linker fills in, with 0 if there is no such symbol: what code asks
        // by some rewrite as if the compiler had written it.
        core::arch::global_asm!(
            ".weak __rseq_offset",
            ".weak __rseq_size",
            ".pushsection .data.rel.ro.rseq_dsl, \"aw\", %progbits",
            ".balign {pointer_size}",
            concat!(".globl ", symbol!("of_libc")),
            concat!(".hidden ", symbol!("of_libc")),
            concat!(symbol!("of_libc"), ":"),
            ".dc.a __rseq_offset, __rseq_size",
            ".popsection",
            pointer_size = const size_of::<usize>(),
        );

        unsafe extern "C" {
            #[link_name = symbol!("of_libc")]
            safe static OF_LIBC: [usize; 2];
        }

        /// The addresses of glibc's `__rseq_offset` and `__rseq_size` in a static executable, where
        /// there is no dynamic symbol table to look them up in; null where the libc that was linked
        /// has none.
        pub(crate) fn linked_libc_symbols() -> (*const isize, *const u32) {
            let [offset, size] = OF_LIBC;
            (core::ptr::with_exposed_provenance(offset), core::ptr::with_exposed_provenance(size))
        }
    }
    _ => {
        /// As in a static executable, but this is none: nobody asks.
        pub(crate) fn linked_libc_symbols() -> (*const isize, *const u32) {
            (core::ptr::null(), core::ptr::null())
        }
    }
}

/// Notes that the section that is open is left here. No instruction.
#[inline(always)]
pub(crate) fn leaves() {
    // SAFETY: no instruction.
    unsafe { asm!("27:", note!(left, "4", "27b"), options(nostack, preserves_flags)) };
}

/// Notes that the section that is open is going to start again from here. No instruction.
#[inline(always)]
pub(crate) fn starts_again() {
    // SAFETY: no instruction.
    unsafe { asm!("27:", note!(aborted, "4", "27b"), options(nostack, preserves_flags)) };
}

/// Words of which bytes have no value can be passed on by [`valued`].
pub(crate) const WORDS_MAY_HAVE_GAPS: bool = true;

/// The word, with some value for the bytes that have none.
#[inline(always)]
pub(crate) fn valued(word: MaybeUninit<*mut ()>) -> *mut () {
    let valued;
    // SAFETY: no instruction. To the compiler it is a function that gives what is in a register.
    unsafe {
        asm!("/* {word} */", word = inlateout(reg) word => valued, options(pure, nomem, nostack, preserves_flags));
    }
    valued
}
