//! The drain protocol: items move between per-CPU stacks while other threads drain all of them, and
//! none is lost or there twice. And what a fence says of memory that sections follow pointers to.
//! As in `exact`, each test has a control that must fail.
#![cfg(target_os = "linux")]

use std::mem::MaybeUninit;
use std::os::unix::process::ExitStatusExt;
use std::ptr::{self, NonNull};
use std::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU64, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::SeqCst,
};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};
use std::{hint, thread};

use rseq::drain::{self, MOST, STOPPED, StopError, Stopped};
use rseq::{CpuId, Mode, PerCpu, fence, rseq};
use support::{
    Count, Disturbance, Steps, forced_portable, handle_signals, here, in_child, in_processes, mode, refused,
    restartable, seccomp, several_cpus, slowness, this_test, with_own_registration,
};

/// Few enough for a stack to have room for all of them.
const ITEMS: usize = 24;
const CAPACITY: usize = 32;
/// The number of bytes that a section copies in its window, so that much comes in between.
const BYTES: usize = 16;
const TURNS: usize = 400;
static FROM: [u8; BYTES * TURNS] = [1; BYTES * TURNS];

#[derive(Default)]
struct Stack {
    len: AtomicUsize,
    items: [AtomicU8; CAPACITY],
}

/// Where an item is.
const STACKED: u8 = 0;
const HELD: u8 = 1;
/// A stack was stopped, so it waits outside for whoever finds nothing in his.
const OUTSIDE: u8 = 2;

/// Items, the stacks that they move between, and what was seen to be wrong.
struct Items {
    stacks: PerCpu<Stack>,
    states: [AtomicU8; ITEMS],
    turns: AtomicU64,
    aborts: AtomicU64,
    /// Items that somebody found who wasn't the only one.
    doubled: AtomicU64,
    drained: AtomicU64,
    /// Held by drainers in turn and by who looks at everything alone.
    draining: RwLock<()>,
}

/// An item's weight in the sum of a run, if it isn't there once: more than all that can be counted.
const MISPLACED: u64 = 1 << 40;

impl Items {
    /// All of them are outside.
    const fn new() -> Self {
        Self {
            stacks: PerCpu::new(),
            states: [const { AtomicU8::new(OUTSIDE) }; ITEMS],
            turns: AtomicU64::new(0),
            aborts: AtomicU64::new(0),
            doubled: AtomicU64::new(0),
            drained: AtomicU64::new(0),
            draining: RwLock::new(()),
        }
    }

    /// An item that was found in a stack is the caller's.
    fn hold(&self, item: u8) -> u8 {
        let stacked = self.states[usize::from(item)].swap(HELD, SeqCst) == STACKED;
        self.doubled.fetch_add(u64::from(!stacked), SeqCst);
        item
    }

    /// One that waits outside.
    fn fetch(&self) -> Option<u8> {
        let held = |state: &AtomicU8| state.compare_exchange(OUTSIDE, HELD, SeqCst, SeqCst).is_ok();
        self.states.iter().position(held).map(|item| item as u8)
    }

    /// Gives an item away: to a stack if there is one that takes it.
    fn give(&self, item: u8, push: impl Fn(u8) -> bool) {
        let state = &self.states[usize::from(item)];
        state.store(STACKED, SeqCst);
        if !push(item) {
            // Nobody found it meanwhile.
            state.store(OUTSIDE, SeqCst);
        }
    }

    /// Moves an item.
    fn turn(&self, pop: impl Fn() -> Option<u8>, push: impl Fn(u8) -> bool) {
        self.turns.fetch_add(1, SeqCst);
        let popped = pop().map(|item| self.hold(item));
        if let Some(item) = popped.or_else(|| self.fetch()) {
            self.give(item, push);
        }
    }

    /// Takes what is in each stack, all of it or half in turn, and gives it away.
    fn drain(&self, stop: Stop, push: impl Fn(u8) -> bool, turn: usize) {
        let _draining = self.draining.read().unwrap_or_else(PoisonError::into_inner);
        for cpu in (0..rseq::slots()).filter_map(CpuId::new) {
            let stack = &self.stacks[cpu];
            let Some(mut stopped) = stop(&stack.len, cpu) else { continue };
            let (count, left) = (stopped.count(), stopped.count() * (turn % 2) / 2);
            let taken: Vec<u8> = stack.items[left..count].iter().map(|item| self.hold(item.load(Relaxed))).collect();
            stopped.set_count(left);
            drop(stopped);
            self.drained.fetch_add(taken.len() as u64, SeqCst);
            taken.into_iter().for_each(|item| self.give(item, &push));
        }
    }

    /// The count, if every item is there once. Nobody moves any meanwhile but drainers, who
    /// wait.
    fn sum(&self) -> u64 {
        let _alone = self.draining.write().unwrap_or_else(PoisonError::into_inner);
        let mut found = [0_u64; ITEMS];
        for stack in &self.stacks {
            let length = stack.len.load(SeqCst);
            // After a control one may be stopped by nobody.
            let length = if length <= CAPACITY { length } else { 0 };
            stack.items[..length].iter().for_each(|item| found[usize::from(item.load(SeqCst))] += 1);
        }
        let expected = |state: &AtomicU8| u64::from(state.load(SeqCst) == STACKED);
        let misplaced: u64 = found.iter().zip(&self.states).map(|(found, state)| found.abs_diff(expected(state))).sum();
        self.turns.load(SeqCst) + (misplaced + self.doubled.load(SeqCst)) * MISPLACED
    }
}

/// A way to stop a stack.
type Stop = fn(&AtomicUsize, CpuId) -> Option<Drained<'_>>;

/// A stack that was stopped, rightly or not.
enum Drained<'n> {
    Rightly(Stopped<'n>),
    /// Without looking again after the fence.
    Blindly(&'n AtomicUsize, usize),
}

impl Drained<'_> {
    fn count(&self) -> usize {
        match self {
            Self::Rightly(stopped) => stopped.count(),
            Self::Blindly(_, count) => *count,
        }
    }

    fn set_count(&mut self, count: usize) {
        match self {
            // (A control without a fence doesn't look whether it still is the drainer's.)
            Self::Rightly(stopped) => _ = stopped.set_count(count),
            Self::Blindly(_, before) => *before = count,
        }
    }
}

impl Drop for Drained<'_> {
    fn drop(&mut self) {
        if let Self::Blindly(number, count) = self {
            number.store(*count, SeqCst);
        }
    }
}

fn rightly(number: &AtomicUsize, cpu: CpuId) -> Option<Drained<'_>> {
    drain::stop(number, cpu).map(Drained::Rightly).ok()
}

fn without_fence(number: &AtomicUsize, _: CpuId) -> Option<Drained<'_>> {
    drain::stop_by(number, || Ok(())).map(Drained::Rightly).ok()
}

fn without_a_second_look(number: &AtomicUsize, cpu: CpuId) -> Option<Drained<'_>> {
    let count = number.load(SeqCst);
    let marked = count < STOPPED && number.compare_exchange(count, STOPPED | count, SeqCst, SeqCst).is_ok();
    marked.then(|| {
        fence::cpu(cpu).expect("the kernel has fences");
        Drained::Blindly(number, count)
    })
}

/// A module whose threads move items by stacks that are stopped by `$stop`, with a push that
/// commits by `$commit`.
macro_rules! stacks {
    ($name:ident: $stop:ident, |$stack:ident, $longer:ident| $($commit:tt)*) => {
        mod $name {
            use super::*;

            pub static ITEMS: Items = Items::new();

            pub fn push(item: u8, spin: u32) -> bool {
                let mut to = [0_u8; BYTES * TURNS];
                let (from, to, length) = (FROM.as_ptr(), to.as_mut_ptr(), BYTES * spin as usize);
                // SAFETY: `len` is below the number of items, and `length` no more than each of the
                // two arrays has.
                unsafe {
                    rseq! {
                        prepare |cpu| { let $stack = &ITEMS.stacks[cpu]; }
                        critical {
                            let len = load(&$stack.len);
                            if len >= 32 { exit false }
                            store(&$stack.items[len], item);
                            copy(from, to, length);
                            let $longer = len + 1;
                        }
                        commit $($commit)*
                        => true
                        abort { ITEMS.aborts.fetch_add(1, Relaxed); }
                    }
                }
            }

            pub fn pop(spin: u32) -> Option<u8> {
                let mut to = [0_u8; BYTES * TURNS];
                let (from, to, length) = (FROM.as_ptr(), to.as_mut_ptr(), BYTES * spin as usize);
                // SAFETY: as above, of what is left.
                unsafe {
                    rseq! {
                        critical |cpu| {
                            let len = load(&ITEMS.stacks[cpu].len);
                            let left = len - 1;
                            if left >= 32 { exit None }
                            copy(from, to, length);
                            let item = load(&ITEMS.stacks[cpu].items[left]);
                        }
                        commit store(&ITEMS.stacks[cpu].len, left)
                        => Some(item)
                        abort { ITEMS.aborts.fetch_add(1, Relaxed); }
                    }
                }
            }

            #[allow(dead_code)]
            pub fn drain(turn: usize) {
                ITEMS.drain($stop, |item| push(item, 0), turn);
            }

            #[allow(dead_code)]
            pub const COUNT: Count = Count {
                add: |spin| ITEMS.turn(|| pop(spin), |item| push(item, spin)),
                leave: || (),
                sum: || ITEMS.sum(),
                aborts: || ITEMS.aborts.load(Relaxed),
            };
            /// In whose windows a drain comes for sure.
            #[allow(dead_code)]
            pub const SLOW: Count =
                Count { add: |_| ITEMS.turn(|| pop(TURNS as u32), |item| push(item, TURNS as u32)), ..COUNT };
        }
    };
}

stacks!(whole: rightly, |stack, longer| store_release(&stack.len, longer));
stacks!(unfenced: without_fence, |stack, longer| store_release(&stack.len, longer));
stacks!(unseen: without_a_second_look, |stack, longer| store_release(&stack.len, longer));
stacks!(adding: rightly, |stack, _longer| add(&stack.len, 1));

const EACH: u64 = 20_000;
const EACH_OF_A_CONTROL: u64 = 5_000;

/// Runs `work` while so many threads drain all the time.
fn while_draining<R>(drainers: usize, drain: fn(usize), work: impl FnOnce() -> R) -> R {
    let steps = Steps::default();
    thread::scope(|scope| {
        let _end = steps.until_dropped();
        for _ in 0..drainers {
            scope.spawn(|| {
                let rounds = (0..).take_while(|_| !steps.has_ended());
                rounds.for_each(|turn| {
                    drain(turn);
                    thread::sleep(Duration::from_micros(20));
                });
            });
        }
        work()
    })
}

fn must_be_exact(drainers: usize, count: Count, each: u64, disturbance: Disturbance) {
    let before = whole::ITEMS.drained.load(SeqCst);
    while_draining(drainers, whole::drain, || {
        support::must_be_exact(count, disturbance, each, restartable());
    });
    let drained = whole::ITEMS.drained.load(SeqCst) - before;
    assert!(drained > 0, "nothing was drained, so nothing is proven");
    println!("{drained} items drained");
}

#[test]
fn drained_while_preempted() {
    must_be_exact(1, whole::COUNT, EACH, Disturbance::Preemption);
}

#[test]
fn drained_while_signalled() {
    must_be_exact(1, whole::COUNT, EACH, Disturbance::Signals);
}

#[test]
fn drained_while_moved() {
    must_be_exact(1, whole::SLOW, EACH_OF_A_CONTROL, Disturbance::Migration);
}

#[test]
fn drained_by_two() {
    must_be_exact(2, whole::COUNT, EACH, Disturbance::Preemption);
}

fn control(count: Count, drain: fn(usize)) {
    if several_cpus() {
        while_draining(1, drain, || {
            support::must_lose(count, Disturbance::Migration, EACH_OF_A_CONTROL, restartable())
        });
    }
}

#[test]
fn drained_without_fence() {
    control(unfenced::SLOW, unfenced::drain);
}

#[test]
fn drained_without_a_second_look() {
    control(unseen::SLOW, unseen::drain);
}

#[test]
fn drained_though_sections_add() {
    control(adding::SLOW, adding::drain);
}

/// Stops every slot in turn and says how that went.
fn stop_all(stacks: &PerCpu<Stack>) -> impl Iterator<Item = Result<usize, StopError>> {
    let cpus = (0..rseq::slots()).filter_map(CpuId::new);
    cpus.map(|cpu| drain::stop(&stacks[cpu].len, cpu).map(|stopped| stopped.count()))
}

/// A handler that drains on top of a drain finds that slot busy, the others not, and waits for
/// nobody.
#[test]
#[ignore = "run by `in_processes_of_their_own`"]
fn a_drain_on_top_of_a_drain_is_busy() {
    static STACKS: PerCpu<Stack> = PerCpu::new();
    static FREE: AtomicU64 = AtomicU64::new(0);
    static BUSY: AtomicU64 = AtomicU64::new(0);
    extern "C" fn drain_all(_: libc::c_int) {
        for stopped in stop_all(&STACKS) {
            FREE.fetch_add(u64::from(stopped == Ok(0)), SeqCst);
            BUSY.fetch_add(u64::from(stopped == Err(StopError::Busy)), SeqCst);
        }
    }
    println!("mode: {:?}", mode());
    handle_signals(drain_all);
    let cpu = CpuId::new(0).expect("every machine has one");
    let stopped = drain::stop(&STACKS[cpu].len, cpu).expect("nobody else drains");
    // SAFETY: has no precondition.
    unsafe { libc::raise(libc::SIGUSR1) };
    assert_eq!((FREE.load(SeqCst), BUSY.load(SeqCst)), (rseq::slots() as u64 - 1, 1));
    assert_eq!(stopped.count(), 0);
    drop(stopped);
    assert!(stop_all(&STACKS).all(|stopped| stopped == Ok(0)));
}

/// A stopped slot takes nothing and gives nothing, and what was set is what is there afterwards.
#[test]
fn a_stopped_slot_takes_and_gives_nothing() {
    stacks!(quiet: rightly, |stack, longer| store_release(&stack.len, longer));
    println!("mode: {:?}", mode());
    let all = || (0..rseq::slots()).filter_map(CpuId::new).map(|cpu| (cpu, &quiet::ITEMS.stacks[cpu]));
    assert!(quiet::push(1, 0) && quiet::push(2, 0));
    let stopped: Vec<_> = all().map(|(cpu, stack)| drain::stop(&stack.len, cpu).expect("nobody drains")).collect();
    assert_eq!(stopped.iter().map(Stopped::count).sum::<usize>(), 2);
    assert!(!quiet::push(3, 0) && quiet::pop(0).is_none());
    drop(stopped);
    for (cpu, stack) in all() {
        let mut stopped = drain::stop(&stack.len, cpu).expect("nobody drains");
        stack.items[0].store(7, Relaxed);
        stopped.set_count(1);
        assert_eq!(stopped.count(), 1);
    }
    assert_eq!(quiet::pop(0), Some(7));
    assert!(quiet::push(3, 0));
}

#[test]
#[should_panic = "a slot counts to"]
fn no_slot_counts_further_than_half_a_word() {
    let number = AtomicUsize::new(0);
    let mut stopped = drain::stop_by(&number, || Ok(())).expect("nobody drains");
    stopped.set_count(MOST + 1);
}

/// A child that is forked while others drain goes on. What they were draining stays stopped in it,
/// so nothing is found twice.
#[test]
fn a_forked_child_finds_nothing_twice() {
    stacks!(forked: rightly, |stack, longer| store_release(&stack.len, longer));
    println!("mode: {:?}", mode());
    fn found_once() -> bool {
        let mut found = [0; ITEMS];
        for _ in 0..2 {
            for cpu in (0..rseq::slots()).filter_map(CpuId::new) {
                let stack = &forked::ITEMS.stacks[cpu];
                if let Ok(mut stopped) = drain::stop(&stack.len, cpu) {
                    let items = &stack.items[..stopped.count()];
                    items.iter().for_each(|item| found[usize::from(item.load(Relaxed))] += 1);
                    stopped.set_count(0);
                }
            }
            // Where nobody drains it goes on.
            let item = found.iter().position(|found| *found == 1).unwrap_or(0);
            if forked::push(item as u8, 0) {
                found[item] -= i32::from(found[item] > 0);
            }
        }
        found.iter().all(|found| *found <= 1)
    }
    let steps = Steps::default();
    while_draining(2, forked::drain, || {
        thread::scope(|scope| {
            let _end = steps.until_dropped();
            for _ in 0..2 {
                scope.spawn(|| {
                    while !steps.has_ended() {
                        (forked::COUNT.add)(10);
                    }
                });
            }
            (0..100).for_each(|_| assert_eq!(in_child(found_once), 0));
        });
    });
    assert_eq!((forked::COUNT.sum)(), forked::ITEMS.turns.load(SeqCst));
}

/// Where fences are refused a drain says so, and leaves the slot as it was.
#[test]
fn refused_fences_are_errors() {
    stacks!(kept: rightly, |stack, longer| store_release(&stack.len, longer));
    if !restartable() {
        return;
    }
    thread::spawn(|| {
        assert!(kept::push(5, 0));
        seccomp::refuse(libc::SYS_membarrier, libc::EPERM).expect("any thread may filter itself");
        let mut shared = 0;
        for stopped in stop_all(&kept::ITEMS.stacks) {
            match stopped {
                Err(StopError::Fence(error)) => assert_eq!(error.errno(), libc::EPERM),
                // Threads without registration use the last slot under a lock: no fence is needed.
                other => shared += usize::from(other == Ok(0)),
            }
        }
        assert!(shared <= 1, "stopped without a fence");
        (0..10).for_each(|item| assert!(kept::push(item, 0)));
        (0..10).for_each(|_| assert!(kept::pop(0).is_some()));
        assert_eq!(kept::pop(0), Some(5));
    })
    .join()
    .expect("goes on");
    // Nothing is left behind for those that may.
    assert!(stop_all(&kept::ITEMS.stacks).all(|stopped| stopped == Ok(0)));
}

// When memory can be freed.

/// A node that says where it was.
struct Node {
    next: AtomicPtr<Node>,
}

/// Nodes on pages of their own, which are taken away and given back.
struct Nodes(NonNull<[Node; NODES]>);
const NODES: usize = 100;

// SAFETY: nodes are atomics.
unsafe impl Sync for Nodes {}

impl Nodes {
    fn map() -> Self {
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: new memory of zeroes, wherever the kernel likes.
        let memory = unsafe { libc::mmap(ptr::null_mut(), size_of::<[Node; NODES]>(), access, kind, -1, 0) };
        assert_ne!(memory, libc::MAP_FAILED);
        Self(NonNull::new(memory.cast()).expect("no mapping begins at 0"))
    }

    fn protect(&self, access: libc::c_int) {
        // SAFETY: a mapping of the test's.
        let result = unsafe { libc::mprotect(self.0.as_ptr().cast(), size_of::<[Node; NODES]>(), access) };
        assert_eq!(result, 0);
    }

    /// Takes them away, for whoever still follows a pointer to one to be seen.
    fn take_away(&self) {
        self.protect(libc::PROT_NONE);
    }

    /// Gives them back, each behind the one before; returns the first, with which all lists may
    /// begin.
    fn give_back(&self) -> *mut Node {
        self.protect(libc::PROT_READ | libc::PROT_WRITE);
        // SAFETY: mapped, and nobody else uses them.
        let nodes = unsafe { self.0.as_ref() };
        nodes.iter().fold(ptr::null_mut(), |next, node| {
            node.next.store(next, SeqCst);
            ptr::from_ref(node).cast_mut()
        })
    }
}

static LISTS: PerCpu<AtomicPtr<Node>> = PerCpu::new();
static STOPPING: AtomicBool = AtomicBool::new(false);
static CHASES: AtomicU64 = AtomicU64::new(0);

/// Takes the first node of a list, and more time on the way than it takes to take the nodes away.
/// Follows the pointer in the window.
fn pop_in_window() {
    const LENGTH: usize = 1 << 20;
    static FROM: [u8; LENGTH] = [1; LENGTH];
    let mut to = MaybeUninit::<[u8; LENGTH]>::uninit();
    let (from, to) = (FROM.as_ptr(), to.as_mut_ptr().cast::<u8>());
    // SAFETY: nodes of a list are mapped until after a fence; both arrays have so many bytes.
    let popped = unsafe {
        rseq! {
            critical |cpu| {
                let stopping = load(&STOPPING);
                if stopping == true { exit false }
                let first = load(&LISTS[cpu]);
                if first == null { exit false }
                copy(from, to, LENGTH);
                let rest = load(&(*first).next);
            }
            commit store(&LISTS[cpu], rest)
            => true
        }
    };
    CHASES.fetch_add(u64::from(popped), Relaxed);
}

/// The same, but follows the pointer in `prepare`.
fn pop_in_prepare() {
    rseq! {
        prepare |cpu| {
            let head = &LISTS[cpu];
            let first = head.load(Acquire);
            if STOPPING.load(SeqCst) || first.is_null() {
                return;
            }
            (0..10_000).for_each(|turn| { hint::black_box(turn); });
            // SAFETY: none. That is what this is to show.
            let rest = unsafe { (*first).next.load(Relaxed) };
        }
        commit store(head, rest)
    }
    CHASES.fetch_add(1, Relaxed);
}

/// Threads pop while all nodes are unlinked, fenced and taken away, again and again.
fn unlink_and_take_away(pop: fn(), fence: fn(), rounds: usize) {
    let (nodes, steps) = (Nodes::map(), Steps::default());
    thread::scope(|scope| {
        let _end = steps.until_dropped();
        for _ in 0..3 {
            scope.spawn(|| {
                while !steps.has_ended() {
                    pop();
                }
            });
        }
        for _ in 0..rounds {
            let first = nodes.give_back();
            LISTS.iter().for_each(|list| list.store(first, SeqCst));
            STOPPING.store(false, SeqCst);
            thread::sleep(Duration::from_micros(50));
            STOPPING.store(true, SeqCst);
            fence();
            // From here on no section changes a list, and none finds a node.
            LISTS.iter().for_each(|list| list.store(ptr::null_mut(), SeqCst));
            nodes.take_away();
        }
    });
}

/// A window that had read the pointer never goes on: else this process would be ended by the memory
/// that isn't there.
#[test]
fn windows_follow_no_pointer_after_a_fence() {
    println!("mode: {:?}", mode());
    // A fence waits for windows where there are locks.
    let rounds = if matches!(mode(), Mode::Rseq(_)) { 5000 / slowness() as usize } else { 50 };
    let end = Instant::now() + Duration::from_secs(60);
    while CHASES.load(SeqCst) <= 100 {
        assert!(Instant::now() < end, "hardly a pointer was followed, so nothing is proven");
        unlink_and_take_away(pop_in_window, fence_all, rounds);
        println!("{} nodes popped", CHASES.load(SeqCst));
    }
}

fn fence_all() {
    fence::all().expect("the kernel has fences");
}

/// Runs a test, if sections are restartable, that follows a pointer to memory that isn't there.
fn must_end_by_a_pointer(name: &str) {
    if restartable() {
        let ended = this_test(name, &format!("{:?}", mode())).output().expect("it can be run");
        assert_eq!(ended.status.signal(), Some(libc::SIGSEGV), "{ended:?}");
    }
}

#[test]
#[ignore = "run by `without_fence_windows_follow_pointers`, and ends the process"]
fn chase_without_fence() {
    unlink_and_take_away(pop_in_window, || (), 200_000);
}

#[test]
fn without_fence_windows_follow_pointers() {
    if several_cpus() {
        must_end_by_a_pointer(here!("chase_without_fence"));
    }
}

#[test]
#[ignore = "run by `prepare_follows_pointers_after_a_fence`, and ends the process"]
fn chase_in_prepare() {
    unlink_and_take_away(pop_in_prepare, fence_all, 200_000);
}

#[test]
fn prepare_follows_pointers_after_a_fence() {
    must_end_by_a_pointer(here!("chase_in_prepare"));
}

/// The same without luck: `prepare` goes on for as long as it likes with what it read before the
/// fence, and only then starts again.
#[test]
fn prepare_runs_on_after_a_fence() {
    static SLOTS: PerCpu<AtomicUsize> = PerCpu::new();
    static READ: AtomicBool = AtomicBool::new(false);
    static FENCED: AtomicBool = AtomicBool::new(false);
    println!("mode: {:?}", mode());
    let section = || {
        let (mut aborts, mut first) = (0, None);
        rseq! {
            prepare |cpu| {
                let slot = &SLOTS[cpu];
                let seen = slot.load(Relaxed);
                READ.store(true, SeqCst);
                while !FENCED.load(SeqCst) { hint::spin_loop(); }
                first = first.or(Some(seen));
            }
            commit store(slot, seen + 1)
            abort { aborts += 1; }
        }
        (first, aborts > 0)
    };
    SLOTS.allocate().expect("there is memory");
    thread::scope(|scope| {
        let section = scope.spawn(section);
        while !READ.load(SeqCst) {
            thread::yield_now();
        }
        fence::all().expect("the kernel has fences");
        SLOTS.iter().for_each(|slot| slot.store(100, SeqCst));
        FENCED.store(true, SeqCst);
        assert_eq!(section.join().expect("it commits"), (Some(0), true), "it ran on with what was there before");
    });
    assert_eq!(SLOTS.iter().map(|slot| slot.load(SeqCst)).max(), Some(101));
}

#[test]
fn in_processes_of_their_own() {
    in_processes(
        module_path!(),
        |name| this_test(name, &format!("{:?}", mode())),
        &["a_drain_on_top_of_a_drain_is_busy"],
    );
}

/// The tests that must hold in every mode.
const IN_EVERY_MODE: &[&str] = &[
    "drained_while_preempted",
    "drained_while_signalled",
    "drained_while_moved",
    "drained_by_two",
    "a_drain_on_top_of_a_drain_is_busy",
    "a_stopped_slot_takes_and_gives_nothing",
    "a_forked_child_finds_nothing_twice",
    "windows_follow_no_pointer_after_a_fence",
    "prepare_runs_on_after_a_fence",
];

#[test]
fn drained_with_own_registration() {
    in_processes(module_path!(), with_own_registration, IN_EVERY_MODE);
}

#[test]
fn drained_in_portable_mode() {
    in_processes(module_path!(), forced_portable, IN_EVERY_MODE);
}

#[test]
fn drained_where_seccomp_refuses() {
    in_processes(module_path!(), refused, IN_EVERY_MODE);
}
