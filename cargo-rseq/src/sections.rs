//! The sections for tools: the descriptors, the two arrays, and the notes.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use rseq_abi::descriptor;
pub use rseq_abi::section::{DESCRIPTORS, EXITS, POINTERS};

use crate::elf::{Image, Section};
use crate::error::Error;
use crate::limits::{MAX_CODE, MAX_ENTRIES, MAX_WINDOW, MAX_WINDOWS};
use crate::notes::{self, Note, NoteError};

/// The bytes of a descriptor.
pub const DESCRIPTOR_BYTES: u64 = descriptor::LENGTH as u64;

/// A descriptor, `struct rseq_cs`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Descriptor {
    /// Where it is.
    pub address: u64,
    /// 0: there is no other version.
    pub version: u32,
    /// 0: kernels refuse all flags there ever were.
    pub flags: u32,
    /// The first instruction of the window.
    pub start: u64,
    /// The bytes of the window: what is behind them is no longer restarted.
    pub length: u64,
    /// Where the kernel sends a thread that it interrupts in the window.
    pub abort: u64,
}

impl Descriptor {
    /// The addresses at which a thread is restarted; empty if there can't be such.
    #[must_use]
    pub fn window(&self) -> Range<u64> {
        self.start..self.start.checked_add(self.length).unwrap_or(self.start)
    }

    /// The address behind the window's last instruction.
    #[must_use]
    pub fn post_commit(&self) -> u64 {
        self.window().end
    }

    fn read(image: &Image<'_>, address: u64) -> Option<Self> {
        let at = |field: u32| address.checked_add(field.into());
        Some(Self {
            address,
            version: image.u32(at(descriptor::VERSION)?)?,
            flags: image.u32(at(descriptor::FLAGS)?)?,
            start: image.u64(at(descriptor::START)?)?,
            length: image.u64(at(descriptor::POST_COMMIT_OFFSET)?)?,
            abort: image.u64(at(descriptor::ABORT)?)?,
        })
    }
}

/// An entry of an array: where it is, and what it says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry<T> {
    /// Where it is.
    pub address: u64,
    /// The entry itself.
    pub value: T,
}

/// A way out of a window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exit {
    /// The start of the window.
    pub start: u64,
    /// Where it is left to.
    pub target: u64,
}

/// All that a file says of its windows.
#[derive(Debug)]
pub struct Sections {
    /// The descriptors, in the order of the file.
    pub descriptors: Vec<Descriptor>,
    /// The addresses of descriptors; `None` if the file has no such array.
    pub pointers: Option<Vec<Entry<u64>>>,
    /// The ways out; `None` if the file has no such array.
    pub exits: Option<Vec<Entry<Exit>>>,
    /// The notes, by the addresses of the descriptors that they are about.
    pub notes: BTreeMap<u64, Vec<Note>>,
    /// Where threads are armed by sections with a `prepare`, by the notes: the first instructions
    /// behind.
    pub armings: Vec<u64>,
    /// True if there are notes at all.
    pub has_notes: bool,
    /// Notes that can't be read.
    pub broken_notes: Vec<NoteError>,
    /// Sections whose size isn't that of whole entries: the name, where, and how many bytes are
    /// left over.
    pub leftovers: Vec<(&'static str, u64, u64)>,
    targets: BTreeMap<u64, Vec<u64>>,
    addresses: BTreeSet<u64>,
    starts: BTreeSet<u64>,
}

impl Sections {
    /// Reads the sections of a file.
    ///
    /// # Errors
    /// If there are no descriptors, or more than are looked at.
    pub fn read(image: &Image<'_>) -> Result<Self, Error> {
        let mut leftovers = Vec::new();
        let addresses =
            entries(image, DESCRIPTORS, DESCRIPTOR_BYTES, MAX_WINDOWS, &mut leftovers)?.ok_or(Error::NoSections)?;
        let descriptors = addresses.into_iter().map(|address| Descriptor::read(image, address));
        let descriptors = descriptors.collect::<Option<Vec<_>>>().ok_or(Error::NoContents { section: DESCRIPTORS })?;
        let code = descriptors.iter().map(|descriptor| descriptor.length).filter(|length| *length <= MAX_WINDOW).sum();
        if code > MAX_CODE {
            return Err(Error::TooMuchCode(code));
        }
        let pointers = array(image, POINTERS, 8, &mut leftovers, |address| image.u64(address))?;
        let exits = array(image, EXITS, 16, &mut leftovers, |address| {
            Some(Exit { start: image.u64(address)?, target: image.u64(address.checked_add(8)?)? })
        })?;
        let mut targets: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for exit in exits.iter().flatten() {
            targets.entry(exit.value.start).or_default().push(exit.value.target);
        }
        let addresses = descriptors.iter().map(|descriptor| descriptor.address).collect();
        let starts = descriptors.iter().map(|descriptor| descriptor.start).collect();
        let notes::Notes { windows, armings, broken } = notes::read(image)?;
        let has_notes = !windows.is_empty();
        let mut notes: BTreeMap<u64, Vec<Note>> = BTreeMap::new();
        for note in windows {
            notes.entry(note.descriptor).or_default().push(note);
        }
        Ok(Self {
            descriptors,
            pointers,
            exits,
            notes,
            armings,
            has_notes,
            broken_notes: broken,
            leftovers,
            targets,
            addresses,
            starts,
        })
    }

    /// True if there is a descriptor at this address.
    #[must_use]
    pub fn is_descriptor(&self, address: u64) -> bool {
        self.addresses.contains(&address)
    }

    /// True if a window starts at this address.
    #[must_use]
    pub fn is_start(&self, address: u64) -> bool {
        self.starts.contains(&address)
    }

    /// The ways out of a window that are listed.
    #[must_use]
    pub fn exits_of(&self, descriptor: &Descriptor) -> &[u64] {
        self.targets.get(&descriptor.start).map_or(&[], Vec::as_slice)
    }

    /// The content of a window's note, if it has one.
    #[must_use]
    pub fn note_of(&self, descriptor: &Descriptor) -> Option<&Note> {
        self.notes.get(&descriptor.address)?.first()
    }
}

/// The addresses of the entries in all sections of this name; `None` if there is no such section.
fn entries(
    image: &Image<'_>,
    name: &'static str,
    bytes: u64,
    limit: u64,
    leftovers: &mut Vec<(&'static str, u64, u64)>,
) -> Result<Option<Vec<u64>>, Error> {
    let sections: Vec<&Section<'_>> = image.sections_named(name).collect();
    let count = sections.iter().fold(0_u64, |count, section| count.saturating_add(section.size / bytes));
    if count > limit {
        return Err(match name {
            DESCRIPTORS => Error::TooManyWindows(count),
            _ => Error::TooManyEntries { section: name, entries: count },
        });
    }
    let mut addresses = Vec::new();
    for section in &sections {
        let left = section.size % bytes;
        if left != 0 {
            leftovers.push((name, section.range().end.saturating_sub(left), left));
        }
        addresses.extend((0..section.size / bytes).map_while(|number| section.address.checked_add(number * bytes)));
    }
    Ok((!sections.is_empty()).then_some(addresses))
}

fn array<T>(
    image: &Image<'_>,
    name: &'static str,
    bytes: u64,
    leftovers: &mut Vec<(&'static str, u64, u64)>,
    read: impl Fn(u64) -> Option<T>,
) -> Result<Option<Vec<Entry<T>>>, Error> {
    let Some(addresses) = entries(image, name, bytes, MAX_ENTRIES, leftovers)? else { return Ok(None) };
    let values = addresses.into_iter().map(|address| Some(Entry { address, value: read(address)? }));
    values.collect::<Option<Vec<_>>>().ok_or(Error::NoContents { section: name }).map(Some)
}
