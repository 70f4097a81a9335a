//! What each image (the executable, a shared object) with sections has for itself: the words that
//! its code loads, at a distance that the linker knows; and a constructor, which tells the code
//! that serves it of them.
//!
//! That code may be another image's. A Rust `dylib` has the one copy of this crate that there is
//! for those who link it, but sections that are inlined, or generic, are compiled into these. And
//! of two shared objects of one `staticlib` the loader may take the functions of the first for
//! both. So every section that is compiled brings all of this along, and the linker keeps one of it
//! for the image (`comdat`). It is hidden: no other image's is ever taken for it.

use core::arch::{asm, global_asm};

use super::define_image;
use crate::image::{begins, begins_here};
use crate::thread::Fast;

unsafe extern "C" {
    /// Where every section looks first.
    #[doc(hidden)]
    #[link_name = fast_symbol!()]
    pub safe static FAST: Fast;
}

/// What an image has for itself: its words, with an area that nobody registers, and the distance of
/// the own area, which is right before anything is known; its constructor; and, as these lines with
/// their operands, what else the machine has.
macro_rules! image {
    ($asm:ident, $constructor:expr, [$($line:expr,)*], [$($operand:tt)*]) => {
        $asm! {
            concat!(".ifndef ", fast_symbol!()),
            $crate::arch::image::part!(".data.rseq_dsl", "awG", "progbits"),
            ".balign {words_align}",
            $crate::arch::image::hidden!(fast_symbol!(), "STT_OBJECT", "{words_size}"),
            ".long 0, -1",                                   // the area's cpu_id_start, cpu_id = uninitialised
            ".zero {words} - 8",                             // the rest of the area
            ".dc.a {own_area}",                              // area_offset
            ".zero {words_size} - {words} - {pointer_size}", // the other words
            ".popsection",
            $crate::arch::image::part!(".init_array.00001", "awG", "init_array"), // ahead of its other constructors
            ".balign {pointer_size}",
            concat!(".dc.a ", $constructor), // runs ahead of `main`, or when this image is loaded
            ".popsection",
            $($line,)*
            ".endif",
            words = const $crate::thread::WORDS,
            words_align = const align_of::<$crate::thread::Fast>(),
            words_size = const size_of::<$crate::thread::Fast>(),
            pointer_size = const size_of::<usize>(),
            own_area = const $crate::thread::OWN_AREA,
            $($operand)*
        }
    };
}
pub(super) use image;

/// The beginning of a part of it, in a section of this name, these flags and this type.
macro_rules! part {
    ($name:literal, $flags:literal, $type:literal) => {
        concat!(".pushsection ", $name, ", \"", $flags, "\", %", $type, ", ", fast_symbol!(), ", comdat")
    };
}
pub(super) use part;

/// The definition of a symbol of it, of this type and size.
macro_rules! hidden {
    ($symbol:expr, $type:expr, $size:literal) => {
        concat!(
            ".weak ", $symbol, "\n", //
            ".hidden ", $symbol, "\n", ".type ", $symbol, ", ", $type, "\n", ".size ", $symbol, ", ", $size, "\n",
            $symbol, ":",
        )
    };
}
pub(super) use hidden;

/// The section that this is compiled into belongs to an image. No instruction.
#[allow(named_asm_labels, reason = "they are defined once, however often this is compiled (`.ifndef`)")]
#[inline(always)]
pub(crate) fn is_of_image() {
    // SAFETY: no instruction.
    unsafe { define_image!(asm, begins, options(nomem, nostack, preserves_flags)) };
}

define_image!(global_asm, begins_here,);
