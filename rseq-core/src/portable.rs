//! The portable mode: the same sections with a lock per slot, wherever restartable sequences can't be used.
//!
//! A section locks one slot for its whole length and gets that slot's index. A second section on the same thread, be it called from
//! `prepare` or run by a signal handler, works on the same slot and revokes the outer one, which then aborts and starts again, just
//! as the kernel would have it. So nothing deadlocks; an outer section that is revoked without end, because its `prepare` always
//! runs another section, panics after [`MOST_REVOCATIONS`] attempts. (Restartable sequences can't tell: there it repeats forever.)
//!
//! The mode never mixes with the other one on the same data: threads that the kernel refuses in a process that runs
//! restartable sequences share a slot that no CPU has.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use crate::cpu;
use crate::mode::{self, Mode, Reason};
use crate::sys;

/// So many attempts in a row of one section, each revoked by another section of the same thread, are taken for a
/// mistake in its `prepare`.
pub const MOST_REVOCATIONS: u32 = 100_000;

/// The most slots that portable mode spreads threads over.
const LOCKS: usize = 64;

/// A slot's lock. On two cache lines, because processors fetch them in pairs.
///
/// All but `owner` is written by the owner alone, or by a signal handler on top of it, which leaves `depth` as it was.
#[repr(align(128))]
struct Lock {
    /// The [`sys::thread_id`] of the thread inside, 0 for none.
    owner: AtomicUsize,
    /// How many sections that thread is inside of; stays 1 when it leaves the last.
    depth: AtomicU32,
    /// The depth of the section that began last. A section at another depth was revoked by one that began later.
    valid: AtomicU32,
    /// How many commits in a row, at the depth below, found their section revoked. (Those of the sections that revoke it succeed.)
    revocations: AtomicU32,
    revoked_depth: AtomicU32,
    /// The [`sys::thread_id`] of a thread whose fence waits for the lock, 0 for none. Whoever begins a section lets it go first: where threads are in
    /// sections all the time, it would never come in between.
    fence: AtomicUsize,
}

/// The locks of the slots 0 to 63, and that of the shared slot.
static TABLE: [Lock; LOCKS + 1] = [const {
    Lock {
        owner: AtomicUsize::new(0),
        depth: AtomicU32::new(1),
        valid: AtomicU32::new(0),
        revocations: AtomicU32::new(0),
        revoked_depth: AtomicU32::new(0),
        fence: AtomicUsize::new(0),
    }
}; LOCKS + 1];

/// How many commits apart aborts are injected, 0 for never.
static INJECT: AtomicU32 = AtomicU32::new(0);

/// Chooses the portable mode for this process.
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

/// Makes every `period`-th commit of the process abort in portable mode, so that tests reach what a program does about
/// aborts; 0 turns it off.
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

impl Lock {
    fn of(slot: usize) -> &'static Self {
        if slot == cpu::shared_slot() { &TABLE[LOCKS] } else { &TABLE[slot] }
    }

    fn enter(&self) {
        let this = sys::thread_id();
        let depth = if self.owner.load(Relaxed) == this {
            self.depth.load(Relaxed) + 1
        } else {
            self.acquire(this);
            1
        };
        self.depth.store(depth, Relaxed);
        self.valid.store(depth, Relaxed);
    }

    fn acquire(&self, this: usize) {
        prepare_for_forks();
        self.let_fence_go_first(this);
        let mut round = 0;
        while self.owner.compare_exchange_weak(0, this, Acquire, Relaxed).is_err() {
            sys::wait(round);
            round = round.saturating_add(1);
        }
    }

    /// Waits some milliseconds at most: the section may be a handler's on top of what another fence waits for.
    fn let_fence_go_first(&self, this: usize) {
        const ROUNDS: u32 = 200;
        for round in 0..ROUNDS {
            let fence = self.fence.load(Relaxed);
            if fence == 0 || fence == this {
                return;
            }
            sys::wait(round);
        }
    }

    fn leave(&self) {
        match self.depth.load(Relaxed) {
            // The depth stays, for a handler that comes before the store: it must not take itself for the outermost.
            1 => self.owner.store(0, Release),
            depth => self.depth.store(depth - 1, Relaxed),
        }
    }

    /// What a fence does.
    fn pass(&self) {
        prepare_for_forks();
        let this = sys::thread_id();
        self.fence.store(this, Relaxed);
        self.enter();
        // Another fence may wait by now.
        let _ = self.fence.compare_exchange(this, 0, Relaxed, Relaxed);
        self.leave();
    }

    /// Whether the innermost section may commit: none began after it.
    fn admits(&self) -> bool {
        let depth = self.depth.load(Relaxed);
        let valid = self.valid.load(Relaxed) == depth;
        let known = self.revoked_depth.load(Relaxed);
        if !valid {
            let before = if known == depth { self.revocations.load(Relaxed) } else { 0 };
            self.revocations.store(before + 1, Relaxed);
            self.revoked_depth.store(depth, Relaxed);
        } else if depth <= known {
            self.revocations.store(0, Relaxed);
        }
        valid
    }
}

/// Begins a section in portable mode, on a slot that depends on the thread alone: so a nested section meets its outer one.
pub(crate) fn enter() -> usize {
    // Threads' ids are often addresses at regular distances: a multiplication by 2^64 / golden ratio spreads them over the
    // upper bits, and those select the slot.
    let spread = (sys::thread_id() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let slots = LOCKS.min(cpu::possible()) as u64;
    enter_slot(((spread * slots) >> 32) as usize)
}

/// Begins a section on the slot that no CPU has.
pub(crate) fn enter_shared() -> usize {
    enter_slot(cpu::shared_slot())
}

fn enter_slot(slot: usize) -> usize {
    Lock::of(slot).enter();
    slot
}

/// Runs the window of the section that holds this slot, unless it was revoked: then there is no outcome.
///
/// # Panics
/// If sections on this slot were revoked [`MOST_REVOCATIONS`] times in a row.
#[cfg_attr(debug_assertions, track_caller)]
pub(crate) fn commit<R>(slot: usize, window: impl FnOnce() -> R) -> Option<R> {
    let lock = Lock::of(slot);
    // A handler between the test and the commit would run its section in between.
    let outcome = sys::without_signals(|| (lock.admits() && !injected_abort()).then(window));
    assert!(
        outcome.is_some() || lock.revocations.load(Relaxed) < MOST_REVOCATIONS,
        "an rseq! section aborted {MOST_REVOCATIONS} times in a row in portable mode: its `prepare` runs another section each \
         time, so it can never commit; move the inner section out of `prepare`"
    );
    outcome
}

/// Ends the section that holds this slot.
pub(crate) fn leave(slot: usize) {
    Lock::of(slot).leave();
}

fn injected_abort() -> bool {
    static COMMITS: AtomicU32 = AtomicU32::new(0);
    match INJECT.load(Relaxed) {
        0 => false,
        period => COMMITS.fetch_add(1, Relaxed).wrapping_add(1).is_multiple_of(period),
    }
}

/// Waits until no portable section that began before is left on this slot, or on any; revokes those of the calling thread itself.
pub(crate) fn fence(slot: Option<usize>) {
    match slot {
        None => TABLE.iter().for_each(Lock::pass),
        Some(slot) if slot == cpu::shared_slot() || slot < LOCKS => Lock::of(slot).pass(),
        // Portable mode uses no such slot.
        Some(_) => {}
    }
}

/// Sees to it that a child of `fork` frees the locks that other threads held: they don't exist in it.
fn prepare_for_forks() {
    static PREPARED: AtomicBool = AtomicBool::new(false);
    unsafe extern "C" fn in_child() {
        for lock in &TABLE {
            lock.fence.store(0, Relaxed);
            if lock.owner.load(Relaxed) != sys::thread_id() {
                lock.owner.store(0, Release);
            }
        }
    }
    // Each thread that comes before it is done does it as well: to wait for the first would be to wait below a handler, and to go on would be to
    // lock a slot that a child would find locked. The C library takes a lock of its own for it, so no handler may come in between.
    if !PREPARED.load(Acquire) {
        sys::without_signals(|| sys::at_fork_in_child(in_child));
        PREPARED.store(true, Release);
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use core::cell::UnsafeCell;
    use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
    use std::thread;

    use super::{commit, enter, enter_shared, enter_slot, fence, leave};
    use crate::cpu;

    /// What only sections of the shared slot access. Not an atomic: Miri and the thread sanitizer see any that do it at once.
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
        const EACH: u64 = if cfg!(miri) { 50 } else { 10_000 };
        static COUNTER: Counter = Counter(UnsafeCell::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        let slot = enter_shared();
                        while commit(slot, || COUNTER.increment()).is_none() {}
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
        let first = enter();
        assert_eq!(enter(), first);
        assert_eq!(enter_slot(first), first);
        assert_eq!(commit(first, || 3), Some(3));
        leave(first);
        assert_eq!((commit(first, || 2), commit(first, || 2)), (None, None));
        leave(first);
        assert_eq!(commit(first, || 1), None);
        leave(first);
        assert_eq!(enter(), first);
        assert_eq!(commit(first, || 4), Some(4));
        fence(Some(first));
        assert_eq!(commit(first, || 5), None, "a fence revokes the section of its own thread");
        leave(first);
    }

    #[test]
    fn a_fence_waits_for_the_sections_under_way() {
        for slot in [None, Some(cpu::shared_slot())] {
            let (entered, left) = (AtomicBool::new(false), AtomicBool::new(false));
            thread::scope(|scope| {
                scope.spawn(|| {
                    let slot = enter_shared();
                    entered.store(true, Relaxed);
                    (0..20).for_each(|_| thread::yield_now());
                    left.store(true, Relaxed);
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
}
