//! Stack, Ring and Pool: what a plain model says, nothing lost and nothing twice whatever disturbs,
//! bounded, and dropped once.
//!
//! Nothing lost means: items are taken, changed by who took them without any protection, and put
//! back; then each is there once and was changed as often as it was taken. There are controls that
//! must fail: the same types, compiled once more with windows that aren't armed.
#![cfg(target_os = "linux")]
#![allow(clippy::duplicate_mod, reason = "once as they are, and once with each way to get it wrong")]

// Again, for where this file is a program of its own (`xtask/guest`).
extern crate alloc;

mod plain;
mod shelves;
mod traits;

use std::mem::forget;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Barrier, Mutex};
use std::thread;

use rseq::{Pool, Pooled, Ring, Stack, drain};
use support::{Count, Disturbance, available_cpus, forced_portable, in_processes, restartable, with_own_registration};

/// The types by sections that nothing interrupts, because they aren't armed.
#[allow(dead_code, reason = "not every method is used")]
#[path = "../../../src"]
mod unarmed {
    macro_rules! section {
        ($($tokens:tt)*) => { ::rseq::__mutant! { [no_arm] $($tokens)* } };
    }
    use ::rseq::{__private, AllocError, CpuId, PerCpu, Slots, drain};
    use section as rseq;

    mod cells;
    mod current;
    mod ring;
    mod stack;

    pub use ring::Ring;
    pub use stack::Stack;
}

/// The types with another way to deal with CPUs that are stopped.
macro_rules! draining {
    ($name:ident: $($drain:tt)*) => {
        #[allow(dead_code, unused_imports, reason = "not every method is used")]
        #[path = "../../../src"]
        mod $name {
            use ::rseq::{__private, AllocError, CpuId, PerCpu, rseq};

            mod drain {
                use std::sync::atomic::AtomicUsize;

                use ::rseq::CpuId;
                pub use ::rseq::drain::{MOST, StopError, Stopped, insist};

                $($drain)*
            }

            mod cells;
            mod current;
            mod pool;
            mod stack;

            pub use pool::{Pool, Pooled};
            pub use stack::Stack;
        }
    };
}

draining! { hasty:
    /// A CPU that is stopped is taken for one that is full ..
    pub const STOPPED: usize = usize::MAX;

    /// .. or empty.
    pub fn stop(number: &AtomicUsize, cpu: CpuId) -> Result<Stopped<'_>, StopError> {
        ::rseq::drain::stop(number, cpu).map_err(|_| StopError::Crowded)
    }
}

draining! { interrupted:
    pub use ::rseq::drain::STOPPED;

    /// Something happens to a thread that has stopped a CPU.
    pub fn stop(number: &AtomicUsize, cpu: CpuId) -> Result<Stopped<'_>, StopError> {
        ::rseq::drain::stop_by(number, || {
            ::rseq::fence::cpu(cpu)?;
            super::super::shelves::happens();
            Ok(())
        })
    }
}

/// An item that travels as a word, and one that is copied. Each leads to the count of its changes.
trait Item: Copy + Send + 'static {
    fn of(count: &'static AtomicU64) -> Self;
    /// The count, if the item is whole.
    fn count(self) -> Option<&'static AtomicU64>;
}

impl Item for &'static AtomicU64 {
    fn of(count: &'static AtomicU64) -> Self {
        count
    }
    fn count(self) -> Option<&'static AtomicU64> {
        Some(self)
    }
}

/// Larger than a pointer, with gaps, and such that one sees it if it is of two parts.
#[derive(Clone, Copy)]
struct Large {
    before: u8,
    count: &'static AtomicU64,
    copies: [usize; 5],
    after: u16,
}

impl Item for Large {
    fn of(count: &'static AtomicU64) -> Self {
        let address = count.as_ptr().addr();
        Self { before: address as u8, count, copies: [address; 5], after: address as u16 }
    }
    fn count(self) -> Option<&'static AtomicU64> {
        let address = self.count.as_ptr().addr();
        let whole = self.copies == [address; 5] && self.before == address as u8 && self.after == address as u16;
        whole.then_some(self.count)
    }
}

/// A module that moves items by a stack. Each control has one of its own, because it leaves the
/// stack as it shouldn't be.
macro_rules! stacks {
    ($name:ident: $stack:path, $item:ty) => {
        mod $name {
            use std::sync::Once;
            use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

            use super::Item;
            use support::Count;
            use support::items::{ITEMS, MISPLACED, change, sum};
            use $stack as Stack;

            pub static STACK: Stack<$item> = Stack::new();
            static COUNTS: [AtomicU64; ITEMS] = [const { AtomicU64::new(0) }; ITEMS];
            static NOTHING_THERE: AtomicU64 = AtomicU64::new(0);
            static BROKEN: AtomicU64 = AtomicU64::new(0);
            /// Items that came back from a push, because whoever was taking from this CPU (the
            /// thread below a handler, perhaps) didn't get on.
            static KEPT: [AtomicU64; ITEMS] = [const { AtomicU64::new(0) }; ITEMS];

            fn number(item: $item) -> Option<usize> {
                item.count().and_then(|item| COUNTS.iter().position(|count| std::ptr::eq(count, item)))
            }

            fn keep(item: $item) {
                number(item).into_iter().for_each(|number| _ = KEPT[number].fetch_add(1, Relaxed));
            }

            fn add(spin: u32) {
                let Some(item) = STACK.pop() else {
                    NOTHING_THERE.fetch_add(1, Relaxed);
                    return;
                };
                // After a control there may be something else.
                match item.count().filter(|count| COUNTS.as_ptr_range().contains(&std::ptr::from_ref(*count))) {
                    Some(count) => change(count, spin),
                    None => _ = BROKEN.fetch_add(MISPLACED, Relaxed),
                }
                // There is room for all items on each CPU.
                STACK.push(item).unwrap_or_else(keep);
            }

            fn fill() {
                COUNTS.iter().for_each(|count| assert!(STACK.push(<$item>::of(count)).is_ok()));
            }

            fn count() -> u64 {
                static FILLED: Once = Once::new();
                FILLED.call_once(fill);
                for (count, kept) in COUNTS.iter().zip(&KEPT) {
                    (0..kept.swap(0, Relaxed)).for_each(|_| STACK.push(<$item>::of(count)).unwrap_or_else(keep));
                }
                let mut found = [0; ITEMS];
                let mut held = Vec::new();
                // A control may have made more of them than there were.
                while let Some(item) = STACK.pop().filter(|_| held.len() < 10 * ITEMS) {
                    number(item).into_iter().for_each(|number| found[number] += 1);
                    held.push(item);
                }
                held.into_iter().for_each(|item| STACK.push(item).unwrap_or_else(keep));
                let changes: u64 = COUNTS.iter().map(|count| count.load(Relaxed)).sum();
                sum(NOTHING_THERE.load(Relaxed) + BROKEN.load(Relaxed) + changes, found)
            }

            pub const COUNT: Count = Count { add, leave: || (), sum: count, aborts: || 0 };
        }
    };
}

stacks!(words: rseq::Stack, &'static AtomicU64);
stacks!(copies: rseq::Stack, super::Large);
stacks!(words_unarmed_for_preemption: super::unarmed::Stack, &'static AtomicU64);
stacks!(words_unarmed_for_signals: super::unarmed::Stack, &'static AtomicU64);
stacks!(copies_unarmed_for_signals: super::unarmed::Stack, super::Large);

/// A module that counts by items on their way through a ring.
macro_rules! rings {
    ($name:ident: $ring:path, $item:ty) => {
        mod $name {
            use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

            use super::Item;
            use support::Count;
            use support::items::MISPLACED;
            use $ring as Ring;

            static RING: Ring<$item, 64> = Ring::new();
            static TAKEN: AtomicU64 = AtomicU64::new(0);
            static REFUSED: AtomicU64 = AtomicU64::new(0);

            fn add(_: u32) {
                if RING.push(<$item>::of(&TAKEN)).is_err() {
                    REFUSED.fetch_add(1, Relaxed);
                    drain();
                }
            }

            /// Takes all items, if nobody else does.
            fn drain() {
                // After a control there may be items without end.
                for item in RING.drain().into_iter().flatten().take(100 * 64) {
                    let whole = item.count().is_some_and(|count| std::ptr::eq(count, &TAKEN));
                    TAKEN.fetch_add(if whole { 1 } else { MISPLACED }, Relaxed);
                }
            }

            fn count() -> u64 {
                drain();
                let left = if RING.is_empty() { 0 } else { MISPLACED };
                TAKEN.load(Relaxed) + REFUSED.load(Relaxed) + left
            }

            pub const COUNT: Count = Count { add, leave: || (), sum: count, aborts: || 0 };
        }
    };
}

rings!(ring_of_words: rseq::Ring, &'static AtomicU64);
rings!(ring_of_copies: rseq::Ring, super::Large);
rings!(ring_of_words_unarmed: super::unarmed::Ring, &'static AtomicU64);
rings!(ring_of_copies_unarmed: super::unarmed::Ring, super::Large);

const EACH: u64 = 50_000;

fn must_be_exact(count: Count, disturbance: Disturbance) {
    println!("mode: {:?}", support::mode());
    support::must_be_exact(count, disturbance, EACH, false);
}

fn control(count: Count, disturbance: Disturbance) {
    support::must_lose(count, disturbance, EACH, restartable());
}

#[test]
fn words_preempted() {
    must_be_exact(words::COUNT, Disturbance::Preemption);
}

#[test]
fn words_signalled() {
    must_be_exact(words::COUNT, Disturbance::Signals);
}

#[test]
fn words_moved() {
    must_be_exact(words::COUNT, Disturbance::Migration);
}

#[test]
fn copies_preempted() {
    must_be_exact(copies::COUNT, Disturbance::Preemption);
}

#[test]
fn copies_signalled() {
    must_be_exact(copies::COUNT, Disturbance::Signals);
}

#[test]
fn copies_moved() {
    must_be_exact(copies::COUNT, Disturbance::Migration);
}

#[test]
fn ring_preempted() {
    must_be_exact(ring_of_words::COUNT, Disturbance::Preemption);
}

#[test]
fn ring_signalled() {
    must_be_exact(ring_of_words::COUNT, Disturbance::Signals);
}

#[test]
fn ring_moved() {
    must_be_exact(ring_of_words::COUNT, Disturbance::Migration);
}

#[test]
fn ring_of_copies_preempted() {
    must_be_exact(ring_of_copies::COUNT, Disturbance::Preemption);
}

#[test]
fn ring_of_copies_signalled() {
    must_be_exact(ring_of_copies::COUNT, Disturbance::Signals);
}

#[test]
fn words_preempted_unarmed() {
    control(words_unarmed_for_preemption::COUNT, Disturbance::Preemption);
}

#[test]
fn words_signalled_unarmed() {
    control(words_unarmed_for_signals::COUNT, Disturbance::Signals);
}

#[test]
fn copies_signalled_unarmed() {
    control(copies_unarmed_for_signals::COUNT, Disturbance::Signals);
}

#[test]
fn ring_preempted_unarmed() {
    control(ring_of_words_unarmed::COUNT, Disturbance::Preemption);
}

#[test]
fn ring_signalled_unarmed() {
    control(ring_of_copies_unarmed::COUNT, Disturbance::Signals);
}

/// Runs on one CPU, where the process has several.
fn on_cpu<R: Send>(turn: usize, work: impl FnOnce() -> R + Send) -> R {
    let cpus = available_cpus();
    support::on(cpus[turn % cpus.len()], work)
}

/// One CPU's threads put down, the other's pick up: all of it goes by the drain protocol.
#[test]
fn what_one_cpu_puts_down_another_picks_up() {
    const ALL: usize = 20_000;
    static STACK: Stack<Box<usize>, 32> = Stack::new();
    if !restartable() || available_cpus().len() < 2 {
        println!("skipped: there is no other CPU to take from");
        return;
    }
    let seen = Mutex::new(vec![0_u8; ALL]);
    let picked = AtomicUsize::new(0);
    thread::scope(|scope| {
        for first in 0..2 {
            scope.spawn(move || {
                on_cpu(0, || {
                    for number in (first..ALL).step_by(2) {
                        let mut item = Box::new(number);
                        while let Err(back) = STACK.push(item) {
                            item = back;
                            thread::yield_now();
                        }
                    }
                });
            });
            scope.spawn(|| {
                on_cpu(1, || {
                    while picked.load(SeqCst) < ALL {
                        match STACK.pop() {
                            Some(number) => {
                                seen.lock().unwrap()[*number] += 1;
                                picked.fetch_add(1, SeqCst);
                            }
                            None => thread::yield_now(),
                        }
                    }
                });
            });
        }
    });
    assert!(seen.into_inner().unwrap().iter().all(|times| *times == 1));
    assert!(STACK.is_empty());
}

/// An object that knows whether somebody uses it, and how many there are.
struct Object {
    used: AtomicBool,
    alive: &'static AtomicUsize,
}

impl Object {
    fn of(alive: &'static AtomicUsize) -> Self {
        alive.fetch_add(1, SeqCst);
        Self { used: AtomicBool::new(false), alive }
    }

    fn use_it(&self, spin: u32) {
        assert!(!self.used.swap(true, SeqCst), "two have the same object");
        (0..spin).for_each(|turn| _ = std::hint::black_box(turn));
        assert!(self.used.swap(false, SeqCst));
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        assert!(!self.used.load(SeqCst));
        self.alive.fetch_sub(1, SeqCst);
    }
}

/// A module that takes from a pool, by sections of any kind: what is counted are the uses.
mod pool {
    use super::{AtomicU64, AtomicUsize, Count, Object, Pool, Relaxed};

    static ALIVE: AtomicUsize = AtomicUsize::new(0);
    static POOL: Pool<Object, 16> = Pool::new(|| Object::of(&ALIVE));
    static USES: AtomicU64 = AtomicU64::new(0);
    static NESTED: AtomicU64 = AtomicU64::new(0);

    fn add(spin: u32) {
        // A handler has no allocator, on top of which it may be: it takes what there is.
        if POOL.idle() == 0 && spin == 0 {
            NESTED.fetch_add(1, Relaxed);
            return;
        }
        let object = POOL.take();
        object.use_it(spin);
        USES.fetch_add(1, Relaxed);
    }

    fn count() -> u64 {
        assert_eq!(POOL.idle(), ALIVE.load(Relaxed), "what there is returned");
        assert!(POOL.idle() <= 16 * rseq::slots());
        USES.load(Relaxed) + NESTED.load(Relaxed)
    }

    pub const COUNT: Count = Count { add, leave: || (), sum: count, aborts: || 0 };
}

#[test]
fn pool_preempted() {
    must_be_exact(pool::COUNT, Disturbance::Preemption);
}

#[test]
fn pool_moved() {
    must_be_exact(pool::COUNT, Disturbance::Migration);
}

#[test]
fn a_pool_is_bounded_and_keeps_what_it_can() {
    static ALIVE: AtomicUsize = AtomicUsize::new(0);
    let pool: Pool<Object, 8> = Pool::new(|| Object::of(&ALIVE));
    on_cpu(0, || {
        let taken: Vec<Pooled<'_, Object, 8>> = (0..20).map(|_| pool.take()).collect();
        assert_eq!((ALIVE.load(SeqCst), pool.idle()), (20, 0));
        taken.iter().for_each(|object| object.use_it(0));
        drop(taken);
        assert_eq!((ALIVE.load(SeqCst), pool.idle()), (8, 8), "so many have room");
        let kept = Pooled::detach(pool.take());
        assert_eq!(pool.idle(), 7);
        drop(kept);
        assert_eq!(ALIVE.load(SeqCst), 7);
    });
    drop(pool);
    assert_eq!(ALIVE.load(SeqCst), 0);
}

#[test]
fn an_idle_object_of_another_cpu_is_taken_before_one_is_made() {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    let pool: Pool<usize> = Pool::new(|| MADE.fetch_add(1, SeqCst));
    let take = |count: usize| (0..count).map(|_| pool.take()).collect::<Vec<_>>().len();
    on_cpu(0, || take(10));
    assert_eq!((MADE.load(SeqCst), pool.idle()), (10, 10));
    on_cpu(1, || take(10));
    assert_eq!((MADE.load(SeqCst), pool.idle()), (10, 10));
}

/// Functions for handlers: neither makes, drops nor allocates anything.
#[test]
fn what_is_tried_makes_and_drops_nothing() {
    static ALIVE: AtomicUsize = AtomicUsize::new(0);
    let pool: Pool<Object, 2> = Pool::new(|| Object::of(&ALIVE));
    on_cpu(0, || {
        assert!(pool.try_take().is_none(), "nobody made any");
        let [first, second, third] = std::array::from_fn(|_| pool.take());
        assert!(Pooled::try_return(first).is_ok() && Pooled::try_return(second).is_ok());
        let third = Pooled::try_return(third).expect_err("there is no room");
        assert_eq!((ALIVE.load(SeqCst), pool.idle()), (3, 2));
        let taken: Vec<_> = std::iter::from_fn(|| pool.try_take()).collect();
        assert_eq!((taken.len(), ALIVE.load(SeqCst), pool.idle()), (2, 3, 0));
        taken.iter().chain([&third]).for_each(|object| object.use_it(0));
    });
    // Those of another CPU as well.
    assert!(on_cpu(1, || pool.try_take().is_some_and(|object| Pooled::try_return(object).is_ok())));
    assert_eq!((ALIVE.load(SeqCst), pool.idle()), (2, 2));
}

#[test]
fn a_pool_survives_a_panic_of_what_makes_objects() {
    let fail = AtomicBool::new(true);
    let pool: Pool<u32, 64, _> = Pool::new(|| if fail.load(SeqCst) { panic!("not now") } else { 7 });
    let taken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| *pool.take()));
    assert!(taken.is_err());
    fail.store(false, SeqCst);
    assert_eq!(*pool.take(), 7);
    assert_eq!(pool.idle(), 1);
}

/// An item that is counted as long as it lives.
struct Counted<const WORDS: usize>([u64; WORDS], &'static AtomicUsize);

impl<const WORDS: usize> Counted<WORDS> {
    fn new(alive: &'static AtomicUsize) -> Self {
        alive.fetch_add(1, SeqCst);
        Self([7; WORDS], alive)
    }
}

impl<const WORDS: usize> Drop for Counted<WORDS> {
    fn drop(&mut self) {
        assert_eq!(self.0, [7; WORDS]);
        self.1.fetch_sub(1, SeqCst);
    }
}

/// Items of threads that ended are there, those that had no room come back, and what is left is
/// dropped.
fn nothing_is_lost_when_threads_end<const WORDS: usize>(alive: &'static AtomicUsize) {
    const THREADS: usize = 50;
    const EACH: usize = 40;
    let (stack, ring) = (Stack::<Counted<WORDS>, 512>::new(), Ring::<Counted<WORDS>, 512>::new());
    let kept = [AtomicUsize::new(0), AtomicUsize::new(0)];
    let together = Barrier::new(THREADS / 10);
    for _ in 0..10 {
        thread::scope(|scope| {
            for _ in 0..THREADS / 10 {
                scope.spawn(|| {
                    together.wait();
                    for _ in 0..EACH {
                        kept[0].fetch_add(usize::from(stack.push(Counted::new(alive)).is_ok()), SeqCst);
                        kept[1].fetch_add(usize::from(ring.push(Counted::new(alive)).is_ok()), SeqCst);
                    }
                });
            }
        });
    }
    let kept = kept.map(AtomicUsize::into_inner);
    assert_eq!([stack.len(), ring.len()], kept);
    assert_eq!(alive.load(SeqCst), kept[0] + kept[1], "what had no room was dropped");
    let some: Vec<_> = (0..5).filter_map(|_| stack.pop()).chain(ring.drain().expect("nobody drains").take(5)).collect();
    assert_eq!([stack.len(), ring.len()], kept.map(|kept| kept - 5));
    drop((stack, ring));
    assert_eq!(alive.load(SeqCst), some.len());
    drop(some);
    assert_eq!(alive.load(SeqCst), 0);
}

#[test]
fn items_outlive_threads_and_are_dropped_once() {
    static ALIVE: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];
    nothing_is_lost_when_threads_end::<0>(&ALIVE[0]);
    nothing_is_lost_when_threads_end::<6>(&ALIVE[1]);
}

/// Everything that can be put into an item comes out again.
#[test]
fn items_of_every_size() {
    fn through<T: Send + Sync + Clone + PartialEq + std::fmt::Debug>(item: T) {
        let (stack, ring, pool) = (Stack::<T>::new(), Ring::<T>::new(), Pool::<Option<T>>::new(|| None));
        on_cpu(0, || {
            for _ in 0..3 {
                stack.push(item.clone()).unwrap();
                ring.push(item.clone()).unwrap();
            }
            *pool.take() = Some(item.clone());
            assert_eq!(pool.take().as_ref(), Some(&item));
        });
        // The last two come by way of the drain protocol, in all kinds of mode.
        let popped: Vec<T> = std::iter::from_fn(|| stack.pop()).collect();
        assert_eq!(popped, [item.clone(), item.clone(), item.clone()]);
        assert!(ring.drain().expect("nobody else drains").eq(popped));
    }
    through(());
    through(7_u8);
    through((7_u8, 9_u32));
    through(Some(9_u32));
    through([1_u8, 2, 3]);
    through([1_u8, 2, 3, 4, 5, 6, 7, 8, 9]);
    through(Box::new(5));
    through(String::from("a string"));
    through((1_u8, String::from("with a gap"), 2_u64));
    through([3_u64; 40]);
    through(u128::MAX);
    #[derive(Clone, PartialEq, Debug)]
    #[repr(align(64))]
    struct Aligned(u8);
    through(Aligned(1));
}

#[test]
fn one_drains_at_a_time() {
    let ring = Ring::<u32, 8>::new();
    assert!(ring.drain().expect("nobody drains").next().is_none(), "and nothing is made for it");
    on_cpu(0, || (0..5).for_each(|number| ring.push(number).unwrap()));
    let mut drain = ring.drain().expect("nobody drains");
    assert_eq!((drain.next(), ring.drain().is_none()), (Some(0), true));
    drop(drain);
    assert!(ring.drain().expect("nobody drains").eq(1..5));
    assert!(ring.is_empty());
}

/// Whatever guard is forgotten: no item is lost but the one that it has, none is there twice, and
/// what is out of reach then is so as the documentation says.
#[test]
fn forgotten_guards() {
    struct Noted<'d>(&'d AtomicUsize);
    impl Drop for Noted<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Relaxed);
        }
    }
    let dropped = AtomicUsize::new(0);
    let ring = Ring::<Noted, 4>::new();
    on_cpu(0, || {
        (0..3).for_each(|_| assert!(ring.push(Noted(&dropped)).is_ok()));
        let mut drain = ring.drain().expect("nobody drains");
        drop(drain.next());
        forget(drain);
        assert!(ring.drain().is_none() && ring.len() == 2);
        (0..2).for_each(|_| assert!(ring.push(Noted(&dropped)).is_ok()));
        forget(ring.push(Noted(&dropped)).expect_err("it is full"));
    });
    drop(ring);
    assert_eq!(dropped.swap(0, Relaxed), 5);

    let pool = Pool::<Noted, 4, _>::new(|| Noted(&dropped));
    forget(pool.take());
    drop(pool.take());
    assert_eq!(pool.idle(), 1);
    drop(pool);
    assert_eq!(dropped.load(Relaxed), 1);

    let number = AtomicUsize::new(3);
    forget(drain::stop_by(&number, || Ok(())).expect("nobody has stopped it"));
    assert_eq!(drain::stop_by(&number, || Ok(())).err(), Some(drain::StopError::Busy));
    drain::resume(&number);
    assert_eq!(drain::stop_by(&number, || Ok(())).map(|stopped| stopped.count()), Ok(3));
}

#[test]
fn a_ring_is_full_until_somebody_drains() {
    let ring = Ring::<u32, 4>::new();
    on_cpu(0, || {
        for round in 0..10 {
            let pushed: Vec<_> = (0..6).map(|number| ring.push(10 * round + number)).collect();
            assert_eq!(pushed[..4], [Ok(()); 4]);
            assert_eq!(pushed[4..], [Err(10 * round + 4), Err(10 * round + 5)]);
            let taken: Vec<u32> = ring.drain().expect("nobody drains").collect();
            assert_eq!(taken, [0, 1, 2, 3].map(|number| 10 * round + number));
        }
    });
}

/// A child has a copy of what there is, and both go on.
#[test]
fn a_forked_child_has_its_own() {
    let (stack, ring) = (Stack::<u64>::new(), Ring::<u64>::new());
    on_cpu(0, || {
        (0..10).for_each(|number| stack.push(number).unwrap());
        (0..10).for_each(|number| ring.push(number).unwrap());
        let code = support::in_child(|| {
            let popped: u64 = (0..10).filter_map(|_| stack.pop()).sum();
            let drained: u64 = ring.drain().into_iter().flatten().sum();
            popped == 45 && drained == 45 && stack.pop().is_none() && stack.push(3).is_ok()
        });
        assert_eq!((code, stack.len(), ring.len()), (0, 10, 10));
    });
}

/// The tests above that must hold in every mode.
const IN_EVERY_MODE: &[&str] = &[
    "words_preempted",
    "words_signalled",
    "copies_signalled",
    "ring_preempted",
    "ring_signalled",
    "ring_of_copies_signalled",
    "pool_preempted",
    "a_pool_is_bounded_and_keeps_what_it_can",
    "items_outlive_threads_and_are_dropped_once",
    "items_of_every_size",
    "one_drains_at_a_time",
    "a_ring_is_full_until_somebody_drains",
    "forgotten_guards",
    "a_forked_child_has_its_own",
    "shelves::neither_is_refused_nor_destroyed_with_room",
    "shelves::children_go_on_whatever_is_under_way",
    "shelves::a_push_that_panics_drops_its_item",
];

#[test]
fn right_in_portable_mode() {
    in_processes(module_path!(), forced_portable, IN_EVERY_MODE);
}

#[test]
fn right_with_own_registration() {
    in_processes(module_path!(), with_own_registration, IN_EVERY_MODE);
}
