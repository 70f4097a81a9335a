#![deny(warnings)]

use rseq::rseq;
use std::sync::atomic::{AtomicU8, AtomicU64};

pub(crate) fn main() {
    let (a, b, byte) = (AtomicU64::new(10), AtomicU64::new(20), AtomicU8::new(7));
    // A name bound again is another value, of another type if need be; earlier uses keep theirs.
    let x = 1_000_u64;
    let result = rseq! {
        critical |_cpu| {
            let more = load(&a);
            let more = more + x;
            let x = load(&b);
            if x == 0 { exit (x, more, 0, 0) }
            let y: u64 = x + x;
            let x: u8 = load(&byte);
            let x = x + 1;
            if x == 0 { exit (y, more, x, 1) }
            let _ = load(&b);
            let _: u64 = load(&b);
        }
        commit store(&byte, x)
        => (y, more, x, 2)
    };
    assert_eq!((result, x), ((40, 1_010, 8, 2), 1_000));
    assert_eq!(byte.into_inner(), 8);

    // A name that `prepare` binds, bound again in the window.
    let hits = 3_u64;
    let result = rseq! {
        prepare |_cpu| { let hits = hits + 1; }
        critical {
            let old = load(&a);
            let hits = old + hits;
            let hits = hits + hits;
        }
        commit store(&b, hits)
        => hits
    };
    assert_eq!((result, hits, b.into_inner()), (28, 3, 28));

    // `null` is a name like any other once it is bound.
    rseq! {
        critical |_cpu| {
            let null = load(&a);
            let r#type = null + 1;
        }
        commit store(&a, r#type)
    }
    assert_eq!(a.into_inner(), 11);
}
