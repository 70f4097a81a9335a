//! Sections that can't end, or that stop being one, in debug builds: a `prepare` that runs another
//! section, and one that was suspended.
//!
//! A section takes its thread's descriptor out of force when it ends, so one inside another makes
//! that abort, each time. And what suspends a `prepare` (an `.await` that a macro of the user's
//! hides, a switch of stacks) may let another section of the thread arm the same descriptor, which
//! the suspended one would take for its own. The kernel takes the descriptor out of force when it
//! delivers a signal: so a section that begins while it is in force is no handler's.
//!
//! A thread remembers the number of the attempt that armed last, and the one in which another
//! section began. Release builds remember nothing: there the first kind never ends, and the second
//! may lose updates. The audit finds both in either build.

use core::panic::Location;
use core::ptr::{from_ref, null_mut};
use core::sync::atomic::Ordering::Relaxed;

use crate::arch::{self, FAST};
use crate::portable::MOST_REVOCATIONS;
use crate::thread::Nesting;

const SUSPENDED: &str = "an rseq! section went on while another one of its thread is under way: its `prepare` was suspended, by an `.await` (behind \
     a macro?) or by a switch of stacks; await before the section, and use the result in it";

/// A section is about to arm, by itself or in its window.
pub fn begins() {
    if FAST.is_open() && is_in_force() {
        let state = of_this_thread();
        state.nested_in.store(state.last.load(Relaxed), Relaxed);
    }
}

/// The number of the attempt that armed last.
pub(crate) fn last() -> usize {
    if FAST.is_open() { of_this_thread().last.load(Relaxed) } else { 0 }
}

/// A section has armed: the number of its attempt. (Counted before, it would be less than that of a
/// handler that came in between, while the descriptor is in force.)
pub(crate) fn armed() -> usize {
    let last = &of_this_thread().last;
    let attempt = last.load(Relaxed).wrapping_add(1);
    last.store(attempt, Relaxed);
    attempt
}

/// A section has begun in portable mode.
pub(crate) fn holds_slot() {
    change_held(|held| held.wrapping_add(1));
}

/// How many sections of the thread hold a slot.
pub(crate) fn held() -> usize {
    if arch::SUPPORTED { of_this_thread().slots_held.load(Relaxed) } else { 0 }
}

/// One has ended.
pub(crate) fn gives_slot_back() {
    change_held(|held| held.wrapping_sub(1));
}

/// No atomic instruction: handlers in between leave the number as it was.
fn change_held(change: fn(usize) -> usize) {
    if arch::SUPPORTED {
        let held = &of_this_thread().slots_held;
        held.store(change(held.load(Relaxed)), Relaxed);
    }
}

/// As [`prepared`], for a section that is the one of this number to hold a slot. (Those that lost
/// it to another one are counted with the slot.)
#[track_caller]
pub(crate) fn prepared_with_slot(number: usize) {
    assert!(held() == number, "{SUSPENDED}");
}

/// The attempt of this number has prepared all.
///
/// # Panics
/// If another section of the thread has armed meanwhile and hasn't ended; and if another one began
/// in each of [`MOST_REVOCATIONS`] attempts in a row.
#[track_caller]
pub(crate) fn prepared(attempt: usize) {
    let state = of_this_thread();
    assert!(state.last.load(Relaxed) == attempt || !is_in_force(), "{SUSPENDED}");
    let section = from_ref(Location::caller()).cast_mut();
    let is_same = state.section.load(Relaxed) == section;
    if state.nested_in.load(Relaxed) != attempt {
        if is_same {
            state.section.store(null_mut(), Relaxed);
        }
        return;
    }
    let attempts = if is_same { state.attempts.load(Relaxed) + 1 } else { 1 };
    state.section.store(section, Relaxed);
    state.attempts.store(attempts, Relaxed);
    if attempts >= MOST_REVOCATIONS {
        state.section.store(null_mut(), Relaxed);
        panic!(
            "an rseq! section aborted {MOST_REVOCATIONS} times in a row: its `prepare` runs another section each time, so it can never commit; \
             move the inner section out of `prepare`"
        );
    }
}

/// True if the thread's descriptor is in force: since it was armed, nothing has interrupted the
/// thread.
fn is_in_force() -> bool {
    let thread = arch::of_block(arch::some_block());
    // SAFETY: the calling thread's area.
    let in_force = unsafe { (*thread.area).rseq_cs.load(Relaxed) };
    in_force == thread.descriptor.addr() as u64
}

fn of_this_thread() -> &'static Nesting {
    // SAFETY: the calling thread's block, or one that no section is armed by. It is there until the
    // thread's end; nobody keeps it longer.
    unsafe { &(*arch::some_block()).nesting }
}
