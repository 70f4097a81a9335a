#![deny(warnings)]

use rseq::rseq;
use std::sync::atomic::AtomicU64;

/// Its `slot` is its own, and not the caller's.
macro_rules! store_both {
    ($own:expr, $place:expr) => {{
        let slot = $own;
        rseq! {
            critical |_cpu| { store($place, 1); }
            commit store(slot, 2)
        }
    }};
}

/// The same with places in the window, of slots that are called alike.
macro_rules! add_both {
    ($own:expr, $slots:ident) => {{
        let slots = $own;
        // SAFETY: the arrays have two elements.
        unsafe {
            rseq! {
                critical |_cpu| {
                    let at = load(&(*$slots)[0]);
                    store(&(*$slots)[at], 5);
                }
                commit store(&(*slots)[at], 6)
            }
        }
    }};
}

/// The same two macros deep: both names come from a macro, but not from the same.
macro_rules! outer {
    ($a:expr, $b:expr) => {{
        let slot = $a;
        store_both!($b, slot);
    }};
}

fn values<const N: usize>(places: [AtomicU64; N]) -> [u64; N] {
    places.map(AtomicU64::into_inner)
}

pub(crate) fn main() {
    let (a, b) = (AtomicU64::new(0), AtomicU64::new(0));
    let slot = &a;
    store_both!(&b, slot);
    assert_eq!(values([a, b]), [1, 2]);

    let (a, b) = (AtomicU64::new(0), AtomicU64::new(0));
    outer!(&a, &b);
    assert_eq!(values([a, b]), [1, 2]);

    let (a, b) = ([AtomicU64::new(1), AtomicU64::new(0)], [AtomicU64::new(0), AtomicU64::new(0)]);
    let slots = &a;
    add_both!(&b, slots);
    assert_eq!((values(a), values(b)), ([1, 5], [0, 6]));
}
