//! Tests that need no disturbance, nor any system: Miri runs them too, and sees data races, what is
//! used behind its end, and what isn't given back.

extern crate std;

use core::alloc::{GlobalAlloc, Layout};
use std::alloc::System;
use std::thread;
use std::vec::Vec;

use super::class::{ALIGN, SIZES, of};
use keeping::front_end::PerCpuAlloc;

/// The allocator, keeping objects in portable mode too, which is all that Miri has.
#[allow(clippy::duplicate_mod, reason = "it is another one")]
#[allow(dead_code, reason = "not all of it is used")]
#[path = "."]
mod keeping {
    use crate::{VERSION, class, drain, rseq};

    fn keeps() -> bool {
        true
    }

    pub mod front_end;
    pub mod stack;
    mod tier;
}

/// The tier by piles whose words have no version.
#[allow(clippy::duplicate_mod, reason = "it is another one")]
#[allow(dead_code, reason = "not all of it is used")]
#[path = "."]
mod unversioned {
    use crate::stack;

    const VERSION: u64 = 0;

    pub mod tier;
}

#[test]
fn each_layout_has_the_smallest_class_that_it_fits() {
    let largest = SIZES[SIZES.len() - 1];
    for size in (0..2 * largest).step_by(if cfg!(miri) { 97 } else { 1 }) {
        for align in [1, 8, ALIGN, 2 * ALIGN] {
            let layout = Layout::from_size_align(size, align).expect("a small layout");
            let smallest = SIZES.iter().position(|room| *room >= size && size > 0);
            assert_eq!(of(layout), smallest.filter(|_| align <= ALIGN), "{layout:?}");
        }
    }
}

#[test]
fn classes_waste_no_more_than_a_fifth() {
    for (smaller, larger) in SIZES.iter().zip(&SIZES[1..]).filter(|(smaller, _)| **smaller >= 64) {
        assert!(larger - smaller <= larger / 5, "{smaller} {larger}");
    }
    assert!(SIZES.iter().all(|size| size.is_multiple_of(ALIGN)));
}

#[test]
fn objects_pass_from_thread_to_thread() {
    static ALLOCATOR: PerCpuAlloc<System> = PerCpuAlloc::new(System);
    let layout = |size| Layout::from_size_align(size, 8).expect("a small layout");
    let work = || {
        for size in (8..40).step_by(8) {
            // SAFETY: each call has the layout that the object has by then.
            unsafe {
                let object = ALLOCATOR.alloc(layout(size));
                object.write_bytes(size as u8, size);
                let object = ALLOCATOR.realloc(object, layout(size), 2 * size);
                assert_eq!(object.add(size - 1).read(), size as u8);
                let object = ALLOCATOR.realloc(object, layout(2 * size), 2000);
                assert_eq!(object.add(size - 1).read(), size as u8);
                ALLOCATOR.dealloc(object, layout(2000));
                let zeroes = ALLOCATOR.alloc_zeroed(layout(size));
                assert_eq!(zeroes.cast::<u64>().read(), 0);
                ALLOCATOR.dealloc(zeroes, layout(size));
            }
        }
    };
    for _ in 0..3 {
        thread::scope(|scope| (0..3).for_each(|_| _ = scope.spawn(work)));
    }
    assert!(ALLOCATOR.trim().expect("there are fences") > 0);
}

/// More than the stacks have room for, and more than is worth keeping.
#[test]
fn what_is_too_much_is_the_backends() {
    let allocator = PerCpuAlloc::new(System);
    let layout = Layout::new::<u64>();
    // Miri takes its time.
    for count in if cfg!(miri) { &[300][..] } else { &[300, 1_000, 300] } {
        // SAFETY: no size is zero.
        let objects: Vec<_> = (0..*count).map(|_| unsafe { allocator.alloc(layout) }).collect();
        // SAFETY: allocated above.
        objects.iter().for_each(|object| unsafe { allocator.dealloc(*object, layout) });
    }
    assert!(allocator.trim().expect("there are fences") > 0);
}

/// A class's stacks hold as much as it gives them room for, and never more than they have.
#[test]
fn stacks_have_the_room_that_they_are_given() {
    use keeping::stack::{self, CAPACITY, Stacks};

    for room in [1, 64, 2 * CAPACITY] {
        let stacks = Stacks::new();
        let object = |number| core::ptr::without_provenance_mut(number);
        assert!(!stack::push(&stacks, object(1)), "there are none yet");
        assert!(stacks.make(room));
        // Threads that are moved find other stacks.
        let whole = room.min(CAPACITY);
        let pushed = (1..=whole + 10).filter(|number| stack::push(&stacks, object(*number))).count();
        assert!(pushed >= whole && pushed <= whole * rseq::slots(), "{pushed} of {room}");
    }
}

/// Where nothing is kept, an object is the backend's as soon as it is freed.
#[test]
fn nothing_is_kept_in_portable_mode() {
    if super::keeps() {
        // Tests of processes in that mode are in `tests/objects/layouts.rs`.
        return;
    }
    let allocator = super::PerCpuAlloc::new(System);
    let layout = Layout::new::<u64>();
    for _ in 0..300 {
        // SAFETY: no size is zero; freed once.
        unsafe { allocator.dealloc(allocator.alloc(layout), layout) };
    }
    assert_eq!(allocator.trim(), Ok(0));
}

/// Of the piles of cells, by every sequence of events.
mod piles {
    use core::cell::Cell;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    use core::ptr::{self, null_mut};

    use super::*;
    use crate::stack::{BATCH, Batch};
    use crate::tier::{Cells, Pile};

    /// An event while a thread is about to take a cell or put one.
    #[derive(Clone, Copy, Debug)]
    enum Event {
        /// Another thread takes a cell.
        Take,
        /// It puts back the one that it took first ..
        PutFirst,
        /// .. or last.
        PutLast,
    }

    const EVENTS: [Event; 3] = [Event::Take, Event::PutFirst, Event::PutLast];

    /// All sequences of so many events.
    fn sequences(length: u32) -> impl Iterator<Item = Vec<Event>> {
        let number = EVENTS.len();
        (0..number.pow(length))
            .map(move |code| (0..length).map(|digit| EVENTS[code / number.pow(digit) % number]).collect())
    }

    /// The fate of the thread in whose way the events come.
    #[derive(Clone, Copy, Debug)]
    enum Thread {
        Takes,
        Puts,
        /// It never goes on, as in a child of `fork`.
        Vanishes,
    }

    macro_rules! finds {
        ($name:ident, $tier:path) => {
            /// The sequence by which a cell is lost or is there twice, if there is one.
            fn $name(thread: Thread, cells_on_it: u16, length: u32) -> Option<Vec<Event>> {
                use $tier as tier;
                let (cells, own) = (tier::Cells::new(), cells_on_it + 1);
                for number in 1..=own {
                    assert_eq!(cells.a_new_one(), Some(number));
                }
                sequences(length).find(|events| {
                    let pile = tier::Pile::new();
                    (1..own).for_each(|number| assert!(pile.put(&cells, number, usize::MAX, || ())));
                    let (mut others, once) = (Vec::new(), Cell::new(true));
                    let meanwhile = || {
                        if !once.take() {
                            return;
                        }
                        for event in events {
                            match event {
                                Event::Take => others.extend(pile.take(&cells, || ())),
                                Event::PutFirst if others.is_empty() => {}
                                Event::PutFirst => _ = pile.put(&cells, others.remove(0), usize::MAX, || ()),
                                Event::PutLast => {
                                    others
                                        .pop()
                                        .into_iter()
                                        .for_each(|cell| _ = pile.put(&cells, cell, usize::MAX, || ()));
                                }
                            }
                        }
                        if let Thread::Vanishes = thread {
                            resume_unwind(std::boxed::Box::new(()));
                        }
                    };
                    let mut found: Vec<u16> = Vec::new();
                    match thread {
                        Thread::Takes => found.extend(pile.take(&cells, meanwhile)),
                        Thread::Puts => assert!(pile.put(&cells, own, usize::MAX, meanwhile)),
                        Thread::Vanishes => {
                            _ = catch_unwind(AssertUnwindSafe(|| pile.put(&cells, own, usize::MAX, meanwhile)));
                        }
                    }
                    found.extend(&others);
                    // A pile that bites its tail has no end.
                    found.extend(core::iter::from_fn(|| pile.take(&cells, || ())).take(9));
                    found.sort_unstable();
                    let expected = cells_on_it + u16::from(matches!(thread, Thread::Puts));
                    !found.into_iter().eq(1..=expected)
                })
            }
        };
    }
    finds!(wrong, crate::tier);
    finds!(wrong_without_versions, super::unversioned::tier);

    #[test]
    fn no_cell_is_lost_or_there_twice() {
        let length = if cfg!(miri) { 2 } else { 6 };
        for thread in [Thread::Takes, Thread::Puts, Thread::Vanishes] {
            for cells in 0..4 {
                assert_eq!(wrong(thread, cells, length).map(drop), None, "{thread:?}");
            }
        }
    }

    #[test]
    fn without_versions_some_are() {
        // An exchange may fail for no reason, and then the thread looks once more.
        let found = (0..100).find_map(|_| wrong_without_versions(Thread::Takes, 2, 3));
        assert!(found.is_some(), "the control isn't seen");
    }

    /// Batches of numbers, all different.
    fn batch(number: usize) -> Batch {
        core::array::from_fn(|item| core::ptr::without_provenance_mut(number * BATCH + item + 1))
    }

    #[test]
    fn a_pile_is_bounded_and_all_of_it_comes_out_the_oldest_first() {
        let (cells, pile) = (Cells::new(), Pile::new());
        for round in 0..3 {
            let puts = (0..7).filter(|number| cells.put(&pile, &batch(*number), 5));
            assert_eq!(puts.count(), 5, "{round}");
            let mut taken = [null_mut(); BATCH];
            assert!(cells.take(&pile, &mut taken));
            assert_eq!(taken, batch(4));
            let mut found = Vec::new();
            assert_eq!(cells.take_all(&pile, |batch| found.push(*batch)), 4);
            assert!(found.into_iter().eq((0..4).map(batch)));
            assert!(!cells.take(&pile, &mut taken));
        }
    }

    /// More than there are cells for: nothing is lost by it.
    #[test]
    #[cfg_attr(miri, ignore = "it takes many")]
    fn cells_come_to_an_end() {
        let (cells, pile) = (Cells::new(), Pile::new());
        let mut put = 0;
        while cells.put(&pile, &batch(put), usize::MAX) {
            put += 1;
        }
        assert!(put >= 200 && !cells.put(&Pile::new(), &batch(put), 1));
        let mut next = 0;
        let taken = cells.take_all(&pile, |found| {
            assert_eq!(*found, batch(next));
            next += 1;
        });
        assert_eq!((taken, next), (put, put));
    }

    /// The bytes that a thread wrote to objects are seen by the one that takes them, and each batch
    /// is taken once.
    #[test]
    fn batches_pass_from_thread_to_thread() {
        const TURNS: usize = if cfg!(miri) { 50 } else { 20_000 };
        static CELLS: Cells = Cells::new();
        static PILES: [Pile; 2] = [Pile::new(), Pile::new()];
        let mut objects = [[0_usize; BATCH]; 4];
        for (number, objects) in objects.iter_mut().enumerate() {
            let batch = objects.each_mut().map(|object| ptr::from_mut(object).cast());
            assert!(CELLS.put(&PILES[number % 2], &batch, usize::MAX));
        }
        let work = |thread: usize| {
            let mut batch = [null_mut(); BATCH];
            let mut taken = 0;
            for turn in 0..TURNS {
                if !CELLS.take(&PILES[(turn + thread) % 2], &mut batch) {
                    thread::yield_now();
                    continue;
                }
                // SAFETY: objects of the array above, which this thread alone has.
                batch.iter().for_each(|object| unsafe { *(*object).cast::<usize>() += 1 });
                taken += 1;
                assert!(CELLS.put(&PILES[turn / 2 % 2], &batch, usize::MAX), "it has four cells");
            }
            taken
        };
        let taken: usize = thread::scope(|scope| {
            let threads = [0, 1, 2].map(|thread| scope.spawn(move || work(thread)));
            threads.map(|thread| thread.join().expect("work doesn't panic")).iter().sum()
        });
        let left = PILES.each_ref().map(|pile| CELLS.take_all(pile, |_| ()));
        assert_eq!(left.iter().sum::<usize>(), 4);
        assert_eq!(objects.as_flattened().iter().sum::<usize>(), taken * BATCH);
    }
}
