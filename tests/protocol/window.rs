//! Nothing is lost by windows that read, compute and store more than one instruction's worth: with
//! and without `prepare`, by CPU and by concurrency id. As in `exact`, each test has a control that
//! must lose updates. The windows are kept open for long by a `copy`.
#![cfg(target_os = "linux")]

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread;

use rseq::{MmCid, PerCpu, rseq};
use rseq_explore::Ran;
use support::explored::Explored;
use support::{Count, Disturbance, forced_portable, in_processes, mode, refused, restartable, with_own_registration};

/// The bytes that a copy takes for one turn of a disturbed thread.
const BYTES: usize = 16;
/// More turns than any thread asks for.
const TURNS: usize = 400;
static FROM: [u8; BYTES * TURNS] = [1; BYTES * TURNS];

/// A module with a counter whose sections are compiled by `$section`, with `$mutation` in front.
/// The memory that keeps the window open is read by all, and written by the thread alone.
macro_rules! counter {
    ($name:ident, $kind:ident: $($section:ident)::+, [$($mutation:tt)*] $add:tt $leave:tt) => {
        mod $name {
            use super::*;

            static SLOTS: PerCpu<AtomicUsize, rseq::$kind> = PerCpu::new();
            static ABORTS: AtomicU64 = AtomicU64::new(0);

            #[allow(unused_unsafe, unused_variables, reason = "not every section copies")]
            pub fn add(spin: u32) {
                let mut to = MaybeUninit::<[u8; BYTES * TURNS]>::uninit();
                let (from, to, length) = (FROM.as_ptr(), to.as_mut_ptr().cast::<u8>(), BYTES * spin as usize);
                // SAFETY: `length` is no more than each of the two arrays has.
                unsafe { section!(($($section)::+) [$($mutation)*] $add SLOTS ABORTS from to length) }
            }

            pub fn leave() {
                section!(($($section)::+) [$($mutation)*] $leave SLOTS);
            }

            pub fn sum() -> u64 {
                SLOTS.iter().map(|slot| slot.load(Relaxed) as u64).sum()
            }

            #[allow(dead_code)]
            pub fn reset() {
                SLOTS.iter().for_each(|slot| slot.store(0, Relaxed));
            }

            pub fn aborts() -> u64 {
                ABORTS.load(Relaxed)
            }

            pub const COUNT: Count = Count { add, leave, sum, aborts };
        }
    };
}

/// The sections: each adds one, or begins to and leaves by an exit.
macro_rules! section {
    (
        ($($section:ident)::+) [$($mutation:tt)*] (window $cpu:ident $kind:ident)
        $slots:ident $aborts:ident $from:ident $to:ident $length:ident
    ) => {
        $($section)::+! {
            $($mutation)*
            critical |$cpu: $kind| {
                let count = load(&$slots[$cpu]);
                copy($from, $to, $length);
                let next = count + 1;
            }
            commit store(&$slots[$cpu], next)
            abort { $aborts.fetch_add(1, Relaxed); }
        }
    };
    (
        ($($section:ident)::+) [$($mutation:tt)*] (repeated $cpu:ident $kind:ident)
        $slots:ident $aborts:ident $from:ident $to:ident $length:ident
    ) => {
        $($section)::+! {
            $($mutation)*
            critical |$cpu: $kind| {
                let count = load(&$slots[$cpu]);
                copy($from, $to, $length);
                let next = count + 1;
            }
            commit store(&$slots[$cpu], next)
        }
    };
    (
        ($($section:ident)::+) [$($mutation:tt)*] (update $cpu:ident $kind:ident)
        $slots:ident $aborts:ident $from:ident $to:ident $length:ident
    ) => {
        $($section)::+! {
            $($mutation)*
            critical |$cpu: $kind| {
                copy($from, $to, $length);
            }
            commit add(&$slots[$cpu], 1)
            abort { $aborts.fetch_add(1, Relaxed); }
        }
    };
    (
        ($($section:ident)::+) [$($mutation:tt)*] (watched $cpu:ident $kind:ident)
        $slots:ident $aborts:ident $from:ident $to:ident $length:ident
    ) => {
        $($section)::+! {
            $($mutation)*
            prepare |$cpu: $kind| { let slot = &$slots[$cpu]; }
            critical {
                let count = load(slot);
                copy($from, $to, $length);
                let next = count + 1;
            }
            commit store(slot, next)
            abort { $aborts.fetch_add(1, Relaxed); }
        }
    };
    (
        ($($section:ident)::+) [$($mutation:tt)*] (prepared $cpu:ident $kind:ident)
        $slots:ident $aborts:ident $from:ident $to:ident $length:ident
    ) => {
        $($section)::+! {
            $($mutation)*
            prepare |$cpu: $kind| {
                let slot = &$slots[$cpu];
                let count = slot.load(Relaxed);
                for turn in 0..$length / BYTES {
                    std::hint::black_box(turn);
                }
            }
            commit store(slot, count + 1)
            abort { $aborts.fetch_add(1, Relaxed); }
        }
    };
    (($($section:ident)::+) [$($mutation:tt)*] (leave $cpu:ident $kind:ident) $slots:ident) => {
        $($section)::+! {
            $($mutation)*
            critical |$cpu: $kind| {
                let count = load(&$slots[$cpu]);
                if count == count { exit () }
            }
            commit store(&$slots[$cpu], 0)
        }
    };
    (($($section:ident)::+) [$($mutation:tt)*] (leave_watched $cpu:ident $kind:ident) $slots:ident) => {
        $($section)::+! {
            $($mutation)*
            prepare |$cpu: $kind| { let slot = &$slots[$cpu]; }
            critical {
                let count = load(slot);
                if count == count { exit () }
            }
            commit store(slot, 0)
        }
    };
}

counter!(window, CpuId: rseq::rseq, [] (window cpu CpuId) (leave cpu CpuId));
counter!(window_without_arm, CpuId: rseq::__mutant, [[no_arm]] (window cpu CpuId) (leave cpu CpuId));
counter!(repeated, CpuId: rseq::rseq, [] (repeated cpu CpuId) (leave cpu CpuId));
counter!(repeated_without_arm, CpuId: rseq::__mutant, [[no_arm]] (repeated cpu CpuId) (leave cpu CpuId));
counter!(update, CpuId: rseq::rseq, [] (update cpu CpuId) (leave cpu CpuId));
counter!(update_without_arm, CpuId: rseq::__mutant, [[no_arm]] (update cpu CpuId) (leave cpu CpuId));
counter!(watched, CpuId: rseq::rseq, [] (watched cpu CpuId) (leave_watched cpu CpuId));
counter!(watched_without_publish, CpuId: rseq::__mutant, [[no_publish]] (watched cpu CpuId) (leave_watched cpu CpuId));
counter!(watched_without_disarm, CpuId: rseq::__mutant, [[no_disarm]] (prepared cpu CpuId) (leave_watched cpu CpuId));
counter!(watched_leaving, CpuId: rseq::rseq, [] (prepared cpu CpuId) (leave_watched cpu CpuId));
counter!(cid_window, MmCid: rseq::rseq, [] (window cid MmCid) (leave cid MmCid));
counter!(cid_window_without_arm, MmCid: rseq::__mutant, [[no_arm]] (window cid MmCid) (leave cid MmCid));
counter!(cid_prepared, MmCid: rseq::rseq, [] (prepared cid MmCid) (leave_watched cid MmCid));
counter!(
    cid_prepared_without_check, MmCid: rseq::__mutant, [[no_check]]
    (prepared cid MmCid) (leave_watched cid MmCid)
);

const EACH: u64 = 100_000;
const EACH_OF_A_CONTROL: u64 = 20_000;

/// `true` if the sections of the module run restartably; says so if they don't.
fn by_cid_or_cpu(cid: bool) -> bool {
    let there = restartable() && (!cid || rseq::status().has_mm_cid());
    if !there {
        println!("in portable mode or without concurrency ids: no section aborts but by handlers");
    }
    there
}

fn must_be_exact(count: Count, disturbance: Disturbance, cid: bool, counts_aborts: bool) {
    support::must_be_exact(count, disturbance, EACH, counts_aborts && by_cid_or_cpu(cid));
}

fn control(count: Count, disturbance: Disturbance, cid: bool) {
    support::must_lose(count, disturbance, EACH_OF_A_CONTROL, by_cid_or_cpu(cid));
}

macro_rules! tests {
    ($(fn $test:ident: $disturbance:ident, $exact:ident $(/ fn $control_test:ident: $control:ident)?;)*) => {$(
        #[test]
        fn $test() {
            let (cid, counts) = (stringify!($exact).starts_with("cid"), stringify!($exact) != "repeated");
            must_be_exact($exact::COUNT, Disturbance::$disturbance, cid, counts);
        }
        $(
            #[test]
            fn $control_test() {
                control($control::COUNT, Disturbance::$disturbance, stringify!($control).starts_with("cid"));
            }
        )?
    )*};
}

tests! {
    fn preempted: Preemption, window / fn preempted_without_arm: window_without_arm;
    fn signalled: Signals, window / fn signalled_without_arm: window_without_arm;
    fn moved: Migration, window / fn moved_without_arm: window_without_arm;
    fn fenced: Fences, window / fn fenced_without_arm: window_without_arm;
    fn repeated_by_itself: Preemption, repeated / fn repeated_by_itself_without_arm: repeated_without_arm;
    fn updated_in_place: Preemption, update;
    fn watched_preempted: Preemption, watched / fn watched_preempted_without_publish: watched_without_publish;
    fn watched_signalled: Signals, watched / fn watched_signalled_without_publish: watched_without_publish;
    fn watched_moved: Migration, watched;
    fn left_by_an_exit: SignalsLeftEarly, watched_leaving / fn left_by_an_exit_without_disarm: watched_without_disarm;
    fn left_a_window_by_an_exit: SignalsLeftEarly, window;
    fn by_cid_preempted: Preemption, cid_window / fn by_cid_preempted_without_arm: cid_window_without_arm;
    fn by_cid_moved: Migration, cid_window;
    fn by_cid_signalled: Signals, cid_window;
    fn by_cid_prepared: Preemption, cid_prepared / fn by_cid_prepared_without_check: cid_prepared_without_check;
    fn by_cid_prepared_and_moved: Migration, cid_prepared;
}

/// An update in place can't be interrupted, so without the window it goes wrong only between
/// reading the index and the update: on the CPU that the thread was taken from.
#[test]
fn updated_in_place_without_arm() {
    control(update_without_arm::COUNT, Disturbance::Migration, false);
}

/// Each kind, whatever instruction it is interrupted at; and a section that commits nothing,
/// because it leaves by an exit.
#[test]
fn at_every_instruction() {
    support::alone!("at_every_instruction");
    macro_rules! kinds {
        ($($kind:ident),*) => {$(
            let add = || $kind::add(2);
            let counted = |ran: &Ran<'_, (), ()>| assert_eq!($kind::sum(), ran.total() as u64);
            let kind = Explored { name: stringify!($kind), section: &add, conflict: &add, check: &counted };
            kind.must_be_exact_after(&$kind::reset);
            let left = |ran: &Ran<'_, (), ()>| assert_eq!($kind::sum(), ran.conflicts.len() as u64);
            let name = concat!(stringify!($kind), ", left");
            Explored { name, section: &$kind::leave, conflict: &add, check: &left }.must_be_exact_after(&$kind::reset);
        )*};
    }
    kinds!(window, repeated, update, watched, watched_leaving, cid_window, cid_prepared);
}

/// The tests that must hold in every mode.
const IN_EVERY_MODE: &[&str] = &[
    "preempted",
    "signalled",
    "moved",
    "repeated_by_itself",
    "watched_preempted",
    "watched_signalled",
    "left_by_an_exit",
    "left_a_window_by_an_exit",
    "by_cid_preempted",
    "by_cid_signalled",
    "by_cid_prepared",
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

/// A concurrency id is below the number of threads that run, and no two threads have one at a time.
#[test]
fn concurrency_ids_are_few() {
    static SEEN: PerCpu<AtomicUsize, MmCid> = PerCpu::new();
    println!("mode: {:?}", mode());
    let most = thread::available_parallelism().map_or(1, usize::from);
    for _ in 0..100 {
        let cid = rseq! {
            commit |cid: MmCid| add(&SEEN[cid], 1)
            => cid
        };
        assert!(cid.get() < rseq::slots());
        if by_cid_or_cpu(true) {
            // The test harness may run other threads; none of them runs beyond the CPUs.
            assert!(cid.get() < most.max(rseq::status().possible_cpus()), "{cid}");
        }
        assert!(SEEN[cid].load(Relaxed) > 0);
    }
    assert_eq!(SEEN.iter().map(|slot| slot.load(Relaxed)).sum::<usize>(), 100);
}
