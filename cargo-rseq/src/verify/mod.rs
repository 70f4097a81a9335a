//! Checks windows against the rules that make them restartable: the kernel's, and those that the
//! algorithm and tools rely on. All that is wrong is found at once.

mod arming;
mod arrays;
mod check;
mod code;
mod descriptor;

use std::collections::BTreeSet;
use std::io::{self, Write};

use serde::Serialize;

pub use self::check::{Check, Finding, MAX_FINDINGS, Severity};
use self::check::{Findings, Run, Window, code, file, operands, window};
use crate::Binary;
use crate::list::Row;
use crate::machine;

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

impl Binary<'_> {
    /// Checks everything.
    #[must_use]
    pub fn verify(&self) -> Report {
        verify(self)
    }
}

fn verify(binary: &Binary<'_>) -> Report {
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
