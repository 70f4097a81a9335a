#![deny(warnings)]

use rseq::{PerCpu, Word, rseq};
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering::Relaxed};

#[derive(Default)]
struct Node {
    value: u64,
    next: AtomicPtr<Node>,
}

static LISTS: PerCpu<AtomicPtr<Node>> = PerCpu::new();

fn push(node: &'static Node) {
    let node = std::ptr::from_ref(node).cast_mut();
    // SAFETY: the node is the caller's until it is committed.
    unsafe {
        rseq! {
            prepare |cpu| { let list = &LISTS[cpu]; }
            critical {
                let first = load(list);
                store(&(*node).next, first);
            }
            commit store_release(list, node)
        }
    }
}

fn pop() -> Option<NonNull<Node>> {
    // SAFETY: nodes live for ever.
    unsafe {
        rseq! {
            critical |cpu| {
                let first = load(&LISTS[cpu]);
                if first == null { exit None }
                let rest = load(&(*first).next);
            }
            commit store(&LISTS[cpu], rest)
            => NonNull::new(first)
        }
    }
}

fn lists() {
    let list = AtomicPtr::<Node>::new(null_mut());
    let mut nodes = [Node { value: 1, ..Node::default() }, Node { value: 2, ..Node::default() }];
    let [one, two] = &mut nodes;
    one.next = AtomicPtr::new(two);
    list.store(one, Relaxed);
    let pop = || {
        // SAFETY: the nodes outlive the list.
        unsafe {
            rseq! {
                critical |_cpu| {
                    let first = load(&list);
                    if first == null { exit 0 }
                    let rest = load(&(*first).next);
                    let value = load(&raw mut (*first).value);
                }
                commit store(&list, rest)
                => value
            }
        }
    };
    assert_eq!([pop(), pop(), pop(), pop()], [1, 2, 0, 0]);

    push(Box::leak(Box::default()));
    // The thread may have moved to another slot, whose list is empty.
    assert!(self::pop().is_none_or(|node| {
        // SAFETY: nodes live for ever.
        unsafe { node.as_ref() }.value == 0
    }));
}

fn comparisons() {
    let mut items = [1_u32, 2];
    let (low, high) = (&raw mut items[0], &raw mut items[1]);
    let (a, b, place) = (AtomicPtr::new(low), AtomicPtr::new(high), AtomicU64::new(0));
    let order = rseq! {
        critical |_cpu| {
            let left = load(&a);
            let right = load(&b);
            if left >= right { exit 1 }
            if right <= left { exit 2 }
            if left == right { exit 3 }
            if left != low { exit 4 }
            if null == left { exit 5 }
            if left < null { exit 6 }
        }
        commit add(&place, 1)
        => 0
    };
    assert_eq!((order, place.into_inner()), (0, 1));
    rseq! { commit |_cpu| store(&a, null) }
    assert!(a.into_inner().is_null());
}

/// Of each kind of pointer, behind a raw pointer.
fn kinds() {
    let (mut one, mut two) = (1_u128, 2_u128);
    let (one, two) = (NonNull::from(&mut one), NonNull::from(&mut two));

    let mut constant = one.as_ptr().cast_const();
    let place = &raw mut constant;
    // SAFETY: a place of this function's own.
    let old = unsafe {
        rseq! {
            critical |_cpu| { let old = load(place); if old == null { exit None } }
            commit store(place, two.as_ptr().cast_const())
            => Some(old)
        }
    };
    assert_eq!((old, constant), (Some(one.as_ptr().cast_const()), two.as_ptr().cast_const()));

    let mut optional = None;
    let place = &raw mut optional;
    let put = |new| {
        // SAFETY: a place of this function's own.
        unsafe {
            rseq! {
                critical |_cpu| {
                    let old: Option<NonNull<u128>> = load(place);
                    if old == new { exit Err(old) }
                    if old != null { exit Err(new) }
                }
                commit store(place, new)
                => Ok(old)
            }
        }
    };
    assert_eq!(put(Some(one)), Ok(None));
    assert_eq!(put(Some(one)), Err(Some(one)));
    assert_eq!(put(Some(two)), Err(Some(two)));
    // SAFETY: a place of this function's own.
    unsafe { rseq! { commit |_cpu| store(place, null) } }
    assert_eq!(optional, None);
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
struct Id(u32);

// SAFETY: transparent over u32.
unsafe impl Word for Id {}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum State {
    Idle = 3,
    Busy = 250,
}

// SAFETY: of one byte.
unsafe impl Word for State {}

fn types_of_the_users() {
    let (mut ids, mut state) = ([Id(7), Id(8), Id(9)], State::Idle);
    let (place, there) = (&raw mut ids[1], &raw mut state);
    let swap = |new| {
        // SAFETY: places of this function's own.
        unsafe {
            rseq! {
                critical |_cpu| {
                    let id = load(place);
                    let state = load(there);
                    if state == State::Busy { exit (Id(0), state) }
                    store(there, State::Busy);
                    if id != Id(8) { exit (id, state) }
                }
                commit store(place, new)
                => (id, state)
            }
        }
    };
    assert_eq!(swap(Id(u32::MAX)), (Id(8), State::Idle));
    assert_eq!(swap(Id(1)), (Id(0), State::Busy));
    assert_eq!((ids, state), ([Id(7), Id(u32::MAX), Id(9)], State::Busy));
}

pub(crate) fn main() {
    lists();
    comparisons();
    kinds();
    types_of_the_users();
}
