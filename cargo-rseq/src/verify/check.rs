//! A check, and what it finds.

use std::io::{self, Write};

use serde::Serialize;

use crate::Binary;
use crate::list::{Address, Row};
use crate::machine::{Instruction, Knowledge};
use crate::sections::Descriptor;
use crate::window::Code;

/// How bad a finding is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A rule is broken.
    Violation,
    /// Worth knowing, and right in some programs.
    Remark,
}

/// Something to say.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The check that found it, by its name in [`CHECKS`](super::CHECKS).
    pub check: &'static str,
    /// Where it is: an instruction, a descriptor, an entry.
    pub address: Address,
    /// The window that it is about.
    pub window: Option<Address>,
    /// The place in the source, or the function.
    pub place: Option<String>,
    /// The instruction that it is about.
    pub instruction: Option<String>,
    /// The mistake.
    pub what: String,
    /// Why it matters.
    pub why: &'static str,
}

/// A check.
#[derive(Debug)]
pub struct Check {
    /// Its name.
    pub name: &'static str,
    /// The knowledge of instructions that it takes.
    pub needs: Knowledge,
    /// The rule, and why there is one.
    pub why: &'static str,
    pub(super) run: Run,
}

#[derive(Debug)]
pub(super) enum Run {
    File(fn(&Binary<'_>, &mut Findings<'_>)),
    Window(fn(&Window<'_>, &mut Findings<'_>)),
}

/// A window that is checked.
#[derive(Debug)]
pub(super) struct Window<'w> {
    pub binary: &'w Binary<'w>,
    pub descriptor: &'w Descriptor,
    pub code: &'w Code,
    pub row: &'w Row,
}

impl Window<'_> {
    /// True if rseq-dsl made it, as far as it says so.
    pub(super) fn has_note(&self) -> bool {
        self.binary.sections.note_of(self.descriptor).is_some()
    }
}

pub(super) const fn file(name: &'static str, run: fn(&Binary<'_>, &mut Findings<'_>), why: &'static str) -> Check {
    Check { name, needs: Knowledge::None, why, run: Run::File(run) }
}

pub(super) const fn window(name: &'static str, run: fn(&Window<'_>, &mut Findings<'_>), why: &'static str) -> Check {
    Check { name, needs: Knowledge::None, why, run: Run::Window(run) }
}

pub(super) const fn code(name: &'static str, run: fn(&Window<'_>, &mut Findings<'_>), why: &'static str) -> Check {
    Check { name, needs: Knowledge::Flow, why, run: Run::Window(run) }
}

pub(super) const fn operands(name: &'static str, run: fn(&Window<'_>, &mut Findings<'_>), why: &'static str) -> Check {
    Check { name, needs: Knowledge::Operands, why, run: Run::Window(run) }
}

/// The findings of a check.
#[derive(Debug)]
pub(super) struct Findings<'f> {
    pub check: &'static Check,
    pub row: Option<&'f Row>,
    pub found: &'f mut Vec<Finding>,
}

impl Findings<'_> {
    pub(super) fn violation(&mut self, address: u64, what: impl Into<String>) {
        self.add(Severity::Violation, address, None, what.into());
    }

    pub(super) fn remark(&mut self, address: u64, what: impl Into<String>) {
        self.add(Severity::Remark, address, None, what.into());
    }

    /// About an instruction.
    pub(super) fn at(&mut self, severity: Severity, instruction: &Instruction, what: impl Into<String>) {
        self.add(severity, instruction.address, Some(instruction.text.clone()), what.into());
    }

    fn add(&mut self, severity: Severity, address: u64, instruction: Option<String>, what: String) {
        if self.found.len() < MAX_FINDINGS {
            self.found.push(Finding {
                severity,
                check: self.check.name,
                address: Address(address),
                window: self.row.map(|row| row.start),
                place: self.row.map(Row::place),
                instruction,
                what,
                why: self.check.why,
            });
        }
    }
}

/// More findings aren't kept.
pub const MAX_FINDINGS: usize = 10_000;

impl Finding {
    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        use anstyle::{AnsiColor, Style};
        let (word, color) = match self.severity {
            Severity::Violation => ("violation", AnsiColor::Red),
            Severity::Remark => ("remark", AnsiColor::Yellow),
        };
        let (color, bold) = (Style::new().fg_color(Some(color.into())).bold(), Style::new().bold());
        writeln!(out, "{color}{word}[{}]{color:#}: {bold}{}{bold:#}", self.check, self.what)?;
        write!(out, "  at   {}", self.address)?;
        if let Some(instruction) = &self.instruction {
            write!(out, ": {instruction}")?;
        }
        writeln!(out)?;
        if let (Some(place), Some(window)) = (&self.place, self.window) {
            writeln!(out, "  in   {place} (window {window})")?;
        }
        Ok(())
    }
}
