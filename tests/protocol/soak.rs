//! Everything at once for a long time: sections of every kind, by threads that end and start, while
//! they are preempted, signalled, moved and fenced, and while the process forks. After each round
//! every kind must have counted what was done, and every item must be there once.
//!
//! `cargo test --release --test protocol -- soak:: --ignored --nocapture` makes 10^9 operations, or
//! as many as `RSEQ_SOAK_OPERATIONS` says. The other tests are small ones of the same, with a
//! control that must lose.
#![cfg(target_os = "linux")]
#![allow(clippy::duplicate_mod, reason = "once as they are, and once with a step left out")]

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressStyle};
use support::{
    Count, Steps, available_cpus, forced_portable, in_child, in_processes, lists, must_fail, one_run, pin, restartable,
    slabs, with_own_registration,
};

/// The operations of the examples as they are.
mod whole {
    #[cfg(target_arch = "x86")]
    pub use super::prepared::slab;
    pub use rseq_operations::*;
}

/// The same by sections that nothing interrupts, because they aren't armed.
#[path = "../../examples/operations"]
#[allow(dead_code, reason = "not every operation is used")]
mod unarmed {
    macro_rules! section {
        ($($tokens:tt)*) => {
            ::rseq::__mutant! { [no_arm] $($tokens)* }
        };
    }
    use section as rseq;

    pub mod librseq;
}

/// Arrays with the interface of the slabs, by sections that prepare.
mod prepared {
    pub mod slab {
        use std::array;
        use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Relaxed};

        use rseq::{PerCpu, rseq};

        const CAPACITY: usize = 32;

        pub struct Slab {
            length: AtomicUsize,
            items: [AtomicPtr<u8>; CAPACITY],
        }

        impl Default for Slab {
            fn default() -> Self {
                Self { length: AtomicUsize::new(0), items: array::from_fn(|_| AtomicPtr::default()) }
            }
        }

        impl Slab {
            pub fn items(&self) -> impl Iterator<Item = *mut u8> {
                self.items[..self.length.load(Relaxed)].iter().map(|item| item.load(Relaxed))
            }
        }

        pub fn push(slabs: &PerCpu<Slab>, item: *mut u8) -> bool {
            // SAFETY: the section stores below the capacity alone.
            unsafe {
                rseq! {
                    prepare |cpu| { let slab = &slabs[cpu]; }
                    critical {
                        let length = load(&slab.length);
                        if length == CAPACITY { exit false }
                        store(&slab.items[length], item);
                    }
                    commit add(&slab.length, 1)
                    => true
                }
            }
        }

        pub fn pop(slabs: &PerCpu<Slab>) -> Option<*mut u8> {
            rseq! {
                prepare |cpu| {
                    let slab = &slabs[cpu];
                    let last = slab.length.load(Relaxed).checked_sub(1)?;
                    let item = slab.items[last].load(Relaxed);
                }
                commit store(&slab.length, last)
                => Some(item)
            }
        }

        pub fn push_batch(slabs: &PerCpu<Slab>, items: &[*mut u8]) -> usize {
            // SAFETY: copies no more than there is room for behind the length, where nobody else
            // stores meanwhile.
            unsafe {
                rseq! {
                    prepare |cpu| {
                        let slab = &slabs[cpu];
                        let length = slab.length.load(Relaxed);
                        let moved = items.len().min(CAPACITY - length);
                        if moved == 0 { return 0 }
                        let (from, to) = (items.as_ptr(), slab.items[length..].as_ptr().cast_mut());
                    }
                    critical { copy(from, to, size_of_val(&items[..moved])); }
                    commit store_release(&slab.length, length + moved)
                    => moved
                }
            }
        }

        pub fn pop_batch(slabs: &PerCpu<Slab>, batch: &mut [*mut u8]) -> usize {
            rseq! {
                prepare |cpu| {
                    let slab = &slabs[cpu];
                    let length = slab.length.load(Relaxed);
                    let moved = batch.len().min(length);
                    for (to, item) in batch.iter_mut().zip(&slab.items[length - moved..length]) {
                        *to = item.load(Relaxed);
                    }
                }
                commit store(&slab.length, length - moved)
                => moved
            }
        }
    }
}

/// A module of counters: one for each form of section. `$watched` and `$window` leave out a step of
/// those with `prepare` and of those without.
macro_rules! counters {
    ($name:ident: $section:path, [$($watched:tt)*] [$($window:tt)*]) => {
        mod $name {
            use std::hint::black_box;
            use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

            use rseq::{IndexKind, MmCid, PerCpu};
            use $section as section;

            use super::Count;

            static PREPARED: PerCpu<AtomicUsize> = PerCpu::new();
            static COMPUTED: PerCpu<AtomicUsize> = PerCpu::new();
            static IN_PLACE: PerCpu<AtomicUsize> = PerCpu::new();
            static IN_A_WINDOW: PerCpu<AtomicUsize> = PerCpu::new();
            static BY_CID: PerCpu<AtomicUsize, MmCid> = PerCpu::new();
            static PREPARED_BY_CID: PerCpu<AtomicUsize, MmCid> = PerCpu::new();
            static ABORTS: AtomicU64 = AtomicU64::new(0);

            fn prepared(spin: u32) {
                section! {
                    $($watched)*
                    prepare |cpu| {
                        let slot = &PREPARED[cpu];
                        let count = slot.load(Relaxed);
                        (0..spin).for_each(|turn| { black_box(turn); });
                    }
                    commit store(slot, count + 1)
                    abort { ABORTS.fetch_add(1, Relaxed); }
                }
            }

            fn computed(_: u32) {
                section! {
                    $($watched)*
                    prepare |cpu| { let slot = &COMPUTED[cpu]; }
                    critical {
                        let count = load(slot);
                        let next = count + 1;
                    }
                    commit store(slot, next)
                }
            }

            fn in_place(_: u32) {
                section! {
                    $($window)*
                    commit |cpu| add(&IN_PLACE[cpu], 1)
                }
            }

            fn in_a_window(_: u32) {
                section! {
                    $($window)*
                    critical |cpu| {
                        let count = load(&IN_A_WINDOW[cpu]);
                        let next = count + 1;
                    }
                    commit store(&IN_A_WINDOW[cpu], next)
                }
            }

            fn by_cid(_: u32) {
                section! {
                    $($window)*
                    critical |cid: MmCid| {
                        let count = load(&BY_CID[cid]);
                        let next = count + 1;
                    }
                    commit store(&BY_CID[cid], next)
                }
            }

            fn prepared_by_cid(spin: u32) {
                section! {
                    $($watched)*
                    prepare |cid: MmCid| {
                        let slot = &PREPARED_BY_CID[cid];
                        let count = slot.load(Relaxed);
                        (0..spin).for_each(|turn| { black_box(turn); });
                    }
                    commit store(slot, count + 1)
                    abort { ABORTS.fetch_add(1, Relaxed); }
                }
            }

            fn sum<I: IndexKind>(slots: &PerCpu<AtomicUsize, I>) -> u64 {
                slots.iter().map(|slot| slot.load(Relaxed) as u64).sum()
            }

            const fn count(add: fn(u32), sum: fn() -> u64) -> Count {
                Count { add, leave: || (), sum, aborts: || 0 }
            }

            pub const KINDS: [(&str, Count); 6] = [
                ("prepared", Count { aborts: || ABORTS.load(Relaxed), ..count(prepared, || sum(&PREPARED)) }),
                ("prepared, computed in the window", count(computed, || sum(&COMPUTED))),
                ("in place", count(in_place, || sum(&IN_PLACE))),
                ("all in the window", count(in_a_window, || sum(&IN_A_WINDOW))),
                ("all in the window, by concurrency id", count(by_cid, || sum(&BY_CID))),
                ("prepared, by concurrency id", count(prepared_by_cid, || sum(&PREPARED_BY_CID))),
            ];
        }
    };
}

/// Counters by the other operations of librseq. Those that compare first count up what they found,
/// and apart from that how often it wasn't there any more.
mod compared {
    use std::array;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering::Relaxed};

    use rseq::{PerCpu, rseq};

    use super::Count;
    use super::whole::librseq::{self, Pair, Record, Table, WORDS};

    static WORD: PerCpu<AtomicUsize> = PerCpu::new();
    static BOTH: PerCpu<Pair> = PerCpu::new();
    static TWO: PerCpu<Pair> = PerCpu::new();
    static COPIED: PerCpu<Record> = PerCpu::new();
    static REFUSED: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];

    /// The value at a place of the slot: found by a section that always leaves by its exit.
    macro_rules! found {
        ($cpu:ident, $place:expr) => {
            rseq! {
                critical |$cpu| {
                    let found = load($place);
                    if found == found { exit found }
                }
                commit store($place, 0)
                => 0
            }
        };
    }

    fn note(kind: usize, stored: bool) {
        REFUSED[kind].fetch_add(u64::from(!stored), Relaxed);
    }

    fn word(_: u32) {
        let found = found!(cpu, &WORD[cpu]);
        note(0, librseq::compare_and_store(&WORD, found, found + 1));
    }

    fn both(_: u32) {
        let found = found!(cpu, &BOTH[cpu].first);
        note(1, librseq::compare_both_and_store(&BOTH, [found, 0], found + 1));
    }

    fn two(_: u32) {
        let found = found!(cpu, &TWO[cpu].first);
        note(2, librseq::compare_and_store_both(&TWO, found, [found + 1, found]));
    }

    fn copied(_: u32) {
        let found = found!(cpu, &COPIED[cpu].version);
        let words: [u64; WORDS] = array::from_fn(|word| (found + word) as u64);
        // SAFETY: nobody reads the words.
        note(3, unsafe { librseq::compare_copy_and_store(&COPIED, found, &words, found + 1) });
    }

    /// The counters behind the pointers: two for each slot.
    static COUNTERS: LazyLock<Vec<[AtomicUsize; 2]>> =
        LazyLock::new(|| (0..rseq::slots()).map(|_| Default::default()).collect());
    static POINTERS: LazyLock<Vec<[AtomicPtr<AtomicUsize>; 2]>> = LazyLock::new(|| {
        COUNTERS.iter().map(|two| two.each_ref().map(|counter| AtomicPtr::new(counter.as_ptr().cast()))).collect()
    });
    static TABLES: LazyLock<PerCpu<Table>> =
        LazyLock::new(|| PerCpu::from_fn(|slot| AtomicPtr::new(POINTERS[slot].as_ptr().cast_mut())));

    fn behind(spin: u32) {
        // SAFETY: each slot has two pointers to counters of its own, all of statics.
        unsafe { librseq::add_behind(&TABLES, (spin % 2) as usize, 1) };
    }

    fn sum_behind() -> u64 {
        // Before any handler comes, which can't wait for somebody else to make them.
        LazyLock::force(&TABLES);
        COUNTERS.iter().flatten().map(|count| count.load(Relaxed) as u64).sum()
    }

    fn sum<T>(kind: usize, slots: &PerCpu<T>, of: fn(&T) -> &AtomicUsize) -> u64 {
        let stored: usize = slots.iter().map(|slot| of(slot).load(Relaxed)).sum();
        REFUSED[kind].load(Relaxed) + stored as u64
    }

    const fn count(add: fn(u32), sum: fn() -> u64) -> Count {
        Count { add, leave: || (), sum, aborts: || 0 }
    }

    pub const KINDS: [(&str, Count); 5] = [
        ("compare, store", count(word, || sum(0, &WORD, |word| word))),
        ("compare two, store", count(both, || sum(1, &BOTH, |pair| &pair.first))),
        ("compare, store two", count(two, || sum(2, &TWO, |pair| &pair.first))),
        ("compare, copy, store", count(copied, || sum(3, &COPIED, |record| &record.version))),
        ("find, add", count(behind, sum_behind)),
    ];
}

counters!(counters: rseq::rseq, [] []);
counters!(controls: rseq::__mutant, [[no_check]] [[no_arm]]);
lists!(lists: whole);
lists!(lists_of_children: whole);
lists!(unarmed_lists: unarmed);
slabs!(slabs: whole);
slabs!(slabs_of_children: whole);
slabs!(arrays: prepared);
slabs!(arrays_of_children: prepared);

/// A kind of section, by its name.
type Kind = (&'static str, Count);

/// Those that are sums of words. In a child of `fork` too: it finds each word as it was at some
/// moment.
static COUNTERS: [Kind; 11] = {
    let ([a, b, c, d, e, f], [g, h, i, j, k]) = (counters::KINDS, compared::KINDS);
    [a, b, c, d, e, f, g, h, i, j, k]
};
static ITEMS: [Kind; 3] = [("lists", lists::COUNT), ("slabs", slabs::COUNT), ("prepared arrays", arrays::COUNT)];
/// A child of `fork` has items of its own: those of its parent were on their way when it was made.
static ITEMS_OF_CHILDREN: [Kind; 3] = [
    ("lists", lists_of_children::COUNT),
    ("slabs", slabs_of_children::COUNT),
    ("prepared arrays", arrays_of_children::COUNT),
];
static CONTROLS: [Kind; 7] = {
    let [a, b, c, d, e, f] = controls::KINDS;
    [a, b, c, d, e, f, ("lists", unarmed_lists::COUNT)]
};

fn whole_kinds() -> Vec<Kind> {
    COUNTERS.iter().chain(&ITEMS).copied().collect()
}

/// How many threads run sections at once.
const WORKERS: usize = 8;
/// How many operations a thread does before another one takes its place.
const LIFE: u64 = 25_000;
/// One worker forks after so many of its operations.
const FORK: u64 = 5_000;
/// So many operations are done between two checks of everything.
const ROUND: u64 = 20_000_000;
/// Every so many operations, one takes its time. (The kinds take turns: a number that shares no
/// divisor with theirs, so that each is slow at times.)
const SLOW: u64 = 15;

/// A place among the workers, whichever thread has it by now.
struct Worker {
    number: usize,
    kinds: &'static [Kind],
    /// The number of operations of each kind by its threads, their handlers included.
    did: Vec<AtomicU64>,
    /// The operations of handlers.
    handled: AtomicU64,
    /// The thread (a `pthread_t`, which is a pointer in some libraries), locked while others do
    /// something to it: so it doesn't end meanwhile.
    thread: Mutex<Option<usize>>,
}

thread_local! {
    /// The place that the thread works for. (Without initialisation or destructor: a handler may
    /// come at any time.)
    static WORKER: Cell<Option<&'static Worker>> = const { Cell::new(None) };
}

extern "C" fn on_signal(_: libc::c_int) {
    if let Some(worker) = WORKER.get() {
        worker.operate(worker.handled.fetch_add(1, Relaxed), 0);
    }
}

impl Worker {
    fn operate(&self, turn: u64, spin: u32) {
        let kind = turn as usize % self.kinds.len();
        (self.kinds[kind].1.add)(spin);
        self.did[kind].fetch_add(1, Relaxed);
    }

    /// One thread after the other does so many operations all in all.
    fn work(&'static self, operations: u64, done: &Done) {
        for start in (0..operations).step_by(LIFE as usize) {
            let turns = start..operations.min(start + LIFE);
            thread::scope(|scope| scope.spawn(|| self.live(turns, done)).join().expect("sections don't panic"));
            done.threads.fetch_add(1, Relaxed);
        }
    }

    fn live(&'static self, turns: std::ops::Range<u64>, done: &Done) {
        WORKER.set(Some(self));
        // SAFETY: has no precondition. On Linux this concerns the calling thread alone: whoever
        // disturbs it comes first.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 19) };
        // SAFETY: has no precondition.
        *self.locked() = Some(unsafe { libc::pthread_self() } as usize);
        done.operations.inc(turns.end - turns.start);
        for turn in turns {
            self.operate(turn, if turn % SLOW == 0 { 400 } else { 0 });
            if self.number == 0 && turn % FORK == 0 {
                assert_eq!(in_child(child_is_right), 0, "a child of `fork` is exact");
                done.forks.fetch_add(1, Relaxed);
            }
        }
        *self.locked() = None;
        WORKER.set(None);
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Option<usize>> {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `true` if a child of `fork` counts right. It allocates nothing, prints nothing and takes no
/// lock.
fn child_is_right() -> bool {
    const EACH: u64 = 50;
    let adds_up = |(_, count): &Kind| {
        let before = (count.sum)();
        (0..EACH).for_each(|_| (count.add)(0));
        (count.sum)() - before == EACH
    };
    COUNTERS.iter().chain(&ITEMS_OF_CHILDREN).all(adds_up)
}

/// The account of all work.
struct Done {
    operations: ProgressBar,
    threads: AtomicU64,
    signals: AtomicU64,
    moves: AtomicU64,
    fences: AtomicU64,
    forks: AtomicU64,
}

/// The result of a soak: how much is missing of each kind, and what was done for it.
struct Report {
    missing: Vec<(&'static str, i64)>,
    operations: u64,
    handled: u64,
    aborts: u64,
    done: Done,
    time: Duration,
}

impl Report {
    fn is_exact(&self) -> bool {
        self.missing.is_empty()
    }

    /// `true` if everything that is to happen did: a soak that nothing disturbed proves nothing.
    fn is_disturbed(&self) -> bool {
        let Done { threads, signals, moves, fences, forks, .. } = &self.done;
        [threads, signals, moves, fences, forks].iter().all(|count| count.load(Relaxed) > 0) && self.handled > 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Done { threads, signals, moves, fences, forks, .. } = &self.done;
        let mut line = |name: &str, count: u64| writeln!(f, "{name:12}{:>16}", HumanCount(count).to_string());
        line("operations", self.operations)?;
        line("by handlers", self.handled)?;
        line("aborts", self.aborts)?;
        line("threads", threads.load(Relaxed))?;
        line("signals", signals.load(Relaxed))?;
        line("moves", moves.load(Relaxed))?;
        line("fences", fences.load(Relaxed))?;
        line("forks", forks.load(Relaxed))?;
        writeln!(f, "{:12}{:>16}", "time", HumanDuration(self.time).to_string())?;
        if self.is_exact() { write!(f, "nothing is missing") } else { write!(f, "missing: {:?}", self.missing) }
    }
}

/// Does so many operations of these kinds, in rounds. Ends after a round that isn't exact. The
/// caller has [`one_run`].
fn soak(kinds: Vec<Kind>, operations: u64) -> Report {
    println!("mode: {:?}", support::mode());
    support::handle_signals(on_signal);
    let start = Instant::now();
    let kinds: &'static [Kind] = kinds.leak();
    let before: Vec<u64> = kinds.iter().map(|(_, count)| (count.sum)()).collect();
    let aborts = || kinds.iter().map(|(_, count)| (count.aborts)()).sum::<u64>();
    let aborts_before = aborts();
    // Never freed: a handler may still look at them.
    let workers: &'static [Worker] = (0..WORKERS).map(|number| Worker::new(number, kinds)).collect::<Vec<_>>().leak();
    let mut report = Report {
        missing: Vec::new(),
        operations: 0,
        handled: 0,
        aborts: 0,
        done: Done::new(operations),
        time: Duration::ZERO,
    };
    while report.is_exact() && report.operations < operations {
        let share = ROUND.min(operations - report.operations).div_ceil(WORKERS as u64);
        round(workers, share, &report.done);
        report.operations += share * WORKERS as u64;
        report.missing = missing(kinds, &before, workers);
    }
    report.done.operations.finish();
    report.handled = workers.iter().map(|worker| worker.handled.load(Relaxed)).sum();
    report.aborts = aborts() - aborts_before;
    report.time = start.elapsed();
    println!("{report}");
    report
}

impl Worker {
    fn new(number: usize, kinds: &'static [Kind]) -> Self {
        let did = kinds.iter().map(|_| AtomicU64::new(0)).collect();
        Self { number, kinds, did, handled: AtomicU64::new(0), thread: Mutex::new(None) }
    }
}

impl Done {
    fn new(operations: u64) -> Self {
        let style = ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} {per_sec} eta {eta}");
        let bar = ProgressBar::new(operations).with_style(style.expect("the template is right"));
        let [threads, signals, moves, fences, forks] = [const { AtomicU64::new(0) }; 5];
        Self { operations: bar, threads, signals, moves, fences, forks }
    }
}

/// The workers do `share` operations each, while everything happens to them.
fn round(workers: &'static [Worker], share: u64, done: &Done) {
    let (steps, cpus) = (Steps::default(), available_cpus());
    let (steps, cpus) = (&steps, &cpus);
    thread::scope(|scope| {
        let _end = steps.until_dropped();
        let working: Vec<_> = workers.iter().map(|worker| scope.spawn(move || worker.work(share, done))).collect();
        scope.spawn(|| {
            disturb(steps, &done.signals, Duration::from_micros(50), |_| {
                // SAFETY: the thread doesn't end before its lock is free.
                on_threads(workers, |_, thread| assert_eq!(unsafe { libc::pthread_kill(thread, libc::SIGUSR1) }, 0))
            });
        });
        scope.spawn(|| {
            disturb(steps, &done.moves, Duration::from_micros(70), |turn| {
                on_threads(workers, |number, thread| pin(thread, &[cpus[(turn + number) % cpus.len()]]))
            });
        });
        scope.spawn(|| {
            disturb(steps, &done.fences, Duration::from_micros(200), |turn| {
                let fence = match turn % 2 {
                    0 => rseq::fence::all(),
                    _ => rseq::fence::cpu(rseq::CpuId::new(cpus[turn / 2 % cpus.len()]).expect("the CPU has a slot")),
                };
                fence.expect("the kernel has fences");
                1
            });
        });
        working.into_iter().for_each(|worker| worker.join().expect("workers don't panic"));
    });
}

/// Disturbs again and again; adds up how many times that is.
fn disturb(steps: &Steps, count: &AtomicU64, pause: Duration, act: impl Fn(usize) -> u64) {
    let mut turn = 0;
    while !steps.has_ended() {
        count.fetch_add(act(turn), Relaxed);
        turn += 1;
        support::pause(pause);
    }
}

/// Does something to the thread of each worker that has one now. Gives their number.
fn on_threads(workers: &[Worker], act: impl Fn(usize, libc::pthread_t)) -> u64 {
    let act = |worker: &Worker| worker.locked().map(|thread| act(worker.number, thread as libc::pthread_t)).is_some();
    workers.iter().filter(|worker| act(worker)).count() as u64
}

/// The kinds that didn't count what was done since `before`, with what is missing.
fn missing(kinds: &[Kind], before: &[u64], workers: &[Worker]) -> Vec<(&'static str, i64)> {
    let difference = |(kind, (name, count)): (usize, &Kind)| {
        let did: u64 = workers.iter().map(|worker| worker.did[kind].load(Relaxed)).sum();
        (*name, (before[kind] + did).wrapping_sub((count.sum)()).cast_signed())
    };
    kinds.iter().enumerate().map(difference).filter(|(_, missing)| *missing != 0).collect()
}

/// Goes on until everything happened, and sections were aborted: a soak that disturbed nothing
/// proves nothing.
fn must_be_exact(operations: u64) {
    let _run = one_run();
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let report = soak(whole_kinds(), operations);
        assert!(report.is_exact(), "{report}");
        if report.is_disturbed() && (report.aborts > 0 || is_portable()) {
            return;
        }
        assert!(Instant::now() < end, "{report}");
    }
}

/// In portable mode each commit makes system calls, and hardly anything but handlers makes sections
/// abort.
fn is_portable() -> bool {
    matches!(support::mode(), rseq::Mode::Portable(_))
}

/// How many operations `RSEQ_SOAK_OPERATIONS` asks for.
fn operations() -> u64 {
    let number = |text: String| text.replace('_', "").parse().expect("RSEQ_SOAK_OPERATIONS is a number");
    std::env::var("RSEQ_SOAK_OPERATIONS").map_or(1_000_000_000, number)
}

#[test]
#[ignore = "takes minutes: cargo test --release --test protocol -- soak:: --ignored --nocapture"]
fn everything_at_once_for_long() {
    must_be_exact(operations());
}

#[test]
fn everything_at_once() {
    must_be_exact(if is_portable() { 300_000 } else { 4_000_000 } / support::shorter());
}

#[test]
fn everything_at_once_in_portable_mode() {
    in_processes(module_path!(), forced_portable, &["everything_at_once"]);
}

#[test]
fn everything_at_once_with_own_registration() {
    in_processes(module_path!(), with_own_registration, &["everything_at_once"]);
}

/// The same by sections that leave a step out: something must be missing.
#[test]
fn everything_at_once_without_check_and_arm() {
    if restartable() {
        let _run = one_run();
        must_fail(|| !soak(CONTROLS.to_vec(), 200_000 / u64::from(support::slowness())).is_exact());
    }
}
