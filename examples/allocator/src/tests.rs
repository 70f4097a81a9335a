//! What needs no disturbance, nor any system: Miri runs it too, and sees data races, what is used behind its end, and what isn't given back.

extern crate std;

use core::alloc::{GlobalAlloc, Layout};
use std::alloc::System;
use std::thread;

use super::PerCpuAlloc;
use super::class::{ALIGN, SIZES, of};

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

/// More than a stack has room for.
#[test]
fn stacks_overflow_to_the_backend() {
    let allocator = PerCpuAlloc::new(System);
    let layout = Layout::new::<u64>();
    // SAFETY: no size is zero.
    let objects: [_; 300] = core::array::from_fn(|_| unsafe { allocator.alloc(layout) });
    // SAFETY: allocated above.
    objects.iter().for_each(|object| unsafe { allocator.dealloc(*object, layout) });
}
