//! Sections of rseq-dsl in this very program: right ones have no violation, and of the mutations of
//! the protocol those are found that machine code shows.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::collections::BTreeSet;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use cargo_rseq::elf::{self, Image};
use cargo_rseq::list::Protocol;
use cargo_rseq::{Binary, verify};
use rseq::PerCpu;

static SLOTS: PerCpu<AtomicU64> = PerCpu::new();

/// A section with a `prepare` and one without, in a module of their own.
macro_rules! sections {
    ($($module:ident: $($section:ident)::+ [$($mutation:tt)*];)*) => {
        $(
            mod $module {
                use super::*;

                pub fn prepared() {
                    $($section)::+! {
                        $($mutation)*
                        prepare |cpu| { let slot = &SLOTS[cpu]; let next = slot.load(Relaxed) + 1; }
                        commit store(slot, next)
                    }
                }

                pub fn whole() {
                    $($section)::+! {
                        $($mutation)*
                        critical |cpu| {
                            let count = load(&SLOTS[cpu]);
                            let next = count + 1;
                        }
                        commit store(&SLOTS[cpu], next)
                    }
                }
            }
        )*

        /// Has the compiler keep them; mutated ones are never run.
        fn keep() {
            $( black_box([$module::prepared as fn(), $module::whole]); )*
        }
    };
}

sections! {
    good: rseq::rseq [];
    no_check: rseq::__mutant [[no_check]];
    no_arm: rseq::__mutant [[no_arm]];
    no_publish: rseq::__mutant [[no_publish]];
    no_disarm: rseq::__mutant [[no_disarm]];
    start_late: rseq::__mutant [[start_late]];
    start_at_commit: rseq::__mutant [[start_at_commit]];
    start_inside: rseq::__mutant [[start_inside]];
    post_early: rseq::__mutant [[post_early]];
    post_late: rseq::__mutant [[post_late]];
    publish_in_two: rseq::__mutant [[publish_in_two]];
    wrong_signature: rseq::__mutant [[wrong_signature]];
}

/// The findings in each section, by name. A mutation that isn't here leaves the section as it is,
/// or shows in none of its instructions.
const FOUND: &[(&str, &[&str])] = &[
    ("no_arm::whole", &["arming"]),
    ("no_check::prepared", &["armed"]),
    ("no_disarm::prepared", &["disarm"]),
    ("no_publish::prepared", &["arming"]),
    ("post_early::prepared", &["commit", "disarm"]),
    ("post_early::whole", &["commit"]),
    ("post_late::prepared", &["area", "disarm"]),
    ("post_late::whole", &["area"]),
    ("publish_in_two::prepared", &["arming"]),
    ("start_at_commit::prepared", &["arming"]),
    ("start_at_commit::whole", &["arming"]),
    ("start_inside::prepared", &["armed"]),
    ("start_inside::whole", &["arming", "notes"]),
    ("start_late::prepared", &["arming"]),
    ("start_late::whole", &["arming"]),
    ("wrong_signature::prepared", &["signature"]),
    ("wrong_signature::whole", &["signature"]),
];

fn with_this_program<R>(work: impl FnOnce(&Binary<'_>) -> R) -> R {
    keep();
    good::prepared();
    good::whole();
    let bytes = elf::read("/proc/self/exe".as_ref()).expect("Linux has it");
    let image = Image::parse(&bytes).expect("it is an ELF file");
    work(&Binary::read(&image).expect("it has sections"))
}

/// The section that a finding is about.
fn section(binary: &Binary<'_>, finding: &verify::Finding) -> String {
    // A finding that isn't about a window is about its note.
    let is_about = |note: &&cargo_rseq::notes::Note| note.address == finding.address.0;
    let note = binary.sections.notes.values().flatten().find(is_about).map(|note| note.descriptor);
    let rows = binary.list();
    let row = rows
        .iter()
        .find(|row| Some(row.start) == finding.window || Some(row.descriptor.0) == note)
        .expect("it is listed");
    let function = row.function.as_ref().expect("it has a name").trim_start_matches(concat!(module_path!(), "::"));
    function.trim_end_matches("::{{closure}}").to_owned()
}

#[test]
fn mutations_are_found() {
    with_this_program(|binary| {
        let found: BTreeSet<(String, &str)> =
            binary.verify().violations().map(|finding| (section(binary, finding), finding.check)).collect();
        // Where windows without a `prepare` are repeated: optimised, and without debug information,
        // nothing says whose.
        let found: BTreeSet<_> = found
            .into_iter()
            .filter(|(section, _)| section != "rseq_core::expansion::section::window_repeated")
            .collect();
        let expected: BTreeSet<(String, &str)> = FOUND
            .iter()
            .flat_map(|(section, checks)| checks.iter().map(|check| ((*section).to_owned(), *check)))
            .collect();
        assert_eq!(found, expected);
    });
}

#[test]
fn sections_are_listed_by_their_notes() {
    with_this_program(|binary| {
        let rows = binary.list();
        for (function, protocol, kind, operation) in [
            (concat!(module_path!(), "::good::prepared"), Protocol::Prepare, "prepare cpu_id", "store(slot, next)"),
            (concat!(module_path!(), "::good::whole"), Protocol::Window, "critical cpu_id", "store(&SLOTS[cpu], next)"),
        ] {
            let row = rows.iter().find(|row| row.function.as_deref() == Some(function)).expect("it is listed");
            assert_eq!(
                (row.protocol, row.kind.as_deref(), row.operation.as_deref()),
                (protocol, Some(kind), Some(operation))
            );
            assert!(row.file.as_ref().is_some_and(|file| file.ends_with("own.rs")), "{row:?}");
        }
    });
}
