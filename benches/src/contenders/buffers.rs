//! Arrays with a length: an item is popped and pushed again, or a new one, where there is none.

use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crossbeam_queue::{ArrayQueue, SegQueue};
use rseq::{PerCpu, Stack};

use super::by_hand::ByHand;
use super::librseq::Librseq;
use super::operations::slab::{CAPACITY, Slab, pop, push};
use super::others::Others;
use crate::measuring::{Contender, contender, in_register};

static SLABS: PerCpu<Slab> = PerCpu::new();
static STACK: Stack<usize> = Stack::new();

/// The thread's own.
struct Buffer {
    len: AtomicUsize,
    items: [AtomicUsize; CAPACITY],
}

thread_local! {
    static OWN: Buffer = const {
        let items = [const { AtomicUsize::new(0) }; CAPACITY];
        Buffer { len: AtomicUsize::new(0), items }
    };
}

/// Items of a word.
pub fn words(others: &Others) -> Vec<Contender> {
    let mut all = vec![
        contender("unprotected", |number| OWN.with(|buffer| unprotected(in_register(buffer), number))),
        contender("section, all window", |number| {
            _ = push(&SLABS, pop(&SLABS).unwrap_or(ptr::without_provenance_mut(number + 1)));
        }),
        contender("Stack", |number| _ = STACK.push(STACK.pop().unwrap_or(number))),
    ];
    all.extend(others.by_hand.map(ByHand::buffers));
    all.extend(others.librseq.map(Librseq::buffers));
    let (locked, array, segments) = (Mutex::new(Vec::new()), ArrayQueue::new(CAPACITY), SegQueue::new());
    all.extend([
        contender("Mutex<Vec>", move |number| {
            let item = locked.lock().expect("nobody panics").pop().unwrap_or(number);
            locked.lock().expect("nobody panics").push(item);
        }),
        contender("crossbeam ArrayQueue", move |number| _ = array.push(array.pop().unwrap_or(number))),
        contender("crossbeam SegQueue", move |number| segments.push(segments.pop().unwrap_or(number))),
    ]);
    all
}

/// Items of three words.
pub fn records(_: &Others) -> Vec<Contender> {
    let (stack, locked) = (Stack::<[usize; 3]>::new(), Mutex::new(Vec::new()));
    let (array, segments) = (ArrayQueue::new(CAPACITY), SegQueue::new());
    vec![
        contender("Stack", move |number| _ = stack.push(stack.pop().unwrap_or([number; 3]))),
        contender("Mutex<Vec>", move |number| {
            let item = locked.lock().expect("nobody panics").pop().unwrap_or([number; 3]);
            locked.lock().expect("nobody panics").push(item);
        }),
        contender("crossbeam ArrayQueue", move |number| _ = array.push(array.pop().unwrap_or([number; 3]))),
        contender("crossbeam SegQueue", move |number| segments.push(segments.pop().unwrap_or([number; 3]))),
    ]
}

/// As without threads: in loads and stores that the compiler takes as they are.
#[inline(always)]
fn unprotected(buffer: &Buffer, number: usize) {
    let popped = buffer.len.load(Relaxed).checked_sub(1).and_then(|less| {
        let item = buffer.items.get(less)?.load(Relaxed);
        buffer.len.store(less, Relaxed);
        Some(item)
    });
    let len = buffer.len.load(Relaxed);
    if let Some(place) = buffer.items.get(len) {
        place.store(popped.unwrap_or(number), Relaxed);
        buffer.len.store(len + 1, Relaxed);
    }
}
