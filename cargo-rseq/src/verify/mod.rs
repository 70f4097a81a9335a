//! Checks windows against the rules that make them restartable: the kernel's, and those that the
//! algorithm and tools rely on. All that is wrong is found at once.

mod arming;
mod arrays;
mod code;
mod descriptor;

use std::collections::BTreeSet;
use std::io::{self, Write};

use serde::Serialize;

use crate::Binary;
use crate::list::{Address, Row};
use crate::machine::{self, Instruction, Knowledge};
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
    /// The check that found it, by its name in [`CHECKS`].
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
    run: Run,
}

#[derive(Debug)]
enum Run {
    File(fn(&Binary<'_>, &mut Findings<'_>)),
    Window(fn(&Window<'_>, &mut Findings<'_>)),
}

/// A window that is checked.
#[derive(Debug)]
struct Window<'w> {
    binary: &'w Binary<'w>,
    descriptor: &'w Descriptor,
    code: &'w Code,
    row: &'w Row,
}

impl Window<'_> {
    /// True if rseq-dsl made it, as far as it says so.
    fn has_note(&self) -> bool {
        self.binary.sections.note_of(self.descriptor).is_some()
    }
}

/// All checks, in the order in which they are done.
#[rustfmt::skip]
pub const CHECKS: &[Check] = &[
    file("sections", arrays::sizes, "tools read these sections as arrays of whole entries"),
    file("pointers", arrays::pointers, "debuggers and binary translators find windows by __rseq_cs_ptr_array, and treat those that it lacks as ordinary code"),
    file("exits", arrays::exits, "debuggers and binary translators find the ways out of a window by __rseq_exit_point_array"),
    file("notes", arrays::notes, "notes say what windows are, and must be about windows that there are"),
    window("descriptor", descriptor::form, "the kernel kills a process whose descriptor it doesn't accept"),
    window("window", descriptor::window, "the kernel restarts a thread whose instruction pointer is in this range, and kills the process if it can't be one"),
    window("abort", descriptor::abort, "the kernel moves an interrupted thread to the abort handler: in the window it would refuse, elsewhere than in code the thread would crash"),
    window("signature", descriptor::signature, "the kernel kills the process if the four bytes before the abort handler aren't the signature that the thread was registered with"),
    code("instructions", code::instructions, "the window must begin and end between two instructions, or the kernel restarts what has already been committed"),
    code("commit", code::commit, "the last instruction makes the section's effect visible, in one step: whatever comes before it can be undone by starting again"),
    code("stores", code::stores, "what a window stores before its commit isn't undone when it is aborted: only scratch memory, which nobody looks at before the commit, may be written"),
    code("branches", code::branches, "a window is left by its end, by its abort handler, or by the ways out that __rseq_exit_point_array lists"),
    code("calls", code::calls, "outside of its window a thread isn't restarted, and kernels with CONFIG_DEBUG_RSEQ kill a process that calls them from a window"),
    code("stack", code::stack, "the abort handler runs with the stack pointer of the moment of the interruption"),
    operands("area", code::area, "these fields are the kernel's: from Linux 7.0.10 it kills a process that changes one, and rseq_cs in the middle of a window takes its protection away"),
    operands("arming", arming::armed, "a window is protected only while rseq_cs leads to its descriptor, and an interruption before it starts takes that away again"),
    operands("armed", arming::checked, "whatever interrupts `prepare` clears rseq_cs, which only the window itself can notice in time"),
    operands("disarm", arming::disarmed, "a thread's descriptor that stays armed makes a section that was interrupted by a signal handler believe that nothing happened"),
];

const fn file(name: &'static str, run: fn(&Binary<'_>, &mut Findings<'_>), why: &'static str) -> Check {
    Check { name, needs: Knowledge::None, why, run: Run::File(run) }
}

const fn window(name: &'static str, run: fn(&Window<'_>, &mut Findings<'_>), why: &'static str) -> Check {
    Check { name, needs: Knowledge::None, why, run: Run::Window(run) }
}

const fn code(name: &'static str, run: fn(&Window<'_>, &mut Findings<'_>), why: &'static str) -> Check {
    Check { name, needs: Knowledge::Flow, why, run: Run::Window(run) }
}

const fn operands(name: &'static str, run: fn(&Window<'_>, &mut Findings<'_>), why: &'static str) -> Check {
    Check { name, needs: Knowledge::Operands, why, run: Run::Window(run) }
}

/// The findings of a check.
#[derive(Debug)]
struct Findings<'f> {
    check: &'static Check,
    row: Option<&'f Row>,
    found: &'f mut Vec<Finding>,
}

impl Findings<'_> {
    fn violation(&mut self, address: u64, what: impl Into<String>) {
        self.add(Severity::Violation, address, None, what.into());
    }

    fn remark(&mut self, address: u64, what: impl Into<String>) {
        self.add(Severity::Remark, address, None, what.into());
    }

    /// About an instruction.
    fn at(&mut self, severity: Severity, instruction: &Instruction, what: impl Into<String>) {
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

/// The checks that were made, and their findings.
#[derive(Debug, Serialize)]
pub struct Report {
    /// How many windows the file has.
    pub windows: usize,
    /// The findings: violations and remarks.
    pub findings: Vec<Finding>,
    /// The checks that couldn't be done, because nothing here disassembles for this machine, or not
    /// so far.
    pub not_done: Vec<&'static str>,
    /// Why they couldn't.
    pub not_done_because: Option<&'static str>,
}

impl Report {
    /// The findings that break a rule.
    pub fn violations(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.severity == Severity::Violation)
    }

    fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// Writes the report for people.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut explained = BTreeSet::new();
        for finding in &self.findings {
            finding.write(out)?;
            if explained.insert(finding.check) {
                writeln!(out, "  why  {}", finding.why)?;
            }
        }
        if let Some(because) = self.not_done_because {
            writeln!(out, "not checked: {} ({because})", self.not_done.join(", "))?;
        }
        let (violations, remarks) = (self.count(Severity::Violation), self.count(Severity::Remark));
        writeln!(
            out,
            "{}, {}, {}",
            counted(self.windows, "window"),
            counted(violations, "violation"),
            counted(remarks, "remark")
        )?;
        if self.findings.len() == MAX_FINDINGS {
            writeln!(out, "there may be more: these are as many as are kept")?;
        }
        Ok(())
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

impl Finding {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
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

/// Checks everything.
pub(crate) fn verify(binary: &Binary<'_>) -> Report {
    let knowledge = machine::knowledge(binary.image.architecture());
    let mut found = Vec::new();
    for check in CHECKS {
        if let Run::File(run) = check.run {
            run(binary, &mut Findings { check, row: None, found: &mut found });
        }
    }
    for descriptor in &binary.sections.descriptors {
        let code = binary.code(descriptor);
        let row = Row::new(binary, descriptor, &code);
        let window = Window { binary, descriptor, code: &code, row: &row };
        for check in CHECKS.iter().filter(|check| check.needs <= knowledge) {
            if let Run::Window(run) = check.run {
                run(&window, &mut Findings { check, row: Some(window.row), found: &mut found });
            }
        }
    }
    let not_done: Vec<&str> = CHECKS.iter().filter(|check| check.needs > knowledge).map(|check| check.name).collect();
    let because = (!not_done.is_empty()).then(|| machine::advice(binary.image.architecture()));
    Report { windows: binary.sections.descriptors.len(), findings: found, not_done, not_done_because: because }
}
