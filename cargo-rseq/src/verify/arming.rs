//! The protection of a window: the descriptor that is in force while it runs.

use super::check::{Findings, Severity, Window};
use crate::machine::{Flow, Instruction};
use crate::window::{Arming, Content};

/// The descriptor that is armed or published is the window's, and in time.
pub fn armed(window: &Window<'_>, findings: &mut Findings<'_>) {
    let (approach, own) = (&window.code.approach, window.descriptor);
    match window.code.arming {
        Arming::Own { at, descriptor, .. } => {
            if descriptor != own.address {
                let what = format!("it arms the descriptor {descriptor:#x}; this window's is {:#x}", own.address);
                findings.at(Severity::Violation, &approach[at], what);
            }
            if let Some(between) = approach.get(at + 1) {
                findings.at(
                    Severity::Violation,
                    between,
                    "an instruction stands between arming and the start of the window",
                );
            }
        }
        Arming::Published { at, content, .. } => {
            for what in differences(content, window) {
                findings.at(Severity::Violation, &approach[at], what);
            }
        }
        Arming::Untold { at } if window.has_note() => {
            findings.at(Severity::Violation, &approach[at], "this isn't how the window's descriptor is armed");
        }
        Arming::Untold { at } => {
            let what = "it can't be told whether this arms the window: what it stores is computed further away";
            findings.at(Severity::Remark, &approach[at], what);
        }
        // A window without executable code, or that can't be read, is reported as such.
        Arming::Nothing if window.code.window.is_empty() => {}
        Arming::Nothing => {
            findings.violation(own.start, "nothing that leads to the window in a straight line arms its descriptor")
        }
    }
}

/// The fields of a thread's descriptor that are wrong.
fn differences(content: Content, window: &Window<'_>) -> Vec<String> {
    let own = window.descriptor;
    let parts = [
        ("start", content.start, own.start),
        ("length", content.length, own.length),
        ("abort handler", content.abort, own.abort),
    ];
    let different = parts.into_iter().filter(|(_, told, own)| *told != Some(*own));
    different
        .map(|(part, told, own)| match told {
            Some(told) => format!("the thread's descriptor is told the {part} {told:#x}; this window's is {own:#x}"),
            None => format!("the thread's descriptor isn't told the window's {part}, {own:#x}"),
        })
        .collect()
}

/// A window that is published begins with the question whether the thread's descriptor is still in
/// force.
pub fn checked(window: &Window<'_>, findings: &mut Findings<'_>) {
    if !matches!(window.code.arming, Arming::Published { .. }) {
        return;
    }
    let range = window.descriptor.window();
    let leaves = |branch: &Instruction| matches!(branch.flow, Flow::Branch(target) if !range.contains(&target));
    let is_checked = window.code.asks().is_some() && window.code.window.get(1).is_some_and(leaves);
    if let (Some(first), false) = (window.code.window.first(), is_checked) {
        let what = "the window doesn't begin by asking whether the thread's descriptor is still armed";
        findings.at(Severity::Violation, first, what);
    }
}

/// Behind a window that is published, the thread's descriptor is taken out of force.
pub fn disarmed(window: &Window<'_>, findings: &mut Findings<'_>) {
    let is_published = matches!(window.code.arming, Arming::Published { .. });
    if is_published && window.code.disarm.is_none() && !window.code.window.is_empty() {
        findings.violation(
            window.descriptor.post_commit(),
            "the instruction behind the window doesn't disarm the thread's descriptor",
        );
    }
}
