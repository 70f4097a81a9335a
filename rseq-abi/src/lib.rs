//! The numbers that the crates of [`rseq-dsl`](https://crates.io/crates/rseq-dsl) agree on, each
//! named once: where the fields of the kernel's two structures are ([`area`], [`descriptor`]), what
//! programs say of their windows to tools ([`section`], [`note`]), and how a window says that it
//! ended ([`outcome`]).
//!
//! The compiler of sections writes them into machine code, the run-time half and tools read what is
//! there; none of them has the others as a dependency. Everything here is a constant.
//!
//! ```
//! use rseq_abi::{area, descriptor};
//!
//! // From the thread's area to what is in force, and from there to its abort handler.
//! assert_eq!((area::RSEQ_CS, descriptor::ABORT), (8, 24));
//! ```

#![no_std]

/// The offsets of a thread's area, `struct rseq` in the kernel's `include/uapi/linux/rseq.h`.
///
/// ```
/// assert!(rseq_abi::area::MM_CID + 4 <= rseq_abi::area::LENGTH);
/// ```
pub mod area {
    /// The CPU that the thread ran on last, never negative.
    pub const CPU_ID_START: u32 = 0;
    /// The CPU that the thread runs on, or that it isn't registered.
    pub const CPU_ID: u32 = 4;
    /// The address of the descriptor in force, 64 bits.
    pub const RSEQ_CS: u32 = 8;
    /// The kernel's word on the time-slice extension.
    pub const FLAGS: u32 = 16;
    /// The NUMA node.
    pub const NODE_ID: u32 = 20;
    /// The memory map's concurrency id.
    pub const MM_CID: u32 = 24;
    /// The control word of the time-slice extension.
    pub const SLICE_CTRL: u32 = 28;
    /// The bytes of an area of the original size.
    pub const LENGTH: u32 = 32;
}

/// The offsets of a descriptor, `struct rseq_cs` in the same file.
///
/// ```
/// assert_eq!(rseq_abi::descriptor::ABORT + 8, rseq_abi::descriptor::LENGTH);
/// ```
pub mod descriptor {
    /// The version, 0.
    pub const VERSION: u32 = 0;
    /// Flags, of which there are none.
    pub const FLAGS: u32 = 4;
    /// The address of the window's first instruction, 64 bits.
    pub const START: u32 = 8;
    /// The length of the window, 64 bits.
    pub const POST_COMMIT_OFFSET: u32 = 16;
    /// The address of the abort handler, 64 bits.
    pub const ABORT: u32 = 24;
    /// The bytes of a descriptor.
    pub const LENGTH: u32 = 32;
}

/// The ELF sections that tell tools of windows.
///
/// ```
/// // librseq's programs have all but the notes.
/// assert!(rseq_abi::section::DESCRIPTORS.starts_with("__rseq_"));
/// ```
pub mod section {
    /// The descriptors, one behind the other.
    pub const DESCRIPTORS: &str = "__rseq_cs";
    /// Their addresses.
    pub const POINTERS: &str = "__rseq_cs_ptr_array";
    /// Ways out of windows: pairs of a window's start and where it may be left to.
    pub const EXITS: &str = "__rseq_exit_point_array";
    /// The notes, which only rseq-dsl writes.
    pub const NOTES: &str = ".note.rseq";
}

/// The notes, ELF's by form; `docs/tool-authors.md` says what they are for. Numbers have 32 bits,
/// addresses are relative to where they stand.
///
/// ```
/// use rseq_abi::note;
///
/// // The beginning of a window's note.
/// use note::window::{CHECKED, COLUMN, DESCRIPTOR, LINE};
/// let numbers = [DESCRIPTOR, CHECKED, LINE, COLUMN];
/// assert_eq!(numbers, [0, 4, 8, 12]);
/// ```
pub mod note {
    /// Whose notes they are, without the byte 0 behind it.
    pub const NAME: &str = "rseq";
    /// The bytes of the name, with the byte 0.
    pub const NAME_LENGTH: u32 = NAME.len() as u32 + 1;
    /// The alignment of name and description.
    pub const ALIGNMENT: u32 = 4;
    /// The bytes in front of the name: the lengths of the name and of the description, the type.
    pub const HEADER: u32 = 12;

    /// The type of the note of a window.
    pub const WINDOW: u32 = 1;
    /// The type of a place that arms for a `prepare`.
    pub const ARMED: u32 = 2;
    /// The type of the note of an image with sections.
    pub const IMAGE: u32 = 3;
    /// The type of a place that leaves a `prepare`.
    pub const LEFT: u32 = 4;
    /// The type of a place that is going to start a `prepare` again.
    pub const ABORTED: u32 = 5;

    /// The offsets of what the note of a window says.
    ///
    /// ```
    /// assert_eq!(rseq_abi::note::window::TEXTS % rseq_abi::note::ALIGNMENT, 0);
    /// ```
    pub mod window {
        /// The address of the descriptor.
        pub const DESCRIPTOR: u32 = 0;
        /// The address of the first instruction behind the checks.
        pub const CHECKED: u32 = 4;
        /// The line of the section in its source, from 1.
        pub const LINE: u32 = 8;
        /// Its column, from 1.
        pub const COLUMN: u32 = 12;
        /// Strings, each with a byte 0 behind it: the file, the kind, the commit.
        pub const TEXTS: u32 = 16;
    }
}

/// The numbers by which a window says how it ended.
///
/// ```
/// use rseq_abi::outcome;
///
/// assert!(outcome::ABORTED < outcome::AGAIN && outcome::AGAIN < outcome::FIRST_EXIT);
/// ```
pub mod outcome {
    /// It was interrupted.
    pub const ABORTED: usize = 0;
    /// It couldn't run, for a reason that is mended.
    pub const AGAIN: usize = 1;
    /// It was left by its first exit; others follow. What is above all exits has committed.
    pub const FIRST_EXIT: usize = 2;
}
