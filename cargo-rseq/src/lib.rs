//! Reads the restartable sequences in ELF files: lists them, shows their code, and checks it
//! against the rules that the kernel and their users rely on.
//!
//! It works on what there is in the file: descriptors in `__rseq_cs`, and the arrays for tools
//! (`__rseq_cs_ptr_array`, `__rseq_exit_point_array`), which librseq, tcmalloc and rseq-dsl all
//! write; and rseq-dsl's notes (`.note.rseq`). Whether the file is position-independent, stripped,
//! an executable, a shared object or relocatable makes no difference to that.
//!
//! A file passes through the modules in this order:
//!
//! | | |
//! |---|---|
//! | [`elf`] | bytes to an image of memory: segments, relocations, bounds |
//! | [`sections`], [`notes`] | descriptors, arrays, notes |
//! | [`source`] | functions and lines |
//! | [`machine`] | what an instruction does |
//! | [`window`] | the code of a window, what leads to it, and where it is left to |
//! | [`list`], [`show`], [`verify`] | what is said about it |
//!
//! ```
//! # fn main() -> Result<(), cargo_rseq::Error> {
//! # let path = std::env::current_exe().expect("a test knows where it is");
//! let bytes = cargo_rseq::elf::read(&path)?;
//! let image = cargo_rseq::elf::Image::parse(&bytes)?;
//! match cargo_rseq::Binary::read(&image) {
//!     Ok(binary) => assert!(binary.verify().violations().next().is_none()),
//!     Err(error) => println!("{}: {error}", path.display()),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Files may be broken or hostile: whatever is in them leads to an [`Error`] or to findings, in
//! memory and time that are bounded by the limits that are named here and in the modules.

#![forbid(unsafe_code)]

pub mod architecture;
pub mod elf;
mod error;
mod limits;
pub mod list;
pub mod machine;
pub mod notes;
pub mod sections;
pub mod show;
pub mod source;
pub mod verify;
pub mod window;

pub use error::Error;
pub use limits::{MAX_CODE, MAX_ENTRIES, MAX_FILE, MAX_WINDOW, MAX_WINDOWS};

use elf::Image;
use sections::{Descriptor, Sections};
use source::Source;
use window::Code;

/// A file with restartable sequences.
#[derive(Debug)]
pub struct Binary<'i> {
    /// The file as memory.
    pub image: &'i Image<'i>,
    /// The sections for tools.
    pub sections: Sections,
    /// Where its code comes from.
    pub source: Source<'i, 'i>,
}

impl<'i> Binary<'i> {
    /// Reads what the file says of its windows.
    ///
    /// # Errors
    /// If it has none, or more than are looked at.
    pub fn read(image: &'i Image<'i>) -> Result<Self, Error> {
        Ok(Self { image, sections: Sections::read(image)?, source: Source::read(image) })
    }

    /// The code of a window.
    #[must_use]
    pub fn code(&self, descriptor: &Descriptor) -> Code {
        Code::read(self.image, &self.sections, descriptor)
    }
}
