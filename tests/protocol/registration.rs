//! Threads that libc registered, that this crate registers, and that nobody can register.
#![cfg(target_os = "linux")]

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::{hint, ptr, thread};

use rseq::abi::{AT_RSEQ_FEATURE_SIZE, FLAG_UNREGISTER, ORIGINAL_LENGTH, SIGNATURE};
use rseq::{CpuId, Mode, PerCpu, Registrar, SliceExtension, rseq};
use rseq_explore::Ran;
use support::explored::{Explored, is_counted};
use support::{forced_portable, here, mode, must_pass, outcome, refused, restartable, seccomp, with_own_registration};

static SLOTS: PerCpu<AtomicUsize> = PerCpu::new();

/// Counts in the slot that it returns.
fn count() -> CpuId {
    rseq! {
        prepare |cpu| {
            let slot = &SLOTS[cpu];
            let next = slot.load(Relaxed) + 1;
        }
        commit store(slot, next)
        => cpu
    }
}

/// The same by a section that is all window.
fn count_in_window() -> CpuId {
    rseq! {
        commit |cpu| add(&SLOTS[cpu], 1)
        => cpu
    }
}

fn sum() -> u64 {
    SLOTS.iter().map(|slot| slot.load(Relaxed) as u64).sum()
}

/// The slot behind those of the CPUs.
fn shared_slot() -> usize {
    rseq::slots() - 1
}

/// An area of the test's own.
#[repr(align(32))]
struct Area(UnsafeCell<[u32; 8]>);

impl Area {
    fn new() -> Self {
        Self(UnsafeCell::new([0; 8]))
    }

    fn rseq(&self, flags: i32) -> Result<(), i32> {
        // SAFETY: lives in the frame of a thread that ends its registration before it leaves that
        // frame.
        outcome(unsafe { libc::syscall(libc::SYS_rseq, self.0.get(), ORIGINAL_LENGTH, flags, SIGNATURE) })
    }
}

/// `true` if the calling thread is registered: then the kernel refuses it a second area.
fn is_registered() -> bool {
    let area = Area::new();
    let refused = area.rseq(0);
    if refused.is_ok() {
        area.rseq(FLAG_UNREGISTER).expect("it was just registered");
    }
    refused.is_err()
}

/// Ends libc's registration of the calling thread.
fn unregister_from_libc() {
    let length = rseq::status().registered_bytes();
    // SAFETY: libc's own area; the kernel forgets it, which libc doesn't mind.
    let result = unsafe { libc::syscall(libc::SYS_rseq, rseq::__private::area(), length, FLAG_UNREGISTER, SIGNATURE) };
    outcome(result).expect("libc registered as many bytes");
    assert!(!is_registered());
}

fn registered_by_libc() -> bool {
    let libc = restartable() && mode() == Mode::Rseq(Registrar::Libc);
    if !libc {
        println!("skipped: needs threads that libc registered, and this is\n{}", rseq::status());
    }
    libc
}

/// A thread that lost its registration behind our back, as if `clone` had made it, gets it again.
#[test]
fn an_unregistered_thread_is_registered_again() {
    if registered_by_libc() {
        thread::spawn(|| {
            for count in [count, count_in_window] {
                unregister_from_libc();
                assert_ne!(count().get(), shared_slot());
                assert!(is_registered());
                assert_ne!(count().get(), shared_slot());
            }
        })
        .join()
        .expect("counts in a CPU's slot");
    }
}

/// Threads that the kernel refuses share a slot, and count exactly beside those that it registered.
/// (Not threads that libc starts under a filter: glibc ends the process if the kernel refuses one
/// after it accepted the first.)
#[test]
fn refused_threads_share_a_slot() {
    const EACH: u64 = 50_000;
    const THREADS: u64 = 2;
    fn count_in(shared: bool) {
        for _ in 0..EACH {
            assert_eq!(count().get() == shared_slot(), shared);
            assert_eq!(count_in_window().get() == shared_slot(), shared);
        }
    }
    if !registered_by_libc() {
        return;
    }
    let in_shared = || SLOTS.iter().last().map(|slot| slot.load(SeqCst)).expect("there is a shared slot");
    let before = in_shared();
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| count_in(false));
            scope.spawn(|| {
                unregister_from_libc();
                seccomp::refuse_rseq(libc::EPERM).expect("any thread may filter itself");
                count_in(true);
            });
        }
    });
    assert_eq!(in_shared() - before, (2 * THREADS * EACH) as usize);
}

/// Whatever instruction they are interrupted at.
#[test]
fn at_every_instruction() {
    support::alone!("at_every_instruction");
    println!("mode: {:?}", mode());
    let slots = || SLOTS.iter().map(|slot| slot.load(SeqCst) as u64);
    let reset = || SLOTS.iter().for_each(|slot| slot.store(0, SeqCst));
    let check = |ran: &Ran<'_, CpuId, CpuId>| {
        is_counted(slots(), ran);
        assert!(ran.sections.iter().chain(&ran.conflicts).all(|run| run.value.get() == run.cpu), "{ran:?}");
    };
    Explored { name: "count", section: &count, conflict: &count, check: &check }.must_be_exact_after(&reset);
    Explored { name: "count in window", section: &count_in_window, conflict: &count, check: &check }
        .must_be_exact_after(&reset);
}

#[test]
fn at_every_instruction_with_own_registration() {
    must_pass(with_own_registration(here!("at_every_instruction")));
}

/// The result of `f` in a child that shares this process's memory, as `vfork` makes one, on a stack
/// of its own.
fn in_child_that_shares_memory<R>(f: fn() -> R) -> R {
    struct Call<R> {
        f: fn() -> R,
        result: Option<R>,
    }
    extern "C" fn run<R>(call: *mut c_void) -> libc::c_int {
        // SAFETY: the caller's, which waits for this child.
        let call = unsafe { &mut *call.cast::<Call<R>>() };
        call.result = Some((call.f)());
        0
    }
    #[repr(align(16))]
    struct Stack([u8; 1 << 18]);
    let mut call = Call { f, result: None };
    let mut stack = Box::new(Stack([0; _]));
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    let mut status = 0;
    // SAFETY: the stack and the call are there until the child has ended, for which this thread
    // waits.
    unsafe {
        let child = libc::clone(run::<R>, stack.0.as_mut_ptr_range().end.cast(), flags, (&raw mut call).cast());
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
    }
    assert_eq!(status, 0);
    call.result.expect("the child stored it")
}

/// The status in a child that believes its parent's area doesn't say that all is well; wherever
/// there is an area, it does.
#[test]
fn the_status_tells_children_that_share_memory() {
    if !restartable() {
        return;
    }
    assert!(!rseq::status().borrows_area());
    if in_child_that_shares_memory(is_registered) {
        return println!(
            "skipped: this kernel passes registrations on to children that share memory, and this is\n{}",
            rseq::status()
        );
    }
    let status = in_child_that_shares_memory(rseq::status);
    assert!(status.borrows_area(), "{status}");
    assert!(status.to_string().contains("this thread:     not registered"), "{status}");
    // The parent's area is what it was.
    assert!(!rseq::status().borrows_area(), "{}", rseq::status());
    assert!(!rseq::status().to_string().contains("this thread"));
    assert_ne!(count().get(), shared_slot());
    assert!(!thread::spawn(rseq::status).join().expect("a thread has an area").borrows_area());
    // SAFETY: the child asks and exits.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(i32::from(rseq::status().borrows_area())) };
    }
    let mut status = 0;
    // SAFETY: writes the status.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0);
}

#[test]
fn the_status_tells_them_with_own_registration() {
    must_pass(with_own_registration(here!("the_status_tells_children_that_share_memory")));
}

/// Nothing is in `rseq_cs` after sections that committed, left early, panicked and aborted.
#[test]
fn nothing_stays_armed() {
    if !registered_by_libc() {
        return;
    }
    // SAFETY: the calling thread's area.
    let armed = || unsafe { (*rseq::__private::area()).rseq_cs.load(Relaxed) };
    fn leave() -> Option<u64> {
        rseq! {
            prepare |cpu| { let slot = &SLOTS[cpu]; let next = None?; }
            commit store(slot, next)
        }
        Some(0)
    }
    count();
    assert_eq!(armed(), 0);
    assert_eq!(leave(), None);
    assert_eq!(armed(), 0);
    let panicked = std::panic::catch_unwind(|| {
        rseq! {
            prepare |cpu| {
                let slot = &SLOTS[cpu];
                if hint::black_box(true) { std::panic::resume_unwind(Box::new(())); }
            }
            commit store(slot, 0)
        }
    });
    assert!(panicked.is_err());
    assert_eq!(armed(), 0);
    count_in_window();
    assert_eq!(armed(), 0);
    let exit = rseq! {
        critical |cpu| {
            let number = load(&SLOTS[cpu]);
            if number != 0 { exit true }
        }
        commit store(&SLOTS[cpu], 0)
        => false
    };
    assert!(exit || sum() > 0);
    assert_eq!(armed(), 0);
    let exit = rseq! {
        prepare |cpu| { let slot = &SLOTS[cpu]; }
        critical {
            let number = load(slot);
            if number == number { exit true }
        }
        commit store(slot, 0)
        => false
    };
    assert!(exit);
    assert_eq!(armed(), 0);
    let armed_in_prepare = rseq! {
        prepare |cpu| {
            let slot = &SLOTS[cpu];
            let next = slot.load(Relaxed);
            let armed = armed();
        }
        commit store(slot, next)
        => armed
    };
    assert_ne!(armed_in_prepare, 0, "the other assertions prove nothing");
}

/// Where libc registers nothing, a thread is registered by its first section, and unregistered when
/// it ends.
#[test]
#[ignore = "run by `own_registration` in a process without libc's registration"]
fn own_registration_in_process() {
    static REGISTERED_AT_THE_END: AtomicBool = AtomicBool::new(true);
    extern "C" fn at_the_end(_: *mut libc::c_void) {
        REGISTERED_AT_THE_END.store(is_registered(), SeqCst);
    }
    if !restartable() {
        return;
    }
    assert_eq!(mode(), Mode::Rseq(Registrar::Own));
    // SAFETY: has no precondition.
    let filled = unsafe { libc::getauxval(AT_RSEQ_FEATURE_SIZE.into()) } as u32;
    assert_eq!(rseq::status().registered_bytes(), filled.max(ORIGINAL_LENGTH));
    assert_eq!(rseq::status().is_v2(), filled > ORIGINAL_LENGTH);
    let mut key = 0;
    // SAFETY: glibc runs destructors in the order in which keys were created, so this one after the
    // crate's.
    assert_eq!(unsafe { libc::pthread_key_create(&mut key, Some(at_the_end)) }, 0);
    thread::spawn(move || {
        // SAFETY: the key was created.
        assert_eq!(unsafe { libc::pthread_setspecific(key, ptr::dangling()) }, 0);
        assert!(!is_registered());
        assert_ne!(count_in_window().get(), shared_slot());
        assert!(is_registered());
    })
    .join()
    .expect("registers itself");
    assert!(!REGISTERED_AT_THE_END.load(SeqCst));
    // More threads than one would have if their memory were not used again.
    for _ in 0..200 {
        thread::spawn(|| assert_ne!(count().get(), shared_slot())).join().expect("registers itself");
    }
}

#[test]
fn own_registration() {
    must_pass(with_own_registration(here!("own_registration_in_process")));
}

/// Somebody else's area on the thread that asks first.
#[test]
#[ignore = "run by `anothers_area` in a process without libc's registration"]
fn anothers_area_in_process() {
    let area = Area::new();
    area.rseq(0).expect("nobody registered this thread");
    assert_eq!(mode(), Mode::Portable(rseq::Reason::OtherArea));
    let before = sum();
    count();
    assert_eq!(sum() - before, 1);
    area.rseq(FLAG_UNREGISTER).expect("it was registered above");
}

#[test]
fn anothers_area() {
    let mut test = with_own_registration(here!("anothers_area_in_process"));
    test.env("RSEQ_TEST_EXPECTS_MODE", "Portable(OtherArea)");
    must_pass(test);
}

/// The status says why, in words.
#[test]
#[ignore = "run by `reasons` in processes in portable mode"]
fn reason_in_process() {
    let (mode, text) = (mode(), rseq::status().to_string());
    let expected = match mode {
        Mode::Portable(rseq::Reason::Forced) => "forced by portable::force or RSEQ_MODE=portable",
        Mode::Portable(rseq::Reason::Refused(1)) => "the kernel refused the registration with errno 1",
        _ => unreachable!("{mode:?}"),
    };
    assert!(text.contains(expected), "{text}");
    assert!(text.contains("portable (a lock per slot)"), "{text}");
    assert_eq!(rseq::status().registered_bytes(), 0);
    assert!(!rseq::status().has_mm_cid());
    assert!(!rseq::status().is_v2());
    assert_eq!(rseq::status().slice_extension(), SliceExtension::NotNeeded);
}

#[test]
fn reasons() {
    must_pass(forced_portable(here!("reason_in_process")));
    must_pass(refused(here!("reason_in_process")));
}

/// The mode is decided once.
#[test]
fn a_decided_mode_stays() {
    if restartable() {
        assert_eq!(rseq::portable::force(), Err(mode()));
        assert_ne!(count().get(), shared_slot());
    }
}

/// An index beyond the slots is none.
#[test]
fn indices_end_with_the_shared_slot() {
    assert_eq!(SLOTS.len(), rseq::slots());
    assert_eq!(SLOTS.iter().len(), rseq::slots());
    assert_eq!(rseq::slots(), rseq::status().possible_cpus() + 1);
    assert_eq!(CpuId::new(shared_slot()).map(CpuId::get), Some(shared_slot()));
    assert_eq!(CpuId::new(rseq::slots()), None);
    let lines: Vec<usize> = SLOTS.iter().map(|slot| ptr::from_ref(slot).addr() / 64).collect();
    assert!(lines.windows(2).all(|pair| pair[1] - pair[0] >= 2), "slots share lines: {lines:?}");
}
