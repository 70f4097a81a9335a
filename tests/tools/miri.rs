//! A process of its own, because Miri runs all of this and nothing else.
//!
//! Sections of every form, small enough for Miri, which looks for undefined behaviour in the
//! portable mode, in `PerCpu`, and in what expansions do with pointers: `cargo +nightly miri test
//! --test miri`. Elsewhere the same tests run in whatever mode there is.
//!
//! Windows take their operands as numbers and give pointers back as numbers (see `bits` and
//! `from_bits` in rseq-core): asm knows no others. So the provenance of pointers is exposed on
//! purpose, and `MIRIFLAGS=-Zmiri-permissive-provenance` keeps Miri from warning of it; strict
//! provenance isn't to be had.

#[cfg(not(target_arch = "x86"))]
use std::array;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicI8, AtomicI32, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicUsize, Ordering::Relaxed,
    Ordering::SeqCst,
};
use std::thread;

use rseq::{Counter, CpuId, Histogram, MmCid, Mode, PerCpu, Reason, drain, fence, rseq};
use rseq_operations::librseq::{self, Node, Pair, Record, Table};
#[cfg(not(target_arch = "x86"))]
use rseq_operations::slab::{self, CAPACITY, Slab};

const THREADS: usize = 4;
const EACH: usize = if cfg!(miri) { 20 } else { 20_000 };

/// Runs `work` in several threads at once.
fn in_threads(work: impl Fn(usize) + Sync) {
    let work = &work;
    thread::scope(|scope| (0..THREADS).for_each(|number| drop(scope.spawn(move || work(number)))));
}

fn sum<I: rseq::IndexKind>(slots: &PerCpu<AtomicUsize, I>) -> usize {
    slots.iter().map(|slot| slot.load(Relaxed)).sum()
}

#[test]
fn portable_is_the_mode_under_miri() {
    let status = rseq::status();
    println!("{status}");
    assert!(!cfg!(miri) || status.mode() == Mode::Portable(Reason::NotBuilt));
    assert!(!cfg!(miri) || rseq::portable::force().is_ok());
    assert!(rseq::slots() >= 2 && CpuId::new(rseq::slots()).is_none() && MmCid::new(0).is_some());
}

/// Counts by sections with and without `prepare`, by both kinds of index.
#[test]
fn counters() {
    static PREPARED: PerCpu<AtomicUsize> = PerCpu::new();
    static COMPUTED: PerCpu<AtomicUsize> = PerCpu::new();
    static IN_PLACE: PerCpu<AtomicUsize> = PerCpu::new();
    static BY_CID: PerCpu<AtomicUsize, MmCid> = PerCpu::new();
    in_threads(|_| {
        for _ in 0..EACH {
            let cpu = rseq! {
                prepare |cpu| { let slot = &PREPARED[cpu]; let next = slot.load(Relaxed) + 1; }
                commit store(slot, next)
                => cpu
                abort |n| { assert!(n > 0); }
            };
            assert!(cpu.get() < rseq::slots());
            rseq! {
                prepare |cpu: CpuId| { let slot = &COMPUTED[cpu]; }
                critical { let count = load(slot); let next = count + 1; }
                commit store_release(slot, next)
            }
            rseq! { commit |cpu| add(&IN_PLACE[cpu], 1) }
            rseq! {
                critical |cid: MmCid| { let count = load(&BY_CID[cid]); let next = count + 1; }
                commit store(&BY_CID[cid], next)
            }
        }
    });
    let all = THREADS * EACH;
    assert_eq!([sum(&PREPARED), sum(&COMPUTED), sum(&IN_PLACE), sum(&BY_CID)], [all; 4]);
}

/// A word of the user's.
#[derive(Clone, Copy, PartialEq, Debug)]
#[repr(transparent)]
struct Id(u16);
// SAFETY: transparent over u16.
unsafe impl rseq::Word for Id {}

#[test]
fn words_of_every_width() {
    macro_rules! update {
        ($atomic:ty, $first:expr, $form:ident, $by:expr, $then:expr) => {{
            let place = <$atomic>::new($first);
            let old = rseq! {
                critical |_cpu| { let old = load(&place); }
                commit $form(&place, $by)
                => old
            };
            assert_eq!((old, place.into_inner()), ($first, $then));
        }};
    }
    update!(AtomicU8, 250, add, 10, 4);
    update!(AtomicI8, -128, sub, 1, 127);
    update!(AtomicU16, 0xff0, and, 0xfff, 0xff0);
    update!(AtomicI32, -1, xor, 1, -2);
    update!(AtomicU32, 1, or, 6, 7);
    update!(AtomicUsize, usize::MAX, add, 1, 0);
    update!(AtomicUsize, 3, store, 9, 9);
    update!(AtomicBool, true, xor, true, false);
    update!(AtomicBool, false, store_release, true, true);

    let (mut id, mut pointer) = (Id(7), None::<NonNull<Id>>);
    let (place, to) = (&raw mut id, &raw mut pointer);
    // SAFETY: the two variables, which nobody else uses.
    let (old, none) = unsafe {
        rseq! {
            critical |_cpu| {
                let old = load(place);
                let none = load(to);
                store(place, Id(8));
                if none != null { exit (old, none) }
            }
            commit store(to, NonNull::new(place))
            => (old, none)
        }
    };
    assert_eq!((none, id), (None, Id(8)));
    // An attempt that was aborted behind its scratch store leaves that to the next one.
    assert!(old == Id(7) || old == Id(8));
    // SAFETY: points to `id`.
    assert_eq!(unsafe { *pointer.expect("was stored").as_ptr() }, Id(8));
}

/// Every operation and comparison, and exits that leave values undefined that come later.
#[test]
fn computing_and_exits() {
    let place = AtomicU32::new(12);
    let compute = |by: u32, limit: u32| {
        rseq! {
            critical |_cpu| {
                let old = load(&place);
                let a = old + by;
                if a == limit { exit (1, a) }
                let b = a - 1;
                let c = b << 2;
                if c > 1000 { exit (2, c) }
                let d = c >> 1;
                let e = d | 1;
                let f = e & 0xff;
                let g = f ^ 3;
                if g <= 2 { exit (3, g) }
                if g != g { exit (4, 0) }
                if g < 1 { exit (5, 0) }
                if limit >= 1_000_000 { exit (6, limit) }
            }
            commit store(&place, g)
            => (0, b)
        }
    };
    assert_eq!(compute(1, 13), (1, 13));
    assert_eq!(compute(500, 0), (2, 2044));
    assert_eq!(compute(u32::MAX - 10, 0), (3, 2));
    assert_eq!(compute(0, 1_000_000), (6, 1_000_000));
    assert_eq!((compute(0, 0), place.into_inner()), ((0, 11), 20));
}

#[derive(Default)]
struct Inner {
    words: [AtomicU16; 4],
    last: AtomicUsize,
}

#[derive(Default)]
struct Outer {
    pad: AtomicU8,
    inner: Inner,
    next: AtomicPtr<Outer>,
}

/// Places behind pointers, in arrays, in slices, and in fields of all of these.
#[test]
fn places_found_in_the_window() {
    static SLOTS: PerCpu<Outer> = PerCpu::new();
    let (second, first) = (Outer::default(), Outer::default());
    first.next.store(ptr::from_ref(&second).cast_mut(), Relaxed);
    let head = AtomicPtr::new(ptr::from_ref(&first).cast_mut());
    let (slice, array) = (&[const { AtomicUsize::new(5) }; 3][..], [const { AtomicU8::new(1) }; 3]);
    let at = 2_usize;
    // SAFETY: the list has two nodes; each index is below the number of elements.
    let index = unsafe {
        rseq! {
            critical |cpu| {
                let node = load(&head);
                let node = load(&(*node).next);
                let index = load(&array[1]);
                store(&(*node).inner.words[index], 7);
                store(&(*node).inner.words[at], 8);
                store(&SLOTS[cpu].inner.words[3], 10);
                store(&SLOTS[cpu].pad, 11);
            }
            commit store(&(*node).inner.last, 9)
            => index
        }
    };
    assert_eq!(index, 1);
    // SAFETY: each index is below the number of elements.
    let last = unsafe {
        rseq! {
            critical |_cpu| {
                let index = load(&array[2]);
                let at = index + 1;
                store(&(*slice)[at], 9);
                let last = load(&(*slice)[2]);
                store(&array[index], 3);
            }
            commit store(&array[0], 2)
            => last
        }
    };
    assert_eq!(last, 9);
    assert_eq!(second.inner.words.each_ref().map(|word| word.load(Relaxed)), [0, 7, 8, 0]);
    assert_eq!((second.inner.last.load(Relaxed), first.inner.last.load(Relaxed)), (9, 0));
    assert_eq!((slice[2].load(Relaxed), array[0].load(Relaxed)), (9, 2));
    let slots = SLOTS.iter().filter(|slot| slot.inner.words[3].load(Relaxed) == 10 && slot.pad.load(Relaxed) == 11);
    assert_eq!(slots.count(), 1);
}

/// librseq's operations, in threads: nodes come from boxes and are freed when they have been
/// popped.
#[test]
fn lists_whose_nodes_are_freed() {
    let lists: PerCpu<AtomicPtr<Node>> = PerCpu::new();
    let popped = AtomicUsize::new(0);
    // SAFETY: only who popped a node frees it; the lists hold such nodes.
    let pop = || unsafe { librseq::list_pop(&lists).map(|node| Box::from_raw(node.as_ptr()).value.into_inner()) };
    let push = |value: usize| {
        let node = Box::new(Node { value: (value as u64).into(), ..Node::default() });
        // SAFETY: valid until it is popped.
        unsafe { librseq::list_push(&lists, NonNull::from(Box::leak(node))) };
    };
    in_threads(|_| {
        for value in 1..=EACH {
            push(value);
            popped.fetch_add(pop().unwrap_or(0) as usize, Relaxed);
        }
    });
    // Nodes of other slots, taken without sections: none is on its way.
    for head in &lists {
        let mut next = head.load(Relaxed);
        while let Some(node) = NonNull::new(next) {
            // SAFETY: made by `push`, and not popped.
            let node = unsafe { Box::from_raw(node.as_ptr()) };
            popped.fetch_add(node.value.load(Relaxed) as usize, Relaxed);
            next = node.next.load(Relaxed);
        }
    }
    assert_eq!(popped.into_inner(), THREADS * EACH * (EACH + 1) / 2);
}

#[test]
fn operations_of_librseq() {
    let (words, counts) = (PerCpu::<AtomicUsize>::new(), PerCpu::<AtomicUsize>::new());
    let (both, two, records) = (PerCpu::<Pair>::new(), PerCpu::<Pair>::new(), PerCpu::<Record>::new());
    let counters: Vec<AtomicUsize> = (0..rseq::slots()).map(|_| AtomicUsize::new(0)).collect();
    let entries: Vec<AtomicPtr<AtomicUsize>> =
        counters.iter().map(|counter| AtomicPtr::new(ptr::from_ref(counter).cast_mut())).collect();
    let tables: PerCpu<Table> = PerCpu::from_fn(|slot| AtomicPtr::new(ptr::from_ref(&entries[slot]).cast_mut()));
    let stored = AtomicUsize::new(0);
    in_threads(|number| {
        let note = |done: bool| {
            stored.fetch_add(usize::from(done), Relaxed);
        };
        note(librseq::compare_and_store(&words, 0, number + 1));
        librseq::add(&counts, 3);
        note(librseq::compare_both_and_store(&both, [0, 0], number + 1));
        note(!librseq::compare_both_and_store(&both, [0, 1], number + 1));
        note(librseq::compare_and_store_both(&two, 0, [1, number]));
        // SAFETY: nobody reads the words until all threads have ended; each table has one pointer,
        // to a counter of its own.
        unsafe {
            note(librseq::compare_copy_and_store(&records, 0, &[1, 2, number as u64], 1));
            librseq::add_behind(&tables, 0, 1);
        }
    });
    // On each slot the first one wins; threads may share slots or not.
    assert!(stored.load(Relaxed) >= 4 + THREADS);
    assert_eq!(sum(&counts), 3 * THREADS);
    assert_eq!(counters.iter().map(|counter| counter.load(Relaxed)).sum::<usize>(), THREADS);
    let copied = records.iter().filter(|record| record.version.load(Relaxed) == 1);
    assert!(
        copied.map(|record| record.words.each_ref().map(|word| word.load(Relaxed))).all(|words| words[..2] == [1, 2])
    );
}

#[cfg(not(target_arch = "x86"))]
#[test]
fn slabs_alone_and_in_batches() {
    let slabs: PerCpu<Slab> = PerCpu::new();
    let bytes: Vec<u8> = (0..=THREADS as u8 * 8).collect();
    let item = |number: usize| ptr::from_ref(&bytes[number]).cast_mut();
    in_threads(|number| {
        let items: [*mut u8; 8] = array::from_fn(|at| item(number * 8 + at));
        assert!(slab::push(&slabs, items[0]));
        assert_eq!(slab::push_batch(&slabs, &items[1..]), 7);
        let mut batch = [ptr::null_mut(); 5];
        let popped = slab::pop_batch(&slabs, &mut batch);
        let one = slab::pop(&slabs);
        assert_eq!(slab::push_batch(&slabs, &batch[..popped]), popped);
        assert!(one.is_none_or(|item| slab::push(&slabs, item)));
    });
    // SAFETY: every item points to a byte of the vector.
    let mut found: Vec<u8> = slabs.iter().flat_map(Slab::items).map(|item| unsafe { *item }).collect();
    found.sort_unstable();
    assert_eq!(found, bytes[..THREADS * 8]);
    assert!(found.len() <= CAPACITY);
}

/// A section in a section, and sections that are left early by `return`, by `?`, by a label and by
/// a panic.
#[test]
fn nested_and_left_early() {
    static SLOTS: PerCpu<AtomicUsize> = PerCpu::new();
    fn inner() {
        rseq! { commit |cpu| add(&SLOTS[cpu], 1) }
    }
    fn outer(nested: u32, leave: Option<u32>) -> Option<u32> {
        let mut aborts = 0;
        'label: {
            rseq! {
                prepare |cpu| {
                    let slot = &SLOTS[cpu];
                    let next = slot.load(Relaxed) + 1;
                    if aborts < nested { inner(); }
                    match leave? {
                        0 => return None,
                        1 => break 'label,
                        2 => resume_unwind(Box::new("left")),
                        _ => {}
                    }
                }
                commit store(slot, next)
                abort { aborts += 1; }
            }
        }
        Some(aborts)
    }
    assert_eq!((outer(0, None), outer(0, Some(0)), outer(0, Some(1))), (None, None, Some(0)));
    assert!(catch_unwind(|| outer(0, Some(2))).is_err());
    assert_eq!(sum(&SLOTS), 0);
    assert!(outer(3, Some(9)).is_some_and(|aborts| aborts >= 3));
    assert_eq!(sum(&SLOTS), 4);
    in_threads(|_| assert!(outer(2, Some(9)).is_some()));
    assert_eq!(sum(&SLOTS), 4 + 3 * THREADS);
}

/// Aborts as portable mode injects them: sections without `abort` repeat by themselves.
#[test]
fn injected_aborts() {
    static SLOTS: PerCpu<AtomicUsize> = PerCpu::new();
    rseq::portable::inject_aborts(3);
    let mut aborts = 0;
    (0..10).for_each(|_| rseq! { commit |cpu| add(&SLOTS[cpu], 1) });
    for _ in 0..10 {
        rseq! {
            prepare |cpu| { let slot = &SLOTS[cpu]; let next = slot.load(Relaxed) + 1; }
            commit store(slot, next)
            abort { aborts += 1; }
        }
    }
    rseq::portable::inject_aborts(0);
    let portable = matches!(rseq::status().mode(), Mode::Portable(_));
    assert!(aborts > 0 || !portable);
    assert_eq!(sum(&SLOTS), 20);
}

/// After a fence no section commits that didn't see the flag: who made the fence may change the
/// slot without protection.
#[test]
fn fences() {
    static SLOTS: PerCpu<AtomicUsize> = PerCpu::new();
    static STOP: AtomicBool = AtomicBool::new(false);
    let late = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..EACH {
                    let _ = (|| {
                        rseq! {
                            prepare |cpu| {
                                let slot = &SLOTS[cpu];
                                if STOP.load(Relaxed) { return None }
                                let next = slot.load(Relaxed) + 1;
                            }
                            commit store(slot, next)
                            => Some(())
                        }
                    })();
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..3 {
                STOP.store(true, SeqCst);
                if fence::all().is_err() {
                    println!("skipped: the kernel has no fences");
                    return;
                }
                let before = sum(&SLOTS);
                thread::yield_now();
                late.fetch_add(sum(&SLOTS) - before, Relaxed);
                STOP.store(false, SeqCst);
                (0..rseq::slots()).filter_map(CpuId::new).for_each(|cpu| fence::cpu(cpu).expect("as the other fence"));
                rseq::quiesce().expect("as the other fence");
            }
        });
    });
    assert_eq!(late.into_inner(), 0);
}

/// Values are made once for each slot, and dropped once, also by another thread and if making one
/// panics.
#[test]
fn values_are_made_and_dropped() {
    struct Counted(Arc<AtomicUsize>, Box<usize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Relaxed);
        }
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    let slots = PerCpu::<Counted>::from_fn(|index| Counted(Arc::clone(&dropped), Box::new(index)));
    assert!(slots.iter().map(|value| *value.1).eq(0..rseq::slots()));
    assert_eq!((slots.len(), slots.iter().len()), (rseq::slots(), rseq::slots()));
    assert_eq!(*slots[CpuId::new(1).expect("there are two slots")].1, 1);
    assert_eq!(dropped.load(Relaxed), 0);
    thread::spawn(move || drop(slots)).join().expect("they can be dropped there");
    assert_eq!(dropped.swap(0, Relaxed), rseq::slots());

    let made = AssertUnwindSafe(|| {
        PerCpu::<Counted>::from_fn(|index| {
            if index == 1 {
                resume_unwind(Box::new("no more"));
            }
            Counted(Arc::clone(&dropped), Box::new(index))
        })
    });
    assert!(catch_unwind(|| drop(made())).is_err());
    assert_eq!(dropped.load(Relaxed), 1);
    drop(PerCpu::<Box<u8>>::new());
}

/// The first use, by several threads at once: more values may be made than kept.
#[test]
fn the_first_use_comes_from_everywhere() {
    for _ in 0..5 {
        let slots: PerCpu<Box<AtomicUsize>> = PerCpu::new();
        in_threads(|number| {
            if number == 0 {
                assert_eq!(slots.iter().count(), rseq::slots());
            }
            rseq! {
                prepare |cpu| { let slot = &*slots[cpu]; let next = slot.load(Relaxed) + 1; }
                commit store(slot, next)
            }
        });
        assert_eq!(slots.iter().map(|slot| slot.load(Relaxed)).sum::<usize>(), THREADS);
        assert!(!format!("{slots:?}").is_empty());
    }
}

#[test]
fn counters_and_histograms() {
    static COUNTER: Counter = Counter::new();
    static HISTOGRAM: Histogram<2> = Histogram::new();
    COUNTER.allocate().and(HISTOGRAM.allocate()).expect("there is memory");
    let values = [0, 1, 5, 1 << 20, u64::MAX];
    in_threads(|_| {
        for number in 0..EACH {
            COUNTER.add(number as u64);
            HISTOGRAM.record(values[number % values.len()]);
        }
    });
    assert_eq!(COUNTER.sum(), (THREADS * EACH * (EACH - 1) / 2) as u64);
    let seen = HISTOGRAM.snapshot();
    assert_eq!((seen.count(), HISTOGRAM.count()), ((THREADS * EACH) as u64, (THREADS * EACH) as u64));
    let of_each = (THREADS * EACH / values.len()) as u64;
    assert!(seen.buckets().zip(values).all(|((bucket, count), value)| bucket.contains(value) && count == of_each));
}

/// Items are taken from every stack while threads push and pop; who holds one writes to it without
/// protection.
#[test]
fn drains() {
    #[derive(Default)]
    struct Stack {
        len: AtomicUsize,
        items: [AtomicPtr<usize>; 4],
    }
    static STACKS: PerCpu<Stack> = PerCpu::new();
    fn push(item: Box<usize>) -> Option<Box<usize>> {
        let item = Box::into_raw(item);
        // SAFETY: `len` is below the number of items.
        let pushed = unsafe {
            rseq! {
                prepare |cpu| { let stack = &STACKS[cpu]; }
                critical {
                    let len = load(&stack.len);
                    if len >= 4 { exit false }
                    store(&stack.items[len], item);
                    let longer = len + 1;
                }
                commit store_release(&stack.len, longer)
                => true
            }
        };
        // SAFETY: nobody else has it.
        (!pushed).then(|| unsafe { Box::from_raw(item) })
    }
    fn pop() -> Option<Box<usize>> {
        // SAFETY: what is left is below the number of items; each is a box that nobody else has
        // once it was popped.
        unsafe {
            rseq! {
                critical |cpu| {
                    let len = load(&STACKS[cpu].len);
                    let left = len - 1;
                    if left >= 4 { exit None }
                    let item = load(&STACKS[cpu].items[left]);
                }
                commit store_release(&STACKS[cpu].len, left)
                => Some(Box::from_raw(item))
            }
        }
    }
    let drain = || {
        let mut sum = 0;
        for cpu in (0..STACKS.len()).filter_map(CpuId::new) {
            let stack = &STACKS[cpu];
            let Ok(mut stopped) = drain::stop(&stack.len, cpu) else { continue };
            for item in &stack.items[..stopped.count()] {
                // SAFETY: the slot is stopped, so its items are nobody else's.
                sum += unsafe { *Box::from_raw(item.load(Relaxed)) };
            }
            stopped.set_count(0);
        }
        sum
    };
    let found = AtomicUsize::new(0);
    in_threads(|number| {
        for value in 1..=EACH {
            if let Some(back) = push(Box::new(value)) {
                found.fetch_add(*back, Relaxed);
            }
            if let Some(mut item) = pop() {
                *item += 1;
                found.fetch_add(*item - 1, Relaxed);
            }
            if value % 5 == number {
                found.fetch_add(drain(), Relaxed);
            }
        }
    });
    found.fetch_add(drain(), Relaxed);
    assert_eq!(found.into_inner(), THREADS * EACH * (EACH + 1) / 2);
}
