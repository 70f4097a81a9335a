//! Sections, handlers, fences and threads that could wait for each other, in every mode: none does
//! without end. Each runs in a process of its own, which is ended if it takes too long.
#![cfg(target_os = "linux")]

use std::cell::Cell;
use std::ffi::c_void;
use std::mem::zeroed;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Barrier, mpsc};
use std::time::Duration;
use std::{hint, thread};

use rseq::{CpuId, Mode, PerCpu, Stack, fence, rseq};
use support::{
    available_cpus, forced_portable, handle_signals, in_processes, mode, refused, run_on, slowness, this_test,
    with_own_registration,
};

static SLOTS: PerCpu<AtomicUsize> = PerCpu::new();

/// Ends the process if the test isn't over in time: whoever hangs can't fail.
fn watched() {
    const LIMIT: Duration = Duration::from_secs(60);
    println!("mode: {:?}", mode());
    thread::spawn(|| {
        thread::sleep(LIMIT * slowness());
        eprintln!("threads wait for each other");
        std::process::exit(1);
    });
}

fn is_portable() -> bool {
    matches!(mode(), Mode::Portable(_))
}

fn sum() -> usize {
    SLOTS.iter().map(|slot| slot.load(Relaxed)).sum()
}

/// A section whose `prepare` does something, with the number of the attempt.
fn section(mut prepare: impl FnMut(usize)) -> CpuId {
    let mut attempts = 0;
    rseq! {
        prepare |cpu| {
            let slot = &SLOTS[cpu];
            let next = slot.load(Relaxed) + 1;
            attempts += 1;
            prepare(attempts);
        }
        commit store(slot, next)
        => cpu
    }
}

fn wait_until(holds: impl Fn() -> bool) {
    while !holds() {
        hint::spin_loop();
    }
}

/// Two threads on different slots, as long as `work` runs in both; `false` if there are none.
fn on_two_slots(work: impl Fn(usize) + Sync) -> bool {
    let cpus = available_cpus();
    let (found, is_over, both) = (Barrier::new(3), AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let mut slots: Vec<CpuId> = Vec::new();
        // In portable mode a slot depends on the thread: so there are more, until two have
        // different ones.
        for number in 0..200 {
            let cpu = cpus[slots.len().min(cpus.len() - 1)];
            let (found, is_over, both, work) = (&found, &is_over, &both, &work);
            let (sender, receiver) = mpsc::channel();
            let (taken, others) = (slots.len(), slots.clone());
            scope.spawn(move || {
                run_on(&[cpu]);
                let slot = section(|_| ());
                let is_new = !others.contains(&slot);
                sender.send(is_new.then_some(slot)).expect("it is waited for");
                if is_new {
                    found.wait();
                    if both.load(SeqCst) {
                        work(taken);
                    }
                } else {
                    // It keeps its number, which the next one mustn't have.
                    while !is_over.load(SeqCst) {
                        thread::sleep(Duration::from_millis(1));
                    }
                }
            });
            slots.extend(receiver.recv().expect("it runs"));
            if slots.len() == 2 || number >= 2 && !is_portable() {
                break;
            }
        }
        let were_found = slots.len() == 2;
        is_over.store(true, SeqCst);
        if !were_found {
            scope.spawn(|| found.wait());
        }
        both.store(were_found, SeqCst);
        found.wait();
        were_found
    })
}

/// Two handlers, each on top of a section, take from the stack of the other one's slot.
#[test]
#[ignore = "run by `nobody_waits_in_a_circle`"]
fn handlers_on_sections_take_from_each_other() {
    static STACKS: [Stack<usize>; 2] = [const { Stack::new() }; 2];
    static SIGNALLED: AtomicUsize = AtomicUsize::new(0);
    static POPPED: AtomicUsize = AtomicUsize::new(0);
    static CAME_BACK: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: Cell<usize> = const { Cell::new(0) };
    }
    extern "C" fn pop(_: libc::c_int) {
        SIGNALLED.fetch_add(1, SeqCst);
        wait_until(|| SIGNALLED.load(SeqCst) == 2);
        POPPED.fetch_add(usize::from(STACKS[NUMBER.get()].pop().is_some()), SeqCst);
        CAME_BACK.fetch_add(1, SeqCst);
    }
    watched();
    handle_signals(pop);
    let (filled, before) = (Barrier::new(2), sum());
    let has_run = on_two_slots(|number| {
        NUMBER.set(number);
        STACKS[1 - number].push(1).expect("there is room");
        filled.wait();
        let mut is_signalled = false;
        section(|_| {
            if !std::mem::replace(&mut is_signalled, true) {
                // SAFETY: the handler is `pop`.
                unsafe { libc::raise(libc::SIGUSR1) };
                wait_until(|| CAME_BACK.load(SeqCst) == 2);
            }
        });
    });
    if !has_run {
        return println!("skipped: there is one slot only");
    }
    assert_eq!((CAME_BACK.load(SeqCst), POPPED.load(SeqCst)), (2, 2));
    println!("{} sections", sum() - before);
}

/// Threads make fences in their sections, all at once.
#[test]
#[ignore = "run by `nobody_waits_in_a_circle`"]
fn sections_make_fences() {
    const THREADS: usize = 20;
    static INSIDE: AtomicUsize = AtomicUsize::new(0);
    watched();
    let before = sum();
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                section(|attempt| {
                    if attempt == 1 {
                        INSIDE.fetch_add(1, SeqCst);
                        // Not all threads can be inside where each slot has one.
                        (0..1000).take_while(|_| INSIDE.load(SeqCst) < 2).for_each(|_| thread::yield_now());
                        fence::all().expect("the kernel has fences");
                    }
                });
            });
        }
    });
    assert_eq!(sum() - before, THREADS);
}

/// A section's `prepare` waits for other threads, which run sections on the same slot, or make
/// fences.
#[test]
#[ignore = "run by `nobody_waits_in_a_circle`"]
fn a_section_waits_for_others() {
    watched();
    let cpu = available_cpus()[0];
    // So many that in portable mode some share its slot.
    let count = 4 * rseq::slots().min(16);
    let others: [(fn(), usize); 2] =
        [(|| _ = section(|_| ()), count + 1), (|| fence::all().expect("the kernel has fences"), 1)];
    for (other, sections) in others {
        let (begun, done, before) = (AtomicBool::new(false), AtomicUsize::new(0), sum());
        thread::scope(|scope| {
            for _ in 0..count {
                scope.spawn(|| {
                    run_on(&[cpu]);
                    while !begun.load(SeqCst) {
                        thread::yield_now();
                    }
                    other();
                    done.fetch_add(1, SeqCst);
                });
            }
            scope.spawn(|| {
                run_on(&[cpu]);
                section(|_| {
                    begun.store(true, SeqCst);
                    wait_until(|| done.load(SeqCst) == count);
                });
            });
        });
        assert_eq!(sum() - before, sections);
    }
}

/// Sections that last longer than others are patient commit all the same, while short ones and
/// fences want their slots.
#[test]
#[ignore = "run by `nobody_waits_in_a_circle`"]
fn long_sections_commit() {
    watched();
    if !is_portable() {
        return println!("skipped: a restartable section that is preempted each time never commits");
    }
    let (long, is_over, before) = (AtomicUsize::new(3), AtomicBool::new(false), sum());
    let short = AtomicUsize::new(0);
    thread::scope(|scope| {
        for number in 0..8 {
            let (is_over, short) = (&is_over, &short);
            scope.spawn(move || {
                while !is_over.load(SeqCst) {
                    if number == 0 {
                        fence::all().expect("there are fences in portable mode");
                    } else {
                        section(|_| ());
                        short.fetch_add(1, SeqCst);
                    }
                }
            });
        }
        for _ in 0..3 {
            scope.spawn(|| {
                section(|_| thread::sleep(Duration::from_millis(150)));
                if long.fetch_sub(1, SeqCst) == 1 {
                    is_over.store(true, SeqCst);
                }
            });
        }
    });
    assert_eq!(sum() - before, 3 + short.into_inner());
}

/// A thread is cancelled in a fence, below a section that it waits for. Nothing stays of it.
#[test]
#[ignore = "run by `nobody_waits_in_a_circle`"]
fn a_fence_is_cancelled() {
    // Not among libc's names for all that it links to.
    unsafe extern "C" {
        fn pthread_cancel(thread: libc::pthread_t) -> libc::c_int;
    }
    static FENCES: AtomicU64 = AtomicU64::new(0);
    extern "C-unwind" fn fences(_: *mut c_void) -> *mut c_void {
        loop {
            FENCES.fetch_add(1, SeqCst);
            let _ = fence::all();
            // SAFETY: has no precondition.
            unsafe { libc::usleep(10) };
        }
    }
    type Start = extern "C" fn(*mut c_void) -> *mut c_void;
    watched();
    let before = sum();
    section(|attempt| {
        if attempt == 1 {
            // SAFETY: a thread is started that only makes fences, is cancelled and waited for. It
            // may unwind, as the C library has it.
            unsafe {
                let start = std::mem::transmute::<extern "C-unwind" fn(*mut c_void) -> *mut c_void, Start>(fences);
                let mut thread = zeroed();
                assert_eq!(libc::pthread_create(&mut thread, ptr::null(), start, ptr::null_mut()), 0);
                while FENCES.load(SeqCst) == 0 {
                    thread::yield_now();
                }
                thread::sleep(Duration::from_millis(2));
                assert_eq!(pthread_cancel(thread), 0);
                assert_eq!(libc::pthread_join(thread, ptr::null_mut()), 0);
            }
        }
    });
    // Each would take some milliseconds.
    (0..50_000).for_each(|_| _ = section(|_| ()));
    assert_eq!(sum() - before, 50_001);
}

/// However many aborts are injected, sections end.
#[test]
#[ignore = "run by `nobody_waits_in_a_circle`"]
fn sections_end_whatever_is_injected() {
    watched();
    let before = sum();
    rseq::portable::inject_aborts(1);
    let aborts = AtomicUsize::new(0);
    let add = || {
        for _ in 0..10 {
            rseq! {
                prepare |cpu| { let slot = &SLOTS[cpu]; let next = slot.load(Relaxed) + 1; }
                commit store(slot, next)
                abort { aborts.fetch_add(1, Relaxed); }
            }
            rseq! { commit |cpu| add(&SLOTS[cpu], 1) }
        }
    };
    add();
    // A section that would give up after so many does.
    assert!(!is_portable() || aborts.load(Relaxed) >= 10 * 1000, "{aborts:?}");
    thread::scope(|scope| (0..4).for_each(|_| _ = scope.spawn(add)));
    assert_eq!(sum() - before, 100);
}

const CIRCLES: &[&str] = &[
    "handlers_on_sections_take_from_each_other",
    "sections_make_fences",
    "a_section_waits_for_others",
    "long_sections_commit",
    "a_fence_is_cancelled",
    "sections_end_whatever_is_injected",
];

#[test]
fn nobody_waits_in_a_circle() {
    in_processes(module_path!(), |name| this_test(name, &format!("{:?}", mode())), CIRCLES);
}

#[test]
fn nobody_does_with_own_registration() {
    in_processes(module_path!(), with_own_registration, CIRCLES);
}

#[test]
fn nobody_does_in_portable_mode() {
    in_processes(module_path!(), forced_portable, CIRCLES);
}

#[test]
fn nobody_does_where_seccomp_refuses() {
    in_processes(module_path!(), refused, CIRCLES);
}
