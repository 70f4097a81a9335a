//! Each window in a line or two, and in JSON.

use std::fmt;
use std::io::{self, Write};

use serde::{Serialize, Serializer};

use crate::Binary;
use crate::notes::Note;
use crate::sections::Descriptor;
use crate::source::{Frame, Location};
use crate::window::{Arming, Code};

/// An address, which is hexadecimal in all output.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Address(pub u64);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How a window is armed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Protocol {
    /// Its own descriptor is armed by the last instruction before it: librseq, tcmalloc, and
    /// others.
    Classic,
    /// The same, in a section of rseq-dsl's without a `prepare`, as a note says.
    Window,
    /// The thread's descriptor is armed before `prepare`, which is watched by it, and made to
    /// describe the window in the end.
    Prepare,
    /// It can't be told.
    Unknown,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Classic => "classic",
            Self::Window => "window",
            Self::Prepare => "prepare",
            Self::Unknown => "unknown",
        })
    }
}

impl Protocol {
    fn of(note: Option<&Note>, arming: Arming) -> Self {
        match (note, arming) {
            (Some(note), _) if note.is_prepared() => Self::Prepare,
            (Some(_), _) => Self::Window,
            (None, Arming::Own { .. }) => Self::Classic,
            (None, Arming::Published { .. }) => Self::Prepare,
            (None, Arming::Untold { .. } | Arming::Nothing) => Self::Unknown,
        }
    }
}

/// A window, as it is listed.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The descriptor.
    pub descriptor: Address,
    /// The first instruction.
    pub start: Address,
    /// Behind the last instruction.
    pub end: Address,
    /// The bytes between.
    pub size: u64,
    /// The abort handler.
    pub abort: Address,
    /// Where it may be left to, as the file lists it.
    pub exits: Vec<Address>,
    /// The function that it is in.
    pub function: Option<String>,
    /// The functions that this one is inlined into, one into the next.
    pub inlined_into: Vec<String>,
    /// The file of the source.
    pub file: Option<String>,
    /// The line, from 1.
    pub line: Option<u32>,
    /// The column, from 1.
    pub column: Option<u32>,
    /// How it is armed.
    pub protocol: Protocol,
    /// The kind of window, by its note.
    pub kind: Option<String>,
    /// The commit: as the user wrote it, if a note says that, or else the instruction.
    pub operation: Option<String>,
}

impl Binary<'_> {
    /// A window as it is listed.
    #[must_use]
    pub fn row(&self, descriptor: &Descriptor) -> Row {
        Row::new(self, descriptor, &self.code(descriptor))
    }

    /// All windows, by their addresses.
    #[must_use]
    pub fn list(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = self.sections.descriptors.iter().map(|descriptor| self.row(descriptor)).collect();
        rows.sort_by_key(|row| row.start);
        rows
    }
}

impl Row {
    pub(crate) fn new(binary: &Binary<'_>, descriptor: &Descriptor, code: &Code) -> Self {
        let note = binary.sections.note_of(descriptor);
        let frames = binary.source.frames(descriptor.start);
        let location = location(note, &frames);
        let mut functions = functions(&frames, note.is_some());
        let function = if functions.is_empty() { None } else { Some(functions.remove(0)) };
        let commit = || Some(code.commit()?.text.clone());
        Self {
            descriptor: Address(descriptor.address),
            start: Address(descriptor.start),
            end: Address(descriptor.post_commit()),
            size: descriptor.length,
            abort: Address(descriptor.abort),
            exits: binary.sections.exits_of(descriptor).iter().map(|target| Address(*target)).collect(),
            function,
            inlined_into: functions,
            line: location.as_ref().map(|location| location.line),
            column: location.as_ref().map(|location| location.column).filter(|column| *column != 0),
            file: location.map(|location| location.file),
            protocol: Protocol::of(note, code.arming),
            kind: note.map(|note| note.kind.clone()),
            operation: note.map(|note| note.operation.clone()).or_else(commit),
        }
    }

    /// Where it is in the source, or in what function, or at what address.
    #[must_use]
    pub fn place(&self) -> String {
        match (&self.file, self.line, &self.function) {
            (Some(file), Some(line), _) => format!("{file}:{line}"),
            (_, _, Some(function)) => function.clone(),
            _ => self.start.to_string(),
        }
    }
}

/// By the note, or else by debug information: of the innermost function.
fn location(note: Option<&Note>, frames: &[Frame]) -> Option<Location> {
    match note {
        Some(note) => Some(Location { file: note.file.clone(), line: note.line, column: note.column }),
        None => frames.iter().find_map(|frame| frame.location.clone()),
    }
}

/// The names, the innermost first. rseq-dsl puts each window into a function of its own, which no
/// user has written.
fn functions(frames: &[Frame], is_own: bool) -> Vec<String> {
    let names = frames.iter().filter_map(|frame| frame.function.as_deref());
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    if is_own
        && let Some(first) = names.first_mut()
        && let Some((outer, rest)) = first.rsplit_once("::window")
        && (rest.is_empty() || rest.starts_with('<'))
    {
        *first = outer.to_owned();
    }
    names.dedup();
    names
}

/// Writes the list for people.
///
/// # Errors
/// If it can't be written.
pub fn write(out: &mut dyn Write, rows: &[Row]) -> io::Result<()> {
    let bold = anstyle::Style::new().bold();
    for row in rows {
        writeln!(out, "{bold}{}{bold:#}", row.place())?;
        if row.file.is_some()
            && let Some(function) = &row.function
        {
            writeln!(out, "    in        {function}")?;
        }
        for function in &row.inlined_into {
            writeln!(out, "    inlined   into {function}")?;
        }
        writeln!(out, "    window    {}..{}, {} bytes", row.start, row.end, row.size)?;
        writeln!(out, "    aborts to {}", row.abort)?;
        let kind = row.kind.as_ref().map_or_else(String::new, |kind| format!(" ({kind})"));
        writeln!(out, "    protocol  {}{kind}", row.protocol)?;
        if let Some(operation) = &row.operation {
            writeln!(out, "    commits   {operation}")?;
        }
    }
    writeln!(out, "{} window{}", rows.len(), if rows.len() == 1 { "" } else { "s" })
}
