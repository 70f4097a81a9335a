#![deny(warnings)]

use rseq::{PerCpu, Word, rseq};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering::Relaxed};

struct Node<T> {
    value: T,
    next: AtomicPtr<Self>,
}

struct List<T> {
    heads: PerCpu<AtomicPtr<Node<T>>>,
}

impl<T> List<T> {
    fn push(&self, node: NonNull<Node<T>>) {
        let node = node.as_ptr();
        // SAFETY: the node is the caller's.
        unsafe {
            rseq! {
                critical |cpu| {
                    let first = load(&self.heads[cpu]);
                    store(&(*node).next, first);
                }
                commit store_release(&self.heads[cpu], node)
            }
        }
    }

    fn pop(&self) -> Option<NonNull<Node<T>>> {
        // SAFETY: nodes stay where they are while the list is there.
        unsafe {
            rseq! {
                prepare |cpu| { let head = &self.heads[cpu]; }
                critical {
                    let first = load(head);
                    if first == null { exit None }
                    let rest = load(&(*first).next);
                }
                commit store(head, rest)
                => NonNull::new(first)
            }
        }
    }
}

/// Distances of fields and sizes of elements differ from type to type.
fn through_a_list<T: Copy + PartialEq>(values: [T; 2]) -> bool {
    let list = List { heads: PerCpu::new() };
    let mut nodes = values.map(|value| Node { value, next: AtomicPtr::default() });
    let pushed = NonNull::from(&mut nodes[1]);
    list.push(pushed);
    // SAFETY: the nodes are still there.
    list.pop().is_none_or(|popped| popped == pushed && unsafe { popped.as_ref() }.value == values[1])
}

struct Stack<T, const N: usize> {
    len: AtomicUsize,
    items: [AtomicPtr<T>; N],
    padding: [u8; N],
}

impl<T, const N: usize> Stack<T, N> {
    const EMPTY: Self =
        Self { len: AtomicUsize::new(0), items: [const { AtomicPtr::new(std::ptr::null_mut()) }; N], padding: [0; N] };

    fn push(&self, item: *mut T) -> Result<usize, [u8; N]> {
        // SAFETY: the length is below the capacity.
        unsafe {
            rseq! {
                critical |_cpu| {
                    let len = load(&self.len);
                    if len == N { exit Err(self.padding) }
                    store(&self.items[len], item);
                }
                commit add(&self.len, 1)
                => Ok(len)
            }
        }
    }
}

fn swap<T: Word>(place: *mut T, expected: T, new: T) -> Result<T, T> {
    // SAFETY: callers pass pointers to locals of their own.
    unsafe {
        rseq! {
            critical |_cpu| {
                let old = load(place);
                if old != expected { exit Err(old) }
            }
            commit store(place, new)
            => Ok(old)
        }
    }
}

trait Counted {
    const STEP: u64;
    fn counter(&self) -> &AtomicU64;

    fn count(&self) -> u64 {
        rseq! {
            critical |_cpu| {
                let old = load(self.counter());
                let new = old + Self::STEP;
            }
            commit store(self.counter(), new)
            => old
        }
    }
}

struct ByThree(AtomicU64);

impl Counted for ByThree {
    const STEP: u64 = 3;

    fn counter(&self) -> &AtomicU64 {
        &self.0
    }
}

fn last<'a, T>(items: &'a [AtomicPtr<T>], at: &'a AtomicUsize) -> *mut T {
    // SAFETY: callers pass the number of an element.
    unsafe {
        rseq! {
            critical |_cpu| {
                let at_last = load(at);
                let item = load(&(*items)[at_last]);
            }
            commit store(at, 0)
            => item
        }
    }
}

pub(crate) fn main() {
    assert!(through_a_list([1_u8, 2]));
    assert!(through_a_list([1_u64, 2]));
    assert!(through_a_list([[1_u32; 9], [2; 9]]));
    assert!(through_a_list([(), ()]));
    assert!(through_a_list([("one", 1_u16), ("two", 2)]));

    let (three, none) = (Stack::<u8, 3>::EMPTY, Stack::<u64, 0>::EMPTY);
    let mut items = [1_u8, 2, 3];
    let [one, two, last_one] = items.each_mut().map(std::ptr::from_mut);
    assert_eq!([one, two, last_one].map(|item| three.push(item)), [Ok(0), Ok(1), Ok(2)]);
    assert_eq!(three.push(one), Err([0; 3]));
    assert_eq!(three.items.each_ref().map(|item| item.load(Relaxed)), [one, two, last_one]);
    assert_eq!(none.push(std::ptr::null_mut()), Err([]));
    assert_eq!(last(&three.items, &AtomicUsize::new(1)), two);

    let (mut byte, mut wide, mut pointer) = (1_u8, 2_u64, one);
    assert_eq!(swap(&raw mut byte, 2, 3), Err(1));
    assert_eq!(swap(&raw mut byte, 1, 3), Ok(1));
    assert_eq!(swap(&raw mut wide, 2, u64::MAX), Ok(2));
    assert_eq!(swap(&raw mut pointer, one, two), Ok(one));
    assert_eq!((byte, wide, pointer), (3, u64::MAX, two));

    let counted = ByThree(AtomicU64::new(1));
    assert_eq!((counted.count(), counted.count(), counted.0.into_inner()), (1, 4, 7));
}
