//! The reasons why a file can't be read at all. A mistake in its sections is no error, but a
//! [`Finding`](crate::verify::Finding).

use std::path::PathBuf;

/// Why a file can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file can't be opened or read.
    #[error("can't read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A directory, a device, a pipe.
    #[error("{} is not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// Larger than [`MAX_FILE`](crate::limits::MAX_FILE).
    #[error("the file has {0} bytes, more than the {limit} that are read", limit = crate::limits::MAX_FILE)]
    TooLarge(u64),
    /// Not an ELF file, or a broken one.
    #[error("not a valid ELF file: {0}")]
    Elf(#[from] object::Error),
    /// An ELF file for a machine on which sections aren't known here.
    #[error("ELF machine {machine} is not one of those known: {known}", known = crate::architecture::names())]
    Machine {
        /// `e_machine` of the header.
        machine: u16,
    },
    /// A file without executable code, such as a core dump or separate debug information.
    #[error("the file has no code: {0}")]
    NoCode(&'static str),
    /// A file without `__rseq_cs`.
    #[error("the file has no section __rseq_cs: nothing in it is restartable, or it lost its table of sections")]
    NoSections,
    /// `__rseq_cs` has no bytes in the file.
    #[error("the section {section} has no contents in the file")]
    NoContents {
        /// The name of the section.
        section: &'static str,
    },
    /// More descriptors than [`MAX_WINDOWS`](crate::limits::MAX_WINDOWS).
    #[error("the file has {0} descriptors, more than the {limit} that are looked at", limit = crate::limits::MAX_WINDOWS)]
    TooManyWindows(u64),
    /// More than [`MAX_ENTRIES`](crate::limits::MAX_ENTRIES) in a section that tools read.
    #[error("the section {section} has {entries} entries, more than the {limit} that are looked at", limit = crate::limits::MAX_ENTRIES)]
    TooManyEntries {
        /// The name of the section.
        section: &'static str,
        /// How many there are.
        entries: u64,
    },
    /// All windows together are longer than [`MAX_CODE`](crate::limits::MAX_CODE).
    #[error("the windows have {0} bytes, more than the {limit} that are disassembled", limit = crate::limits::MAX_CODE)]
    TooMuchCode(u64),
    /// The section that was asked for isn't in the file.
    #[error("no section matches {0:?}; `list` says which there are")]
    NoMatch(String),
    /// Output can't be written.
    #[error("can't write: {0}")]
    Output(#[from] std::io::Error),
}
