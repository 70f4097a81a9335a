//! In debug builds, a section that stores to a slot of another index panics, and says where it
//! stands. What is no slot's, or its own, it may store to.
#![cfg(target_os = "linux")]

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use rseq::{CpuId, IndexKind, MmCid, PerCpu, rseq};
use support::{Panic, forced_portable, in_processes, panic_of, with_own_registration};

static SLOTS: PerCpu<AtomicUsize> = PerCpu::new();
static BY_CID: PerCpu<AtomicUsize, MmCid> = PerCpu::new();

/// A slot that no section of this process has.
fn anothers<T, I: IndexKind>(slots: &PerCpu<T, I>) -> &T {
    slots.iter().last().expect("there are slots")
}

/// In a debug build the section panics where it stands, and afterwards all sections do what they
/// should.
#[track_caller]
fn must_be_refused(line: u32, owner: &str, section: impl FnOnce()) {
    let panic = panic_of(section);
    assert_eq!(panic.is_some(), cfg!(debug_assertions), "line {line}: {panic:?}");
    let Some(Panic { file, line: at, message }) = panic else { return };
    let wanted = format!("stores to a slot of {owner}");
    let is_here = (file.as_str(), at) == (file!(), line);
    assert!(is_here && message.contains(&wanted), "{file}:{at}, not {line}: {message}, not of {owner}");
    let counts: PerCpu<AtomicUsize> = PerCpu::new();
    (0..10).for_each(|_| rseq! { commit |cpu| add(&counts[cpu], 1) });
    assert_eq!(counts.iter().map(|slot| slot.load(Relaxed)).sum::<usize>(), 10);
}

fn cpu() -> String {
    format!("CPU {}", rseq::slots() - 1)
}

fn cid() -> String {
    format!("concurrency id {}", rseq::slots() - 1)
}

#[test]
fn anothers_slot_is_refused() {
    must_be_refused(line!(), &cpu(), || rseq! { commit |_cpu| add(anothers(&SLOTS), 1) });
    must_be_refused(line!(), &cpu(), || rseq! { commit |_| add(anothers(&SLOTS), 1) });
    must_be_refused(line!(), &cpu(), || rseq! { commit |_cpu| add(anothers(&SLOTS), 1) abort {} });
    must_be_refused(line!(), &cpu(), || rseq! { prepare |_cpu| {} commit store(anothers(&SLOTS), 7) });
    let last = CpuId::new(rseq::slots() - 1).expect("it is below their number");
    must_be_refused(line!(), &cpu(), || rseq! { commit |_cpu| add(&SLOTS[last], 1) });
    must_be_refused(line!(), &cid(), || rseq! { commit |_cid: MmCid| add(anothers(&BY_CID), 1) });
    must_be_refused(line!(), &cid(), || rseq! { prepare |_cid: MmCid| {} commit store(anothers(&BY_CID), 7) });
}

/// The same number of the other kind is another thread's.
#[test]
fn a_slot_of_the_other_kind_is_refused() {
    must_be_refused(line!() + 1, "concurrency id ", || {
        rseq! { prepare |cpu| { let slot = &BY_CID[MmCid::new(cpu.get()).unwrap()]; } commit store(slot, 7) }
    });
    must_be_refused(line!() + 1, "CPU ", || {
        rseq! { prepare |cid: MmCid| { let slot = &SLOTS[CpuId::new(cid.get()).unwrap()]; } commit store(slot, 7) }
    });
}

#[test]
fn scratch_stores_and_copies_to_anothers_slot_are_refused() {
    let own = AtomicUsize::new(0);
    must_be_refused(line!() + 1, &cpu(), || {
        rseq! { critical |_cpu| { store(anothers(&SLOTS), 1); } commit store(&own, 1) }
    });
    must_be_refused(line!() + 1, &cpu(), || {
        rseq! { critical |cpu| { store(anothers(&SLOTS), 1); } commit store(&SLOTS[cpu], 1) }
    });
    // Also where it goes on to an exit.
    must_be_refused(line!() + 1, &cpu(), || {
        rseq! {
            critical |_cpu| {
                store(anothers(&SLOTS), 1);
                let loaded = load(&own);
                if loaded == loaded { exit () }
            }
            commit store(&own, 1)
        }
    });
    let bytes = 5_usize;
    must_be_refused(line!() + 3, &cpu(), || {
        // SAFETY: both have as many bytes as are copied.
        unsafe {
            rseq! {
                critical |_cpu| { copy(&raw const bytes, anothers(&SLOTS).as_ptr(), 8); }
                commit store(&own, 1)
            }
        }
    });
}

/// Values that have address space of their own, and what lies deep in them.
#[test]
fn anothers_large_slot_is_refused() {
    // SAFETY: atomics may be zero.
    static LARGE: PerCpu<[AtomicU64; 100_000]> = unsafe { PerCpu::zeroed() };
    must_be_refused(line!(), &cpu(), || rseq! { commit |_cpu| add(&anothers(&LARGE)[99_999], 1) });
    let pointer = anothers(&LARGE)[50_000].as_ptr();
    // SAFETY: it points to an atomic.
    must_be_refused(line!() + 1, &cpu(), || unsafe {
        rseq! { prepare |_cpu| {} commit store(pointer, 1) }
    });
    rseq! { prepare |cpu| { let slot = &LARGE[cpu][99_999]; } commit add(slot, 1) }
    // SAFETY: less than the number of elements.
    unsafe {
        rseq! { commit |cpu| add(&LARGE[cpu][99_999], 1) }
    };
}

/// Its own slot however it comes by it, and what is no slot's at all.
#[test]
fn everything_else_is_let_through() {
    static SHARED: AtomicUsize = AtomicUsize::new(0);
    let (own, boxed) = (AtomicUsize::new(0), Box::new(AtomicUsize::new(0)));
    for _ in 0..100 {
        rseq! { commit |cpu| add(&SLOTS[cpu], 1) }
        rseq! { prepare |cpu| { let slot = &SLOTS[cpu]; } critical { store(slot, 1); } commit add(slot, 1) }
        rseq! { prepare |cid: MmCid| { let slot = &BY_CID[cid]; } commit add(slot, 1) }
        rseq! { prepare |cpu| {} commit add(&SLOTS[cpu], 1) }
        rseq! { commit |_cpu| add(&own, 1) }
        rseq! { commit |_cpu| add(&*boxed, 1) }
        rseq! { prepare |_cpu| {} commit add(&SHARED, 1) }
        // Only stores count.
        rseq! { critical |_cpu| { let seen = load(anothers(&SLOTS)); } commit store(&own, seen) }
    }
}

/// A window that has every register in use can't tell its index as well. It is let through unasked.
#[test]
fn a_window_without_a_register_to_spare_is_compiled() {
    let own = [const { AtomicUsize::new(7) }; 11];
    let place = &own[0];
    rseq! {
        critical |_cpu| {
            let first = load(place);
            store(&own[1], first);
            store(&own[2], first);
            store(&own[3], first);
            store(&own[4], first);
            store(&own[5], first);
            store(&own[6], first);
            store(&own[7], first);
            store(&own[8], first);
            store(&own[9], first);
            store(place, 8);
        }
        commit store(&own[10], first)
    }
    assert_eq!((own[0].load(Relaxed), own[10].load(Relaxed)), (8, 7));
}

const ALL: &[&str] = &[
    "anothers_slot_is_refused",
    "a_slot_of_the_other_kind_is_refused",
    "scratch_stores_and_copies_to_anothers_slot_are_refused",
    "anothers_large_slot_is_refused",
    "everything_else_is_let_through",
];

#[test]
fn with_own_registration_too() {
    in_processes(module_path!(), with_own_registration, ALL);
}

#[test]
fn in_portable_mode_too() {
    in_processes(module_path!(), forced_portable, ALL);
}
