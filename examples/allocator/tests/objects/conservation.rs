//! No object is lost, handed out twice or changed by anybody but its owner, whatever disturbs; and
//! all of them are given back.
//!
//! Threads and handlers of signals exchange objects, which they write and check, and free what
//! others allocated. Then everything is freed and trimmed, and the backend, which counts, must have
//! nothing outstanding. The controls are the same allocator by windows that aren't armed, and by a
//! drain without a fence: they must fail.
//!
//! All of them keep objects in every mode, so that the sections are tried in portable mode as well.
//! (The allocator itself hands everything on there: see `layouts` and `global`.)
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::duplicate_mod, reason = "once as it is, and once for each control")]

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use super::heap::{self, FrontEnd, Heap, Ledger};
use crate::{front_end, heaps};
use keeping::front_end::PerCpuAlloc;
use rseq::{Mode, Registrar};
use support::{
    Count, Disturbance, forced_portable, in_child, in_processes, refused, restartable, seccomp, with_own_registration,
};

/// The names that all of them share.
mod common {
    pub const VERSION: u64 = 1 << 16;

    pub fn keeps() -> bool {
        true
    }
}

/// The allocator as it is, but for what it does in portable mode.
#[allow(dead_code, reason = "not all of it is used")]
#[path = "../../src"]
mod keeping {
    use super::super::class;
    use super::common::{VERSION, keeps};
    use ::rseq::{drain, rseq};

    pub mod front_end;
    mod stack;
    mod tier;
}

/// The allocator by sections that nothing interrupts, because they aren't armed.
#[allow(dead_code, reason = "not all of it is used")]
#[path = "../../src"]
mod unarmed {
    macro_rules! section {
        ($($tokens:tt)*) => {
            ::rseq::__mutant! { [no_arm] $($tokens)* }
        };
    }
    use super::super::class;
    use super::common::{VERSION, keeps};
    use ::rseq::drain;
    use section as rseq;

    pub mod front_end;
    mod stack;
    mod tier;
}

/// The allocator by a drain that marks stacks as stopped, and doesn't wait for the sections that
/// are under way.
#[allow(dead_code, reason = "not all of it is used")]
#[path = "../../src"]
mod unfenced {
    mod drain {
        use ::rseq::CpuId;
        use ::rseq::drain::{StopError, Stopped, stop_by};
        use std::sync::atomic::AtomicUsize;

        pub fn stop(number: &AtomicUsize, _: CpuId) -> Result<Stopped<'_>, StopError> {
            stop_by(number, || Ok(()))
        }
    }
    use super::super::class;
    use super::common::{VERSION, keeps};
    use ::rseq::rseq;

    pub mod front_end;
    mod stack;
    mod tier;
}

type Keeping = PerCpuAlloc<Ledger>;
type Unarmed = unarmed::front_end::PerCpuAlloc<Ledger>;
type Unfenced = unfenced::front_end::PerCpuAlloc<Ledger>;
front_end!(Keeping);
front_end!(Unarmed);
front_end!(Unfenced);

/// So many of the layouts are used where threads should meet.
const FEW: usize = 3;

heaps! {
    whole: Heap<PerCpuAlloc<Ledger>> = Heap::new(PerCpuAlloc::new(Ledger::new()));
    few: Heap<PerCpuAlloc<Ledger>> = Heap::of(PerCpuAlloc::new(Ledger::new()), FEW);
    unarmed_for_preemption: Heap<Unarmed> = Heap::of(Unarmed::new(Ledger::keeping()), FEW);
    unarmed_for_signals: Heap<Unarmed> = Heap::of(Unarmed::new(Ledger::keeping()), FEW);
}

const EACH: u64 = 20_000;

fn must_be_exact(count: Count, disturbance: Disturbance) {
    println!("mode: {:?}", support::mode());
    support::must_be_exact(count, disturbance, EACH, false);
}

#[test]
fn preempted() {
    must_be_exact(whole::COUNT, Disturbance::Preemption);
    must_be_exact(few::COUNT, Disturbance::Preemption);
}

#[test]
fn preempted_unarmed() {
    support::must_lose(unarmed_for_preemption::COUNT, Disturbance::Preemption, EACH, restartable());
}

#[test]
fn signalled() {
    must_be_exact(whole::COUNT, Disturbance::Signals);
    must_be_exact(few::COUNT, Disturbance::Signals);
}

#[test]
fn signalled_unarmed() {
    support::must_lose(unarmed_for_signals::COUNT, Disturbance::Signals, EACH, restartable());
}

#[test]
fn moved() {
    must_be_exact(whole::COUNT, Disturbance::Migration);
    must_be_exact(few::COUNT, Disturbance::Migration);
}

#[test]
fn fenced() {
    must_be_exact(whole::COUNT, Disturbance::Fences);
}

/// Runs `work` while another thread trims without pause.
fn while_trimmed<A: FrontEnd + Sync>(heap: &'static Heap<A>, work: impl FnOnce()) {
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Relaxed) {
                // Another may be at it, or too many sections in its way.
                let _ = heap.allocator.trim();
            }
        });
        work();
        ended.store(true, Relaxed);
    });
}

/// Has threads take steps while another one trims. Says whether everything was right.
fn is_right_while_trimmed<A: FrontEnd + Sync>(heap: &'static Heap<A>) -> bool {
    let before = heap.sum();
    while_trimmed(heap, || {
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..EACH).for_each(|_| heap.step(0)));
            }
        });
    });
    heap.sum() == before + 4 * EACH
}

#[test]
fn trimmed_meanwhile() {
    static HEAP: Heap<PerCpuAlloc<Ledger>> = Heap::of(PerCpuAlloc::new(Ledger::new()), FEW);
    println!("mode: {:?}", support::mode());
    for _ in 0..5 {
        assert!(is_right_while_trimmed(&HEAP));
    }
}

#[test]
fn trimmed_meanwhile_unfenced() {
    static HEAP: Heap<Unfenced> = Heap::of(Unfenced::new(Ledger::keeping()), FEW);
    if restartable() && support::several_cpus() {
        support::must_fail(|| !is_right_while_trimmed(&HEAP));
    }
}

/// An object that a thread kept stays with the CPU, for others.
#[test]
fn threads_come_and_go() {
    static HEAP: Heap<PerCpuAlloc<Ledger>> = Heap::new(PerCpuAlloc::new(Ledger::new()));
    println!("mode: {:?}", support::mode());
    for _ in 0..200 {
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..50).for_each(|_| HEAP.step(0)));
            }
        });
    }
    HEAP.must_be_exact();
}

/// A child has what its parent kept, as a copy: it frees all of it, and its parent does the same.
#[test]
fn a_forked_child_gives_everything_back() {
    static HEAP: Heap<PerCpuAlloc<Ledger>> = Heap::new(PerCpuAlloc::new(Ledger::new()));
    println!("mode: {:?}", support::mode());
    let steps = || (0..5_000).for_each(|_| HEAP.step(0));
    steps();
    let before = HEAP.allocator.ledger().outstanding();
    assert_ne!(before, (0, 0));
    let code = in_child(|| {
        let inherited = HEAP.allocator.ledger().outstanding() == before;
        steps();
        let child = HEAP.sum() < 1 << 40 && HEAP.allocator.ledger().outstanding() == (0, 0);
        inherited && child
    });
    assert_eq!(code, 0);
    steps();
    HEAP.must_be_exact();
}

/// A child may be forked while other threads allocate and trim: what they were at is lost to it,
/// and that is all.
#[test]
fn children_go_on_where_other_threads_were_busy() {
    static HEAP: Heap<PerCpuAlloc<Ledger>> = Heap::of(PerCpuAlloc::new(Ledger::new()), FEW);
    println!("mode: {:?}", support::mode());
    let others = heap::meanwhile(&HEAP, 2);
    while_trimmed(&HEAP, || {
        for _ in 0..100 {
            let code = in_child(|| {
                (0..500).for_each(|_| HEAP.step(0));
                HEAP.wrong() == 0
            });
            assert_eq!(code, 0);
        }
    });
    drop(others);
    HEAP.must_be_exact();
}

/// Threads that the kernel refuses use the stacks that no CPU has, beside those that it registered.
/// (Where libc registers threads, none can be refused.)
#[test]
fn refused_threads_work_beside_others() {
    static HEAP: Heap<PerCpuAlloc<Ledger>> = Heap::of(PerCpuAlloc::new(Ledger::new()), FEW);
    if support::mode() != Mode::Rseq(Registrar::Own) {
        println!("skipped: threads aren't registered by this crate");
        return;
    }
    thread::scope(|scope| {
        for refused in [true, false, true, false] {
            scope.spawn(move || {
                if refused {
                    seccomp::refuse_rseq(libc::EPERM).expect("any thread may filter itself");
                }
                (0..EACH).for_each(|_| HEAP.step(0));
            });
        }
    });
    HEAP.must_be_exact();
}

/// The tests above that must hold in every mode.
const IN_EVERY_MODE: &[&str] = &[
    "preempted",
    "signalled",
    "moved",
    "fenced",
    "trimmed_meanwhile",
    "threads_come_and_go",
    "a_forked_child_gives_everything_back",
    "children_go_on_where_other_threads_were_busy",
];

#[test]
fn exact_in_portable_mode() {
    in_processes(module_path!(), forced_portable, IN_EVERY_MODE);
}

#[test]
fn exact_with_own_registration() {
    in_processes(module_path!(), with_own_registration, IN_EVERY_MODE);
    in_processes(module_path!(), with_own_registration, &["refused_threads_work_beside_others"]);
}

#[test]
fn exact_where_seccomp_refuses() {
    in_processes(module_path!(), refused, IN_EVERY_MODE);
}
