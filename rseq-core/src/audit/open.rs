//! The section that a thread is inside of, and what it may not do there.

use core::ptr::null;
use core::sync::atomic::Ordering::Relaxed;

use super::linux;
use super::memory::{Begun, State};
use super::report::{Finding, disarm, report};
use crate::abi::Descriptor;
use crate::arch::{self, FAST};
use crate::mode::{self, Mode};
use crate::registration;

/// A section is about to begin: looks whether the one that began before has ended as it should, and
/// whether this thread may have any.
#[inline(never)]
pub(super) fn check_before(this: Begun) {
    if !FAST.is_open() {
        return;
    }
    check_open(this);
    if let Mode::Rseq(registrar) = mode::decide()
        && !registration::is_kept(registrar)
    {
        report(this.location(), Finding::Borrowed);
    }
}

/// Looks whether the section that began before has ended as it should.
fn check_open(this: Begun) {
    let state = State::of_this_thread();
    let Some(open) = state.open.section() else { return };
    let armed = state.is_armed();
    // From here on system calls aren't the open section's. It has to start again anyway.
    disarm();
    let is_gone = this.frame > open.frame || this == open;
    // A handler on a stack of its own may seem to be above what it interrupts.
    let is_handler = !armed && (!is_gone || linux::is_on_signal_stack());
    if is_handler {
        return;
    }
    let finding = match linux::is_one_stack(this.frame, open.frame) {
        // Interrupted, and on another stack: that may be a handler.
        false if !armed => return,
        false => Finding::Suspended,
        true if is_gone => Finding::Abandoned,
        true => {
            // SAFETY: of a section that has begun.
            state.note(open, Finding::Nested(unsafe { &*this.location }));
            return;
        }
    };
    state.open.set(Begun::NONE);
    report(open.location(), finding);
}

/// The section that the calling thread is inside of.
pub(super) fn open_section() -> Option<Begun> {
    State::of_this_thread().open.section()
}

/// A system call of this number was blocked while this section was armed; `stack` is the stack
/// pointer of who made it. Returns if it is to be made after all.
pub(super) fn call(open: Begun, number: usize, stack: usize) {
    let state = State::of_this_thread();
    if !linux::is_one_stack(stack, open.frame) {
        report(open.location(), Finding::Suspended);
    } else if stack > open.frame {
        state.open.set(Begun::NONE);
        report(open.location(), Finding::Abandoned);
    } else {
        state.note(open, Finding::Call(number));
    }
}

/// The thread's descriptor where sections aren't audited.
pub(super) fn usual_descriptor() -> *mut Descriptor {
    arch::some_block().cast()
}

impl State {
    pub(super) fn of_this_thread() -> &'static Self {
        // SAFETY: the calling thread's block, which is there until the thread's end; nobody keeps
        // it longer. (Of a thread that has none nothing is open.)
        unsafe { &(*arch::some_block()).audit }
    }

    /// A number that no other thread has meanwhile.
    pub(super) fn number(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }

    pub(super) fn descriptor(&self) -> *mut Descriptor {
        match self.descriptor.load(Relaxed) {
            descriptor if descriptor.is_null() => usual_descriptor(),
            descriptor => descriptor,
        }
    }

    /// The thread's descriptor is in force: since its section armed, nothing has interrupted it.
    fn is_armed(&self) -> bool {
        // SAFETY: the calling thread's area.
        let in_force = unsafe { (*arch::locate().area).rseq_cs.load(Relaxed) };
        in_force == self.descriptor().addr() as u64
    }

    /// Notes what the open section does, or reports it if it was confirmed that it does such things
    /// and goes on to its window.
    pub(super) fn note(&self, open: Begun, finding: Finding<'_>) {
        if self.noted.get() == open && self.confirmed.load(Relaxed) {
            self.noted.set(Begun::NONE);
            report(open.location(), finding);
            return;
        }
        let (call, inner) = match finding {
            Finding::Call(number) => (number, null()),
            Finding::Nested(inner) => (0, core::ptr::from_ref(inner)),
            _ => return,
        };
        self.confirmed.store(false, Relaxed);
        self.noted_call.store(call, Relaxed);
        self.noted_inner.store(inner.cast_mut(), Relaxed);
        self.noted.set(open);
    }

    /// The open section comes to its window, whatever was noted of it.
    pub(super) fn confirm(&self, this: Begun) {
        if self.noted.get() != this || !self.confirmed.swap(true, Relaxed) {
            return;
        }
        // It was confirmed before, and didn't do it again.
        self.noted.set(Begun::NONE);
        // SAFETY: of a section that has begun, or null.
        let inner = unsafe { self.noted_inner.load(Relaxed).as_ref() };
        report(this.location(), inner.map_or(Finding::Call(self.noted_call.load(Relaxed)), Finding::Nested));
    }

    /// The open section was left early: what was noted of it did no harm.
    pub(super) fn forgive(&self, this: Begun) {
        if self.noted.get() == this && !self.confirmed.load(Relaxed) {
            self.noted.set(Begun::NONE);
        }
    }
}
