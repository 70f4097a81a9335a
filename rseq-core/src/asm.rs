//! Text for assemblers that is the same on every machine: symbols, notes for tools, and what each
//! image has for itself. Directives alone: instructions are in `arch/`.

#![allow(unused_macros, reason = "where no area is addressed there is none of it")]

/// A symbol of what each image has for itself. The version is part of it, because two versions of
/// this crate may be linked into one program.
macro_rules! symbol {
    ($name:literal) => {
        concat!(
            "__rseq_dsl_",
            $name,
            "_",
            env!("CARGO_PKG_VERSION_MAJOR"),
            "_",
            env!("CARGO_PKG_VERSION_MINOR"),
            "_",
            env!("CARGO_PKG_VERSION_PATCH")
        )
    };
}

/// The symbol of this image's thread block.
macro_rules! thread_block_symbol {
    () => {
        symbol!("thread")
    };
}

/// The symbol of this image's [`FAST`](crate::arch::FAST).
macro_rules! fast_symbol {
    () => {
        symbol!("fast")
    };
}

/// The symbol of the abort handler of thread descriptors that no window was published in yet.
macro_rules! abort_handler_symbol {
    () => {
        concat!(thread_block_symbol!(), "_aborted")
    };
}

/// The type of a note: a number of `rseq_abi::note`.
macro_rules! note_type {
    (armed) => {
        "2"
    };
    (image) => {
        "3"
    };
    (left) => {
        "4"
    };
    (aborted) => {
        "5"
    };
}

/// A note for debuggers and other tools (`docs/tool-authors.md` has the format): of this type, with
/// the distances of so many bytes of addresses.
macro_rules! note {
    ($type:ident, $bytes:literal, $($address:literal),*) => {
        concat!(
            ".pushsection .note.rseq, \"a\", %note\n",
            ".balign 4\n",
            ".long 5, ", $bytes, ", ", note_type!($type), "\n", // length of the name, of what follows it, and its type
            ".asciz \"rseq\"\n",
            ".balign 4\n",
            $(".long ", $address, " - .\n",)*
            ".popsection",
        )
    };
}

/// The note that a thread descriptor has just come into force. Label: 27.
macro_rules! armed_note {
    () => {
        concat!("27: ", note!(armed, "4", "27b"))
    };
}

/// The parts that an image has for itself: its words, with an area that nobody registers, and the
/// distance of the own area, which is right before anything is known; its constructor; and, as
/// these lines with their operands, what else the machine has.
macro_rules! image {
    ($asm:ident, $constructor:expr, [$($line:expr,)*], [$($operand:tt)*]) => {
        core::arch::$asm! {
            concat!(".ifndef ", fast_symbol!()),
            part!(".data.rseq_dsl", "awG", "progbits"),
            ".balign {words_align}",
            hidden!(fast_symbol!(), "STT_OBJECT", "{words_size}"),
            ".long 0, -1",                                   // the area's cpu_id_start, cpu_id = uninitialised
            ".zero {words} - 8",                             // the rest of the area
            ".dc.a {own_area}",                              // area_offset
            ".zero {words_size} - {words} - {pointer_size}", // the other words
            ".popsection",
            part!(".init_array.00001", "awG", "init_array"), // ahead of its other constructors
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

/// The beginning of a part of it, in a section of this name, these flags and this type.
macro_rules! part {
    ($name:literal, $flags:literal, $type:literal) => {
        concat!(".pushsection ", $name, ", \"", $flags, "\", %", $type, ", ", fast_symbol!(), ", comdat")
    };
}

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

#[cfg(test)]
mod tests {
    use rseq_abi::{note, section};

    /// `concat!` takes no constants, so these numbers stand here once more.
    #[test]
    fn notes_are_as_everybody_reads_them() {
        let types = [note_type!(armed), note_type!(image), note_type!(left), note_type!(aborted)];
        let numbers = [note::ARMED, note::IMAGE, note::LEFT, note::ABORTED];
        assert_eq!(types.map(str::parse), numbers.map(Ok));
        let mut lines = note!(armed, "4", "27b").lines();
        let (name, length, alignment) = (note::NAME, note::NAME_LENGTH, note::ALIGNMENT);
        assert_eq!(lines.next(), Some(&*std::format!(".pushsection {}, \"a\", %note", section::NOTES)));
        assert_eq!(lines.next(), Some(&*std::format!(".balign {alignment}")));
        assert_eq!(lines.next(), Some(&*std::format!(".long {length}, 4, {}", note::ARMED)));
        assert_eq!(lines.next(), Some(&*std::format!(".asciz \"{name}\"")));
        assert_eq!(lines.next(), Some(&*std::format!(".balign {alignment}")));
    }
}
