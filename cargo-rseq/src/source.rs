//! Where code comes from: functions and lines, by debug information, and where there is none by the
//! table of symbols.

use std::borrow::Cow;
use std::rc::Rc;

use gimli::{EndianRcSlice, RunTimeEndian};
use object::{Object, ObjectSection};

use crate::elf::Image;

/// With more debug information than this, in bytes, none is read.
const MAX_DEBUG: u64 = 2 << 30;

/// Functions that are inlined into each other deeper than this aren't named.
const MAX_FRAMES: usize = 32;

type Bytes = EndianRcSlice<RunTimeEndian>;

/// A function that an instruction belongs to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Frame {
    /// Its name.
    pub function: Option<String>,
    /// Where the instruction, or the call that was inlined, is in the source.
    pub location: Option<Location>,
}

/// A place in source code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Location {
    /// The file, as the compiler named it.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1; 0 if it isn't known.
    pub column: u32,
}

/// The debug information: where code comes from.
pub struct Source<'i, 'data> {
    image: &'i Image<'data>,
    debug: Option<addr2line::Context<Bytes>>,
}

impl std::fmt::Debug for Source<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("debug", &self.debug.is_some()).finish_non_exhaustive()
    }
}

impl<'i, 'data> Source<'i, 'data> {
    /// Reads the debug information of a file. What is broken in it counts as absent. (That of
    /// relocatable files refers to addresses that they don't have yet.)
    #[must_use]
    pub fn read(image: &'i Image<'data>) -> Self {
        let debug = if image.is_relocatable() { None } else { debug_information(image) };
        Self { image, debug }
    }

    /// The functions at an address: the innermost that was inlined first. Always one, at least by
    /// the table of symbols, if that knows it.
    #[must_use]
    pub fn frames(&self, address: u64) -> Vec<Frame> {
        let frames = self.inlined(address).unwrap_or_default();
        if frames.iter().any(|frame| frame.function.is_some()) {
            return frames;
        }
        let function = self.image.function(address).map(|(_, name)| demangled(name).into_owned());
        let location = frames.into_iter().next().and_then(|frame| frame.location);
        vec![Frame { function, location }]
    }

    fn inlined(&self, address: u64) -> Option<Vec<Frame>> {
        let mut frames = self.debug_at(address)?.find_frames(address).skip_all_loads().ok()?;
        let mut found = Vec::new();
        while found.len() < MAX_FRAMES
            && let Ok(Some(frame)) = frames.next()
        {
            let function = frame.function.as_ref().and_then(|name| Some(name.demangle().ok()?.into_owned()));
            found.push(Frame { function, location: frame.location.and_then(location) });
        }
        Some(found)
    }

    /// Where the instruction at this address is in the source.
    #[must_use]
    pub fn location(&self, address: u64) -> Option<Location> {
        location(self.debug_at(address)?.find_location(address).ok()??)
    }

    /// The debug information to ask about an address. None about those where nothing can be:
    /// `addr2line` adds to them.
    fn debug_at(&self, address: u64) -> Option<&addr2line::Context<Bytes>> {
        self.debug.as_ref().filter(|_| !self.image.code(address, 1).is_empty())
    }
}

fn location(location: addr2line::Location<'_>) -> Option<Location> {
    Some(Location {
        file: location.file?.to_owned(),
        line: location.line?,
        column: location.column.unwrap_or_default(),
    })
}

/// A name as people write it.
fn demangled(name: &str) -> Cow<'_, str> {
    addr2line::demangle_auto(name.into(), None)
}

fn debug_information(image: &Image<'_>) -> Option<addr2line::Context<Bytes>> {
    let file = image.file();
    let is_debug =
        |name: Result<&str, _>| name.is_ok_and(|name| name.starts_with(".debug") || name.starts_with(".zdebug"));
    let sizes = file.sections().filter(|section| is_debug(section.name())).map(|section| uncompressed_size(&section));
    if sizes.fold(0_u64, u64::saturating_add) > MAX_DEBUG {
        return None;
    }
    let endian = if image.is_big_endian() { RunTimeEndian::Big } else { RunTimeEndian::Little };
    let load = |id: gimli::SectionId| -> Result<Bytes, gimli::Error> {
        let section = file.section_by_name(id.name());
        let data = section.and_then(|section| section.uncompressed_data().ok()).unwrap_or_default();
        Ok(EndianRcSlice::new(Rc::from(data.as_ref()), endian))
    };
    addr2line::Context::from_dwarf(gimli::Dwarf::load(load).ok()?).ok()
}

/// The size that a section takes when it is read: the one that it claims, if it is compressed.
fn uncompressed_size(section: &object::Section<'_, '_>) -> u64 {
    section.compressed_file_range().map_or(0, |range| range.uncompressed_size)
}
