//! The notes that rseq-dsl leaves in its users' programs: where a section is in its source, and
//! what it does.

use rseq_abi::note::{self, window};
pub use rseq_abi::section::NOTES;

use crate::elf::Image;
use crate::error::Error;
use crate::limits::MAX_ENTRIES;

/// A window, as a note describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    /// Where the note is.
    pub address: u64,
    /// The window's descriptor.
    pub descriptor: u64,
    /// The first instruction of the window behind its checks, or its start if it has none.
    pub checked: u64,
    /// The section in its source: the file, as the compiler named it.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
    /// The kind of window: `prepare` or `critical`, and by which index.
    pub kind: String,
    /// The commit, as the user wrote it.
    pub operation: String,
}

impl Note {
    /// True if the section has a `prepare`, so that it is the thread's own descriptor that is
    /// armed.
    #[must_use]
    pub fn is_prepared(&self) -> bool {
        self.kind.split_whitespace().next() == Some("prepare")
    }
}

/// A note that can't be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NoteError {
    /// Where it is.
    pub address: u64,
    /// The mistake.
    pub what: &'static str,
}

/// All notes of a file.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub windows: Vec<Note>,
    pub armings: Vec<u64>,
    pub broken: Vec<NoteError>,
}

/// Reads the notes; a file without any is as good.
pub(crate) fn read(image: &Image<'_>) -> Result<Notes, Error> {
    let mut notes = Notes::default();
    // The smallest has a head, a name and one number.
    const SMALLEST: u64 = note::HEADER as u64 + note::NAME_LENGTH.next_multiple_of(note::ALIGNMENT) as u64 + 4;
    let most = image.sections_named(NOTES).fold(0_u64, |most, section| most.saturating_add(section.size / SMALLEST));
    if most > MAX_ENTRIES {
        return Err(Error::TooManyEntries { section: NOTES, entries: most });
    }
    for section in image.sections_named(NOTES) {
        let reader = Reader { image, end: section.range().end };
        let mut next = section.address;
        while next < reader.end {
            match reader.note(next, &mut notes) {
                Ok(after) => next = after,
                Err(what) => {
                    notes.broken.push(NoteError { address: next, what });
                    break;
                }
            }
        }
    }
    Ok(notes)
}

struct Reader<'i, 'data> {
    image: &'i Image<'data>,
    end: u64,
}

impl Reader<'_, '_> {
    /// Reads the note at this address, and says where the next one is.
    fn note(&self, address: u64, notes: &mut Notes) -> Result<u64, &'static str> {
        const CUT: &str = "it ends outside of the section";
        let number = |offset| self.number(address, offset).ok_or(CUT);
        let (name_bytes, bytes, ty) = (u64::from(number(0)?), u64::from(number(4)?), number(8)?);
        let name = address.checked_add(note::HEADER.into()).ok_or(CUT)?;
        let description = name.checked_add(padded(name_bytes)).ok_or(CUT)?;
        let next = description.checked_add(padded(bytes)).filter(|next| *next <= self.end).ok_or(CUT)?;
        let name = self.image.bytes(name, name_bytes).ok_or(CUT)?;
        if name.strip_suffix(&[0]) != Some(note::NAME.as_bytes()) {
            return Ok(next);
        }
        match ty {
            note::WINDOW => notes.windows.push(self.window(address, description, bytes)?),
            note::ARMED => notes.armings.push(self.relative(description, 0).ok_or("it has no address")?),
            _ => {}
        }
        Ok(next)
    }

    fn number(&self, address: u64, offset: u32) -> Option<u32> {
        self.image.u32(address.checked_add(offset.into())?)
    }

    /// The target of a field that says how far that is from itself.
    fn relative(&self, description: u64, offset: u32) -> Option<u64> {
        let distance = self.number(description, offset)?.cast_signed();
        let address = description.wrapping_add(offset.into()).wrapping_add_signed(distance.into());
        // Where addresses have 32 bits, so have sums of them.
        Some(if self.image.architecture().pointer_bytes() == 4 { address & u64::from(u32::MAX) } else { address })
    }

    fn window(&self, address: u64, description: u64, bytes: u64) -> Result<Note, &'static str> {
        const SHORT: &str = "it is too short for what its type says";
        let texts = u64::from(window::TEXTS);
        let strings =
            bytes.checked_sub(texts).and_then(|length| self.image.bytes(description + texts, length)).ok_or(SHORT)?;
        let mut strings = strings.split_inclusive(|byte| *byte == 0);
        let mut string = || {
            let text = strings.next()?.strip_suffix(&[0])?;
            Some(String::from_utf8_lossy(text).into_owned())
        };
        let mut next = || string().ok_or("a text in it has no end");
        Ok(Note {
            address,
            descriptor: self.relative(description, window::DESCRIPTOR).ok_or(SHORT)?,
            checked: self.relative(description, window::CHECKED).ok_or(SHORT)?,
            line: self.number(description, window::LINE).ok_or(SHORT)?,
            column: self.number(description, window::COLUMN).ok_or(SHORT)?,
            file: next()?,
            kind: next()?,
            operation: next()?,
        })
    }
}

/// Names and descriptions of notes are aligned.
fn padded(bytes: u64) -> u64 {
    bytes.next_multiple_of(note::ALIGNMENT.into())
}
