//! Items that move between slots: taken from lists or slabs, changed by who took them without any
//! protection, and put back. Then each is there once and was changed as often as it was taken, if
//! nothing was lost.

use std::hint;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Few enough for controls, which duplicate items, not to overrun a slab.
pub const ITEMS: usize = 24;
/// An item's weight in the sum of a run, if it isn't there once: more than all that can be counted.
pub const MISPLACED: u64 = 1 << 40;

/// The sum of a run: what was counted, if every item is found once.
pub fn sum(counted: u64, found: [u64; ITEMS]) -> u64 {
    counted + found.into_iter().map(|times| times.abs_diff(1) * MISPLACED).sum::<u64>()
}

/// Counts what its only owner does with an item, without any protection, and takes its time.
pub fn change(count: &AtomicU64, spin: u32) {
    let changes = count.load(Relaxed);
    for turn in 0..spin {
        hint::black_box(turn);
    }
    count.store(changes + 1, Relaxed);
}

/// A module that moves items by the lists of `$operations`. Each control has one of its own,
/// because it leaves the lists as they shouldn't be.
#[macro_export]
macro_rules! lists {
    ($name:ident: $operations:ident) => {
        mod $name {
            use std::ptr::{self, NonNull};
            use std::sync::Once;
            use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering::Relaxed};

            use super::$operations::librseq::{Node, list_pop, list_push};
            use $crate::Count;
            use $crate::items::{ITEMS, change, sum};

            static LISTS: ::rseq::PerCpu<AtomicPtr<Node>> = ::rseq::PerCpu::new();
            static NODES: [Node; ITEMS] =
                [const { Node { next: AtomicPtr::new(ptr::null_mut()), value: AtomicU64::new(0) } }; ITEMS];
            static NOTHING_THERE: AtomicU64 = AtomicU64::new(0);

            fn add(spin: u32) {
                // SAFETY: the lists hold nodes of a static alone, and one that was popped is in
                // none.
                unsafe {
                    let Some(node) = list_pop(&LISTS) else {
                        NOTHING_THERE.fetch_add(1, Relaxed);
                        return;
                    };
                    change(&node.as_ref().value, spin);
                    list_push(&LISTS, node);
                }
            }

            fn fill() {
                // SAFETY: the nodes are a static's, and this is done once.
                NODES.iter().for_each(|node| unsafe { list_push(&LISTS, NonNull::from(node)) });
            }

            fn count() -> u64 {
                static FILLED: Once = Once::new();
                FILLED.call_once(fill);
                let mut found = [0; ITEMS];
                for head in &LISTS {
                    let mut next = head;
                    // After a control there may be circles.
                    for _ in 0..=ITEMS {
                        let address = next.load(Relaxed).cast_const();
                        let Some(number) = NODES.iter().position(|node| ptr::eq(node, address)) else { break };
                        found[number] += 1;
                        next = &NODES[number].next;
                    }
                }
                let changes: u64 = NODES.iter().map(|node| node.value.load(Relaxed)).sum();
                sum(NOTHING_THERE.load(Relaxed) + changes, found)
            }

            pub const COUNT: Count = Count { add, leave: || (), sum: count, aborts: || 0 };
        }
    };
}

/// The same by slabs.
#[macro_export]
macro_rules! slabs {
    ($name:ident: $operations:ident) => {
        mod $name {
            use std::ptr;
            use std::sync::Once;
            use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

            use super::$operations::slab::{Slab, pop, pop_batch, push, push_batch};
            use $crate::Count;
            use $crate::items::{ITEMS, MISPLACED, change, sum};

            static SLABS: ::rseq::PerCpu<Slab> = ::rseq::PerCpu::new();
            static COUNTS: [AtomicU64; ITEMS] = [const { AtomicU64::new(0) }; ITEMS];
            static NOTHING_THERE: AtomicU64 = AtomicU64::new(0);
            static TURN: AtomicUsize = AtomicUsize::new(0);

            /// One item by itself and several at once in turn; of several, the first is changed.
            fn add(spin: u32) {
                let mut batch = [ptr::null_mut(); 4];
                let length = TURN.fetch_add(1, Relaxed) % batch.len();
                let popped = match length {
                    0 => pop(&SLABS).map_or(0, |item| {
                        batch[0] = item;
                        1
                    }),
                    _ => pop_batch(&SLABS, &mut batch[..length]),
                };
                if popped == 0 {
                    NOTHING_THERE.fetch_add(1, Relaxed);
                    return;
                }
                // After a control there may be something else.
                if let Some(count) = COUNTS.iter().find(|count| count.as_ptr().cast() == batch[0]) {
                    change(count, spin);
                }
                // There is room for all items in each slab; what a control finds no room for is
                // lost.
                let _ = match length {
                    0 => usize::from(push(&SLABS, batch[0])),
                    _ => push_batch(&SLABS, &batch[..popped]),
                };
            }

            fn fill() {
                COUNTS.iter().for_each(|count| assert!(push(&SLABS, count.as_ptr().cast())));
            }

            fn count() -> u64 {
                static FILLED: Once = Once::new();
                FILLED.call_once(fill);
                let mut found = [0; ITEMS];
                let mut unknown = 0;
                for item in SLABS.iter().flat_map(Slab::items) {
                    match COUNTS.iter().position(|count| count.as_ptr().cast() == item) {
                        Some(number) => found[number] += 1,
                        None => unknown += MISPLACED,
                    }
                }
                let changes: u64 = COUNTS.iter().map(|count| count.load(Relaxed)).sum();
                sum(NOTHING_THERE.load(Relaxed) + changes + unknown, found)
            }

            pub const COUNT: Count = Count { add, leave: || (), sum: count, aborts: || 0 };
        }
    };
}
