#![deny(warnings)]

use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

/// As many values at once as fit: beside them there are the thread's area, and the place.
fn without_prepare() {
    let place = AtomicU64::new(1);
    let all = rseq! {
        critical |_cpu| {
            let a = load(&place);
            let b = a + a;
            let c = b + b;
            let d = c + c;
            let e = d + d;
            let f = e + e;
            let g = f + f;
            let h = g + g;
            let i = h + h;
            let j = i + i;
            let k = j + j;
        }
        commit store(&place, k)
        => [a, b, c, d, e, f, g, h, i, j, k]
    };
    assert_eq!((all, place.into_inner()), ([1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024], 1024));
}

/// Beside the slot and the index, which is a value too.
fn with_index() {
    rseq! { commit |cpu| store(&HITS[cpu], 1) }
    let all = rseq! {
        critical |cpu| {
            let a = load(&HITS[cpu]);
            let b = a + a;
            let c = b + b;
            let d = c + c;
            let e = d + d;
            let f = e + e;
            let g = f + f;
            let h = g + g;
            let i = h + h;
            let j = i + i;
        }
        commit store(&HITS[cpu], j)
        => (cpu.get() < rseq::slots(), a + b + c + d + e + f + g + h + i + j)
    };
    assert!(all == (true, 1023) || all == (true, 0));
}

/// Beside what says that the section is still armed.
fn with_prepare() {
    let place = AtomicU64::new(1);
    let all = rseq! {
        prepare |_cpu| { let place = &place; }
        critical {
            let a = load(place);
            let b = a + a;
            let c = b + b;
            let d = c + c;
            let e = d + d;
            let f = e + e;
            let g = f + f;
            let h = g + g;
            let i = h + h;
            let j = i + i;
        }
        commit store(place, j)
        => [a, b, c, d, e, f, g, h, i, j]
    };
    assert_eq!((all, place.into_inner()), ([1, 2, 4, 8, 16, 32, 64, 128, 256, 512], 512));
}

/// With copies and shifts by a value, for which some are set aside.
fn with_copy_and_shift() {
    let (place, from, mut to) = (AtomicU64::new(1), [7_u8; 4], [0_u8; 4]);
    // SAFETY: both are of four bytes.
    let all = unsafe {
        rseq! {
            critical |_cpu| {
                let a = load(&place);
                let b = a << a;
                let c = b << a;
                let d = c << a;
                let e = d << a;
                copy(&raw const from, &raw mut to, 4);
                let f = e << a;
            }
            commit store(&place, f)
            => [a, b, c, d, e, f]
        }
    };
    assert_eq!((all, to, place.into_inner()), ([1, 2, 4, 8, 16, 32], from, 32));
}

pub(crate) fn main() {
    without_prepare();
    with_index();
    with_prepare();
    with_copy_and_shift();
}
