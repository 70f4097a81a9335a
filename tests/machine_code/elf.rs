//! The sections of this test executable: descriptors and the two arrays.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

use super::sections::Sections;
use rseq::{PerCpu, rseq};

static SLOTS: PerCpu<AtomicU64> = PerCpu::new();
static BYTES: PerCpu<AtomicU8> = PerCpu::new();

#[test]
fn sections_are_whole() {
    rseq! {
        prepare |cpu| { let slot = &SLOTS[cpu]; let next = slot.load(Relaxed) + 1; }
        commit store(slot, next)
    }
    rseq! {
        prepare |cpu| { let slot = &BYTES[cpu]; }
        commit store_release(slot, 1)
    }
    rseq! {
        commit |cpu| add(&SLOTS[cpu], 1)
    }
    let line = line!() + 1;
    let number = rseq! {
        critical |cpu| {
            let number = load(&SLOTS[cpu]);
            if number == 7 { exit 7 }
            if number == 9 { exit 9 }
        }
        commit add(&BYTES[cpu], 1)
        => number
    };
    assert!(number > 0);
    let sections = Sections::of(Path::new("/proc/self/exe"));
    println!("{} descriptors", sections.descriptors.len());
    assert!(sections.descriptors.len() >= 4);
    sections.check(0x5305_3053);
    let (kind, operation) = ("critical cpu_id", "add(&BYTES[cpu], 1)");
    let note = sections.notes.iter().find(|note| note.texts == [file!(), kind, operation]);
    assert_eq!(note.map(|note| (note.line, note.column)), Some((line + 1, 9)), "{:x?}", sections.notes);
    assert!(sections.armed.len() >= 2, "two sections arm");
    assert!(sections.exits.len() >= sections.descriptors.len() + 2, "exits are listed as well");
}
