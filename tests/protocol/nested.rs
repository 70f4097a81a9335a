//! Sections inside sections, which the macro refuses where it sees them: called from `prepare`, run
//! by a handler, in a child of `fork`.
#![cfg(target_os = "linux")]

use std::hint;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

use rseq::{PerCpu, rseq};
use support::explored::{Explored, is_counted};
use support::{Steps, forced_portable, here, in_child, mode, must_pass, one_run};

static SLOTS: PerCpu<AtomicUsize> = PerCpu::new();

fn sum() -> usize {
    SLOTS.iter().map(|slot| slot.load(Relaxed)).sum()
}

fn inner() {
    rseq! {
        prepare |cpu| { let slot = &SLOTS[cpu]; let next = slot.load(Relaxed) + 1; }
        commit store(slot, next)
    }
}

fn inner_window() {
    rseq! { commit |cpu| add(&SLOTS[cpu], 1) }
}

/// The sections that others run in their `prepare`, whatever instruction they are interrupted at.
#[test]
fn at_every_instruction() {
    support::alone!("at_every_instruction");
    let slots = || SLOTS.iter().map(|slot| slot.load(Relaxed) as u64);
    let reset = || SLOTS.iter().for_each(|slot| slot.store(0, Relaxed));
    let sections: [(&str, fn()); 2] = [("inner", inner), ("inner window", inner_window)];
    for (name, section) in sections {
        Explored { name, section: &section, conflict: &inner, check: &|ran| is_counted(slots(), ran) }
            .must_be_exact_after(&reset);
    }
}

/// Runs another section in `prepare` the first `times` times. Returns the number of aborts.
fn outer(times: u32) -> u32 {
    let mut aborts = 0;
    rseq! {
        prepare |cpu| {
            let slot = &SLOTS[cpu];
            let next = slot.load(Relaxed) + 1;
            if aborts < times {
                inner();
            }
        }
        commit store(slot, next)
        abort { aborts += 1; }
    }
    aborts
}

/// An inner section makes the outer one abort, in every mode, and both count.
#[test]
fn an_inner_section_aborts_the_outer_one() {
    let _run = one_run();
    println!("mode: {:?}", mode());
    let before = sum();
    let aborts = outer(3);
    assert!(aborts >= 3, "{aborts}");
    assert_eq!(sum() - before, 4);
}

#[test]
fn an_inner_section_aborts_the_outer_one_in_portable_mode() {
    must_pass(forced_portable(here!("an_inner_section_aborts_the_outer_one")));
}

/// A section that is all window does so as well.
#[test]
fn an_inner_window_aborts_the_outer_section() {
    let _run = one_run();
    println!("mode: {:?}", mode());
    let before = sum();
    let mut aborts = 0;
    rseq! {
        prepare |cpu| {
            let slot = &SLOTS[cpu];
            let next = slot.load(Relaxed) + 1;
            if aborts < 3 {
                inner_window();
            }
        }
        commit store(slot, next)
        abort { aborts += 1; }
    }
    assert!(aborts >= 3, "{aborts}");
    assert_eq!(sum() - before, 4);
}

#[test]
fn an_inner_window_aborts_the_outer_section_in_portable_mode() {
    must_pass(forced_portable(here!("an_inner_window_aborts_the_outer_section")));
}

/// In portable mode an endless run of inner sections is found out. It leaves nothing locked.
#[test]
#[ignore = "run by `endless_nesting_panics_in_portable_mode` in a process in portable mode"]
fn endless_nesting_in_process() {
    println!("mode: {:?}", mode());
    let panicked = std::panic::catch_unwind(|| outer(u32::MAX)).expect_err("it can't commit");
    let message = panicked.downcast_ref::<String>().map(String::as_str).or_else(|| panicked.downcast_ref().copied());
    assert!(message.is_some_and(|message| message.contains("move the inner section out of `prepare`")), "{message:?}");
    let before = sum();
    std::thread::spawn(inner).join().expect("the slot is free");
    inner();
    assert_eq!(sum() - before, 2);
}

#[test]
fn endless_nesting_panics_in_portable_mode() {
    must_pass(forced_portable(here!("endless_nesting_in_process")));
}

/// A child that is forked while other threads are inside sections runs its own.
#[test]
fn a_forked_child_runs_sections() {
    println!("mode: {:?}", mode());
    let steps = Steps::default();
    std::thread::scope(|scope| {
        let _end = steps.until_dropped();
        for _ in 0..4 {
            scope.spawn(|| {
                while !steps.has_ended() {
                    rseq! {
                        prepare |cpu| {
                            let slot = &SLOTS[cpu];
                            let next = slot.load(Relaxed);
                            (0..1000).for_each(|turn| { hint::black_box(turn); });
                        }
                        commit store(slot, next)
                    }
                }
            });
        }
        for _ in 0..50 {
            assert_eq!(
                in_child(|| {
                    let before = sum();
                    (0..100).for_each(|_| inner());
                    sum() - before == 100
                }),
                0
            );
        }
    });
}

#[test]
fn a_forked_child_runs_sections_in_portable_mode() {
    must_pass(forced_portable(here!("a_forked_child_runs_sections")));
}

/// The first use of a `PerCpu` inside a section starts that section again.
#[test]
fn the_first_use_of_slots_restarts_the_section() {
    static FRESH: PerCpu<AtomicU32> = PerCpu::new();
    let mut aborts = 0;
    rseq! {
        prepare |cpu| { let slot = &FRESH[cpu]; let next = slot.load(Relaxed) + 1; }
        commit store(slot, next)
        abort { aborts += 1; }
    }
    assert!(aborts >= 1 || !support::restartable());
    assert_eq!(FRESH.iter().map(|slot| slot.load(Relaxed)).sum::<u32>(), 1);
}
