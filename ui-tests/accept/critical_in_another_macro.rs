#![deny(warnings)]

use rseq::{PerCpu, rseq};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering::Relaxed};

#[derive(Default)]
struct Node {
    next: AtomicPtr<Node>,
}

#[derive(Default)]
struct Stack {
    len: AtomicUsize,
    items: [AtomicU64; 8],
    head: AtomicU64,
}

static HITS: PerCpu<AtomicU64> = PerCpu::new();
static STACKS: PerCpu<Stack> = PerCpu::new();

/// Its `first` and `rest` are its own, whatever the caller's list is called.
macro_rules! pop {
    ($list:expr) => {
        // SAFETY: callers keep the nodes.
        unsafe {
            rseq! {
                critical |_cpu| {
                    let first = load($list);
                    if first == null { exit None }
                    let rest = load(&(*first).next);
                }
                commit store($list, rest)
                => NonNull::new(first)
            }
        }
    };
}

macro_rules! push {
    ($stack:expr, $item:expr, $full:expr, $done:expr) => {
        // SAFETY: the length is below the capacity.
        unsafe {
            rseq! {
                critical |_cpu| {
                    let len = load(&$stack.len);
                    if len == 8 { exit $full }
                    store(&$stack.items[len], $item);
                }
                commit add(&$stack.len, 1)
                => $done
            }
        }
    };
}

/// Names of the caller's, which it can use in what it passes.
macro_rules! raise {
    ($cpu:ident, $old:ident, $new:ident, $place:expr, $by:expr, $exit:expr, $result:expr) => {
        rseq! {
            critical |$cpu| {
                let $old = load($place);
                if $old == 7 { exit $exit }
                let $new = $old + $by;
            }
            commit store($place, $new)
            => $result
        }
    };
}

macro_rules! form {
    ($cpu:ident, $form:ident, $place:expr, $value:expr) => {
        rseq! { commit |$cpu| $form($place, $value) }
    };
}

macro_rules! step {
    ($operator:tt, $type:ty, $number:literal) => {{
        let place = AtomicU64::new(12);
        rseq! {
            critical |_cpu| {
                let old: $type = load(&place);
                let new = old $operator $number;
            }
            commit store(&place, new)
            => new
        }
    }};
}

macro_rules! head {
    ($stack:ident) => {
        $stack.len
    };
}

macro_rules! whole {
    ($($tokens:tt)*) => { rseq! { $($tokens)* } };
}

pub(crate) fn main() {
    let mut node = Node::default();
    let first = &AtomicPtr::new(&raw mut node);
    assert_eq!([pop!(first).is_some(), pop!(first).is_some()], [true, false]);
    let rest = &AtomicPtr::new(&raw mut node);
    assert!(pop!(rest).is_some());

    let len = Stack::default();
    let item = 4;
    assert!((0..8).all(|at| push!(len, item + at, false, true)));
    assert!(!push!(len, item, false, true));
    assert_eq!(len.items.each_ref().map(|item| item.load(Relaxed)), [4, 5, 6, 7, 8, 9, 10, 11]);

    let (old, new) = raise!(it, before, after, &HITS[it], 3 + 4, (0, 0), (before, after));
    assert_eq!((old, new), (0, 7));
    let seen = raise!(cpu, old, new, &STACKS[cpu].head, 7, Err(old), Ok((cpu.get() < rseq::slots(), new)));
    assert_eq!(seen, Ok((true, 7)));

    form!(here, add, &STACKS[here].len, 2 + 1);
    form!(here, sub, &STACKS[here].len, 1);
    form!(here, xor, &HITS[here], { 1 << 3 });
    assert!(STACKS.iter().any(|stack| stack.len.load(Relaxed) != 0));

    assert_eq!([step!(+, u64, 1), step!(<<, _, 2), step!(^, u64, 3)], [13, 48, 15]);

    let stack = Stack::default();
    whole! {
        critical |_cpu| { let len = load(&head!(stack)); let len = len + 3; }
        commit store(&head!(stack), len)
    }
    assert_eq!(stack.len.into_inner(), 3);
}
