//! The code of a window, with what each part of it is for.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use crate::Binary;
use crate::list::{Address, Row};
use crate::machine::{self, Flow, Instruction};
use crate::notes::Note;
use crate::sections::Descriptor;
use crate::source::Location;
use crate::window::{self, Arming, Code};

/// The part with the window, which needs no title if it comes first.
const IN_LINE: &str = "in line";

/// Longer source files aren't shown, in bytes.
const MAX_SOURCE: u64 = 16 << 20;

/// The purpose of an instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Mark {
    /// Puts the window's descriptor in force.
    Arm,
    /// Makes the thread's descriptor, which is in force, describe the window.
    Publish,
    /// The window begins here.
    Start,
    /// Asks whether the window may go on.
    Check,
    /// May leave the window.
    Leave,
    /// The commit.
    Commit,
    /// Takes the descriptor out of force.
    Disarm,
}

impl Mark {
    fn name(self) -> &'static str {
        match self {
            Self::Arm => "arm",
            Self::Publish => "publish",
            Self::Start => "start",
            Self::Check => "check",
            Self::Leave => "leave",
            Self::Commit => "commit",
            Self::Disarm => "disarm",
        }
    }
}

/// An instruction, as it is shown.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// Where it is.
    pub address: Address,
    /// Its purposes.
    pub marks: Vec<Mark>,
    /// As an assembler writes it.
    pub text: String,
    /// The source that it comes from.
    pub source: Option<String>,
}

/// A part of a section's code.
#[derive(Clone, Debug, Serialize)]
pub struct Part {
    /// Its name.
    pub title: String,
    /// Its instructions.
    pub lines: Vec<Line>,
}

/// A section, as it is shown.
#[derive(Clone, Debug, Serialize)]
pub struct Shown {
    /// The window, in a line or two.
    #[serde(flatten)]
    pub row: Row,
    /// Its code: what is in line, and then the ways out and the abort handler, wherever they are.
    pub parts: Vec<Part>,
}

/// The windows to show.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Filter {
    /// Everything.
    All,
    /// The window around an address, or that of a descriptor or an abort handler there.
    Address(u64),
    /// Sections at a line of a source file, by the end of its name.
    Line(String, u32),
    /// Sections in functions with this in their names.
    Function(String),
}

impl Filter {
    /// The one that is meant: `0x1234`, `file.rs:12`, or a part of a function's name.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        if let Some(digits) = text.strip_prefix("0x")
            && let Ok(address) = u64::from_str_radix(digits, 16)
        {
            return Self::Address(address);
        }
        match text.rsplit_once(':') {
            Some((file, line)) if !file.ends_with(':') => match line.parse() {
                Ok(line) => Self::Line(file.to_owned(), line),
                Err(_) => Self::Function(text.to_owned()),
            },
            _ => Self::Function(text.to_owned()),
        }
    }

    fn matches(&self, row: &Row) -> bool {
        match self {
            Self::All => true,
            Self::Address(address) => {
                let address = Address(*address);
                (row.start..row.end).contains(&address) || [row.descriptor, row.abort].contains(&address)
            }
            Self::Line(file, line) => {
                row.line == Some(*line) && row.file.as_ref().is_some_and(|name| Path::new(name).ends_with(file))
            }
            Self::Function(part) => row.function.iter().chain(&row.inlined_into).any(|name| name.contains(part)),
        }
    }
}

/// The sections that match, by their addresses.
#[must_use]
pub fn show(binary: &Binary<'_>, filter: &Filter) -> Vec<Shown> {
    let files = Files::default();
    let mut shown: Vec<Shown> = binary
        .sections
        .descriptors
        .iter()
        .filter_map(|descriptor| {
            let code = binary.code(descriptor);
            let row = Row::new(binary, descriptor, &code);
            filter
                .matches(&row)
                .then(|| Shown { row, parts: Viewer { binary, descriptor, code: &code, files: &files }.parts() })
        })
        .collect();
    shown.sort_by_key(|shown| shown.row.start);
    shown
}

struct Viewer<'v> {
    binary: &'v Binary<'v>,
    descriptor: &'v Descriptor,
    code: &'v Code,
    files: &'v Files,
}

impl Viewer<'_> {
    fn parts(&self) -> Vec<Part> {
        let mark = if matches!(self.code.arming, Arming::Published { .. }) { Mark::Publish } else { Mark::Arm };
        let arming = self.code.arming_instructions().iter().map(|instruction| (vec![mark], instruction));
        let disarm = self.code.disarm.iter().map(|instruction| (vec![Mark::Disarm], instruction));
        let mut parts: Vec<Part> = self.arming_before_prepare().into_iter().collect();
        parts.push(Part { title: IN_LINE.into(), lines: self.lines(arming.chain(self.window()).chain(disarm)) });
        for exit in self.code.exits.iter().filter(|exit| exit.target != self.descriptor.abort) {
            let lines =
                self.lines(exit.instructions.iter().map(|instruction| (self.marks_outside(instruction), instruction)));
            parts.push(Part { title: format!("way out {}", Address(exit.target)), lines });
        }
        let handler = self.code.abort.instructions.iter().map(|instruction| (Vec::new(), instruction));
        let title = match self.binary.image.u32(self.descriptor.abort.wrapping_sub(4)) {
            Some(signature) => {
                format!("abort handler {}, behind the signature {signature:#010x}", Address(self.descriptor.abort))
            }
            None => format!("abort handler {}", Address(self.descriptor.abort)),
        };
        parts.push(Part { title, lines: self.lines(handler) });
        parts
    }

    /// The window, with marks.
    fn window(&self) -> impl Iterator<Item = (Vec<Mark>, &Instruction)> {
        let checked = self.checked();
        let range = self.descriptor.window();
        let last = self.code.window.len().saturating_sub(1);
        self.code.window.iter().enumerate().map(move |(number, instruction)| {
            let leaves = instruction.target().is_some_and(|target| !range.contains(&target));
            let marks = [
                (number == 0, Mark::Start),
                (instruction.address < checked, Mark::Check),
                (leaves && instruction.address >= checked, Mark::Leave),
                (number == last && !instruction.stores.is_empty(), Mark::Commit),
            ];
            (marks.into_iter().filter(|(is, _)| *is).map(|(_, mark)| mark).collect(), instruction)
        })
    }

    /// Where the checks of the window end: by its note, or else behind the last branch to where an
    /// aborted attempt goes on.
    fn checked(&self) -> u64 {
        if let Some(note) = self.binary.sections.note_of(self.descriptor) {
            return note.checked;
        }
        let first = self.binary.sections.exits_of(self.descriptor).first().copied();
        // A window that is published leaves there by itself if it is no longer armed.
        let also = first.filter(|_| matches!(self.code.arming, Arming::Published { .. }));
        let aborted = [Some(self.descriptor.abort), also];
        let is_check = |instruction: &&Instruction| match instruction.flow {
            Flow::Branch(target) => aborted.contains(&Some(target)),
            _ => false,
        };
        self.code.window.iter().rfind(is_check).map_or(self.descriptor.start, Instruction::next)
    }

    fn marks_outside(&self, instruction: &Instruction) -> Vec<Mark> {
        let rseq_cs = self.code.area().map(|area| area.at(8));
        let disarms = |store: &machine::Store| {
            rseq_cs.is_some() && store.place == rseq_cs && store.value == machine::Value::Known(0)
        };
        if instruction.stores.iter().any(disarms) { vec![Mark::Disarm] } else { Vec::new() }
    }

    fn lines<'l>(&self, instructions: impl Iterator<Item = (Vec<Mark>, &'l Instruction)>) -> Vec<Line> {
        let mut before = None;
        instructions
            .map(|(marks, instruction)| {
                let location = self.location(instruction.address);
                // The line of the instruction before needn't be said again.
                let source = location.as_ref().filter(|_| location != before).map(|location| self.files.line(location));
                before = location;
                Line { address: Address(instruction.address), marks, text: instruction.text.clone(), source }
            })
            .collect()
    }

    /// Where an instruction comes from. Of what macros make, debug information names the macro's
    /// lines, of which nobody who reads a section wants to know.
    fn location(&self, address: u64) -> Option<Location> {
        let location = self.binary.source.location(address)?;
        let is_users = |note: &Note| Path::new(&location.file).ends_with(&note.file);
        self.binary.sections.note_of(self.descriptor).is_none_or(is_users).then_some(location)
    }

    /// Where a section with a `prepare` arms: by the notes, in the window's function.
    fn arming_before_prepare(&self) -> Option<Part> {
        self.binary.sections.note_of(self.descriptor).filter(|note| note.is_prepared())?;
        let function = |address| self.binary.image.function(address).map(|(start, _)| start);
        let own = function(self.descriptor.start)?;
        let armings = self.binary.sections.armings.iter().filter(|address| function(**address) == Some(own));
        let stores: Vec<Instruction> =
            armings.filter_map(|address| window::before(self.binary.image, *address)).collect();
        let lines = self.lines(stores.iter().map(|store| (vec![Mark::Arm], store)));
        (!lines.is_empty()).then(|| Part { title: "armed for a `prepare` in this function".into(), lines })
    }
}

/// The source files that were looked at.
#[derive(Default)]
struct Files(RefCell<HashMap<String, Vec<String>>>);

impl Files {
    /// A line, and what is in it if the file is there.
    fn line(&self, location: &Location) -> String {
        let place = format!("{}:{}", location.file, location.line);
        let mut files = self.0.borrow_mut();
        let lines = files.entry(location.file.clone()).or_insert_with(|| read(&location.file).unwrap_or_default());
        match lines.get((location.line as usize).wrapping_sub(1)) {
            Some(text) => format!("{place}  {}", text.trim()),
            None => place,
        }
    }
}

/// The lines of a file of text, if it is a plain file of a decent size: its name may come from a
/// hostile file.
fn read(file: &str) -> Option<Vec<String>> {
    fs::metadata(file).ok().filter(|metadata| metadata.is_file() && metadata.len() <= MAX_SOURCE)?;
    Some(fs::read_to_string(file).ok()?.lines().map(str::to_owned).collect())
}

/// Writes sections for people.
///
/// # Errors
/// If it can't be written.
pub fn write(out: &mut dyn Write, shown: &[Shown]) -> io::Result<()> {
    use anstyle::{AnsiColor, Style};
    let (bold, dim) = (Style::new().bold(), Style::new().dimmed());
    let (green, cyan) =
        (Style::new().fg_color(Some(AnsiColor::Green.into())), Style::new().fg_color(Some(AnsiColor::Cyan.into())));
    for (number, Shown { row, parts }) in shown.iter().enumerate() {
        if number > 0 {
            writeln!(out)?;
        }
        write!(out, "{bold}{}{bold:#}", row.place())?;
        if row.file.is_some()
            && let Some(function) = &row.function
        {
            write!(out, " in {function}")?;
        }
        let kind = row.kind.as_ref().map_or_else(|| row.protocol.to_string(), Clone::clone);
        writeln!(
            out,
            "\n  {kind}, {} bytes{}",
            row.size,
            row.operation.as_ref().map_or_else(String::new, |what| format!(", commits {what}"))
        )?;
        let lines = || parts.iter().flat_map(|part| &part.lines);
        let address = lines().map(|line| line.address.to_string().len()).max().unwrap_or_default();
        let text =
            lines().filter(|line| line.source.is_some()).map(|line| line.text.len()).max().unwrap_or_default().min(48);
        for (number, part) in parts.iter().enumerate() {
            if part.title != IN_LINE || number > 0 {
                writeln!(out, "  {cyan}{}{cyan:#}", part.title)?;
            }
            for line in &part.lines {
                let marks = line.marks.iter().map(|mark| mark.name()).collect::<Vec<_>>().join(" ");
                let at = line.address.to_string();
                write!(out, "  {at:>address$}  {green}{marks:12}{green:#}  ")?;
                match &line.source {
                    Some(source) => writeln!(out, "{:text$}  {dim}{source}{dim:#}", line.text)?,
                    None => writeln!(out, "{}", line.text)?,
                }
            }
        }
    }
    Ok(())
}
