//! Nothing is lost: threads count in per-CPU slots while they are preempted, signalled, moved and
//! fenced, and the sum is exact. Each test has a negative control, the same run with a section that
//! leaves one step of the protocol out: it must lose updates, or the test would prove nothing.
#![cfg(target_os = "linux")]

use std::panic::{catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::time::{Duration, Instant};
use std::{hint, thread};

use rseq::PerCpu;
use rseq_explore::Ran;
use support::explored::{Explored, is_counted};
use support::{
    Count, Disturbance, Steps, forced_portable, in_processes, mode, must_fail, refused, restartable, several_cpus,
    with_own_registration,
};

/// A module with a counter whose sections are compiled by `$section`, with `$mutation` in front.
macro_rules! counter {
    ($name:ident: $($section:ident)::+, $($mutation:tt)*) => {
        mod $name {
            use super::*;

            static SLOTS: PerCpu<AtomicUsize> = PerCpu::new();
            static ABORTS: AtomicU64 = AtomicU64::new(0);

            pub fn add(spin: u32) {
                $($section)::+! {
                    $($mutation)*
                    prepare |cpu| {
                        let slot = &SLOTS[cpu];
                        let count = slot.load(Relaxed);
                        for turn in 0..spin {
                            hint::black_box(turn);
                        }
                    }
                    commit store(slot, count + 1)
                    abort { ABORTS.fetch_add(1, Relaxed); }
                }
            }

            pub fn leave() {
                $($section)::+! {
                    $($mutation)*
                    prepare |cpu| {
                        let slot = &SLOTS[cpu];
                        if hint::black_box(true) {
                            return;
                        }
                    }
                    commit store(slot, 0)
                }
            }

            /// Leaves a section by a panic, without the panic hook's message.
            #[allow(dead_code)]
            pub fn panic() {
                let result = catch_unwind(|| {
                    $($section)::+! {
                        $($mutation)*
                        prepare |cpu| {
                            let slot = &SLOTS[cpu];
                            if hint::black_box(true) {
                                resume_unwind(Box::new(()));
                            }
                        }
                        commit store(slot, 0)
                    }
                });
                assert!(result.is_err());
            }

            #[allow(dead_code)]
            pub fn slots() -> impl Iterator<Item = u64> {
                SLOTS.iter().map(|slot| slot.load(Relaxed) as u64)
            }

            pub fn sum() -> u64 {
                slots().sum()
            }

            #[allow(dead_code)]
            pub fn reset() {
                SLOTS.iter().for_each(|slot| slot.store(0, Relaxed));
            }

            pub fn aborts() -> u64 {
                ABORTS.load(Relaxed)
            }

            pub const COUNT: Count = Count { add, leave, sum, aborts };
            #[allow(dead_code)]
            pub const PANICKING: Count = Count { add, leave: panic, sum, aborts };
        }
    };
}

counter!(whole: rseq::rseq,);
counter!(no_check: rseq::__mutant, [no_check]);
counter!(no_disarm: rseq::__mutant, [no_disarm]);
counter!(no_early_disarm: rseq::__mutant, [no_early_disarm]);

const EACH: u64 = 200_000;
const EACH_OF_A_CONTROL: u64 = 50_000;

fn must_be_exact(count: Count, disturbance: Disturbance) {
    support::must_be_exact(count, disturbance, EACH, restartable());
}

fn control(count: Count, disturbance: Disturbance) {
    support::must_lose(count, disturbance, EACH_OF_A_CONTROL, restartable());
}

#[test]
fn preempted() {
    must_be_exact(whole::COUNT, Disturbance::Preemption);
}

#[test]
fn preempted_without_check() {
    control(no_check::COUNT, Disturbance::Preemption);
}

#[test]
fn signalled() {
    must_be_exact(whole::COUNT, Disturbance::Signals);
}

#[test]
fn signalled_without_check() {
    control(no_check::COUNT, Disturbance::Signals);
}

#[test]
fn signalled_without_disarm() {
    control(no_disarm::COUNT, Disturbance::Signals);
}

#[test]
fn signalled_and_left_early() {
    must_be_exact(whole::COUNT, Disturbance::SignalsLeftEarly);
}

#[test]
fn signalled_and_left_early_without_disarm() {
    control(no_early_disarm::COUNT, Disturbance::SignalsLeftEarly);
}

#[test]
fn signalled_and_panicking() {
    must_be_exact(whole::PANICKING, Disturbance::SignalsPanicking);
}

#[test]
fn signalled_and_panicking_without_disarm() {
    control(no_early_disarm::PANICKING, Disturbance::SignalsPanicking);
}

#[test]
fn moved() {
    must_be_exact(whole::COUNT, Disturbance::Migration);
}

#[test]
fn moved_without_check() {
    control(no_check::COUNT, Disturbance::Migration);
}

#[test]
fn fenced() {
    must_be_exact(whole::COUNT, Disturbance::Fences);
}

#[test]
fn fenced_without_check() {
    control(no_check::COUNT, Disturbance::Fences);
}

/// Whatever instruction they are interrupted at.
#[test]
fn at_every_instruction() {
    support::alone!("at_every_instruction");
    let (add, sum) = (|| whole::add(0), whole::sum);
    Explored { name: "counter", section: &add, conflict: &add, check: &|ran| is_counted(whole::slots(), ran) }
        .must_be_exact_after(&whole::reset);
    // It commits nothing.
    let left = |ran: &Ran<'_, (), ()>| assert_eq!(sum(), ran.conflicts.len() as u64);
    Explored { name: "left early", section: &whole::leave, conflict: &add, check: &left }
        .must_be_exact_after(&whole::reset);
    let unless = || drain::add_unless(&AtomicBool::new(false), 2);
    Explored { name: "drained", section: &unless, conflict: &unless, check: &|ran| is_counted(drain::slots(), ran) }
        .must_be_exact_after(&drain::reset);
}

/// Threads that panic out of sections and leave them early, again and again, count exactly all the
/// same.
#[test]
fn after_panics_and_early_exits() {
    fn add(spin: u32) {
        if spin > 0 {
            whole::panic();
            whole::leave();
        }
        whole::add(spin);
    }
    must_be_exact(Count { add, ..whole::COUNT }, Disturbance::Preemption);
}

#[test]
fn after_panics_and_early_exits_without_check() {
    fn add(spin: u32) {
        if spin > 0 {
            no_check::panic();
            no_check::leave();
        }
        no_check::add(spin);
    }
    control(Count { add, ..no_check::COUNT }, Disturbance::Preemption);
}

/// A drain: `stop` is set, a fence made, and from then on no section that didn't see `stop`
/// commits. How much the sum changed then.
fn changes_after_stop(add_unless: fn(&AtomicBool, u32), sum: fn() -> u64, fence: fn()) -> u64 {
    let (stop, steps) = (AtomicBool::new(false), Steps::default());
    let mut late = 0;
    thread::scope(|scope| {
        let _end = steps.until_dropped();
        for _ in 0..2 {
            scope.spawn(|| {
                while !steps.has_ended() {
                    add_unless(&stop, 2000);
                }
            });
        }
        for _ in 0..400 {
            thread::sleep(Duration::from_micros(100));
            stop.store(true, SeqCst);
            fence();
            let before = sum();
            // The sections that began before are over when this is.
            let wait = Instant::now() + Duration::from_micros(200);
            while Instant::now() < wait {
                hint::spin_loop();
            }
            late += sum().abs_diff(before);
            stop.store(false, SeqCst);
        }
    });
    late
}

macro_rules! drained {
    ($name:ident: $($section:ident)::+, $($mutation:tt)*) => {
        mod $name {
            use super::*;

            static SLOTS: PerCpu<AtomicUsize> = PerCpu::new();

            pub fn add_unless(stop: &AtomicBool, turns: u32) {
                $($section)::+! {
                    $($mutation)*
                    prepare |cpu| {
                        let slot = &SLOTS[cpu];
                        let count = slot.load(Relaxed);
                        if stop.load(Relaxed) {
                            return;
                        }
                        for turn in 0..turns {
                            hint::black_box(turn);
                        }
                    }
                    commit store(slot, count + 1)
                }
            }

            #[allow(dead_code)]
            pub fn slots() -> impl Iterator<Item = u64> {
                SLOTS.iter().map(|slot| slot.load(Relaxed) as u64)
            }

            pub fn sum() -> u64 {
                slots().sum()
            }

            #[allow(dead_code)]
            pub fn reset() {
                SLOTS.iter().for_each(|slot| slot.store(0, Relaxed));
            }
        }
    };
}

drained!(drain: rseq::rseq,);
drained!(drain_without_check: rseq::__mutant, [no_check]);

fn fence() {
    rseq::fence::all().expect("the kernel has fences");
}

#[test]
fn nothing_commits_after_a_fence() {
    println!("mode: {:?}", mode());
    assert_eq!(changes_after_stop(drain::add_unless, drain::sum, fence), 0);
}

#[test]
fn without_fence_something_commits() {
    if several_cpus() {
        must_fail(|| changes_after_stop(drain::add_unless, drain::sum, || {}) != 0);
    }
}

#[test]
fn without_check_a_fence_stops_nothing() {
    if restartable() && several_cpus() {
        must_fail(|| changes_after_stop(drain_without_check::add_unless, drain_without_check::sum, fence) != 0);
    }
}

/// The tests above that must hold in every mode.
const IN_EVERY_MODE: &[&str] = &[
    "preempted",
    "signalled",
    "signalled_and_left_early",
    "signalled_and_panicking",
    "moved",
    "fenced",
    "after_panics_and_early_exits",
    "nothing_commits_after_a_fence",
];

#[test]
fn exact_with_own_registration() {
    in_processes(module_path!(), with_own_registration, IN_EVERY_MODE);
}

#[test]
fn exact_in_portable_mode() {
    in_processes(module_path!(), forced_portable, IN_EVERY_MODE);
}

#[test]
fn exact_where_seccomp_refuses() {
    in_processes(module_path!(), refused, IN_EVERY_MODE);
}

/// In a debug build the window compares the CPU as well: it sees a move that `prepare` caused by a
/// system call, of which kernels from 6.19 on leave no mark. (With one CPU there is nowhere to move
/// to.)
#[test]
#[cfg(debug_assertions)]
fn moved_by_a_system_call_in_prepare() {
    static SLOTS: PerCpu<AtomicUsize> = PerCpu::new();
    let cpus = support::available_cpus();
    if !restartable() || cpus.len() < 2 {
        println!("skipped: needs two CPUs and restartable sequences");
        return;
    }
    thread::spawn(move || {
        // SAFETY: has no precondition.
        let this = unsafe { libc::pthread_self() };
        support::pin(this, &cpus[..1]);
        let mut aborts = 0;
        let slot = rseq::rseq! {
            prepare |cpu| {
                let slot = &SLOTS[cpu];
                let next = slot.load(Relaxed) + 1;
                if aborts == 0 {
                    support::pin(this, &cpus[1..2]);
                }
            }
            commit store(slot, next)
            => cpu
            abort { aborts += 1; }
        };
        assert_eq!((slot.get(), aborts > 0), (cpus[1], true));
    })
    .join()
    .expect("commits on the CPU that it was moved to");
}
