//! The calls that audited sections make besides.

use core::cell::Cell;

use super::attempt::begin;
pub use super::location::Location;
use super::memory::{Begun, State};
use super::open::check_before;
use super::places::{self, Commit, Held};
use super::report::{Finding, report};
use crate::arch::{self, FAST};
use crate::cpu::IndexKind;
use crate::expansion::section::{Prepared, Section};
use crate::owner::Owner;
use crate::portable::MOST_REVOCATIONS;

/// So many aborts of a section in a row are taken for a livelock.
const MOST_ABORTS: u32 = MOST_REVOCATIONS;

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
        section.attempt().ended(section.area(), self.location);
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
