//! The arrays and the notes, by which tools know of windows.

use std::collections::BTreeMap;

use super::check::Findings;
use crate::Binary;
use crate::sections::{EXITS, POINTERS};
use crate::window::{Arming, Code};

/// Sections of whole entries.
pub fn sizes(binary: &Binary<'_>, findings: &mut Findings<'_>) {
    for (section, address, bytes) in &binary.sections.leftovers {
        findings.violation(*address, format!("{section} ends with {bytes} bytes that are no whole entry"));
    }
}

/// Each descriptor is listed once, and nothing else is.
pub fn pointers(binary: &Binary<'_>, findings: &mut Findings<'_>) {
    let Some(pointers) = &binary.sections.pointers else {
        return findings.remark(
            first_descriptor(binary),
            format!("there is no {POINTERS}: a linker may have dropped it as unused"),
        );
    };
    let mut listed: BTreeMap<u64, u64> = BTreeMap::new();
    for pointer in pointers {
        if !binary.sections.is_descriptor(pointer.value) {
            findings.violation(pointer.address, format!("{POINTERS} has {:#x}, where no descriptor is", pointer.value));
        }
        *listed.entry(pointer.value).or_default() += 1;
    }
    for descriptor in &binary.sections.descriptors {
        match listed.get(&descriptor.address).copied().unwrap_or_default() {
            0 => findings
                .violation(descriptor.address, format!("{POINTERS} lacks the descriptor {:#x}", descriptor.address)),
            1 => {}
            times => {
                let what = format!("{POINTERS} has the descriptor {:#x} {times} times", descriptor.address);
                findings.violation(descriptor.address, what);
            }
        }
    }
}

/// Each way out is a window's, and leads outside of it.
pub fn exits(binary: &Binary<'_>, findings: &mut Findings<'_>) {
    let Some(exits) = &binary.sections.exits else {
        return findings
            .remark(first_descriptor(binary), format!("there is no {EXITS}: a linker may have dropped it as unused"));
    };
    let ends: BTreeMap<u64, u64> =
        binary.sections.descriptors.iter().map(|descriptor| (descriptor.start, descriptor.post_commit())).collect();
    for entry in exits {
        let (start, target) = (entry.value.start, entry.value.target);
        match ends.get(&start) {
            None => findings
                .violation(entry.address, format!("{EXITS} has a way out of {start:#x}, where no window starts")),
            Some(end) if (start..*end).contains(&target) => {
                let what =
                    format!("{EXITS} has the way out {target:#x}, which is inside of the window {start:#x}..{end:#x}");
                findings.violation(entry.address, what);
            }
            Some(_) if !binary.image.is_code(target..target.saturating_add(1)) => {
                findings.violation(
                    entry.address,
                    format!("{EXITS} has the way out {target:#x}, which isn't in executable memory"),
                );
            }
            Some(_) => {}
        }
    }
}

fn first_descriptor(binary: &Binary<'_>) -> u64 {
    binary.sections.descriptors.first().map_or(0, |descriptor| descriptor.address)
}

/// Notes agree with descriptors and code.
pub fn notes(binary: &Binary<'_>, findings: &mut Findings<'_>) {
    for broken in &binary.sections.broken_notes {
        findings.violation(broken.address, format!("a note can't be read: {}", broken.what));
    }
    for address in &binary.sections.armings {
        if !binary.image.is_code(*address..address.saturating_add(1)) {
            findings.violation(
                *address,
                format!("a note says that {address:#x} is behind an arming, which isn't in executable memory"),
            );
        }
    }
    let descriptors: BTreeMap<_, _> =
        binary.sections.descriptors.iter().map(|descriptor| (descriptor.address, descriptor)).collect();
    for (address, notes) in &binary.sections.notes {
        let Some(descriptor) = descriptors.get(address) else {
            findings.violation(notes[0].address, format!("a note is about {address:#x}, where no descriptor is"));
            continue;
        };
        if let [_, second, ..] = notes.as_slice() {
            findings.violation(second.address, format!("the descriptor {address:#x} has {} notes", notes.len()));
        }
        for note in notes {
            if !(descriptor.start..=descriptor.post_commit()).contains(&note.checked) {
                let what = format!(
                    "a note says that the checks of the window end at {:#x}, which is outside of it",
                    note.checked
                );
                findings.violation(note.address, what);
            }
            let is_prepared = match Code::read(binary.image, &binary.sections, descriptor).arming {
                Arming::Own { .. } => false,
                Arming::Published { .. } => true,
                Arming::Untold { .. } | Arming::Nothing => continue,
            };
            if is_prepared != note.is_prepared() {
                let armed = if is_prepared { "the thread's descriptor" } else { "its own descriptor" };
                findings.violation(
                    note.address,
                    format!("a note says that the window is `{}`, but it is armed by {armed}", note.kind),
                );
            }
        }
    }
}
