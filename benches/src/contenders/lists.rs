//! Lists: a node is popped and pushed again, or a new one, where there is none.

use std::ptr::{self, NonNull};
use std::sync::Mutex;
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

use crossbeam_queue::SegQueue;
use rseq::{PerCpu, rseq};

use super::by_hand::ByHand;
use super::librseq::Librseq;
use super::operations::librseq::{Node, list_pop, list_push};
use super::others::Others;
use crate::measuring::{Contender, contender, in_register};

static WINDOWS: PerCpu<AtomicPtr<Node>> = PerCpu::new();
static WATCHED: PerCpu<AtomicPtr<Node>> = PerCpu::new();

thread_local! {
    static OWN: AtomicPtr<Node> = const { AtomicPtr::new(ptr::null_mut()) };
}

pub fn contenders(others: &Others) -> Vec<Contender> {
    let mut all = vec![
        contender("unprotected", |_| OWN.with(|list| unprotected(in_register(list)))),
        contender("section, all window", |_| {
            // SAFETY: nodes are never freed, and pushed by whoever popped them.
            unsafe { list_push(&WINDOWS, list_pop(&WINDOWS).unwrap_or_else(new_node)) };
        }),
        contender("section, watched push", |_| {
            // SAFETY: as above.
            watched_push(unsafe { list_pop(&WATCHED) }.unwrap_or_else(new_node));
        }),
    ];
    all.extend(others.by_hand.map(ByHand::lists));
    all.extend(others.librseq.map(Librseq::lists));
    let (locked, segments) = (Mutex::new(Vec::new()), SegQueue::new());
    all.extend([
        contender("Mutex<Vec>", move |_| {
            let node = locked.lock().expect("nobody panics").pop().unwrap_or_else(|| Address(new_node()));
            locked.lock().expect("nobody panics").push(node);
        }),
        contender("crossbeam SegQueue", move |_| {
            segments.push(segments.pop().unwrap_or_else(|| Address(new_node())));
        }),
    ]);
    all
}

/// Of a node that is never freed.
struct Address(#[allow(dead_code, reason = "it is only handed on")] NonNull<Node>);

// SAFETY: nodes are made of atomics.
unsafe impl Send for Address {}

#[cold]
fn new_node() -> NonNull<Node> {
    NonNull::from(Box::leak(Box::default()))
}

/// As without threads: in loads and stores that the compiler takes as they are.
#[inline(always)]
fn unprotected(list: &AtomicPtr<Node>) {
    let popped = NonNull::new(list.load(Relaxed)).inspect(|node| {
        // SAFETY: nodes are never freed.
        list.store(unsafe { node.as_ref() }.next.load(Relaxed), Relaxed);
    });
    let node = popped.unwrap_or_else(new_node);
    // SAFETY: as above.
    unsafe { node.as_ref() }.next.store(list.load(Relaxed), Relaxed);
    list.store(node.as_ptr(), Relaxed);
}

#[inline(always)]
fn watched_push(node: NonNull<Node>) {
    rseq! {
        prepare |cpu| {
            let head = &WATCHED[cpu];
            // SAFETY: nodes are never freed, and this one is the caller's.
            unsafe { node.as_ref() }.next.store(head.load(Relaxed), Relaxed);
        }
        commit store_release(head, node.as_ptr())
    }
}
