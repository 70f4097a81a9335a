//! A section as the expansion drives it: the same interface as in rseq-core's
//! `expansion/section.rs`.

use std::mem::forget;

use rseq::__private::{Opening, Outcome};
use rseq::{CpuId, IndexKind, MmCid};

use crate::model::code::{ABORTED, ARM, Code, LEAVE, READ_INDEX};
use crate::model::kernel::{Descriptor, Thread};
use crate::model::running::{self, comes_to};

/// The kinds of index of the model's threads.
pub trait ModelIndex: IndexKind {
    #[doc(hidden)]
    fn of(thread: &Thread) -> usize;
}

impl ModelIndex for CpuId {
    fn of(thread: &Thread) -> usize {
        thread.area.cpu.get()
    }
}

impl ModelIndex for MmCid {
    fn of(thread: &Thread) -> usize {
        thread.area.cid.get()
    }
}

/// A section with a `prepare`, which has begun.
#[derive(Debug)]
pub struct Section<I: IndexKind> {
    index: I,
}

/// A section of which only the window is still to come.
#[derive(Debug)]
pub struct Prepared<I> {
    index: I,
}

impl<I: ModelIndex> Section<I> {
    /// Arms the thread's descriptor and reads the index, in this order.
    #[must_use]
    pub fn enter() -> Self {
        comes_to(&ARM, 0);
        let thread = running::thread();
        thread.begins();
        thread.area.in_force.set(Some(Descriptor::OfThread));
        comes_to(&READ_INDEX, 0);
        // SAFETY: the model's machine has no more CPUs, nor concurrency ids, than `slots` has
        // slots.
        Self { index: unsafe { I::checked(I::of(&thread)) } }
    }

    /// The slot that the section works on.
    #[must_use]
    pub fn index(&self) -> I {
        running::thread().gets_index(self.index.number());
        self.index
    }

    /// Everything is prepared: no way but the window leads out of the section.
    #[must_use]
    pub fn prepared(self) -> Prepared<I> {
        let prepared = Prepared { index: self.index };
        forget(self);
        prepared
    }
}

impl<I: ModelIndex> Prepared<I> {
    /// The stand-in for the thread descriptor.
    #[must_use]
    pub fn descriptor(&self) -> *const () {
        descriptor()
    }

    /// The stand-in for the thread's area.
    #[must_use]
    pub fn area(&self) -> *const () {
        area()
    }

    /// The index as a number.
    #[must_use]
    pub fn number(&self) -> usize {
        self.index.number()
    }

    /// The window went to its abort handler.
    pub fn aborted<C, const N: usize>(self, _: bool, _: C, _: impl Fn(C, I) -> Outcome<N>) -> Outcome<N> {
        abort();
        running::thread().is_aborted();
        Outcome::ABORTED
    }
}

impl<I: IndexKind> Drop for Section<I> {
    fn drop(&mut self) {
        disarm_at(&LEAVE);
    }
}

/// The window of a section without `prepare` went to its abort handler. The first use of its slots
/// does that as well.
pub fn window_aborted<I: ModelIndex, C, const N: usize>(
    _: bool,
    open: impl FnOnce() -> Opening,
    _: C,
    _: impl Fn(C, I) -> Outcome<N>,
) -> Outcome<N> {
    abort();
    if open() != Opening::Before {
        return Outcome::AGAIN;
    }
    running::thread().is_aborted();
    Outcome::ABORTED
}

/// As [`window_aborted`], for a section without an `abort` clause: goes on until the window is
/// through, by `again`.
pub fn window_repeated<I: ModelIndex, C: Copy, const N: usize>(
    open: impl Fn() -> Opening,
    operands: C,
    window: impl Fn(C, I) -> Outcome<N>,
    again: impl Fn() -> Outcome<N>,
) -> Outcome<N> {
    loop {
        window_aborted(true, &open, operands, &window);
        let outcome = again();
        if outcome.end != Outcome::<N>::ABORTED.end {
            return outcome;
        }
    }
}

/// The stand-in for the area of the running thread.
#[must_use]
pub fn area_for_windows() -> usize {
    area().addr()
}

pub(super) fn descriptor() -> *const () {
    (&raw const running::thread().published).cast()
}

pub(super) fn area() -> *const () {
    (&raw const running::thread().area).cast()
}

/// A place outside of the window.
pub fn passes(code: &'static Code, step: usize) {
    comes_to(code, step);
}

fn abort() {
    disarm_at(&ABORTED);
}

fn disarm_at(code: &'static Code) {
    comes_to(code, 0);
    running::thread().area.in_force.set(None);
}
