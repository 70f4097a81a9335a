//! A section from its first instruction to its last, as the expansion of `rseq!` drives it.

use core::hint::black_box;
use core::mem::forget;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::outcome::Outcome;
use crate::abi::{Descriptor, Rseq};
use crate::arch::{self, FAST};
use crate::cpu::{CpuId, IndexKind, MmCid};
use crate::mode::{self, Mode};
use crate::percpu::Opening;
use crate::portable;
use crate::registration::{self, Registrar};
use crate::thread::{Located, ThreadBlock};
use crate::{audit, fence, image, slice, sys};

/// A section with a `prepare`, which has begun: its descriptor is armed, or it holds a slot in
/// portable mode. Whatever way `prepare` is left, dropping this takes it out of force.
#[derive(Debug)]
pub struct Section<I: IndexKind> {
    thread: Located,
    index: I,
    audit: audit::Attempt,
    /// The number of the attempt if it is restartable, else that of the sections that hold a slot.
    #[cfg(all(debug_assertions, not(rseq_audited)))]
    attempt: usize,
}

/// A section of which only the window is still to come, which takes the descriptor out of force by
/// itself. There is one of each, because its end gives a slot back that it may hold.
#[derive(Debug)]
pub struct Prepared<I> {
    thread: Located,
    index: I,
    audit: audit::Attempt,
}

impl<I: IndexKind> Section<I> {
    /// Arms the thread's descriptor and reads the index, in this order; in portable mode, locks a
    /// slot.
    #[inline(always)]
    pub fn enter() -> Self {
        loop {
            if let Some(section) = Self::arm(arch::locate_quickly()) {
                return section;
            }
            if let Some(section) = Self::enter_slowly() {
                return section;
            }
        }
    }

    /// Begins a section that is armed, unless its index has no slot.
    #[inline(always)]
    fn arm(thread: Located) -> Option<Self> {
        #[cfg(all(debug_assertions, not(rseq_audited)))]
        crate::nesting::begins();
        // SAFETY: this thread's, as of just now.
        let cpu = unsafe { arch::arm(thread) }?;
        image::is_of_image();
        Self::armed(thread, cpu, audit::Attempt::NONE)
    }

    /// The section that `thread` armed on this CPU, unless its index has no slot.
    #[inline(always)]
    pub(crate) fn armed(thread: Located, cpu: usize, audit: audit::Attempt) -> Option<Self> {
        #[cfg(all(debug_assertions, not(rseq_audited)))]
        let attempt = crate::nesting::armed();
        // SAFETY: the thread's area, of which `cpu` says that it is registered.
        unsafe { I::read(thread.area, cpu) }.map(|index| Self {
            thread,
            index,
            audit,
            #[cfg(all(debug_assertions, not(rseq_audited)))]
            attempt,
        })
    }

    /// Begins a section that holds a slot, or is armed where the fast path can't do that. If
    /// neither is to be, it has to be tried again.
    #[inline(always)]
    pub(crate) fn enter_slowly() -> Option<Self> {
        let Entered { index, block } = enter_slowly_from_here::<I>();
        if block.is_null() {
            return None;
        }
        // SAFETY: the number of a slot that this thread has locked, or of one that an index
        // selected.
        let index = unsafe { I::checked(index) };
        Some(Self {
            thread: arch::of_block(block),
            index,
            audit: audit::Attempt::NONE,
            #[cfg(all(debug_assertions, not(rseq_audited)))]
            attempt: if is_portable(index) { crate::nesting::held() } else { crate::nesting::last() },
        })
    }

    /// The section of the calling thread that holds this slot, of which no window is to come: it
    /// needs no descriptor.
    #[inline(always)]
    fn of_slot(index: usize) -> Self {
        // SAFETY: the number of a slot that this thread has locked, or of one that an index
        // selected.
        let index = unsafe { I::checked(index) };
        Self {
            thread: arch::locate(),
            index,
            audit: audit::Attempt::NONE,
            #[cfg(all(debug_assertions, not(rseq_audited)))]
            attempt: 0,
        }
    }

    /// Begins a section that is armed, wherever the thread's descriptor is, if it has one. `thread`
    /// is the calling thread's.
    pub(crate) fn arm_slowly(thread: Located, audit: audit::Attempt) -> Option<Self> {
        arch::thread_block()?;
        #[cfg(all(debug_assertions, not(rseq_audited)))]
        crate::nesting::begins();
        // SAFETY: this thread's, which has a block.
        unsafe { arch::arm_slowly(thread) }.and_then(|cpu| Self::armed(thread, cpu, audit))
    }

    /// The slot that the section works on.
    #[inline(always)]
    pub fn index(&self) -> I {
        self.index
    }

    /// Everything is prepared, in a debug build.
    ///
    /// # Panics
    /// If it can't end, or went on while another one of the thread is under way.
    #[cfg(all(debug_assertions, not(rseq_audited)))]
    #[track_caller]
    pub fn check(&self) {
        if is_portable(self.index) {
            crate::nesting::prepared_with_slot(self.attempt);
        } else {
            crate::nesting::prepared(self.attempt);
        }
    }

    /// Everything is prepared: no way but the window leads out of the section.
    #[inline(always)]
    pub fn prepared(self) -> Prepared<I> {
        self.audit.prepared(self.thread);
        let prepared = Prepared { thread: self.thread, index: self.index, audit: self.audit };
        forget(self);
        prepared
    }
}

macro_rules! current {
    ($kind:ident) => {
        impl $kind {
            /// The slot that a section would have worked on just now. It is a hint: the thread may
            /// be elsewhere by the time that this is looked at, so nothing may depend on it, and
            /// whatever is done to the slot is done atomically. A section is told its own index.
            ///
            /// This is a section that does nothing; so in the `prepare` of another one it makes that
            /// one start again.
            ///
            /// Async-signal-safe.
            ///
            /// ```
            #[doc = concat!("use rseq::{", stringify!($kind), ", slots};")]
            ///
            #[doc = concat!("let hint = ", stringify!($kind), "::current();")]
            /// assert!(hint.get() < slots());
            /// ```
            #[must_use]
            pub fn current() -> Self {
                Section::enter().index()
            }
        }
    };
}

current!(CpuId);
current!(MmCid);

impl<I: IndexKind> Prepared<I> {
    /// The thread descriptor, for the window to be published in.
    #[inline(always)]
    pub fn descriptor(&self) -> *mut Descriptor {
        self.thread.descriptor
    }

    /// The thread's area, for the window's check and disarming.
    #[inline(always)]
    pub fn area(&self) -> *mut Rseq {
        self.thread.area
    }

    /// The notes of its audit.
    #[allow(dead_code, reason = "only audits read it")]
    pub(crate) fn attempt(&self) -> audit::Attempt {
        self.audit
    }

    /// The slot that the section works on.
    #[inline(always)]
    pub fn index(&self) -> I {
        self.index
    }

    /// The index as a number, for the window's comparison.
    #[inline(always)]
    pub fn number(&self) -> usize {
        self.index.number()
    }

    /// The window went to its abort handler, or there is none: runs `window` now if the section
    /// holds a slot in portable mode. Nothing is in force afterwards. If it didn't run and there is
    /// no `abort` clause, relaxes.
    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn aborted<C, const N: usize>(
        self,
        relax: bool,
        operands: C,
        window: impl Fn(C, I) -> Outcome<N>,
    ) -> Outcome<N> {
        // The work of dropping is done there, so that here the section stays in registers.
        end_aborted(self.index, relax, operands, window)
    }
}

impl<I: IndexKind> Drop for Section<I> {
    #[inline(always)]
    fn drop(&mut self) {
        arch::leaves();
        // SAFETY: the area of the thread that armed it: a section never changes threads, being
        // neither Send nor able to await.
        unsafe { arch::disarm(self.thread.area) };
        self.audit.left(self.thread);
        if is_portable(self.index) {
            leave_slot(self.index.number());
        }
    }
}

/// The section of this index holds a slot instead of being armed: no index is below the limit of
/// its kind where sections of that kind run under locks, and the shared slot's never is.
#[inline(always)]
fn is_portable<I: IndexKind>(index: I) -> bool {
    index.number() >= I::limit()
}

/// See [`Prepared::aborted`]. Generic, and so in the crate of the section: there the call needs no
/// address from a table, which the compiler would load ahead of every section.
#[cold]
#[inline(never)]
#[cfg_attr(debug_assertions, track_caller)]
fn end_aborted<I: IndexKind, C, const N: usize>(
    index: I,
    relax: bool,
    operands: C,
    window: impl Fn(C, I) -> Outcome<N>,
) -> Outcome<N> {
    let section = Section::<I>::of_slot(index.number());
    let window = || window(operands, index);
    let outcome = if is_portable(index) { portable::commit(index.number(), window) } else { None };
    drop(section);
    outcome.unwrap_or_else(|| aborted(relax))
}

/// The window of a section without `prepare` went to its abort handler, or there is none. Does away
/// with what keeps it from running (`open` says what there was to be done for its slots); runs it
/// in portable mode, as `window`, if it must; else it was aborted. Nothing is in force afterwards.
///
/// If its slots can't be opened it runs on the shared one, under the lock, as on threads that the
/// kernel refuses.
#[cold]
#[inline(never)]
#[cfg_attr(debug_assertions, track_caller)]
pub fn window_aborted<I: IndexKind, C, const N: usize>(
    relax: bool,
    open: impl FnOnce() -> Opening,
    operands: C,
    window: impl Fn(C, I) -> Outcome<N>,
) -> Outcome<N> {
    let ready = FAST.is_open() && thread_is_registered();
    fence::disarm_this_thread();
    let registrar = registrar();
    // With a mode to go by, and no slot locked yet: the user's code may run here, which makes the
    // values.
    let opened = open();
    let slot = if opened == Opening::Refused { Some(holding(portable::enter_shared())) } else { begin::<I>(registrar) };
    let outcome = match slot {
        Some(slot) => {
            let section = Section::<I>::of_slot(slot);
            portable::commit(slot, || window(operands, section.index))
        }
        None if opened == Opening::Now || !ready => Some(Outcome::AGAIN),
        None => None,
    };
    outcome.unwrap_or_else(|| aborted(relax))
}

/// As [`window_aborted`], for a section without an `abort` clause: goes on until the window is
/// through, by `again`. Being elsewhere, the loop takes no register from the section.
#[cold]
#[inline(never)]
#[cfg_attr(debug_assertions, track_caller)]
pub fn window_repeated<I: IndexKind, C: Copy, const N: usize>(
    open: impl Fn() -> Opening,
    operands: C,
    window: impl Fn(C, I) -> Outcome<N>,
    again: impl Fn() -> Outcome<N>,
) -> Outcome<N> {
    loop {
        let outcome = window_aborted(true, &open, operands, &window);
        if outcome.end > Outcome::<N>::AGAIN.end {
            return outcome;
        }
        let outcome = again();
        if outcome.end != Outcome::<N>::ABORTED.end {
            with_this_area(slice::release);
            return outcome;
        }
    }
}

/// The outcome of an abort.
fn aborted<const N: usize>(relax: bool) -> Outcome<N> {
    if relax {
        relax_after_run();
    }
    Outcome::ABORTED
}

/// How the cold path began a section: in two registers.
struct Entered {
    index: usize,
    /// The thread's block; null if the section has to begin again.
    block: *mut ThreadBlock,
}

impl Entered {
    const AGAIN: Self = Self { index: 0, block: null_mut() };
}

/// [`enter_slowly`] in the crate of the section, for the same reason as [`end_aborted`].
#[cold]
#[inline(never)]
fn enter_slowly_from_here<I: IndexKind>() -> Entered {
    enter_slowly::<I>()
}

/// The slow way of a section whose index has no slot: decides the mode, registers the thread, or
/// locks a slot. Otherwise the section begins again and will find its slot, unless its fast path
/// finds no block: then it is armed here.
#[cold]
#[inline(never)]
fn enter_slowly<I: IndexKind>() -> Entered {
    fence::disarm_this_thread();
    match begin::<I>(registrar()) {
        Some(slot) => Entered { index: slot, block: arch::some_block() },
        None if arch::blocks_are_known() => Entered::AGAIN,
        None => arm_here::<I>(),
    }
}

/// Arms a section whose fast path finds no block. A thread that has none works on the shared slot.
fn arm_here<I: IndexKind>() -> Entered {
    let block = arch::some_block();
    if arch::thread_block().is_none() {
        return Entered { index: holding(portable::enter_shared()), block };
    }
    Section::<I>::arm_slowly(arch::of_block(block), audit::Attempt::NONE).map_or(Entered::AGAIN, |section| {
        let index = section.index.number();
        forget(section);
        Entered { index, block }
    })
}

/// Locks a slot if the section can't run restartably: in portable mode, where the kernel has no
/// indices of this kind, and on a thread that has none.
fn begin<I: IndexKind>(registrar: Option<Registrar>) -> Option<usize> {
    match registrar {
        Some(registrar) if I::limit() > 0 => {
            let own = registration::ensure(registrar).is_some_and(|cpu| {
                // SAFETY: the calling thread's area, which is registered.
                unsafe { I::read(arch::locate().area, cpu) }.is_some()
            });
            (!own).then(|| holding(portable::enter_shared()))
        }
        _ => Some(holding(portable::enter())),
    }
}

/// The slot that a section has just locked.
fn holding(slot: usize) -> usize {
    #[cfg(all(debug_assertions, not(rseq_audited)))]
    crate::nesting::holds_slot();
    slot
}

/// Ends the section that holds this slot.
fn leave_slot(slot: usize) {
    #[cfg(all(debug_assertions, not(rseq_audited)))]
    crate::nesting::gives_slot_back();
    portable::leave(slot);
}

/// Who registers threads in this process, `None` if sections run in portable mode.
#[cold]
#[inline(never)]
fn registrar() -> Option<Registrar> {
    match mode::decide() {
        Mode::Rseq(registrar) => Some(registrar),
        Mode::Portable(_) => None,
    }
}

fn thread_is_registered() -> bool {
    // SAFETY: the calling thread's area; there is one, because this is asked of an open process
    // only.
    unsafe { (*arch::locate().area).cpu_id.load(Relaxed).cast_signed() >= 0 }
}

/// The calling thread's area, once the mode is decided: libc's, or this crate's.
#[must_use]
pub fn area() -> *mut Rseq {
    arch::locate().area
}

/// The operand by which windows that arm by themselves address the thread's area.
#[inline(always)]
#[must_use]
pub fn area_for_windows() -> usize {
    image::is_of_image();
    arch::area_for_windows()
}

/// The same, for windows that a section's own code runs again when they were aborted: what is kept
/// from one attempt to the next would take a register that has to be saved.
#[inline(always)]
#[must_use]
pub fn area_for_attempts() -> usize {
    image::is_of_image();
    arch::area_for_attempts()
}

/// A window as Rust, which takes its operands when it is called: captured, they would be put into
/// memory ahead of every window. They are here to tell their types.
#[inline(always)]
pub fn with_operands<C, I: IndexKind, const N: usize, F: Fn(C, I) -> Outcome<N>>(_: C, window: F) -> F {
    window
}

/// One more abort of a section. Out of line and opaque, lest the compiler unroll a section for each
/// number of aborts that its `abort` clause tells apart.
#[cold]
#[inline(never)]
pub fn count<const HERE: u8>(aborts: u32) -> u32 {
    black_box(aborts).saturating_add(1)
}

/// The rest after each abort of a section without an `abort` clause: after a run of them it gives
/// the processor away once, because whoever keeps interrupting may have to finish first, and asks
/// that it may finish itself then.
fn relax_after_run() {
    const RUN: u32 = 64;
    /// The aborts of all threads: a count of its own for every section would cost those that don't
    /// abort.
    static ABORTS: AtomicU32 = AtomicU32::new(0);
    if ABORTS.fetch_add(1, Relaxed) % RUN == RUN - 1 {
        sys::yield_now();
        with_this_area(slice::request);
    }
}

/// Does this with the area of the calling thread, if it has one. (In builds without restartable
/// sequences there is none.)
fn with_this_area(act: fn(&Rseq)) {
    // SAFETY: the calling thread's area, or null.
    if let Some(area) = unsafe { arch::locate().area.as_ref() } {
        act(area);
    }
}
