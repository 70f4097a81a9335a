//! Attempts of audited sections, from their beginning to their end.

use core::sync::atomic::Ordering::Relaxed;

use super::location::{Kind, Location};
use super::memory::{Begun, State};
use super::open::{check_before, usual_descriptor};
use super::report::{Finding, disarm, report};
use super::settings::{self, Oracle};
use super::{dispatch, linux};
use crate::abi::{Descriptor, Rseq};
use crate::arch::{self, FAST};
use crate::thread::Located;

/// So many attempts of a section in a row, in each of which the thread slept, aren't an accident.
/// (A handler may sleep that comes in between, also just before the section arms.)
const MOST_SLEEPS: u32 = 100;

/// An attempt of a section, as far as it is to be remembered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    /// Of none if it isn't audited, as under a lock.
    this: Begun,
    /// The section that was open when it began: the one that a handler interrupted.
    outer: Begun,
    watch: Watch,
}

/// How system calls of an attempt are noticed.
#[derive(Clone, Copy, Debug)]
enum Watch {
    No,
    /// They are dispatched to a handler.
    Dispatch,
    /// By how often the thread sleeps; it had slept so often when the attempt began.
    Sleeps(i64),
}

/// An attempt begins: the thread whose descriptor it is to arm. System calls are caught as soon as
/// it does.
#[inline(never)]
pub(super) fn begin(location: &'static Location, frame: usize) -> (Located, Attempt) {
    let mut thread = arch::of_block(arch::some_block());
    // Portable mode has no rules to break; and before the mode is decided nothing commits.
    if !FAST.is_open() || arch::thread_block().is_none() {
        return (thread, Attempt::NONE);
    }
    let this = Begun { location, frame };
    check_before(this);
    let state = State::of_this_thread();
    let outer = state.open.get();
    thread.descriptor = state.choose_descriptor();
    state.open.set(this);
    (thread, Attempt { this, outer, watch: watch(location, thread) })
}

/// Has the system calls of an attempt noticed, from the moment on that it arms.
fn watch(location: &Location, thread: Located) -> Watch {
    match oracle() {
        // Where each attempt is stopped by a call that was reported before, the section would never
        // end.
        Oracle::Dispatch if !location.was_reported(Kind::Call) && arch::blocks_calls(thread.descriptor) => {
            dispatch::begin(arch::selector(thread.area));
            Watch::Dispatch
        }
        Oracle::Sleeps => Watch::Sleeps(linux::sleeps()),
        Oracle::Dispatch | Oracle::None => Watch::No,
    }
}

/// How system calls are noticed.
fn oracle() -> Oracle {
    settings::oracle(|| dispatch::is_possible() && settings::reserve() && dispatch::install_handler())
}

impl State {
    /// The descriptor that the thread's audited sections arm: one that blocks system calls, once it
    /// is known that the kernel does it.
    fn choose_descriptor(&self) -> *mut Descriptor {
        let is_new = self.descriptor.load(Relaxed).is_null() && oracle() == Oracle::Dispatch;
        if is_new && let Some(descriptor) = settings::new_descriptor(usual_descriptor()) {
            self.descriptor.store(descriptor, Relaxed);
        }
        self.descriptor()
    }
}

impl Attempt {
    /// Not audited.
    pub(crate) const NONE: Self = Self { this: Begun::NONE, outer: Begun::NONE, watch: Watch::No };

    /// Everything is prepared. What was evaluated for the window counts as well.
    #[inline(never)]
    pub(crate) fn prepared(self, thread: Located) {
        if self.is_nowhere_else(thread) {
            let state = State::of_this_thread();
            match state.open.section() {
                // One that began meanwhile and hasn't ended.
                Some(open) if open != self.this => report(open.location(), Finding::Suspended),
                _ => state.confirm(self.this),
            }
        }
    }

    /// It was left early, and is disarmed.
    #[inline(never)]
    pub(crate) fn left(self, thread: Located) {
        if self.is_nowhere_else(thread) {
            State::of_this_thread().forgive(self.this);
            self.close();
        }
    }

    /// Its window is over, on the thread of this area.
    pub(super) fn ended(self, area: *mut Rseq, section: &Location) {
        if self.is_elsewhere(area) {
            return;
        }
        disarm();
        self.close();
        if let Watch::Sleeps(before) = self.watch {
            let slept = if linux::sleeps() == before { 0 } else { section.slept.load(Relaxed) + 1 };
            section.slept.store(slept, Relaxed);
            if slept >= MOST_SLEEPS {
                report(section, Finding::Slept(slept));
            }
        }
    }

    /// True if it is audited, and goes on on the thread where it began; reports it if it doesn't.
    fn is_nowhere_else(self, thread: Located) -> bool {
        if self.is_elsewhere(thread.area) {
            report(self.this.location(), Finding::Moved);
            return false;
        }
        self.this.is_some()
    }

    /// True if it began on a thread that isn't the calling one.
    fn is_elsewhere(self, area: *mut Rseq) -> bool {
        self.this.is_some() && area != arch::locate().area
    }

    /// It is over, and disarmed.
    pub(super) fn close(self) {
        if self.this.is_some() {
            State::of_this_thread().open.set(self.outer);
        }
        if let Watch::Dispatch = self.watch {
            dispatch::end();
        }
    }
}
