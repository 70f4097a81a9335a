#![deny(warnings)]

use rseq::{PerCpu, rseq};
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU16, AtomicU64, AtomicUsize, Ordering::Relaxed};

#[derive(Default)]
struct Inner {
    _before: u8,
    word: AtomicU16,
    pair: (u8, AtomicU64),
}

#[derive(Default)]
struct Outer {
    _before: [u8; 3],
    inner: Inner,
    /// Of a size that the address unit doesn't know.
    inners: [Inner; 4],
    bytes: [AtomicU8; 5],
    plain: u32,
    raw: *const AtomicU64,
}

// SAFETY: the pointer is the tests' own.
unsafe impl Sync for Outer {}

#[derive(Default)]
struct Stack {
    len: AtomicUsize,
    items: [AtomicU64; 8],
    sum: (u8, AtomicU64),
}

static STACKS: PerCpu<Stack> = PerCpu::new();

/// Fields, of all depths, behind a pointer that is loaded.
fn fields() {
    let mut outer = Outer::default();
    let place = AtomicPtr::new(&raw mut outer);
    // SAFETY: points to the one above.
    let plain = unsafe {
        rseq! {
            critical |_cpu| {
                let outer = load(&place);
                store(&(*outer).inner.word, 1);
                store(&(*outer).inner.pair.1, 2);
                store(&raw mut (*outer).plain, 3);
                let plain = load(&raw mut (*outer).plain);
                store(&((*outer).inners)[plain].pair.1, 4);
                store(&(*outer).bytes[plain], 5);
            }
            commit add(&(*outer).inner.word, 6)
            => plain
        }
    };
    assert_eq!((plain, outer.plain), (3, 3));
    assert_eq!((outer.inner.word.into_inner(), outer.inner.pair.1.into_inner()), (7, 2));
    assert_eq!(outer.inners.map(|inner| inner.pair.1.into_inner()), [0, 0, 0, 4]);
    assert_eq!(outer.bytes.map(AtomicU8::into_inner), [0, 0, 0, 5, 0]);
}

/// Elements of arrays, slices and behind raw pointers, by every type of index.
fn elements() {
    let array = [const { AtomicU64::new(0) }; 8];
    let slice: &[AtomicU64] = &array;
    let pointer = slice.as_ptr();
    let (byte, size) = (AtomicU8::new(1), AtomicUsize::new(2));
    let (half, word, wide) = (3_u16, 4_u32, 5_u64);
    let loaded = AtomicPtr::new(pointer.cast_mut());
    // SAFETY: all indices are below eight.
    let fourth = unsafe {
        rseq! {
            critical |_cpu| {
                let byte = load(&byte);
                let size = load(&size);
                let first = load(&loaded);
                store(&array[byte], 10);
                store(&(*slice)[size], 20);
                store(&pointer[size], 21);
                store(&first[half], 30);
                store(&first[word], 40);
                let fourth = load(&first[word]);
                store(&first[wide], 50);
                store(&*first, 5);
                let six = size + 4;
            }
            commit store(&array[six], fourth)
            => fourth
        }
    };
    assert_eq!((fourth, array.map(AtomicU64::into_inner)), (40, [5, 10, 21, 30, 40, 50, 40, 0]));
}

/// Elements of sizes that are no power of two, and their fields.
fn elements_of_structures() {
    let inners: [Inner; 3] = Default::default();
    let at = AtomicUsize::new(2);
    // SAFETY: there is a third.
    unsafe {
        rseq! {
            critical |_cpu| {
                let at = load(&at);
                store(&inners[at].word, 7);
            }
            commit add(&inners[at].pair.1, 8)
        }
    }
    assert_eq!(inners.map(|inner| (inner.word.into_inner(), inner.pair.1.into_inner())), [(0, 0), (0, 0), (7, 8)]);

    let mut outers: [Outer; 3] = Default::default();
    let first = AtomicPtr::new(outers.as_mut_ptr());
    // SAFETY: there is a third, which has an element of that number.
    unsafe {
        rseq! {
            critical |_cpu| {
                let at = load(&at);
                let first = load(&first);
                store(&first[at].inner.word, 9);
            }
            commit store(&raw mut first[at].plain, 10)
        }
    }
    assert_eq!((outers[2].inner.word.load(Relaxed), outers[2].plain, outers[1].plain), (9, 10, 0));
}

/// Fields and elements of the slot that the window finds by itself.
fn slots() {
    const CAPACITY: usize = 8;
    let push = |item| {
        // SAFETY: the length is below the capacity.
        unsafe {
            rseq! {
                critical |cpu| {
                    let len = load(&STACKS[cpu].len);
                    if len == CAPACITY { exit Err(cpu) }
                    store(&STACKS[cpu].items[len], item);
                    let sum = load(&STACKS[cpu].sum.1);
                    let sum = sum + item;
                    store(&STACKS[cpu].sum.1, sum);
                }
                commit add(&STACKS[cpu].len, 1)
                => Ok((cpu, len, sum))
            }
        }
    };
    let (cpu, len, sum) = push(11).unwrap();
    assert_eq!((len, sum), (0, 11));
    assert_eq!(STACKS[cpu].items[0].load(Relaxed), 11);
    let full = loop {
        if let Err(cpu) = push(1) {
            break cpu;
        }
    };
    assert_eq!(STACKS[full].len.load(Relaxed), CAPACITY);

    // The same through `prepare`.
    let popped = loop {
        // SAFETY: the length is above zero and at most the capacity.
        let popped = unsafe {
            rseq! {
                prepare |cpu| { let stack = &STACKS[cpu]; }
                critical {
                    let len = load(&stack.len);
                    if len == 0 { exit None }
                    let len = len - 1;
                    let item = load(&stack.items[len]);
                }
                commit store(&stack.len, len)
                => Some(item)
            }
        };
        if popped.is_none_or(|item| item == 11) {
            break popped;
        }
    };
    assert!(popped == Some(11) || popped.is_none());
}

/// Bytes from and to places that the window finds.
fn copies() {
    struct Message {
        length: usize,
        bytes: [u8; 8],
    }
    let mut messages = [Message { length: 3, bytes: *b"abcdefgh" }, Message { length: 0, bytes: [0; 8] }];
    let place = AtomicPtr::new(messages.as_mut_ptr());
    let (to, length) = (AtomicUsize::new(1), AtomicUsize::new(0));
    // SAFETY: there are two messages.
    unsafe {
        rseq! {
            critical |_cpu| {
                let from = load(&place);
                let to = load(&to);
                let bytes = load(&raw mut (*from).length);
                copy(&raw const (*from).bytes, &raw mut from[to].bytes, bytes);
            }
            commit store(&raw mut from[to].length, bytes)
        }
    }
    // SAFETY: as before; the fourth byte is there.
    unsafe {
        rseq! {
            critical |_cpu| {
                let from = load(&place);
                let at = load(&raw mut (*from).length);
                copy(&raw const (*from).bytes[at], &raw mut from[1_usize].bytes[at], 1);
            }
            commit store(&length, at)
        }
    }
    assert_eq!((messages[1].length, &messages[1].bytes), (3, b"abcd\0\0\0\0"));
    assert_eq!(length.into_inner(), 3);
}

pub(crate) fn main() {
    fields();
    elements();
    elements_of_structures();
    slots();
    copies();
    assert!(Outer::default().raw.is_null());
}
