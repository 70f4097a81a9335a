//! The sections of this test executable: descriptors and the two arrays, read back.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

#[path = "support/elf.rs"]
mod elf;

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

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
    let sections = elf::Sections::of_this_executable();
    println!("{} descriptors", sections.descriptors.len());
    assert!(sections.descriptors.len() >= 2);
    sections.check(0x5305_3053);
}
