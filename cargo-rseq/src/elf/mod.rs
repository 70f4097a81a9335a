//! From the bytes of a file to what will be in memory: its loadable parts at their addresses, with
//! the words that the dynamic linker will have filled in.
//!
//! In a position-independent file the words of descriptors are 0: their values are addends of
//! relocations. So those in the sections that are looked at are applied here, as if the file were
//! loaded at address 0.

mod objects;
mod relocations;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use object::read::elf::FileHeader;
use object::{Object, ObjectKind, ObjectSection, ObjectSegment, ObjectSymbol, SegmentFlags, SymbolKind, elf};

use crate::architecture::Architecture;
use crate::error::Error;
use crate::limits::MAX_FILE;

/// More sections, and more of them with words to relocate, aren't looked at.
const MAX_SECTIONS: usize = 1 << 20;
const MAX_RELOCATED: usize = 64;

/// The bytes of a file.
///
/// # Errors
/// If it isn't a regular file, is larger than [`MAX_FILE`], or can't be read.
pub fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let unreadable = |source| Error::Unreadable { path: path.to_owned(), source };
    // Asked before it is opened, because opening a pipe waits for somebody to write to it.
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(Error::NotAFile(path.to_owned()));
    }
    if metadata.len() > MAX_FILE {
        return Err(Error::TooLarge(metadata.len()));
    }
    let mut bytes = Vec::new();
    // It may grow while it is read.
    File::open(path).map_err(unreadable)?.take(MAX_FILE).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

/// A section of the file, by the table of sections.
#[derive(Clone, Debug)]
pub struct Section<'data> {
    /// Its name.
    pub name: &'data str,
    /// Where it is in memory.
    pub address: u64,
    /// How many bytes it has in the file.
    pub size: u64,
}

impl Section<'_> {
    /// Its addresses.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.address..self.address.saturating_add(self.size)
    }
}

/// A part of the file that is loaded.
#[derive(Debug)]
struct Load<'data> {
    address: u64,
    bytes: Cow<'data, [u8]>,
    executable: bool,
}

impl Load<'_> {
    fn get(&self, address: u64, length: u64) -> Option<&[u8]> {
        let first = usize::try_from(address.checked_sub(self.address)?).ok()?;
        self.bytes.get(first..first.checked_add(usize::try_from(length).ok()?)?)
    }

    /// The bytes from this address on, up to so many.
    fn up_to(&self, address: u64, length: u64) -> Option<&[u8]> {
        let first = usize::try_from(address.checked_sub(self.address)?).ok()?;
        let rest = self.bytes.get(first..).filter(|rest| !rest.is_empty())?;
        Some(&rest[..rest.len().min(usize::try_from(length).unwrap_or(usize::MAX))])
    }
}

/// A function, by the table of symbols.
#[derive(Clone, Debug)]
struct Function<'data> {
    address: u64,
    size: u64,
    name: &'data str,
}

/// A file as it will be in memory.
#[derive(Debug)]
pub struct Image<'data> {
    file: object::File<'data>,
    architecture: Architecture,
    loads: Vec<Load<'data>>,
    sections: Vec<Section<'data>>,
    /// The words that are relocated, in the sections that matter.
    words: BTreeMap<u64, u64>,
    functions: Vec<Function<'data>>,
}

/// True if the words of a section are looked at. Code finds addresses of descriptors in the global
/// offset table.
fn matters(section: &str) -> bool {
    section.starts_with("__rseq_") || section.starts_with(".got")
}

impl<'data> Image<'data> {
    /// The file with these bytes.
    ///
    /// # Errors
    /// If it is no ELF file, for no known machine, or without code.
    pub fn parse(bytes: &'data [u8]) -> Result<Self, Error> {
        let file = object::File::parse(bytes)?;
        let machine = match &file {
            object::File::Elf32(elf) => elf.elf_header().e_machine(elf.endian()),
            object::File::Elf64(elf) => elf.elf_header().e_machine(elf.endian()),
            // This build of `object` knows no other format, and the enumeration may grow.
            _ => return Err(Error::NoCode("it is no ELF file")),
        };
        let architecture = Architecture::of(machine, file.is_64()).ok_or(Error::Machine { machine })?;
        let mut image = Self {
            architecture,
            loads: Vec::new(),
            sections: Vec::new(),
            words: BTreeMap::new(),
            functions: Vec::new(),
            file,
        };
        match image.file.kind() {
            ObjectKind::Relocatable => image.lay_out()?,
            ObjectKind::Executable | ObjectKind::Dynamic => image.load()?,
            ObjectKind::Core => return Err(Error::NoCode("it is a core dump")),
            _ => return Err(Error::NoCode("it is neither an executable, a shared object nor a relocatable file")),
        }
        image.functions.sort_by_key(|function| function.address);
        Ok(image)
    }

    /// Loads a linker's output: its segments are where they say.
    fn load(&mut self) -> Result<(), Error> {
        for segment in self.file.segments() {
            let executable = matches!(segment.flags(), SegmentFlags::Elf { p_flags } if p_flags & elf::PF_X != 0);
            self.loads.push(Load { address: segment.address(), bytes: segment.data()?.into(), executable });
        }
        for section in self.file.sections().take(MAX_SECTIONS) {
            let size = section.file_range().map_or(0, |(_, size)| size);
            let Ok(name) = section.name() else { continue };
            self.sections.push(Section { name, address: section.address(), size });
        }
        let looked_at: Vec<_> = self
            .sections
            .iter()
            .filter(|section| matters(section.name))
            .map(Section::range)
            .take(MAX_RELOCATED)
            .collect();
        self.words = match &self.file {
            object::File::Elf32(elf) => relocations::words(elf, self.architecture, &looked_at),
            object::File::Elf64(elf) => relocations::words(elf, self.architecture, &looked_at),
            _ => BTreeMap::new(),
        };
        self.functions = self
            .file
            .symbols()
            .chain(self.file.dynamic_symbols())
            .filter_map(|symbol| {
                let is_function = symbol.kind() == SymbolKind::Text && symbol.is_definition();
                let function = Function { address: symbol.address(), size: symbol.size(), name: symbol.name().ok()? };
                is_function.then_some(function)
            })
            .collect();
        Ok(())
    }

    /// The machine that it is for.
    #[must_use]
    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// True if a linker is still to put it together.
    #[must_use]
    pub fn is_relocatable(&self) -> bool {
        self.file.kind() == ObjectKind::Relocatable
    }

    /// True if the most significant byte comes first.
    #[must_use]
    pub fn is_big_endian(&self) -> bool {
        !self.file.is_little_endian()
    }

    pub(crate) fn file(&self) -> &object::File<'data> {
        &self.file
    }

    /// The sections of this name.
    pub fn sections_named(&self, name: &str) -> impl Iterator<Item = &Section<'data>> {
        self.sections.iter().filter(move |section| section.name == name)
    }

    /// The section around an address.
    #[must_use]
    pub fn section_at(&self, address: u64) -> Option<&Section<'data>> {
        self.sections.iter().find(|section| section.address != 0 && section.range().contains(&address))
    }

    /// The bytes in memory, before relocation; `None` if the file doesn't have all of them.
    #[must_use]
    pub fn bytes(&self, address: u64, length: u64) -> Option<&[u8]> {
        self.loads.iter().find_map(|load| load.get(address, length))
    }

    /// The code from an address on: as many of so many bytes as there are, none if it isn't
    /// executable.
    #[must_use]
    pub fn code(&self, address: u64, length: u64) -> &[u8] {
        self.loads
            .iter()
            .filter(|load| load.executable)
            .find_map(|load| load.up_to(address, length))
            .unwrap_or_default()
    }

    /// True if all of this is code.
    #[must_use]
    pub fn is_code(&self, range: Range<u64>) -> bool {
        let length = range.end.saturating_sub(range.start);
        self.loads.iter().any(|load| load.executable && load.get(range.start, length).is_some())
    }

    /// The 32-bit number at this address.
    #[must_use]
    pub fn u32(&self, address: u64) -> Option<u32> {
        let bytes = self.bytes(address, 4)?.try_into().ok()?;
        Some(if self.is_big_endian() { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    /// The 64-bit number at this address, as it is when the file is loaded at address 0.
    #[must_use]
    pub fn u64(&self, address: u64) -> Option<u64> {
        if self.architecture.pointer_bytes() == 8 {
            return self.pointer(address);
        }
        let (first, second) = (self.pointer(address)?, self.pointer(address.checked_add(4)?)?);
        Some(if self.is_big_endian() { first << 32 | second } else { second << 32 | first })
    }

    /// The pointer at this address, as it is when the file is loaded at address 0.
    #[must_use]
    pub fn pointer(&self, address: u64) -> Option<u64> {
        if let Some(word) = self.words.get(&address) {
            return Some(*word);
        }
        if self.architecture.pointer_bytes() == 4 {
            return self.u32(address).map(u64::from);
        }
        let bytes = self.bytes(address, 8)?.try_into().ok()?;
        Some(if self.is_big_endian() { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) })
    }

    /// The function around an address, where it begins, and its name as the table of symbols has
    /// it.
    #[must_use]
    pub fn function(&self, address: u64) -> Option<(u64, &'data str)> {
        let behind = self.functions.partition_point(|function| function.address <= address);
        // Several may have the same address, some of them without a size: those of assembly
        // language.
        self.functions[..behind]
            .iter()
            .rev()
            .take(8)
            .find(|function| address - function.address < function.size.max(1))
            .map(|function| (function.address, function.name))
    }
}
