//! The instructions of a window.

use std::collections::BTreeSet;

use super::check::{Findings, Severity, Window};
use crate::machine::{Flow, Instruction, Place};
use crate::window::follow;

/// Every byte belongs to an instruction, and the last one ends where the window does.
pub fn instructions(window: &Window<'_>, findings: &mut Findings<'_>) {
    let Some(last) = window.code.window.last() else { return };
    let end = window.descriptor.post_commit();
    if last.flow == Flow::Invalid {
        findings.at(Severity::Violation, last, format!("the window, up to {end:#x}, can't be disassembled from here on: it ends in the middle of an instruction, or this is none"));
    }
}

/// The last instruction is one store.
pub fn commit(window: &Window<'_>, findings: &mut Findings<'_>) {
    let Some(commit) = window.code.commit().filter(|commit| commit.flow != Flow::Invalid) else { return };
    if commit.stores.is_empty() {
        findings.at(Severity::Violation, commit, "the window's last instruction stores nothing");
    } else if commit.repeats {
        findings.at(
            Severity::Violation,
            commit,
            "the window's last instruction stores in several steps, between which it can be interrupted",
        );
    }
}

/// Stores before the commit: a remark, if nobody vouches for them.
pub fn stores(window: &Window<'_>, findings: &mut Findings<'_>) {
    if window.has_note() {
        return; // What `critical` stores is in its source, as such.
    }
    let [before @ .., _] = window.code.window.as_slice() else { return };
    for store in before.iter().filter(|instruction| !instruction.stores.is_empty()) {
        findings.at(Severity::Remark, store, "the window stores before its commit");
    }
}

/// Where the window branches to.
pub fn branches(window: &Window<'_>, findings: &mut Findings<'_>) {
    let boundaries: BTreeSet<u64> = window.code.window.iter().map(|instruction| instruction.address).collect();
    let listed = window.binary.sections.exits_of(window.descriptor);
    let vouched = window.has_note() || !listed.is_empty();
    let range = window.descriptor.window();
    for branch in &window.code.window {
        let Some(target) = branch.target() else { continue };
        if range.contains(&target) {
            if !boundaries.contains(&target) {
                findings.at(
                    Severity::Violation,
                    branch,
                    format!("it branches into the middle of an instruction, {target:#x}"),
                );
            }
        } else if target != window.descriptor.abort && !listed.contains(&target) {
            let severity =
                if vouched && !leads_to_listed(window, target) { Severity::Violation } else { Severity::Remark };
            findings.at(
                severity,
                branch,
                format!("it leaves the window to {target:#x}, which isn't listed as a way out"),
            );
        }
    }
}

/// True if a place outside of the window leads to a way out that is listed, after some instructions
/// that put registers back: as in librseq's copies.
fn leads_to_listed(window: &Window<'_>, target: u64) -> bool {
    let listed = window.binary.sections.exits_of(window.descriptor);
    let way = follow(window.binary.image, target);
    way.instructions.last().is_some_and(|last| matches!(last.flow, Flow::Jump(target) if listed.contains(&target)))
}

/// Nothing is called, and nothing goes where only a register says.
pub fn calls(window: &Window<'_>, findings: &mut Findings<'_>) {
    for instruction in &window.code.window {
        let what = match instruction.flow {
            Flow::Call => "the window calls a function",
            Flow::Return => "the window returns",
            Flow::Indirect => "the window branches to where only a register or memory says",
            Flow::Kernel => "the window calls the kernel",
            Flow::Trap => "the window has an instruction that traps",
            Flow::Next | Flow::Jump(_) | Flow::Branch(_) | Flow::Invalid => continue,
        };
        findings.at(Severity::Violation, instruction, what);
    }
}

/// The stack pointer stays as it is.
pub fn stack(window: &Window<'_>, findings: &mut Findings<'_>) {
    // A jump elsewhere is reported as such.
    let moves = |instruction: &&Instruction| instruction.moves_stack && instruction.flow == Flow::Next;
    for instruction in window.code.window.iter().filter(moves) {
        findings.at(Severity::Violation, instruction, "the window changes the stack pointer");
    }
}

/// The fields of the thread's area (`struct rseq`), with their places in it in bytes.
const FIELDS: &[(&str, i64, i64)] = &[
    ("cpu_id_start", 0, 4),
    ("cpu_id", 4, 8),
    ("rseq_cs", 8, 16),
    ("flags", 16, 20),
    ("node_id", 20, 24),
    ("mm_cid", 24, 28),
    ("slice_ctrl", 28, 32),
];

/// Nothing is written to the thread's area, which is recognised by how the window, or what arms it,
/// addresses it.
pub fn area(window: &Window<'_>, findings: &mut Findings<'_>) {
    let Some(area) = window.code.area() else { return };
    for instruction in &window.code.window {
        for store in &instruction.stores {
            if let Some(field) = store.place.and_then(|place| field(place, area, store.bytes)) {
                findings.at(
                    Severity::Violation,
                    instruction,
                    format!("the window writes to {field} of the thread's area"),
                );
            }
        }
        if instruction.sets.iter().any(|(set, _)| area.registers().any(|register| register == *set)) {
            break; // From here on this register is no longer the area's.
        }
    }
}

/// The first field that so many bytes at a place touch.
fn field(place: Place, area: Place, bytes: u64) -> Option<&'static str> {
    let first = place.distance_from(area)?;
    let end = first.checked_add(i64::try_from(bytes).ok()?.max(1))?;
    FIELDS.iter().find(|(_, from, to)| first < *to && *from < end).map(|(name, ..)| *name)
}
