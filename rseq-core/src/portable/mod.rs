//! The portable mode: the same sections with a lock per slot, wherever restartable sequences can't
//! be used.
//!
//! A section holds one slot and gets that slot's index. It may lose the slot again, as a
//! restartable one loses its CPU, and then it aborts and starts again: to a second section on the
//! same thread, be it called from `prepare` or run by a signal handler, which works on the same
//! slot; to a fence; and to a section of another thread that has waited for some milliseconds. What
//! nobody takes away is a slot whose window runs, and a window waits for nobody. So nothing waits
//! in a circle, whatever `prepare` does and wherever handlers come.
//!
//! An outer section that loses its slot without end, because its `prepare` always runs another
//! section, panics after [`MOST_REVOCATIONS`] attempts. (Restartable sequences can't tell: there it
//! repeats forever.)
//!
//! The mode never mixes with the other one on the same data: threads that the kernel refuses in a
//! process that runs restartable sequences share a slot that no CPU has.

mod lock;
// The same on every machine, and slow on emulators.
#[cfg(all(test, target_arch = "x86_64", not(miri)))]
mod model;
mod watch;

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use self::lock::Lock;
use self::watch::{Watch, spread};
use crate::cpu;
use crate::mode::{self, Mode, Reason};
use crate::sys;

/// So many attempts in a row of one section, each revoked by another section of the same thread,
/// are taken for a mistake in its `prepare`.
pub const MOST_REVOCATIONS: u32 = 100_000;

/// The most slots that portable mode spreads threads over.
const LOCKS: usize = 64;

/// A slot's lock, and who watches it. On two cache lines, because processors fetch them in pairs.
#[repr(align(128))]
struct Slot {
    lock: Lock,
    watch: Watch,
    /// So many aborts in a row were injected here.
    injected: AtomicU32,
}

/// The slots 0 to 63, and behind those that there are the shared slot.
static TABLE: [Slot; LOCKS + 1] =
    [const { Slot { lock: Lock::new(), watch: Watch::new(), injected: AtomicU32::new(0) } }; LOCKS + 1];

/// So many aborts in a row are injected at most: more than anybody waits for before giving up.
const MOST_INJECTED: u32 = 1000;

/// How many commits apart aborts are injected, 0 for never.
static INJECT: AtomicU32 = AtomicU32::new(0);

/// Chooses the portable mode for this process.
///
/// Async-signal-safe.
///
/// ```standalone_crate
/// # // In a process of its own: doctests are.
/// rseq::portable::force().expect("no section has run yet");
/// assert!(matches!(rseq::status().mode(), rseq::Mode::Portable(_)));
/// ```
///
/// # Errors
/// The mode that is in force, if it was already decided to be [`Mode::Rseq`]: modes never mix.
pub fn force() -> Result<(), Mode> {
    match mode::settle(Mode::Portable(Reason::Forced)) {
        Mode::Portable(_) => Ok(()),
        decided => Err(decided),
    }
}

/// Makes every `period`-th commit of the process abort in portable mode, so that tests reach what a
/// program does about aborts; 0 turns it off. After 1000 aborts in a row on a slot one commit is
/// let through, so that with 1 a section that doesn't give up ends as well.
///
/// Async-signal-safe.
///
/// ```standalone_crate
/// use rseq::{rseq, PerCpu};
/// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
///
/// static HITS: PerCpu<AtomicU64> = PerCpu::new();
/// rseq::portable::force().unwrap();
/// rseq::portable::inject_aborts(2);
/// let mut aborts = 0;
/// for _ in 0..10 {
///     rseq! {
///         prepare |cpu| { let slot = &HITS[cpu]; let next = slot.load(Relaxed) + 1; }
///         commit store(slot, next)
///         abort { aborts += 1; }
///     }
/// }
/// assert_eq!(HITS.iter().map(|slot| slot.load(Relaxed)).sum::<u64>(), 10);
/// assert!(aborts > 0);
/// ```
pub fn inject_aborts(period: u32) {
    INJECT.store(period, Relaxed);
}

impl Slot {
    /// Threads are spread over fewer slots than there are CPUs, or as many, so the shared slot's
    /// place is free for it.
    fn of(slot: usize) -> &'static Self {
        &TABLE[slot.min(LOCKS)]
    }

    fn begin(&self, this: usize) {
        prepare_for_forks();
        self.watch.begins(this);
        self.lock.begin(this);
    }

    fn end(&self) {
        // Nearly always: the section has committed.
        if self.lock.is_free() && self.watch.is_idle() {
            return;
        }
        let this = sys::thread_id();
        self.lock.end(this);
        self.watch.ends(this);
    }

    #[inline]
    fn committed(&self, this: usize) {
        if self.watch.commits(this) {
            self.lock.calm();
        }
    }

    #[cold]
    #[cfg_attr(debug_assertions, track_caller)]
    fn aborted(&self, this: usize) {
        if self.watch.aborts(this) >= MOST_REVOCATIONS {
            self.watch.forget();
            panic!(
                "an rseq! section aborted {MOST_REVOCATIONS} times in a row in portable mode: its `prepare` runs another section each \
                 time, so it can never commit; move the inner section out of `prepare`"
            );
        }
    }

    fn fence(&self, this: usize) {
        if self.lock.fence(this) {
            self.watch.covers(this);
        }
    }

    #[cold]
    fn injects_abort(&self) -> bool {
        static COMMITS: AtomicU32 = AtomicU32::new(0);
        let (period, run) = (INJECT.load(Relaxed), self.injected.load(Relaxed));
        let is_aborted = COMMITS.fetch_add(1, Relaxed).wrapping_add(1).is_multiple_of(period) && run < MOST_INJECTED;
        self.injected.store(if is_aborted { run + 1 } else { 0 }, Relaxed);
        is_aborted
    }

    /// In a child of `fork`, which has no thread but `this`. Without a store where there is nothing
    /// to forget.
    fn forget_others(&self, this: usize) {
        if self.lock.is_free() && self.watch.is_idle() {
            return;
        }
        self.lock.forget_others(this);
        self.watch.forget();
    }
}

/// Begins a section in portable mode, on a slot that depends on the thread alone: so a nested
/// section meets its outer one.
pub(crate) fn enter() -> usize {
    let this = sys::thread_id();
    let slots = LOCKS.min(cpu::possible()) as u64;
    let slot = ((spread(this) as u64 & u64::from(u32::MAX)) * slots) >> 32;
    enter_slot(slot as usize, this)
}

/// Begins a section on the slot that no CPU has.
pub(crate) fn enter_shared() -> usize {
    enter_slot(cpu::shared_slot(), sys::thread_id())
}

fn enter_slot(slot: usize, this: usize) -> usize {
    Slot::of(slot).begin(this);
    slot
}

/// Runs the window of the section that began last, unless it has lost this slot: then there is no
/// outcome.
///
/// # Panics
/// If it lost it to others of its thread [`MOST_REVOCATIONS`] times in a row.
#[cfg_attr(debug_assertions, track_caller)]
pub(crate) fn commit<R>(slot: usize, window: impl FnOnce() -> R) -> Option<R> {
    let (slot, this) = (Slot::of(slot), sys::thread_id());
    // A handler between the look and the window would run its section in between.
    let outcome = sys::without_signals(|| {
        let is_aborted = INJECT.load(Relaxed) != 0 && slot.injects_abort();
        if is_aborted { None } else { slot.lock.commit(this, window) }
    });
    if outcome.is_some() {
        slot.committed(this)
    } else {
        slot.aborted(this)
    }
    outcome
}

/// Ends the section that began last, which works on this slot.
pub(crate) fn leave(slot: usize) {
    Slot::of(slot).end();
}

/// Sees to it that no portable section which began before can commit on this slot, or on any.
pub(crate) fn fence(slot: Option<usize>) {
    let this = sys::thread_id();
    match slot {
        None => TABLE.iter().for_each(|slot| slot.fence(this)),
        Some(slot) if slot == cpu::shared_slot() || slot < LOCKS => Slot::of(slot).fence(this),
        // Portable mode uses no such slot.
        Some(_) => {}
    }
}

/// Sees to it that a child of `fork` frees the slots that other threads held: they don't exist in
/// it. The image's constructor does it; who comes ahead of that does it as well.
pub(crate) fn prepare_for_forks() {
    static PREPARED: AtomicBool = AtomicBool::new(false);
    unsafe extern "C" fn in_child() {
        let this = sys::thread_id();
        TABLE.iter().for_each(|slot| slot.forget_others(this));
    }
    // Each thread that comes before it is done does it as well: to wait for the first would be to
    // wait below a handler, and to go on would be to lock a slot that a child would find locked.
    // The C library takes a lock of its own for it, so no handler may come in between.
    if !PREPARED.load(Acquire) {
        sys::without_signals(|| sys::at_fork_in_child(in_child));
        PREPARED.store(true, Release);
    }
}

#[cfg(test)]
mod tests {
    use core::cell::UnsafeCell;
    use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
    use std::boxed::Box;
    use std::panic::{catch_unwind, resume_unwind};
    use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
    use std::sync::{Mutex, MutexGuard, PoisonError};
    use std::thread;
    use std::time::Duration;

    use super::{commit, enter, enter_shared, enter_slot, fence, leave};
    use crate::cpu;
    use crate::sys::thread_id;

    /// Each test has the slots for itself: others could take them away. One that doesn't end can't
    /// fail, so the process does.
    fn alone() -> (MutexGuard<'static, ()>, Sender<()>) {
        static ALONE: Mutex<()> = Mutex::new(());
        const LIMIT: Duration = Duration::from_secs(120);
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let (ended, end) = channel();
        let watch = move || {
            if end.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
                std::eprintln!("threads wait for each other");
                std::process::exit(1);
            }
        };
        if !cfg!(miri) {
            thread::spawn(watch);
        }
        (alone, ended)
    }

    /// A number that only sections of the shared slot access. Not an atomic: Miri and the thread
    /// sanitizer see any that do it at once.
    struct Counter(UnsafeCell<u64>);
    // SAFETY: accessed under the slot's lock alone, which is what is tested.
    unsafe impl Sync for Counter {}

    impl Counter {
        fn increment(&self) {
            // SAFETY: under the lock.
            unsafe { *self.0.get() += 1 };
        }
    }

    #[test]
    fn a_slot_is_one_threads_at_a_time() {
        let _alone = alone();
        const EACH: u64 = if cfg!(miri) { 50 } else { 10_000 };
        static COUNTER: Counter = Counter(UnsafeCell::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut count = 0;
                    while count < EACH {
                        let slot = enter_shared();
                        count += u64::from(commit(slot, || COUNTER.increment()).is_some());
                        leave(slot);
                    }
                });
            }
        });
        // SAFETY: all threads have ended.
        assert_eq!(unsafe { *COUNTER.0.get() }, 4 * EACH);
    }

    #[test]
    fn an_inner_section_revokes_the_outer_ones() {
        let _alone = alone();
        let first = enter();
        assert_eq!(enter(), first);
        assert_eq!(enter_slot(first, thread_id()), first);
        assert_eq!(commit(first, || 3), Some(3));
        leave(first);
        assert_eq!((commit(first, || 2), commit(first, || 2)), (None, None));
        leave(first);
        assert_eq!(commit(first, || 1), None);
        leave(first);
        assert_eq!(enter(), first);
        assert_eq!(commit(first, || 4), Some(4));
        leave(first);
        assert_eq!(enter(), first);
        fence(Some(first));
        assert_eq!(commit(first, || 5), None, "a fence revokes the section of its own thread");
        leave(first);
    }

    /// It leaves the slot free.
    #[test]
    fn a_window_may_panic() {
        let _alone = alone();
        let slot = enter_shared();
        let panicking = || commit(slot, || -> u8 { resume_unwind(Box::new(())) });
        assert!(catch_unwind(panicking).is_err());
        leave(slot);
        thread::spawn(|| {
            let slot = enter_shared();
            assert_eq!(commit(slot, || 1), Some(1));
            leave(slot);
        })
        .join()
        .expect("the slot is free");
    }

    /// A section of the handler of a fault in a window is part of that window.
    #[test]
    fn a_section_on_top_of_a_window_waits_for_nothing() {
        let _alone = alone();
        let slot = enter_shared();
        let outcome = commit(slot, || {
            assert_eq!(enter_shared(), slot);
            fence(Some(slot));
            let inner = commit(slot, || 1);
            leave(slot);
            inner.map(|inner| inner + 1)
        });
        leave(slot);
        assert_eq!(outcome, Some(Some(2)));
    }

    /// A thread that waits for a section, by a section or a fence, goes on while its `prepare`
    /// waits for them, and it can't commit any more.
    #[test]
    fn nobody_waits_for_prepare() {
        let _alone = alone();
        fn section() {
            let slot = enter_shared();
            assert!(commit(slot, || ()).is_some());
            leave(slot);
        }
        for other in [section, || fence(None), || fence(Some(cpu::shared_slot()))] {
            let slot = enter_shared();
            thread::spawn(other).join().expect("it waits for no section");
            assert_eq!(commit(slot, || ()), None);
            leave(slot);
            section();
        }
    }

    #[test]
    fn a_fence_waits_for_the_window_under_way() {
        let _alone = alone();
        for slot in [None, Some(cpu::shared_slot())] {
            let (entered, left) = (AtomicBool::new(false), AtomicBool::new(false));
            thread::scope(|scope| {
                scope.spawn(|| {
                    let slot = enter_shared();
                    let outcome = commit(slot, || {
                        entered.store(true, Relaxed);
                        (0..20).for_each(|_| thread::yield_now());
                        left.store(true, Relaxed);
                    });
                    assert!(outcome.is_some());
                    leave(slot);
                });
                while !entered.load(Relaxed) {
                    thread::yield_now();
                }
                fence(slot);
                assert!(left.load(Relaxed));
            });
        }
    }

    /// Sections get on while fences are made all the time.
    #[test]
    fn fences_keep_no_section_from_committing() {
        let _alone = alone();
        const EACH: u32 = if cfg!(miri) { 5 } else { 1000 };
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !ended.load(Relaxed) {
                    fence(None);
                }
            });
            for _ in 0..EACH {
                let mut is_through = false;
                while !is_through {
                    let slot = enter_shared();
                    is_through = commit(slot, || ()).is_some();
                    leave(slot);
                }
            }
            ended.store(true, Relaxed);
        });
    }
}
