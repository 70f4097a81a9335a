//! The audit (feature `audit`): catches, where it happens, what `prepare` must not do and what
//! keeps sections from ending.
//!
//! **System calls.** While a section is armed, Syscall User Dispatch
//! (`Documentation/admin-guide/syscall-user-dispatch.rst`, Linux 5.11) has the kernel send `SIGSYS`
//! instead of making a call. Before each call it looks at a byte of the thread's to know whether
//! to. That byte is one of `rseq_cs` itself: audited sections arm a descriptor of their own, at an
//! address in which this byte says "block". Whatever takes the descriptor out of force puts "allow"
//! there with the same store. So calls are caught exactly while the section is armed; those of a
//! handler that interrupts `prepare` aren't, whatever signals it blocks, because the kernel cleared
//! `rseq_cs` before the handler ran.
//!
//! **Sections in sections, and abandoned ones.** A section that begins while the thread's
//! descriptor is in force begins inside another one, or that one was left without its end: the two
//! stack pointers tell. Where a handler runs a section, none is in force.
//!
//! **Places that aren't the index's own.** See [`places`].
//!
//! **What is harmless.** `prepare` may panic, and what it does on its way out of the section is its
//! own business: it commits nothing. So the first call, or the first section inside, is only noted.
//! If the section then comes to its window all the same, it starts again (it is no longer armed),
//! and now whatever it does is reported at the spot.

use core::cell::Cell;
use core::fmt;
use core::ptr::{null, null_mut};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering::Relaxed};

use crate::abi::{Descriptor, Rseq};
use crate::cpu::IndexKind;
use crate::mode::{self, Mode};
use crate::owner::Owner;
use crate::portable::MOST_REVOCATIONS;
use crate::section::{Prepared, Section};
use crate::thread::{FAST, Located};
use crate::{arch, register};

mod linux;
mod places;
mod report;
mod settings;

use places::{Commit, Held};
use settings::Oracle;

/// What the expansions of audited sections use.
pub mod expansion {
    pub use super::{Audit, Location};
}

/// So many aborts of a section in a row are taken for a livelock.
const MOST_ABORTS: u32 = MOST_REVOCATIONS;

/// So many attempts of a section in a row, in each of which the thread slept, aren't an accident.
/// (A handler may sleep that comes in between, also just before the section arms.)
const MOST_SLEEPS: u32 = 100;

/// A section's place in the source, and what was reported of it.
#[derive(Debug)]
pub struct Location {
    text: &'static str,
    /// Bits by [`Finding::kind`].
    reported: AtomicU32,
    /// The attempts in a row, of whatever thread, in which it slept.
    slept: AtomicU32,
}

impl Location {
    /// `text` is for people: file, line and column.
    #[must_use]
    pub const fn new(text: &'static str) -> Self {
        Self { text, reported: AtomicU32::new(0), slept: AtomicU32::new(0) }
    }

    fn was_reported(&self, kind: Kind) -> bool {
        self.reported.load(Relaxed) & kind as u32 != 0
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.text.is_empty() { "a section at an unknown place" } else { self.text })
    }
}

/// What is found out about a section.
#[derive(Clone, Copy, Debug)]
enum Finding<'f> {
    /// `prepare` makes the system call of this number.
    Call(usize),
    /// `prepare` runs this section.
    Nested(&'static Location),
    /// `prepare` slept in the kernel, in so many attempts in a row.
    Slept(u32),
    /// Its frame is gone, but it never ended.
    Abandoned,
    /// The thread went on on another stack.
    Suspended,
    /// It began on another thread.
    Moved,
    /// It aborted so often in a row.
    Livelock(u32),
    /// A section of the first index stored to a slot of the second.
    Foreign(&'f [Owner; 2]),
    /// Its commit, which is the first, and that of another thread were to one place at once.
    Shared(&'f [Commit; 2]),
    /// It runs in a child that shares its parent's memory, and goes by the parent's area.
    Borrowed,
}

/// The bit of a kind of finding.
#[derive(Clone, Copy)]
#[repr(u32)]
enum Kind {
    Call = 1,
    Nested = 2,
    Left = 4,
    Livelock = 8,
    Place = 32,
    Borrowed = 16,
}

impl Finding<'_> {
    fn kind(self) -> Kind {
        match self {
            Self::Call(_) | Self::Slept(_) => Kind::Call,
            Self::Nested(_) => Kind::Nested,
            Self::Abandoned | Self::Suspended | Self::Moved => Kind::Left,
            Self::Livelock(_) => Kind::Livelock,
            Self::Foreign(..) | Self::Shared(..) => Kind::Place,
            Self::Borrowed => Kind::Borrowed,
        }
    }
}

/// What a thread remembers of its sections. All is zero at first. Only the thread itself comes
/// here, and the handlers that interrupt it.
#[repr(C)]
pub(crate) struct State {
    /// The descriptor that it arms: see [`settings::new_descriptor`]. Null for the usual one.
    descriptor: AtomicPtr<Descriptor>,
    /// The section that began last and hasn't ended.
    open: Memory,
    /// The section of which something is noted: the number of a call, or the section inside.
    noted: Memory,
    noted_call: AtomicUsize,
    noted_inner: AtomicPtr<Location>,
    /// It came to its window all the same.
    confirmed: AtomicBool,
}

/// Which section it was, if any.
struct Memory {
    location: AtomicPtr<Location>,
    frame: AtomicUsize,
}

/// An attempt of a section that has begun; of none if the location is null.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Begun {
    location: *const Location,
    /// The stack pointer of the function that the section is in.
    frame: usize,
}

/// What an attempt of a section remembers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    /// Of none if it isn't audited, as under a lock.
    this: Begun,
    /// What was open when it began: the section that a handler interrupted.
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

/// One execution of a section, through all its attempts.
#[derive(Debug)]
pub struct Audit {
    location: &'static Location,
    aborts: Cell<u32>,
    /// When it had the place of its commit, if that was evaluated before the window.
    held: Cell<Option<Held>>,
}

impl Audit {
    /// Of the section that stands there.
    #[inline(always)]
    #[must_use]
    pub fn new(location: &'static Location) -> Self {
        Self { location, aborts: Cell::new(0), held: Cell::new(None) }
    }

    /// As [`Section::enter`].
    #[inline(always)]
    pub fn enter<I: IndexKind>(&self) -> Section<I> {
        let frame = arch::stack_pointer();
        loop {
            let (thread, attempt) = begin(self.location, frame);
            if let Some(section) = Section::arm_slowly(thread, attempt) {
                return section;
            }
            let slow = Section::enter_slowly();
            attempt.close();
            if let Some(section) = slow {
                return section;
            }
        }
    }

    /// A section without `prepare` comes to its window.
    #[inline(always)]
    pub fn window(&self) {
        let frame = arch::stack_pointer();
        check_before(Begun { location: self.location, frame });
    }

    /// Everything is evaluated that the window works on, and it will commit to this place.
    #[inline(never)]
    pub fn holds(&self, place: usize) {
        self.held.set(Some(Held::now(place, State::of_this_thread().number())));
    }

    /// The window of a section with `prepare` is over.
    #[inline(never)]
    pub fn ended<I: IndexKind>(&self, section: &Prepared<I>) {
        let attempt = section.attempt();
        if attempt.is_elsewhere(section.area()) {
            return;
        }
        disarm();
        attempt.close();
        if let Watch::Sleeps(before) = attempt.watch {
            let slept = if linux::sleeps() == before { 0 } else { self.location.slept.load(Relaxed) + 1 };
            self.location.slept.store(slept, Relaxed);
            if slept >= MOST_SLEEPS {
                report(self.location, Finding::Slept(slept));
            }
        }
    }

    /// It has committed, by this index, and stored to these places, which were evaluated before its
    /// window: the commit's is the last, if it was.
    #[inline(never)]
    pub fn committed<I: IndexKind>(&self, index: I, stores: &[usize]) {
        if !FAST.is_open() {
            return;
        }
        let owner = Owner::of(index);
        if let Some(other) = stores.iter().find_map(|place| owner.other_of(*place)) {
            return report(self.location, Finding::Foreign(&[owner, other]));
        }
        let (Some(&place), Some(held)) = (stores.last(), self.held.get()) else { return };
        let (thread, section) = (State::of_this_thread().number(), self.location);
        let commit = Commit { place, owner, thread, section, held };
        if let Some(other) = places::note(&commit) {
            report(section, Finding::Shared(&[commit, other]));
        }
    }

    /// It was aborted once more.
    pub fn aborted(&self) {
        let aborts = self.aborts.get().saturating_add(1);
        self.aborts.set(aborts);
        if aborts == MOST_ABORTS {
            report(self.location, Finding::Livelock(aborts));
        }
    }
}

/// An attempt begins: the thread whose descriptor it is to arm. System calls are caught as soon as
/// it does.
#[inline(never)]
fn begin(location: &'static Location, frame: usize) -> (Located, Attempt) {
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
    match settings::oracle() {
        // Where each attempt is stopped by a call that was reported before, the section would never
        // end.
        Oracle::Dispatch if !location.was_reported(Kind::Call) && arch::blocks_calls(thread.descriptor) => {
            linux::dispatch(arch::selector(thread.area));
            Watch::Dispatch
        }
        Oracle::Sleeps => Watch::Sleeps(linux::sleeps()),
        Oracle::Dispatch | Oracle::None => Watch::No,
    }
}

/// A section is about to begin: looks whether the one that began before has ended as it should, and
/// whether this thread may have any.
#[inline(never)]
fn check_before(this: Begun) {
    if !FAST.is_open() {
        return;
    }
    check_open(this);
    if let Mode::Rseq(registrar) = mode::decide()
        && !register::is_kept(registrar)
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
fn open_section() -> Option<Begun> {
    State::of_this_thread().open.section()
}

/// A system call of this number was blocked while this section was armed; `stack` is the stack
/// pointer of who made it. Returns if it is to be made after all.
fn call(open: Begun, number: usize, stack: usize) {
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
fn usual_descriptor() -> *mut Descriptor {
    arch::some_block().cast()
}

/// Takes the thread's descriptor out of force.
fn disarm() {
    // SAFETY: the calling thread's area.
    unsafe { arch::disarm(arch::locate().area) };
}

/// Says what was found, once for each section and kind. Returns only if it was said before, or if
/// the program is to go on.
#[cold]
fn report(section: &Location, finding: Finding<'_>) {
    // The system calls of the report aren't the section's.
    disarm();
    let kind = finding.kind() as u32;
    if section.reported.fetch_or(kind, Relaxed) & kind == 0 {
        report::write(section, finding);
        if !settings::goes_on() {
            linux::abort();
        }
    }
}

impl Begun {
    const NONE: Self = Self { location: null(), frame: 0 };

    fn is_some(self) -> bool {
        !self.location.is_null()
    }

    /// The section's place; there is a section.
    fn location(self) -> &'static Location {
        // SAFETY: not null, so made of such a reference.
        unsafe { &*self.location }
    }
}

impl State {
    fn of_this_thread() -> &'static Self {
        // SAFETY: the calling thread's block, which is there until the thread's end; nobody keeps
        // it longer. (Of a thread that has none nothing is open.)
        unsafe { &(*arch::some_block()).audit }
    }

    /// A number that no other thread has meanwhile.
    fn number(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }

    /// The descriptor that the thread's audited sections arm: one that blocks system calls, once it
    /// is known that the kernel does it.
    fn choose_descriptor(&self) -> *mut Descriptor {
        let is_new = self.descriptor.load(Relaxed).is_null() && settings::oracle() == Oracle::Dispatch;
        if is_new && let Some(descriptor) = settings::new_descriptor(usual_descriptor()) {
            self.descriptor.store(descriptor, Relaxed);
        }
        self.descriptor()
    }

    fn descriptor(&self) -> *mut Descriptor {
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
    fn note(&self, open: Begun, finding: Finding<'_>) {
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
    fn confirm(&self, this: Begun) {
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
    fn forgive(&self, this: Begun) {
        if self.noted.get() == this && !self.confirmed.load(Relaxed) {
            self.noted.set(Begun::NONE);
        }
    }
}

impl Memory {
    /// What is there, word by word: a handler that puts it back has changed nothing, not even where
    /// it came in the middle of [`Self::set`].
    fn get(&self) -> Begun {
        Begun { location: self.location.load(Relaxed), frame: self.frame.load(Relaxed) }
    }

    fn section(&self) -> Option<Begun> {
        Some(self.get()).filter(|begun| begun.is_some())
    }

    fn set(&self, Begun { location, frame }: Begun) {
        // A handler in between finds nothing there.
        self.location.store(null_mut(), Relaxed);
        self.frame.store(frame, Relaxed);
        self.location.store(location.cast_mut(), Relaxed);
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

    /// Whether it is audited, and goes on on the thread where it began; reports it if it doesn't.
    fn is_nowhere_else(self, thread: Located) -> bool {
        if self.is_elsewhere(thread.area) {
            report(self.this.location(), Finding::Moved);
            return false;
        }
        self.this.is_some()
    }

    /// Whether it began on a thread that isn't the calling one.
    fn is_elsewhere(self, area: *mut Rseq) -> bool {
        self.this.is_some() && area != arch::locate().area
    }

    /// It is over, and disarmed.
    fn close(self) {
        if self.this.is_some() {
            State::of_this_thread().open.set(self.outer);
        }
        if let Watch::Dispatch = self.watch {
            linux::stop_dispatch();
        }
    }
}
